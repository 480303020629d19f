/** Where the servers are and how to be let in. */
import { readFile } from "node:fs/promises";
import type { NatsOptions } from "../bus/connect.js";
import { HomeostatError, messageOf } from "../errors.js";
import { type EmbeddedServers, embeddedKey } from "../servers/servers.js";
import type { Remote } from "./settings.js";

export interface Endpoints {
  /** Undefined: this command can talk to daemons and cannot be one. */
  redisUrl: string | undefined;
  nats: NatsOptions;
  /** Seals hidden values. */
  key: string | undefined;
}

export async function embeddedEndpoints(dir: string, servers: EmbeddedServers): Promise<Endpoints> {
  const { redisUrl, natsUrl } = servers;
  return { redisUrl, nats: { url: natsUrl }, key: await embeddedKey(dir) };
}

export async function remoteEndpoints({ redisUrl, nats }: Remote): Promise<Endpoints> {
  return { redisUrl, nats, key: await keyFromEnvironment(process.env) };
}

async function keyFromEnvironment(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  if (env.HOMEOSTAT_KEY) return env.HOMEOSTAT_KEY;
  if (!env.HOMEOSTAT_KEY_FILE) return undefined;
  try {
    return (await readFile(env.HOMEOSTAT_KEY_FILE, "utf8")).trim();
  } catch (error) {
    throw new HomeostatError("invalid", `HOMEOSTAT_KEY_FILE cannot be read: ${messageOf(error)}`);
  }
}
