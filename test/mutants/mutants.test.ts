/**
 * Theory: whatever keeps a rule is missed when it is taken away. Every mutant is planted, and the run that is known to
 * find it must find it; a few, others every day, are hunted for as if nothing were known of them.
 */
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Prng } from "../../src/simulator/prng.js";
import { readFound } from "./found.js";
import { mutants, protocolItems } from "./mutants.js";
import { Grounds, planted } from "./tree.js";

const root = resolve(import.meta.dirname, "../..");
const known = readFound(root);
/** Two hunts at once. */
vi.setConfig({ maxConcurrency: 2 });
/** O8 is left out: the simulated world has no orphans; test/observer/orphans.test.ts looks after it. */
const rules = [
  ...Array.from({ length: 18 }, (_, i) => `R${i + 1}`),
  ...Array.from({ length: 7 }, (_, i) => `O${i + 1}`),
];

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

  test("no run is known to find what is not in the list", () => {
    expect(Object.keys(known).filter((id) => !mutants.some((mutant) => mutant.id === id))).toEqual([]);
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

let grounds: Grounds;
beforeAll(async () => {
  grounds = await Grounds.prepare(root);
});
afterAll(() => grounds.remove());

describe.skipIf(!existsSync("/proc/self/cwd"))("one that hangs", () => {
  const usual = process.env.TMPDIR;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "homeostat-hang-"));
    process.env.TMPDIR = folder;
  });
  afterAll(async () => {
    if (usual === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = usual;
    await rm(folder, { recursive: true, force: true });
  });

  /** Processes whose working folder is below. */
  async function left(): Promise<string[]> {
    const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
    const places = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => "")));
    return places.filter((place) => place.startsWith(folder));
  }

  test("is found, and leaves no process and no file", async () => {
    const find = "  const holder = engine.random.id();\n  let at = visit;\n";
    const hang = { id: "hang", breaks: [], subtle: false, what: "", file: "src/traversal/visit.ts", find };
    const its = await Grounds.prepare(root);
    const { found } = await its.hunted({ ...hang, replace: `${find}  for (;;);\n` }, { silenceMs: 6_000 });
    await its.remove();
    expect(found?.message).toBe("it hangs");
    await expect.poll(() => readdir(folder), { timeout: 10_000 }).toEqual([]);
    await expect.poll(left, { timeout: 10_000 }).toEqual([]);
  });
});

describe.concurrent("each is found by the run that is known to find it, or a like one", () => {
  /** When neither finds it, the ordinary hunt has so long to go on. */
  const limitMs = 60_000;
  const silenceMs = 20_000;

  test("and nothing by any of them in the program as it is", async ({ expect }) => {
    const each = new Map(Object.values(known).map((run) => [JSON.stringify(run), run]));
    const { found, runs } = await grounds.hunted(undefined, {
      known: [...each.values()],
      nearSeeds: 5,
      phases: [],
    });
    expect(found).toBeUndefined();
    console.log(`${runs} runs are known, or like known ones`);
  }, 300_000);

  for (const mutant of mutants) {
    const { [mutant.id]: first } = known;
    test(`${mutant.id}: ${mutant.what}`, async ({ expect }) => {
      const options = first === undefined ? {} : { known: [first] };
      const { found, runs } = await grounds.hunted(mutant, { limitMs, silenceMs, ...options });
      expect(found, `nothing in ${runs} runs; npm run mutants -- --record --only ${mutant.id}`).toBeDefined();
    }, 120_000);
  }
});

const seed = Number(process.env.HOMEOSTAT_MUTANT_SEED ?? Math.floor(Date.now() / 86_400_000));
const sampled = 2;

describe(`${sampled} of them, by seed ${seed}`, () => {
  const order = new Prng(seed);
  const shuffled = mutants
    .map((mutant) => ({ mutant, place: order.fraction() }))
    .sort((a, b) => a.place - b.place)
    .map(({ mutant }) => mutant);
  for (const mutant of shuffled.slice(0, sampled)) {
    test(`${mutant.id}: ${mutant.what}`, async () => {
      const { found, runs } = await grounds.hunted(mutant);
      expect(found, `nothing in ${runs} runs (HOMEOSTAT_MUTANT_SEED=${seed})`).toBeDefined();
      console.log(`${mutant.id}: ${found?.phase} ${found?.run}: ${found?.message.split("\n")[0]}`);
    }, 300_000);
  }
});
