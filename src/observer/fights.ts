/**
 * Who changes what was repaired: repairs per path, so that two controllers that want different things do not take turns
 * for ever. Stored as JSON on the record; every function answers new fights and leaves the given ones as they are.
 */
import { morePaths } from "./drift.js";
import type { Policy } from "./policy.js";

/** One path that was repaired of late. Times in milliseconds. */
interface Fight {
  path: string;
  /** When a repair of it was begun, oldest first; no more than make it contested. */
  repairs: number[];
  /** When it was last repaired, or seen to change while it was contested. */
  seen: number;
}

export type Fights = readonly Fight[];

/** Paths of one resource; those that were quiet for the longest time are dropped first. */
const pathsLimit = 100;

/**
 * As stored with a resource. A repair that was begun after anything was last applied (`appliedAt`, empty: nothing was)
 * has come to nothing, whatever kept it from that: nobody fought it.
 */
export function readFights({ fights, appliedAt }: { fights: string; appliedAt: string }): Fights {
  if (fights === "") return [];
  const known = JSON.parse(fights) as Fights;
  if (appliedAt === "") return known;
  return known
    .map((each) => ({ ...each, repairs: each.repairs.filter((time) => time <= Number(appliedAt)) }))
    .filter(({ repairs }) => repairs.length > 0);
}

/** Also forgets what is too long ago to matter. */
export function noteRepair(
  fights: Fights,
  paths: readonly string[],
  nowMs: number,
  fight: Policy["fight"],
): Fights {
  const recent = fights.filter(({ seen }) => isRecent(seen, nowMs, fight));
  const known = new Map(recent.map((each) => [each.path, each]));
  for (const path of new Set(paths)) {
    if (path === morePaths) continue;
    const before = (known.get(path)?.repairs ?? []).filter((time) => time <= nowMs);
    known.delete(path);
    known.set(path, { path, repairs: [...before, nowMs].slice(-fight.repairs), seen: nowMs });
  }
  return [...known.values()].sort((a, b) => a.seen - b.seen).slice(-pathsLimit);
}

/** A contested path that changes is not left alone: it stays contested for another `withinMs`. */
export function noteChange(
  fights: Fights,
  paths: readonly string[],
  nowMs: number,
  fight: Policy["fight"],
): Fights {
  const contested = new Set(contestedPaths(fights, nowMs, fight));
  return fights.map((each) =>
    contested.has(each.path) && paths.includes(each.path) ? { ...each, seen: nowMs } : each,
  );
}

/**
 * The paths that are not to be repaired for now: each was repaired `repairs` times within `withinMs`, and for no
 * `withinMs` since then was it left alone. Sorted; as patterns they match themselves.
 */
export function contestedPaths(fights: Fights, nowMs: number, fight: Policy["fight"]): string[] {
  return fights
    .filter((each) => isContested(each, nowMs, fight))
    .map(({ path }) => path)
    .sort();
}

function isContested({ repairs, seen }: Fight, nowMs: number, fight: Policy["fight"]): boolean {
  const first = repairs.at(-fight.repairs);
  const last = repairs.at(-1);
  if (first === undefined || last === undefined) return false;
  return last - first < fight.withinMs && isRecent(seen, nowMs, fight);
}

/** A time that has yet to come was told by a clock that was set back since: what it says is not relied on for long. */
function isRecent(seen: number, nowMs: number, { withinMs }: Policy["fight"]): boolean {
  return Math.abs(nowMs - seen) < withinMs;
}
