/** The connection to Redis of a process: checked at start, then kept for ever. */
import type { Redis } from "ioredis";
import { HomeostatError, messageOf } from "../errors.js";
import type { ProviderLog } from "../providers/provider.js";
import { connectRedis } from "../store/connection.js";

const connectMs = 5_000;
const oldest = [6, 2] as const;

/** @throws HomeostatError `unavailable` when there is no usable Redis within seconds. */
export async function openRedis(url: string, log: ProviderLog): Promise<Redis> {
  const where = withoutCredentials(url);
  const redis = connectRedis(url);
  let last: unknown;
  redis.on("error", (error) => {
    last = error;
  });
  try {
    requireVersion(where, await answer(redis, where, () => last));
  } catch (error) {
    redis.disconnect();
    throw error;
  }
  watch(redis, where, log);
  return redis;
}

function answer(redis: Redis, where: string, lastError: () => unknown): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      clearTimeout(timer);
      reject(new HomeostatError("unavailable", explain(where, error), { cause: error }));
    };
    const timer = setTimeout(() => fail(lastError()), connectMs);
    redis.on("error", (error) => {
      if (isRefusal(error)) fail(error);
    });
    redis.info("server").then((info) => {
      clearTimeout(timer);
      resolve(info);
    }, fail);
  });
}

/** The first word of an error is its code in the protocol. */
function isRefusal(error: unknown): boolean {
  return ["WRONGPASS", "NOAUTH", "NOPERM"].includes(messageOf(error).split(" ")[0] ?? "");
}

function explain(where: string, error: unknown): string {
  if (isRefusal(error)) return `Redis at ${where} refuses user or password: ${messageOf(error)}`;
  const why = error === undefined ? `no answer within ${connectMs} ms` : messageOf(error);
  return `cannot reach Redis at ${where} (${why}); is a redis-server running there?`;
}

/** Valkey tells the version of Redis that it is compatible with. */
function requireVersion(where: string, info: string): void {
  const [, major, minor] = /^redis_version:(\d+)\.(\d+)/m.exec(info) ?? [];
  const version = Number(major) * 1000 + Number(minor);
  if (version >= oldest[0] * 1000 + oldest[1]) return;
  const found = major === undefined ? "no Redis that is known" : `Redis ${major}.${minor}`;
  throw new HomeostatError(
    "unavailable",
    `${found} is at ${where}; Redis ${oldest.join(".")} or Valkey is needed`,
  );
}

function watch(redis: Redis, where: string, log: ProviderLog): void {
  let lost = false;
  redis.on("close", () => {
    if (!lost && redis.status !== "end") {
      log.warn({ redis: where }, "lost the connection to Redis; trying again until it is back");
    }
    lost = true;
  });
  redis.on("ready", () => {
    if (lost) log.info({ redis: where }, "Redis is back");
    lost = false;
  });
}

function withoutCredentials(url: string): string {
  try {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname === "/" ? "" : pathname}`;
  } catch {
    throw new HomeostatError("invalid", "a Redis URL looks like redis://host:6379");
  }
}
