/** Runs the scripts for the parts of the store: key names, limits, the clock, and errors that name what is damaged. */
import type { Redis } from "ioredis";
import type { HomeostatError } from "../errors.js";
import type { Limits } from "../limits.js";
import { damaged, isMisfit } from "./damage.js";
import { Keys, shardOf } from "./keys.js";
import { type KeysByName, ScriptRunner, type Value } from "./script.js";

const defaultHintShards = 16;

export class ScriptStore {
  readonly keys: Keys;
  /** How many shards each kind of hint is spread over; the same for all processes of a deployment. */
  readonly hintShards: number;
  protected readonly redis: Redis;
  protected readonly limits: Limits;
  protected readonly soon: (place: string, ms: number) => void;
  readonly #runner: ScriptRunner;
  readonly #now: () => number | undefined;

  /**
   * `now`: a simulated Redis clock in ms; by default scripts read Redis's own. `soon`: is told what was stored, where, and
   * when it is due (ms); who looks after it may sleep longer.
   */
  constructor(
    redis: Redis,
    limits: Limits,
    options: {
      prefix?: string;
      now?: () => number;
      hintShards?: number;
      soon?: (place: string, ms: number) => void;
    } = {},
  ) {
    this.keys = new Keys(options.prefix);
    this.redis = redis;
    this.#runner = new ScriptRunner(redis);
    this.limits = limits;
    this.hintShards = options.hintShards ?? defaultHintShards;
    this.#now = options.now ?? (() => undefined);
    this.soon = options.soon ?? (() => {});
  }

  protected shardOf(key: string): number {
    return shardOf(key, this.hintShards);
  }

  /** Of every shard, in order. */
  protected ofShards<T>(read: (shard: number) => Promise<T>): Promise<T[]> {
    return Promise.all(Array.from({ length: this.hintShards }, (_, shard) => read(shard)));
  }

  protected async dropFields(key: string, fields: readonly string[]): Promise<void> {
    if (fields.length > 0) await this.redis.hdel(key, ...fields);
  }

  protected traversalKeys(at: { stack: string; traversal: number | string; attempt: string }) {
    const { stack, traversal, attempt } = at;
    return {
      stack: this.keys.stack(stack),
      graph: this.keys.graph(stack, traversal, attempt),
      sync: this.keys.sync(stack, traversal),
      pending: this.keys.pending(stack),
    };
  }

  protected async run(name: string, keys: KeysByName, args: Record<string, Value>): Promise<unknown[]> {
    try {
      return await this.#runner.run(name, keys, args);
    } catch (error) {
      throw isMisfit(error) ? await this.#misfit(keys, error) : error;
    }
  }

  /** Names the keys of another type than they should have; if it is not that, all that the script looks at. */
  async #misfit(keys: KeysByName, error: Error): Promise<HomeostatError> {
    const all = [...new Set(Object.values(keys).flat())];
    const types = await Promise.all(all.map((key) => this.redis.type(key)));
    const wrong = all.filter((key, i) => !["none", typeOf(keys, key)].includes(types[i] ?? ""));
    const there = all.filter((_key, i) => types[i] !== "none");
    return damaged((wrong.length > 0 ? wrong : there).join(", "), error);
  }

  protected clock(): Value {
    return this.#now() ?? "";
  }
}

const sortedSets: ReadonlySet<string> = new Set([
  "pending",
  "operations",
  "garbage",
  "queue",
  "due",
  "watch",
  "lost",
]);

/** What Redis calls the type of a script's key; it follows from what the script calls it. */
function typeOf(keys: KeysByName, key: string): string {
  const name = Object.keys(keys).find((each) => [keys[each]].flat().includes(key)) ?? "";
  if (sortedSets.has(name)) return "zset";
  return /template/i.test(name) ? "string" : "hash";
}
