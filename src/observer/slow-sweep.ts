/** What one observer of a pool does once in a long while: looks for orphans, and makes lost hints again. */
import { messageOf } from "../errors.js";
import type { Engine } from "../traversal/engine.js";
import { healHints } from "./hints.js";
import { actOnOrphans, askedNote, findOrphans, uncertainMs } from "./orphans.js";
import type { Policy } from "./policy.js";

/** How soon a person's word is heard. */
const turnMs = 1_000;

/** Until the signal aborts. `policy`: of orphans of which no stack says anything else. */
export async function sweepSlowly(
  engine: Engine,
  pool: string,
  policy: Policy["orphans"],
  signal: AbortSignal,
): Promise<void> {
  const { clock, limits, store, log } = engine;
  const next = `next:${pool}`;
  let sweepAt = clock.monotonicMs() + limits.firstSlowSweepMs;
  let actAt = Number.POSITIVE_INFINITY;
  let heard = "";

  /** In how many ms the next one is due. */
  const sweep = async () => {
    const { nowMs } = await store.noteOrphans(new Map(), 0);
    const dueMs = Number(await store.sweepNote(next)) - nowMs;
    // A clock that was set back does not put it off.
    if (dueMs > 0 && dueMs <= limits.slowSweepMs) return dueMs;
    await healHints(engine, pool, signal);
    await findOrphans(engine, pool, signal);
    // What is seen for the first time may be a person's to remove: nobody should wait an hour for the second look.
    const pauseMs = Math.min(limits.slowSweepMs, (await uncertainMs(engine, pool)) ?? limits.slowSweepMs);
    if (!signal.aborted) await store.noteSweep(next, String(nowMs + pauseMs));
    actAt = 0;
    return pauseMs;
  };
  const act = async (which: "all" | "decided") => {
    const ms = await actOnOrphans(engine, pool, policy, which, signal);
    if (ms !== undefined) actAt = clock.monotonicMs() + ms;
  };
  const turn = async () => {
    const asked = await store.sweepNote(askedNote);
    if (clock.monotonicMs() >= sweepAt) sweepAt = clock.monotonicMs() + (await sweep());
    if (clock.monotonicMs() >= actAt) {
      actAt = Number.POSITIVE_INFINITY;
      await act("all");
    }
    if (asked !== heard) await act("decided");
    heard = asked;
  };

  while (!signal.aborted) {
    await turn().catch((error: unknown) =>
      log.warn({ error: messageOf(error) }, "could not look for orphans or after hints"),
    );
    await clock.sleep(turnMs, signal);
  }
}
