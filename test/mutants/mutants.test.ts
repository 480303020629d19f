/**
 * Theory: whatever keeps a rule is missed when it is taken away. `npm run mutants` hunts for every mutant; here the list
 * is looked at, and a few, others every day, are really planted and found.
 */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { Prng } from "../../src/simulator/prng.js";
import { mutants, protocolItems } from "./mutants.js";
import { hunted, planted } from "./tree.js";

const root = resolve(import.meta.dirname, "../..");
const rules = Array.from({ length: 18 }, (_, i) => `R${i + 1}`);

describe("the list", () => {
  test("each fault can be planted, in one place", () => {
    for (const mutant of mutants) {
      const text = readFileSync(join(root, mutant.file), "utf8");
      expect(planted(text, mutant), mutant.id).not.toBe(text);
    }
  });

  test("ids are unique", () => {
    expect(new Set(mutants.map(({ id }) => id)).size).toBe(mutants.length);
  });

  test("each rule and each item of the protocol is broken by some, and nothing else is", () => {
    const broken = new Set(mutants.flatMap(({ breaks }) => breaks));
    expect([...broken].sort()).toEqual([...rules, ...protocolItems].sort());
  });

  test("at least half are subtle", () => {
    const subtle = mutants.filter((mutant) => mutant.subtle);
    expect(subtle.length).toBeGreaterThanOrEqual(mutants.length / 2);
  });
});

const seed = Number(process.env.HOMEOSTAT_MUTANT_SEED ?? Math.floor(Date.now() / 86_400_000));
const sampled = 6;

describe(`${sampled} of them, by seed ${seed}`, () => {
  const order = new Prng(seed);
  const shuffled = mutants
    .map((mutant) => ({ mutant, place: order.fraction() }))
    .sort((a, b) => a.place - b.place)
    .map(({ mutant }) => mutant);
  for (const mutant of shuffled.slice(0, sampled)) {
    test(`${mutant.id}: ${mutant.what}`, async () => {
      const { found, runs } = await hunted(root, mutant);
      expect(found, `nothing in ${runs} runs (HOMEOSTAT_MUTANT_SEED=${seed})`).toBeDefined();
      console.log(`${mutant.id}: ${found?.phase} ${found?.run}: ${found?.message.split("\n")[0]}`);
    }, 300_000);
  }
});
