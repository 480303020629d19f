/** The servers of one round, and what they say about their work. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Redis } from "ioredis";
import { connect, type NatsConnection } from "nats";
import { loadScripts } from "../../src/store/script.js";
import { startNats, startRedis, type TestNats, type TestRedis } from "../support/servers.js";

export type Durability = "everysec" | "always";

/** Sums since the servers started. */
export interface Sums {
  /** Redis commands, those within scripts included. */
  commands: number;
  redisBytesIn: number;
  redisBytesOut: number;
  /** Time within scripts. */
  scriptUs: number;
  scripts: number;
  /** Notifications that were handed to workers. */
  deliveries: number;
  /** Lifecycle events that were stored. */
  events: number;
}

/** Of the measuring itself. */
const ownCommands = new Set(["info", "flushall", "slowlog|get", "slowlog|reset", "config|set"]);

const tickMs = 10;

export class Servers {
  readonly redis: TestRedis;
  readonly nats: TestNats;
  readonly connection: NatsConnection;
  readonly #client: Redis;

  private constructor(redis: TestRedis, nats: TestNats, connection: NatsConnection) {
    this.redis = redis;
    this.nats = nats;
    this.connection = connection;
    this.#client = new Redis(redis.url);
  }

  static async start(appendfsync: Durability): Promise<Servers> {
    const [redis, nats] = await Promise.all([
      // A rewrite of the append-only file would come at a random moment.
      startRedis({ appendfsync, args: ["--auto-aof-rewrite-percentage", "0"] }),
      startNats(),
    ]);
    const connection = await connect({ servers: nats.url });
    return new Servers(redis, nats, connection);
  }

  async stop(): Promise<void> {
    await this.connection.close();
    this.#client.disconnect();
    await Promise.all([this.redis.stop(), this.nats.stop()]);
  }

  /** The next contender finds both as they were at the start. */
  async clean(): Promise<void> {
    await this.#client.flushall();
    const { streams } = await this.connection.jetstreamManager();
    for await (const { config } of streams.list()) await streams.delete(config.name);
  }

  async sums(): Promise<Sums> {
    const [info, converge, event] = await Promise.all([
      this.#client.info("all"),
      this.#stream("HOMEOSTAT_CONVERGE"),
      this.#stream("HOMEOSTAT_EVENT"),
    ]);
    const figure = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(info)?.[1] ?? 0);
    const stats = [...info.matchAll(/^cmdstat_([^:]+):calls=(\d+),usec=(\d+)/gm)].map(
      ([, name = "", calls, us]) => ({ name, calls: Number(calls), us: Number(us) }),
    );
    return {
      commands: sum(stats.filter(({ name }) => !ownCommands.has(name)).map(({ calls }) => calls)),
      redisBytesIn: figure("total_net_input_bytes"),
      redisBytesOut: figure("total_net_output_bytes"),
      scriptUs: sum(stats.filter(({ name }) => name.startsWith("eval")).map(({ us }) => us)),
      scripts: sum(stats.filter(({ name }) => name.startsWith("eval")).map(({ calls }) => calls)),
      deliveries: converge.deliveries,
      events: event.messages,
    };
  }

  /** From now on Redis notes how long every command takes. */
  async noteTimes(): Promise<void> {
    await this.#client.config("SET", "slowlog-max-len", 1_000_000);
    await this.#client.config("SET", "slowlog-log-slower-than", 0);
    await this.#client.slowlog("RESET");
  }

  /** By script, else by command: how often since noteTimes, and µs altogether. */
  async notedTimes(): Promise<Map<string, { calls: number; us: number }>> {
    const scripts = new Map(
      [...loadScripts().values()].map(({ name, text }) => [
        createHash("sha1").update(text).digest("hex"),
        name,
      ]),
    );
    const log = (await this.#client.slowlog("GET", -1)) as [number, number, number, string[]][];
    const times = new Map<string, { calls: number; us: number }>();
    for (const [, , us, [command = "", first = ""]] of log) {
      const name = /^evalsha$/i.test(command) ? `${scripts.get(first) ?? first}.lua` : command.toUpperCase();
      const known = times.get(name) ?? { calls: 0, us: 0 };
      times.set(name, { calls: known.calls + 1, us: known.us + us });
    }
    return times;
  }

  async #stream(name: string): Promise<{ messages: number; deliveries: number }> {
    const manager = await this.connection.jetstreamManager({ checkAPI: false });
    try {
      const { state } = await manager.streams.info(name);
      const consumers = await manager.consumers.list(name).next();
      return {
        messages: state.last_seq,
        deliveries: sum(consumers.map(({ delivered }) => delivered.consumer_seq)),
      };
    } catch {
      return { messages: 0, deliveries: 0 };
    }
  }
}

/** Processor time of a process so far, user and system. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * tickMs;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
