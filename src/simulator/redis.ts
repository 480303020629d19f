/** The simulator's connection to a redis-server of its own. */
import { once } from "node:events";
import { type Command, Redis } from "ioredis";
import { HomeostatError } from "../errors.js";

/** What the runs that are under way ask in one turn goes out in one write: writes cost more than anything else here. */
class GatheringRedis extends Redis {
  #gathering = false;

  override sendCommand(command: Command, batch?: Parameters<Redis["sendCommand"]>[1]): unknown {
    const { stream } = this;
    if (!this.#gathering && this.status === "ready") {
      this.#gathering = true;
      stream.cork();
      setImmediate(() => {
        this.#gathering = false;
        stream.uncork();
      });
    }
    return super.sendCommand(command, batch);
  }
}

/** A connection that is lost stays so: its server kept nothing. */
export async function connectSimulator(socketPath: string): Promise<Redis> {
  const redis = new GatheringRedis(socketPath, { retryStrategy: () => null });
  redis.on("error", () => undefined);
  await once(redis, "ready");
  return redis;
}

/** @throws HomeostatError `unavailable` when the connection is lost: what the runs found since means nothing. */
export function requireConnection(redis: Redis): void {
  if (redis.status !== "ready") {
    throw new HomeostatError("unavailable", "the redis-server of the simulation has ended");
  }
}
