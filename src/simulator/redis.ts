/** The simulator's connection to a redis-server of its own. */
import { once } from "node:events";
import { Redis } from "ioredis";
import { HomeostatError } from "../errors.js";

/** A connection that is lost stays so: its server kept nothing. */
export async function connectSimulator(socketPath: string): Promise<Redis> {
  const redis = new Redis(socketPath, { retryStrategy: () => null });
  redis.on("error", () => undefined);
  await once(redis, "ready");
  gatherWrites(redis.stream);
  return redis;
}

/** What all runs under way ask in one turn of the event loop is one write, which costs hardly more than each alone. */
function gatherWrites(stream: Redis["stream"]): void {
  const write = stream.write.bind(stream) as (data: string | Uint8Array) => boolean;
  let gathered = "";
  const flush = () => {
    const text = gathered;
    gathered = "";
    if (text !== "") write(text);
  };
  stream.write = (data: string | Uint8Array) => {
    if (typeof data === "string") {
      if (gathered === "") setImmediate(flush);
      gathered += data;
      return true;
    }
    flush();
    return write(data);
  };
}

/** @throws HomeostatError `unavailable` when the connection is lost: what the runs found since means nothing. */
export function requireConnection(redis: Redis): void {
  if (redis.status !== "ready") {
    throw new HomeostatError("unavailable", "the redis-server of the simulation has ended");
  }
}
