/** Things of a deployment that no stack knows: found, told of, removed, or left on purpose. */
import { readStored, typed } from "./damage.js";
import { pairs } from "./decode.js";
import { LookStore } from "./look-store.js";
import type { Value } from "./script.js";
import type { Orphan } from "./types.js";

export class OrphanStore extends LookStore {
  /** Id of this deployment; `candidate` if it had none. */
  async nameDeployment(candidate: string): Promise<string> {
    await this.redis.set(this.keys.deployment, candidate, "NX");
    return (await this.deployment()) ?? candidate;
  }

  async deployment(): Promise<string | undefined> {
    return (await this.redis.get(this.keys.deployment)) ?? undefined;
  }

  async orphans(): Promise<Map<string, Orphan>> {
    const key = this.keys.orphans;
    const stored = await typed(key, this.redis.hgetall(key));
    return readOrphans(key, Object.entries(stored));
  }

  /** These were seen now; those that are kept, as they are stored. New ones only as long as there are fewer than `limit`. */
  noteOrphans(
    seen: ReadonlyMap<string, Partial<Orphan>>,
    limit: number,
  ): Promise<{ nowMs: number; orphans: Map<string, Orphan> }> {
    return this.#noteOrphans("note", seen, limit);
  }

  /** Of those that are there. */
  async changeOrphans(changes: ReadonlyMap<string, Partial<Orphan>>): Promise<Map<string, Orphan>> {
    return (await this.#noteOrphans("set", changes, 0)).orphans;
  }

  async forgetOrphans(ids: readonly string[]): Promise<void> {
    await this.dropFields(this.keys.orphans, ids);
  }

  /** Whether `taker` alone may remove it for `holdMs`; else in how many ms to ask again, never when it is not known any more. */
  async takeOrphan(
    [id, type]: readonly [id: string, type: string],
    taker: string,
    holdMs: number,
    perMinute: number,
  ): Promise<{ tag: "ok" | "gone" } | { tag: "busy" | "budget"; ms: number }> {
    const [tag, ms] = await this.#orphans("take", [id, type], {
      taker,
      holdMs: Math.ceil(holdMs),
      perMinute,
    });
    return tag === "busy" || tag === "budget" ? { tag, ms: Number(ms) } : { tag: tag as "ok" | "gone" };
  }

  async #noteOrphans(
    verb: string,
    orphans: ReadonlyMap<string, Partial<Orphan>>,
    limit: number,
  ): Promise<{ nowMs: number; orphans: Map<string, Orphan> }> {
    const entries = [...orphans].flatMap(([id, orphan]) => [id, JSON.stringify(orphan)]);
    const [, now, stored] = await this.#orphans(verb, entries, { limit });
    return { nowMs: Number(now), orphans: readOrphans(this.keys.orphans, pairs(stored)) };
  }

  #orphans(verb: string, entries: readonly string[], args: Record<string, Value>): Promise<unknown[]> {
    return this.run(
      "orphans",
      { findings: this.keys.orphans, budgets: this.keys.orphanBudgets, clock: this.keys.orphansClock },
      {
        now: this.clock(),
        verb,
        entries: JSON.stringify(entries),
        limit: 0,
        taker: "",
        holdMs: 0,
        perMinute: 0,
        ...args,
      },
    );
  }

  /** What the slow sweep remembers under a name; empty when nothing. */
  async sweepNote(name: string): Promise<string> {
    return (await this.redis.hget(this.keys.orphanSweep, name)) ?? "";
  }

  async noteSweep(name: string, value: string): Promise<void> {
    await this.redis.hset(this.keys.orphanSweep, name, value);
  }

  /** Must stand before the record of a thing that is left on purpose goes. */
  async noteRetained(retained: Record<string, string>): Promise<void> {
    if (Object.keys(retained).length > 0) await this.redis.hset(this.keys.retained, retained);
  }

  /** Type, and after a line break when it was last seen (ms), by token. */
  retained(): Promise<Record<string, string>> {
    return this.redis.hgetall(this.keys.retained);
  }

  async forgetRetained(tokens: readonly string[]): Promise<void> {
    await this.dropFields(this.keys.retained, tokens);
  }
}

function readOrphans(key: string, stored: [string, string][]): Map<string, Orphan> {
  return new Map(readStored(key, () => stored.map(([id, text]) => [id, JSON.parse(text) as Orphan])));
}
