/** The connection to Redis: it never gives up, and what got no reply is asked again. */
import { type Command, Redis } from "ioredis";

/** A server that owes an answer and says nothing for so long is connected to anew; what was asked is asked again (R18). */
const silenceMs = 10_000;

/**
 * What got no reply is sent again; it may run twice (R18). Left to itself, ioredis gives up the rest of a batch that was
 * answered in part, and can send a batch again only as a whole.
 */
class ResendingRedis extends Redis {
  override sendCommand(command: Command, batch?: Parameters<Redis["sendCommand"]>[1]): unknown {
    const isFirst = command.pipelineIndex !== undefined;
    delete command.pipelineIndex;
    return super.sendCommand(command, isFirst ? batch : undefined);
  }
}

/** Connects and waits until the server answers. */
export function connectRedis(url: string): Redis {
  return new ResendingRedis(url, {
    maxRetriesPerRequest: null,
    enableAutoPipelining: true,
    socketTimeout: silenceMs,
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 6), 2_000),
  });
}
