/** What is due and when, outside of the stacks: hints, all to be verified, and the observers that look after them. */
import { typed } from "./damage.js";
import { optional, pairs } from "./decode.js";
import { Gathered } from "./gathered.js";
import { birthHint, duePlace, readHint, watchPlace, writeWatched } from "./hints.js";
import { ScriptStore } from "./script-store.js";
import type { Watched } from "./types.js";

export class ScheduleStore extends ScriptStore {
  /** By shard and pool, one per line. */
  readonly #owners = new Gathered<string, string | null>((place, physical) =>
    this.#readOwners(place, physical),
  );
  /** By shard, verb and pool, one per line. */
  readonly #hints = new Gathered<(string | number)[], undefined>((place, entries) =>
    this.#giveHints(place, entries),
  );

  /** Hints that the stack has something due in `delayMs` at the latest; must stand before the stack is changed. */
  async hint(stack: string, delayMs: number): Promise<void> {
    const ms = Math.min(delayMs, this.limits.sweepMs);
    await this.#due(this.shardOf(stack), "add", { stack, delayMs: ms });
    this.soon(duePlace, ms);
  }

  /** Hints that a stack of this id is about to come to be; must stand before its name is claimed. */
  async hintBirth(stack: string, name: string): Promise<void> {
    const delayMs = this.limits.sweepMs;
    await this.#due(this.shardOf(stack), "add", { stack: birthHint(stack, name), delayMs });
    this.soon(duePlace, delayMs);
  }

  /** The stack has come to be, or is not to. */
  async forgetBirth(stack: string, name: string): Promise<void> {
    await this.redis.zrem(this.keys.due(this.shardOf(stack)), birthHint(stack, name));
  }

  /** The stacks that are due in one shard, with the score that this sweeper holds them by. */
  async popDue(
    shard: number,
    limit: number,
  ): Promise<{ stacks: [id: string, score: string][]; nextMs: number | undefined }> {
    return this.#due(shard, "pop", { limit });
  }

  /** Ids of all stacks with a hint; for checkers. */
  async hinted(): Promise<string[]> {
    const hints = await this.ofShards((shard) => this.redis.zrange(this.keys.due(shard), "0", "-1"));
    return hints.flat().map((hint) => readHint(hint).stack);
  }

  /** When the first hint of a shard falls due, ms; undefined when there is none. For checkers. */
  firstDue(shard: number): Promise<number | undefined> {
    return this.#firstScore(this.keys.due(shard));
  }

  /** When the first entry of a shard is to be looked at, ms; undefined when there is none. For checkers. */
  firstWatched(pool: string, shard: number): Promise<number | undefined> {
    return this.#firstScore(this.keys.watch(pool, shard));
  }

  async #firstScore(key: string): Promise<number | undefined> {
    const [, score] = await this.redis.zrange(key, "0", "0", "WITHSCORES");
    return score === undefined ? undefined : Math.ceil(Number(score));
  }

  /** Gives a popped stack back: to be looked at in `delayMs`, or not any more. A newer hint stands. */
  async returnDue(stack: string, score: string, delayMs: number | undefined): Promise<void> {
    const verb = delayMs === undefined ? "drop" : "set";
    await this.#due(this.shardOf(readHint(stack).stack), verb, {
      stack,
      score,
      delayMs: Math.min(delayMs ?? 0, this.limits.sweepMs),
    });
  }

  /** For `ms` from now; the same for all. Answers how many observers are registered, this one among them. */
  async registerObserver(pool: string, observer: string, ms: number): Promise<number> {
    const [, count] = await this.#observers(pool, observer, ms);
    return Number(count);
  }

  async forgetObserver(pool: string, observer: string): Promise<void> {
    await this.#observers(pool, observer, 0);
  }

  #observers(pool: string, observer: string, ms: number): Promise<unknown[]> {
    return this.run(
      "observers",
      { observers: this.keys.observers(pool) },
      { now: this.clock(), observer, ms },
    );
  }

  async #due(
    shard: number,
    verb: string,
    args: { stack?: string; delayMs?: number; score?: string; limit?: number },
  ): Promise<{ stacks: [string, string][]; nextMs: number | undefined }> {
    const [, nextMs, stacks] = await this.run(
      "due",
      { due: this.keys.due(shard), clock: this.keys.dueClock(shard) },
      {
        now: this.clock(),
        verb,
        stack: args.stack ?? "",
        delayMs: Math.ceil(args.delayMs ?? 0),
        score: args.score ?? "",
        holdMs: this.limits.holdMs,
        limit: args.limit ?? 0,
      },
    );
    return { stacks: pairs(stacks), nextMs: optional(nextMs) };
  }

  /** When something is looked at next, ms; undefined when it is not on the schedule. */
  async nextLook(pool: string, watched: Watched): Promise<number | undefined> {
    const key = this.keys.watch(pool, this.#watchShard(watched));
    const score = await this.redis.zscore(key, writeWatched(watched));
    return score === null ? undefined : Math.ceil(Number(score));
  }

  /** Hints that this is to be looked at in `delayMs` at the latest. Must stand before what it points to. */
  async watch(pool: string, watched: Watched, delayMs: number): Promise<void> {
    const entry = writeWatched(watched);
    const shard = this.#watchShard(watched);
    await this.#hints.ask(`${shard}\nadd\n${pool}`, [entry, Math.ceil(delayMs)]);
    this.soon(watchPlace(pool, shard), delayMs);
  }

  /** Sees to it that each of these is looked at in so many ms, unless it is to be looked at anyway. */
  async ensureWatched(
    pool: string,
    entries: readonly (readonly [watched: Watched, delayMs: number])[],
  ): Promise<void> {
    const byShard = new Map<number, (string | number)[]>();
    for (const [watched, delayMs] of entries) {
      const shard = this.#watchShard(watched);
      const flat = byShard.get(shard) ?? [];
      byShard.set(shard, flat);
      flat.push(writeWatched(watched), Math.ceil(delayMs));
    }
    await Promise.all([...byShard].map(([shard, flat]) => this.#watch(pool, shard, "ensure", flat)));
    for (const [watched, delayMs] of entries) this.soon(watchPlace(pool, this.#watchShard(watched)), delayMs);
  }

  /** It is no more. Who does not come to say so leaves it to the next look. */
  async unwatch(pool: string, watched: Watched): Promise<void> {
    await this.#watch(pool, this.#watchShard(watched), "drop", [writeWatched(watched)]);
  }

  /** What is due in one shard; it is held for whoever took it. */
  async popWatched(
    pool: string,
    shard: number,
    limit: number,
  ): Promise<{ nowMs: number; entries: [entry: string, score: string][]; nextMs: number | undefined }> {
    return this.#watch(pool, shard, "pop", [], limit);
  }

  /** Gives entries back: to be looked at again in so many ms, or not any more. A newer hint stands. */
  async returnWatched(
    pool: string,
    shard: number,
    entries: readonly (readonly [entry: string, score: string, delayMs: number | undefined])[],
  ): Promise<void> {
    const flat = entries.flatMap(([entry, score, delayMs]) => [
      entry,
      score,
      delayMs === undefined ? "" : Math.ceil(delayMs),
    ]);
    if (flat.length > 0) await this.#hints.ask(`${shard}\nreturn\n${pool}`, flat);
  }

  /** Tells who waits for what is next in a shard that something is due in so many ms. */
  ringForWatched(pool: string, shard: number, ms: number): void {
    this.soon(watchPlace(pool, shard), ms);
  }

  async #giveHints(place: string, entries: readonly (string | number)[][]): Promise<undefined[]> {
    const [shard, verb = "", ...pool] = place.split("\n");
    await this.#watch(pool.join("\n"), Number(shard), verb, entries.flat());
    return [];
  }

  /** Which resources a physical id may belong to; hints, to be verified. */
  async resourcesOf(
    pool: string,
    type: string,
    physicalId: string,
  ): Promise<{ stack: string; resource: string }[]> {
    const key = physicalKey(type, physicalId);
    const known = await this.#owners.ask(`${this.shardOf(key)}\n${pool}`, key);
    if (known === null) return [];
    return known.split("\t").map((one) => {
      const [stack = "", resource = ""] = one.split("\n");
      return { stack, resource };
    });
  }

  #readOwners(place: string, physical: string[]): Promise<(string | null)[]> {
    const [shard, ...pool] = place.split("\n");
    const key = this.keys.physical(pool.join("\n"), Number(shard));
    return typed(key, this.redis.hmget(key, ...physical));
  }

  #watchShard({ stack, resource }: Watched): number {
    return this.shardOf(resource === undefined ? stack : physicalKey(resource.type, resource.physicalId));
  }

  async #watch(
    pool: string,
    shard: number,
    verb: string,
    entries: readonly (string | number)[],
    limit = 0,
  ): Promise<{ nowMs: number; entries: [string, string][]; nextMs: number | undefined }> {
    const [, now, nextMs, popped] = await this.run(
      "watch",
      {
        watch: this.keys.watch(pool, shard),
        physical: this.keys.physical(pool, shard),
        clock: this.keys.watchClock(pool, shard),
      },
      {
        now: this.clock(),
        verb,
        entries: entries.length === 0 ? "" : JSON.stringify(entries),
        holdMs: this.limits.holdMs,
        limit,
      },
    );
    return { nowMs: Number(now), entries: pairs(popped), nextMs: optional(nextMs) };
  }
}

function physicalKey(type: string, physicalId: string): string {
  return `${type}\n${physicalId}`;
}
