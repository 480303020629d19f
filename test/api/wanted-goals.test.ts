/** Theory: a goal is read again and again, or one is taken for another, or what is kept grows without end. */
import { expect, it } from "vitest";
import { WantedGoals } from "../../src/api/wanted-goals.js";
import { Keys } from "../../src/store/keys.js";
import { Sealing } from "../../src/store/sealing.js";
import type { Engine } from "../../src/traversal/engine.js";

/** Goals by stack and id: how many resources they have. */
function scene(goals: Record<string, number>) {
  const read: string[] = [];
  const readTemplate = async (stack: string, id: string) => {
    read.push(`${stack} ${id}`);
    const count = goals[`${stack} ${id}`];
    if (count === undefined) return undefined;
    const resources = Object.fromEntries(
      Array.from({ length: count }, (_, i) => [`r${i}`, { type: "Test::Thing", properties: { of: id } }]),
    );
    return JSON.stringify({
      source: { text: JSON.stringify({ resources }), name: "t", files: {} },
      parameters: { values: {}, hidden: [], given: [] },
    });
  };
  const store = { readTemplate, keys: new Keys("") };
  const engine = { store, sealing: new Sealing(undefined), types: new Map() } as unknown as Engine;
  return { goals: new WantedGoals(engine), read };
}

it("reads a goal once, and each goal of each stack for itself", async () => {
  const { goals, read } = scene({ "s 1": 2, "s 2": 3, "t 1": 4 });
  for (let round = 0; round < 3; round += 1) {
    expect((await goals.of("s", "1")).size).toBe(2);
    expect((await goals.of("s", "2")).size).toBe(3);
    expect((await goals.of("t", "1")).size).toBe(4);
  }
  expect(read).toEqual(["s 1", "s 2", "t 1"]);
});

it("does not take it that what is gone stays gone", async () => {
  const all: Record<string, number> = {};
  const { goals } = scene(all);
  expect((await goals.of("s", "1")).size).toBe(0);
  all["s 1"] = 1;
  expect((await goals.of("s", "1")).size).toBe(1);
});

it("keeps what was asked for last, however large, and forgets what was not asked for the longest", async () => {
  const { goals, read } = scene({ "s large": 20_001, "s a": 9_000, "s b": 9_000, "s c": 9_000 });
  for (const id of ["large", "large", "a", "b", "a", "c", "a", "b"]) await goals.of("s", id);
  expect(read).toEqual(["s large", "s a", "s b", "s c", "s b"]);
});
