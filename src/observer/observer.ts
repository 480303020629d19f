/**
 * What an observer does with what it is told: looks when the schedule says so, looks when an event says so. All that it
 * must remember is in Redis; any number of observers may do the same at once (R12).
 */
import { messageOf } from "../errors.js";
import { readWatched } from "../store/hints.js";
import type { Watched } from "../store/store.js";
import type { Engine } from "../traversal/engine.js";
import { look, unstored } from "./look.js";
import { reconverge } from "./reconverge.js";

/** Entries of one shard that one pass takes. */
const entriesPerPass = 500;
const longestPassMs = 1_000;

/**
 * One pass over one shard; answers in how many ms something falls due, undefined when there is nothing.
 *
 * `under`: what is under way of earlier passes over this shard, and then of this one too. With it a pass is over after
 * `longestPassMs`, and what takes longer goes on by itself: it must not hold up the looks at others. When `signal` aborts,
 * what has begun is finished, and the rest is given back.
 */
export async function observeShard(
  engine: Engine,
  pool: string,
  shard: number,
  under?: Set<Promise<void>>,
  signal?: AbortSignal,
): Promise<number | undefined> {
  const { store, clock, limits, log } = engine;
  const room = limits.looksAtOnce - (under?.size ?? 0);
  if (under !== undefined && room <= 0) {
    await Promise.race(under);
    return 0;
  }
  const popped = await store.popWatched(pool, shard, entriesPerPass);
  if (popped.entries.length === 0) return popped.nextMs;
  const watched = popped.entries.map(([entry]) => readWatched(entry));
  const flowing = await flowingOf(engine, watched);
  const left = popped.entries.entries();
  let isOver = false;
  const lane = async () => {
    for (const [i, [entry, score]] of left) {
      const nextMs = signal?.aborted ? 0 : await attend(engine, watched[i] as Watched, popped.nowMs, flowing);
      // What could not be looked at is held for a while; then it is due again.
      if (nextMs === "held") continue;
      await store.returnWatched(pool, shard, [[entry, score, nextMs]]);
      // The pass has told of what was due then.
      if (isOver && nextMs !== undefined) store.ringForWatched(pool, shard, nextMs);
    }
  };
  const lanes = Array.from({ length: Math.min(room, popped.entries.length) }, lane);
  if (under === undefined) {
    await Promise.all(lanes);
  } else {
    for (const each of lanes) {
      const ended = each
        .catch((error: unknown) =>
          log.warn({ shard, error: messageOf(error) }, "could not go on with a shard"),
        )
        .finally(() => under.delete(ended));
      under.add(ended);
    }
    const over = new AbortController();
    await Promise.race([Promise.all(lanes), clock.sleep(longestPassMs, over.signal)]).finally(() =>
      over.abort(),
    );
  }
  isOver = true;
  return (await store.popWatched(pool, shard, 0)).nextMs;
}

async function flowingOf(engine: Engine, watched: readonly Watched[]): Promise<Set<string>> {
  const types = [...new Set(watched.flatMap(({ resource }) => resource?.type ?? []))];
  return types.length === 0 ? new Set() : engine.store.flowing(types, engine.limits.quietMs);
}

async function attend(
  engine: Engine,
  { stack, resource }: Watched,
  nowMs: number,
  flowing: ReadonlySet<string>,
): Promise<number | undefined | "held"> {
  try {
    if (resource === undefined) return await reconverge(engine, stack, nowMs);
    const at = { stack, resource: resource.id, physicalId: resource.physicalId };
    return (await look(engine, at, "poll", flowing)).nextMs;
  } catch (error) {
    engine.log.warn(
      { stack, resource: resource?.id, error: messageOf(error) },
      "could not look at something",
    );
    return "held";
  }
}

/** What a message on the observed subjects says: look at this thing. */
export interface Hint {
  type: string;
  physicalId: string;
}

interface Coalesced {
  running: Promise<boolean>;
  /** Begins when the running one ends, and answers all that came meanwhile. */
  next: Promise<boolean> | undefined;
}

/**
 * Looks at what events tell of, one look at a time per thing: what comes while one is under way is answered by one more
 * look after it, however many events there were.
 */
export class HintedLooks {
  readonly #engine: Engine;
  readonly #pools: ReadonlySet<string>;
  readonly #looks = new Map<string, Coalesced>();
  readonly #waiting: (() => void)[] = [];
  #active = 0;
  #over = false;
  /** Hints of things that no stack has. */
  unknown = 0;
  /** Hints that needed no look of their own. */
  coalesced = 0;
  looked = 0;

  /** `pools`: those whose things this process can read. */
  constructor(engine: Engine, pools: ReadonlySet<string>) {
    this.#engine = engine;
    this.#pools = pools;
  }

  /** Resolves when the thing was looked at, or will be by whoever can; false: no stack has it. */
  take(hint: Hint): Promise<boolean> {
    const key = `${hint.type}\n${hint.physicalId}`;
    const known = this.#looks.get(key);
    if (known === undefined) return this.#run(key, hint);
    this.coalesced += 1;
    known.next ??= known.running.catch(() => false).then(() => this.#run(key, hint));
    return known.next;
  }

  /** Looks that have begun end as ever; all others are refused. */
  stop(): void {
    this.#over = true;
    for (const go of this.#waiting.splice(0)) go();
  }

  #run(key: string, hint: Hint): Promise<boolean> {
    const coalesced: Coalesced = { running: this.#inTurn(hint), next: undefined };
    this.#looks.set(key, coalesced);
    return coalesced.running.finally(() => {
      if (coalesced.next === undefined) this.#looks.delete(key);
    });
  }

  async #inTurn(hint: Hint): Promise<boolean> {
    if (this.#active < this.#engine.limits.looksAtOnce) this.#active += 1;
    else if (!this.#over) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.#over) throw new Error("it is to stop");
    try {
      return await this.#lookAt(hint);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#active -= 1;
      else next();
    }
  }

  async #lookAt({ type, physicalId }: Hint): Promise<boolean> {
    const { store, types } = this.#engine;
    const pool = types.get(type)?.pool ?? "default";
    const known = await store.resourcesOf(pool, type, physicalId);
    if (known.length === 0) this.unknown += 1;
    for (const { stack, resource } of known) {
      const watched = { stack, resource: { id: resource, type, physicalId } };
      if (!this.#pools.has(pool)) {
        await store.wantLook(stack, resource);
        await store.watch(pool, watched, 0);
        continue;
      }
      this.looked += 1;
      const looked = await look(this.#engine, { stack, resource, physicalId }, "event");
      // What could not be seen now, or was not mended, is looked at again before the schedule says so.
      const isOver =
        looked.nextMs === undefined || looked.finding === "inLine" || looked.outcome === "nothing new";
      if (isOver) continue;
      const isPutOff = looked.finding === undefined || unstored.has(looked.outcome);
      if (isPutOff) await store.wantLook(stack, resource);
      await store.watch(pool, watched, looked.nextMs ?? 0);
    }
    return known.length > 0;
  }
}
