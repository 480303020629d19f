/** The simulator's connection to a redis-server of its own. */
import { isAscii } from "node:buffer";
import { once } from "node:events";
import { type Command, Redis, ReplyError } from "ioredis";
import { HomeostatError } from "../errors.js";

/** A connection that is lost stays so: its server kept nothing. */
export async function connectSimulator(socketPath: string): Promise<Redis> {
  const redis = new DirectRedis(socketPath, { protocol: 2, retryStrategy: () => null });
  redis.on("error", () => undefined);
  await once(redis, "ready");
  // Older servers do not know it; newer ones take the time of each command, also within scripts.
  await redis.config("SET", "latency-tracking", "no").catch(() => undefined);
  redis.goDirect();
  return redis;
}

/**
 * Once it is ready, commands go straight to the socket and replies come straight from it: what else a connection does
 * costs more than the engine's own work in a run. What all runs under way ask in one turn of the event loop is one write,
 * which costs hardly more than each alone.
 */
class DirectRedis extends Redis {
  readonly #replies = new Replies();
  #isDirect = false;
  #gathered: Command[] = [];
  /** Sent and not answered, oldest first. */
  #asked: Command[] = [];

  goDirect(): void {
    this.stream.removeAllListeners("data");
    this.stream.on("data", (chunk: Buffer) => this.#answer(chunk));
    this.once("close", () => this.#lose());
    this.#isDirect = true;
  }

  override sendCommand(command: Command, batch?: Parameters<Redis["sendCommand"]>[1]): unknown {
    if (!this.#isDirect) return super.sendCommand(command, batch);
    if (this.#gathered.length === 0) setImmediate(() => this.#flush());
    this.#gathered.push(command);
    return command.promise;
  }

  #flush(): void {
    const commands = this.#gathered;
    this.#gathered = [];
    this.#asked = this.#asked.concat(commands);
    const text = requestText(commands, (value) => value.length);
    // Without a character beyond ASCII, of which each is a byte.
    if (Buffer.byteLength(text) === text.length) this.stream.write(text, "latin1");
    else this.stream.write(requestText(commands, Buffer.byteLength));
  }

  #answer(chunk: Buffer): void {
    const replies = this.#replies.read(chunk);
    const commands = this.#asked.splice(0, replies.length);
    for (const [i, command] of commands.entries()) {
      const reply = replies[i];
      if (reply instanceof Error) command.reject(reply);
      else command.resolve(reply);
    }
  }

  #lose(): void {
    this.#isDirect = false;
    for (const command of [...this.#asked, ...this.#gathered]) command.reject(new Error("connection lost"));
    this.#asked = [];
    this.#gathered = [];
  }
}

function requestText(commands: readonly Command[], bytes: (value: string) => number): string {
  const parts: string[] = [];
  for (const { name, args } of commands) {
    parts.push(`*${args.length + 1}`, `$${name.length}`, name);
    for (const value of args as string[]) parts.push(`$${bytes(value)}`, value);
  }
  parts.push("");
  return parts.join("\r\n");
}

type Reply = string | number | null | Error | Reply[];

/** Stands for a reply of which not all has come. */
const cutOff = Symbol("cut off");

/** What comes over the wire, in the second version of the protocol. */
class Replies {
  /** One character per byte. */
  #text = "";
  #at = 0;
  #isPlain = true;

  /** The replies that are complete by now. */
  read(chunk: Buffer): Reply[] {
    this.#isPlain &&= isAscii(chunk);
    this.#text += chunk.toString("latin1");
    const replies: Reply[] = [];
    let from = 0;
    for (;;) {
      const reply = this.#next();
      if (reply === cutOff) break;
      replies.push(reply);
      from = this.#at;
    }
    this.#text = this.#text.slice(from);
    this.#at = 0;
    if (this.#text === "") this.#isPlain = true;
    return replies;
  }

  #next(): Reply | typeof cutOff {
    const end = this.#text.indexOf("\r\n", this.#at);
    if (end < 0) return cutOff;
    const kind = this.#text[this.#at];
    const line = this.#text.slice(this.#at + 1, end);
    this.#at = end + 2;
    switch (kind) {
      case "$":
        return this.#string(Number(line));
      case "*":
        return this.#array(Number(line));
      case ":":
        return Number(line);
      case "+":
        return line;
      case "-":
        return new ReplyError(this.#decoded(line));
      default:
        throw new Error(`redis-server answered ${kind}${line}`);
    }
  }

  #string(length: number): string | null | typeof cutOff {
    if (length < 0) return null;
    const end = this.#at + length;
    if (this.#text.length < end + 2) return cutOff;
    const value = this.#text.slice(this.#at, end);
    this.#at = end + 2;
    return this.#decoded(value);
  }

  #array(length: number): Reply[] | null | typeof cutOff {
    if (length < 0) return null;
    const values: Reply[] = [];
    for (let i = 0; i < length; i += 1) {
      const value = this.#next();
      if (value === cutOff) return cutOff;
      values.push(value);
    }
    return values;
  }

  #decoded(text: string): string {
    return this.#isPlain ? text : Buffer.from(text, "latin1").toString();
  }
}

/** @throws HomeostatError `unavailable` when the connection is lost: what the runs found since means nothing. */
export function requireConnection(redis: Redis): void {
  if (redis.status !== "ready") {
    throw new HomeostatError("unavailable", "the redis-server of the simulation has ended");
  }
}
