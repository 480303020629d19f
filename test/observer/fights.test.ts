/** Theory: a path is repaired no more than so often within the time, however the changes come, and again once it was left alone. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { morePaths } from "../../src/observer/drift.js";
import { contestedPaths, type Fights, noteChange, noteRepair } from "../../src/observer/fights.js";

const fight = { repairs: 3, withinMs: 1_000 };

function repaired(...timesMs: number[]): Fights {
  return timesMs.reduce<Fights>((fights, nowMs) => noteRepair(fights, ["a"], nowMs, fight), []);
}

describe("a path", () => {
  it("is contested after so many repairs within the time, until it was left alone for as long", () => {
    expect(contestedPaths(repaired(0, 100), 100, fight)).toEqual([]);
    const fights = repaired(0, 400, 999);
    expect(contestedPaths(fights, 999, fight)).toEqual(["a"]);
    expect(contestedPaths(fights, 1_998, fight)).toEqual(["a"]);
    expect(contestedPaths(fights, 1_999, fight)).toEqual([]);
  });

  it("is not contested by repairs that are further apart", () => {
    expect(contestedPaths(repaired(0, 500, 1_000), 1_000, fight)).toEqual([]);
    expect(contestedPaths(repaired(0, 500, 1_000, 1_400), 1_400, fight)).toEqual(["a"]);
  });

  it("stays contested while it changes, and what is not contested is not by that", () => {
    const fights = noteChange(repaired(0, 1, 2), ["a", "b"], 900, fight);
    expect(contestedPaths(fights, 1_899, fight)).toEqual(["a"]);
    expect(contestedPaths(fights, 1_900, fight)).toEqual([]);
    expect(noteChange(fights, ["a"], 1_900, fight)).toEqual(fights);
    expect(noteChange(repaired(0, 1), ["a"], 2, fight)).toEqual(repaired(0, 1));
  });

  it("has as many repairs again once it was left alone", () => {
    const again = noteRepair(repaired(0, 1, 2), ["a"], 1_002, fight);
    expect(contestedPaths(again, 1_002, fight)).toEqual([]);
    const thrice = [1_003, 1_004].reduce((fights, nowMs) => noteRepair(fights, ["a"], nowMs, fight), again);
    expect(contestedPaths(thrice, 1_004, fight)).toEqual(["a"]);
  });

  it("is not contested for long by a clock that was set back", () => {
    const fights = repaired(9_000, 9_001, 9_002);
    expect(contestedPaths(fights, 8_500, fight)).toEqual(["a"]);
    expect(contestedPaths(fights, 5_000, fight)).toEqual([]);
    expect(noteRepair(fights, ["a"], 5_000, fight)).toEqual([{ path: "a", repairs: [5_000], seen: 5_000 }]);
  });

  it("is one of a hundred at most, the quiet ones being dropped first; what stands for more is none", () => {
    const first = Array.from({ length: 60 }, (_, i) => `p${i}`);
    const second = Array.from({ length: 60 }, (_, i) => `q${i}`);
    const fights = noteRepair(noteRepair([], first, 1, fight), [...second, morePaths], 2, fight);
    expect(fights).toHaveLength(100);
    expect(fights.map(({ path }) => path)).toEqual([...first.slice(20), ...second]);
  });
});

it("no path is repaired more often than allowed within the time, whatever the other side does", () => {
  const change = fc.record({
    afterMs: fc.integer({ min: 0, max: 700 }),
    paths: fc.subarray(["a", "b", "__proto__"]),
  });
  const allowed = fc.record({
    repairs: fc.integer({ min: 1, max: 4 }),
    withinMs: fc.constantFrom(1, 500, 1_000),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), allowed, (changes, policy) => {
      let nowMs = 0;
      let fights: Fights = [];
      const repairs = new Map<string, number[]>();
      for (const { afterMs, paths } of changes) {
        nowMs += afterMs;
        const contested = contestedPaths(fights, nowMs, policy);
        fights = noteChange(fights, paths, nowMs, policy);
        const mended = paths.filter((path) => !contested.includes(path));
        if (mended.length > 0) fights = noteRepair(fights, mended, nowMs, policy);
        fights = JSON.parse(JSON.stringify(fights)) as Fights;
        for (const path of mended) {
          const times = repairs.get(path) ?? [];
          repairs.set(path, [...times, nowMs]);
          const recent = (repairs.get(path) ?? []).filter((time) => nowMs - time < policy.withinMs);
          expect(recent.length).toBeLessThanOrEqual(policy.repairs);
        }
        // Left alone for that long, every path may be repaired again.
        expect(contestedPaths(fights, nowMs + policy.withinMs, policy)).toEqual([]);
      }
    }),
    { numRuns: 1000 },
  );
});
