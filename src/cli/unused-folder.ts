/** A folder in which no embedded servers ever ran: there are no stacks, and none need be started to tell. */
import { access } from "node:fs/promises";
import { join } from "node:path";
import { HomeostatError } from "../errors.js";
import type { Settings } from "./settings.js";

export async function isUnusedFolder({ remote, dir }: Settings): Promise<boolean> {
  if (remote !== undefined) return false;
  return access(join(dir, "servers.json")).then(
    () => false,
    () => true,
  );
}

/** @throws HomeostatError `not_found` */
export async function refuseUnusedFolder(settings: Settings, name: string): Promise<void> {
  if (!(await isUnusedFolder(settings))) return;
  throw new HomeostatError("not_found", `there is no stack ${name}: nothing was ever run in ${settings.dir}`);
}
