/** The engine in this process. */
import { homedir } from "node:os";
import { join } from "node:path";
import { HomeostatError, messageOf } from "../errors.js";
import { builtinTypes } from "../providers/builtin.js";
import { loadProviders } from "../providers/load.js";
import type { ResourceTypes } from "../providers/provider.js";
import { type Host, type HostOptions, startHost } from "../worker/host.js";
import type { Endpoints } from "./endpoints.js";
import type { Log } from "./log.js";
import { orphansOf, type Settings } from "./settings.js";

export interface EngineOptions {
  roles?: NonNullable<HostOptions["roles"]>;
  pools?: string[];
  orphans?: NonNullable<HostOptions["orphans"]>;
}

/** @throws HomeostatError */
export async function startHere(
  settings: Settings,
  endpoints: Endpoints,
  log: Log,
  { roles, pools, orphans = orphansOf(undefined) }: EngineOptions = {},
): Promise<Host> {
  const { redisUrl, nats, key } = endpoints;
  if (redisUrl === undefined) {
    throw new HomeostatError("invalid", "a daemon needs Redis: give --redis-url or HOMEOSTAT_REDIS_URL");
  }
  const types = await typesOf(settings);
  outliveStrayErrors(log);
  return startHost({
    redisUrl,
    nats,
    types,
    log,
    ...(key === undefined ? {} : { key }),
    ...(roles === undefined ? {} : { roles }),
    ...(pools === undefined ? {} : { pools }),
    ...(orphans === undefined ? {} : { orphans }),
  });
}

/** A provider is somebody else's code: what it throws outside of its calls must not end those of others. */
function outliveStrayErrors(log: Log): void {
  process.on("uncaughtException", (error: unknown) =>
    log.error(
      { error: messageOf(error), ...(error instanceof Error ? { trace: error.stack } : {}) },
      "something threw an error that nobody handles, most likely a provider; going on",
    ),
  );
}

async function typesOf(settings: Settings): Promise<ResourceTypes> {
  const { simWorld, providers } = settings;
  const types = builtinTypes({
    stateDir: stateDirOf(settings),
    ...(simWorld === undefined ? {} : { simWorld }),
  });
  try {
    return types.add(...(await loadProviders(providers)));
  } catch (error) {
    if (error instanceof TypeError) throw new HomeostatError("invalid", error.message, { cause: error });
    throw error;
  }
}

/** All daemons of a host share it; those of embedded servers keep everything in one folder. */
function stateDirOf({ stateDir, remote, dir }: Settings): string {
  if (stateDir !== undefined) return stateDir;
  if (remote === undefined) return join(dir, "local");
  return join(process.env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "homeostat");
}
