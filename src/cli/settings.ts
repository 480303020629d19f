/** What the global options and the environment say. */
import { resolve } from "node:path";
import { HomeostatError } from "../errors.js";
import { durationMs, durationSchema } from "../providers/duration.js";
import { defaultDir } from "../servers/servers.js";

export interface GlobalOptions {
  redisUrl?: string;
  natsUrl?: string;
  dir?: string;
  providers?: string[];
  simWorld?: string;
  stateDir?: string;
  json?: boolean;
  color?: boolean;
  logLevel?: string;
}

export interface Settings {
  /** Undefined: the embedded servers in `dir` are used. */
  remote: Remote | undefined;
  dir: string;
  providers: string[];
  simWorld: string | undefined;
  /** Undefined: a folder in `dir`, or the user's own for remote servers. */
  stateDir: string | undefined;
  json: boolean;
  color: boolean;
  logLevel: string | undefined;
}

export interface Remote {
  redisUrl: string | undefined;
  nats: { url: string } | { context: string };
}

const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"];

/** @throws HomeostatError `invalid` */
export function settingsOf(options: GlobalOptions, env: NodeJS.ProcessEnv = process.env): Settings {
  const logLevel = options.logLevel ?? (env.HOMEOSTAT_LOG || undefined);
  if (logLevel !== undefined && !logLevels.includes(logLevel)) {
    throw new HomeostatError("invalid", `log level "${logLevel}" is none of ${logLevels.join(", ")}`);
  }
  return {
    remote: remoteOf(options, env),
    dir: resolve(options.dir ?? defaultDir),
    providers: options.providers ?? [],
    simWorld: options.simWorld === undefined ? undefined : resolve(options.simWorld),
    stateDir: options.stateDir === undefined ? undefined : resolve(options.stateDir),
    json: options.json ?? false,
    color: options.color ?? true,
    logLevel,
  };
}

function remoteOf(options: GlobalOptions, env: NodeJS.ProcessEnv): Remote | undefined {
  const redisUrl = options.redisUrl ?? (env.HOMEOSTAT_REDIS_URL || undefined);
  const natsUrl = options.natsUrl ?? (env.HOMEOSTAT_NATS_URL || undefined);
  const context = env.NATS_CONTEXT || undefined;
  if (redisUrl !== undefined) checkRedisUrl(redisUrl);
  if (natsUrl !== undefined) return { redisUrl, nats: { url: natsUrl } };
  if (context !== undefined) return { redisUrl, nats: { context } };
  if (redisUrl === undefined) return undefined;
  throw new HomeostatError(
    "invalid",
    "a Redis URL is configured but no NATS URL: give --nats-url or HOMEOSTAT_NATS_URL, or neither for embedded servers",
  );
}

/** Undefined: nobody said. @throws HomeostatError `invalid` */
export function orphansOf(
  option: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): "report" | "remove" | undefined {
  const said = option ?? (env.HOMEOSTAT_ORPHANS || undefined);
  if (said === undefined || said === "report" || said === "remove") return said;
  throw new HomeostatError("invalid", `orphans can be report or remove, not "${said}"`);
}

/** The message leaves out what follows the scheme: it may hold a password. */
function checkRedisUrl(url: string): void {
  if (URL.canParse(url) && ["redis:", "rediss:"].includes(new URL(url).protocol)) return;
  throw new HomeostatError("invalid", "the Redis URL must look like redis://host:6379 or rediss://host:6379");
}

/** @throws HomeostatError `invalid` */
export function parseDuration(text: string): number {
  if (/[a-z]$/.test(text) && durationSchema.safeParse(text).success) {
    const ms = Math.round(durationMs(text, "s"));
    if (ms >= 1) return ms;
  }
  throw new HomeostatError("invalid", `"${text}" is not a duration: write for example 200ms, 30s, 10m or 1h`);
}

/** `key=value` arguments; the last of one key counts. @throws HomeostatError `invalid` */
export function parseParameters(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [, key, value] = /^([^=]+)=(.*)$/s.exec(pair) ?? [];
      if (key === undefined || value === undefined) {
        throw new HomeostatError("invalid", `"${pair}" is not a parameter: write -p key=value`);
      }
      return [key, value];
    }),
  );
}
