/** Which daemons serve a folder of embedded servers: others use them instead of hosting the engine themselves. */
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { ignoreMissing } from "../servers/folder-lock.js";
import { isAlive, ownIdentity, placeHere } from "../servers/process-identity.js";

const recordSchema = z.object({ pid: z.int().positive(), start: z.string(), place: z.string() });

/** Puts this process on record; the result takes it off. */
export async function recordDaemon(dir: string): Promise<() => Promise<void>> {
  const folder = folderOf(dir);
  const file = join(folder, `${process.pid}.json`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const record = { ...(await ownIdentity()), place: await placeHere() };
  await writeFile(file, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  return () => rm(file, { force: true });
}

/** Pids; records of daemons that died are removed. */
export async function recordedDaemons(dir: string): Promise<number[]> {
  const folder = folderOf(dir);
  const names = (await ignoreMissing(readdir(folder))) ?? [];
  const alive = await Promise.all(names.map((name) => pidOf(join(folder, name))));
  return alive.filter((pid) => pid !== undefined);
}

function folderOf(dir: string): string {
  return join(dir, "daemons");
}

async function pidOf(file: string): Promise<number | undefined> {
  const record = recordSchema.safeParse(parse((await ignoreMissing(readFile(file, "utf8"))) ?? ""));
  // Elsewhere nobody can tell whether it lives; the servers refuse a folder that is in use from elsewhere.
  if (record.success && record.data.place === (await placeHere()) && (await isAlive(record.data))) {
    return record.data.pid;
  }
  if (record.success) await rm(file, { force: true });
  return undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
