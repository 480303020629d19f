/** Hints that were lost are made again: what has a thing is looked at, and a stack that wants a traversal gets one. */
import { messageOf } from "../errors.js";
import { stackPool } from "../store/hints.js";
import type { Watched } from "../store/store.js";
import type { Engine } from "../traversal/engine.js";
import { isPutOff } from "./look.js";
import { defaultPolicy } from "./policy.js";

const entriesAtOnce = 500;
/** After each portion: what nobody misses need not be made at once. */
const pauseMs = 50;

/** Of all stacks, for the things of one pool. Entries that are there stay as they are. */
export async function healHints(engine: Engine, pool: string, signal?: AbortSignal): Promise<void> {
  for (const [, stack] of await engine.store.names()) {
    if (signal?.aborted) return;
    try {
      await healStack(engine, pool, stack, signal);
    } catch (error) {
      engine.log.warn({ stack, error: messageOf(error) }, "could not look after the hints of a stack");
    }
  }
}

async function healStack(engine: Engine, pool: string, stack: string, signal?: AbortSignal): Promise<void> {
  const { store, clock, random, limits } = engine;
  const record = await store.stack(stack);
  if (record === undefined) return;
  if ((record.wish ?? "") !== "" || record.status === "FAILED") {
    await store.ensureWatched(stackPool, [[{ stack }, limits.lookAgainMs]]);
  }
  const ids = [...(await store.index(stack))]
    .filter(([, entry]) => entry.physical === true && (entry.pool ?? "default") === pool)
    .map(([id]) => id);
  for (let first = 0; first < ids.length && !signal?.aborted; first += entriesAtOnce) {
    const portion = ids.slice(first, first + entriesAtOnce);
    const records = await store.resources(stack, portion, ["type", "physical", "tombstone"]);
    const entries = portion.flatMap((id, i): [Watched, number][] => {
      const { type = "", physical: physicalId = "", tombstone } = records[i] ?? {};
      if (physicalId === "" || tombstone !== "") return [];
      // Spread out: after a loss there may be many.
      return [[{ stack, resource: { id, type, physicalId } }, random.fraction() * defaultPolicy.pollMs]];
    });
    await store.ensureWatched(pool, entries);
    await clock.sleep(pauseMs, signal);
  }
}

/** A traversal is over: whatever was to be looked at meanwhile, and could not be, is looked at now. */
export async function hintAwaited(engine: Engine, stack: string, askedAtMs: number): Promise<void> {
  const { store } = engine;
  // Looks that have to wait from now on wait for another one.
  await store.attend(stack, "awaited", "");
  const things = [...(await store.index(stack))].filter(([, entry]) => entry.physical === true);
  for (let first = 0; first < things.length; first += entriesAtOnce) {
    const portion = things.slice(first, first + entriesAtOnce);
    const ids = portion.map(([id]) => id);
    const fields = ["type", "physical", "tombstone", "observedAt", "wantedAt", "looked"];
    const records = await store.resources(stack, ids, fields);
    await Promise.all(
      portion.map(([id, entry], i) => {
        const { type = "", physical: physicalId = "", tombstone, ...times } = records[i] ?? {};
        const wantedAtMs = Math.max(askedAtMs, Number(times.wantedAt || 0));
        const isWanted = wantedAtMs > Number(times.observedAt || 0) || isPutOff(times.looked);
        if (physicalId === "" || tombstone !== "" || !isWanted) return undefined;
        return store.watch(entry.pool ?? "default", { stack, resource: { id, type, physicalId } }, 0);
      }),
    );
  }
}
