/**
 * Theory: drift is told by paths exactly when the type's own comparison finds a difference between reality and what a
 * repair would apply; what is exempt is neither told nor written back.
 */
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { z } from "zod";
import { type Json, type JsonObject, jsonEqual } from "../../src/json.js";
import { driftOf, matchesPath, morePaths, propertyTable, repairTarget } from "../../src/observer/drift.js";
import { propertyPath } from "../../src/observer/paths.js";
import { defineResource } from "../../src/providers/provider.js";

const type = defineResource({
  type: "Test::Thing",
  properties: z.record(z.string(), z.unknown()) as unknown as z.ZodType<JsonObject>,
  updatable: (name) => name !== "fixed",
  ignored: (name) => name === "ignored",
  create: async () => ({ physicalId: "p", attributes: {} }),
  read: async () => undefined,
  update: async () => ({ physicalId: "p", attributes: {} }),
  delete: async () => {},
});

describe("drift", () => {
  test.each<[string, JsonObject, JsonObject, string[], string[], boolean]>([
    ["nothing", { a: 1, b: { c: [1, { d: null }] } }, { b: { c: [1, { d: null }] }, a: 1 }, [], [], false],
    ["a leaf", { env: { A: "1", B: "2" } }, { env: { A: "1", B: "3" } }, [], ["env.B"], false],
    ["sorted", { b: 1, a: 1, c: { z: 1, y: 1 } }, { b: 2, a: 2, c: {} }, [], ["a", "b", "c.y", "c.z"], false],
    ["an item", { ports: [1, 2, 3] }, { ports: [1, 5] }, [], ["ports.1", "ports.2"], false],
    ["another kind", { a: { b: 1 } }, { a: [1] }, [], ["a"], false],
    ["null is a value", { a: { b: null } }, { a: {} }, [], ["a.b"], false],
    ["an empty map is one", { a: { b: {} } }, { a: {} }, [], ["a.b"], false],
    ["an empty list is no empty map", { a: {} }, { a: [] }, [], ["a"], false],
    ["a quoted key", { l: { "a.b": 1 } }, { l: { "a.b": 2 } }, [], ['l."a.b"'], false],
    ["not reported", { a: 1, b: 2 }, { a: 1 }, [], [], false],
    ["reported as undefined", { a: 1 }, { a: undefined as unknown as Json }, [], [], false],
    ["in addition", { a: 1 }, { a: 1, b: { c: 1, d: [2] } }, [], ["b.c", "b.d.0"], false],
    ["of an ignored property", { ignored: 1 }, { ignored: 2 }, [], [], false],
    ["that replaces", { fixed: [1], a: 1 }, { fixed: [2], a: 1 }, [], ["fixed.0"], true],
    ["that would replace, but is exempt", { fixed: 1, a: 1 }, { fixed: 2, a: 2 }, ["fixed"], ["a"], false],
    ["exempt below", { env: { A: { x: 1 } } }, { env: { A: { x: 2 } } }, ["env"], [], false],
    ["exempt by one step", { env: { A: 1 } }, { env: { A: 2, B: 3 } }, ["env.*"], [], false],
    [
      "exempt, where one side has no map",
      { m: {} },
      { m: { labels: { a: 1, b: 2 } } },
      ["m.labels.a"],
      ["m.labels.b"],
      false,
    ],
    [
      "all exempt, where reality has no map",
      { m: { labels: { a: 1 } } },
      { m: {} },
      ["m.labels.*"],
      [],
      false,
    ],
    ["exempt items", { l: [1, 2] }, { l: [1, 3, 4] }, ["l.*"], [], false],
    ["an exempt item in the middle", { l: [1, 2, 3] }, { l: [1] }, ["l.1"], ["l.2"], false],
    ["a pattern that is none", { a: 1 }, { a: 2 }, ["a*"], ["a"], false],
  ])("%s", (_what, applied, observed, exempt, paths, replace) => {
    expect(driftOf(type, applied, observed, exempt)).toEqual({ paths, replace });
  });

  it("is of the whole property where it is hidden", () => {
    const [applied, observed] = [
      { env: { A: 1, B: { c: 1 } }, a: { b: 1 } },
      { env: { A: 2, D: 1 }, a: { b: 2 } },
    ];
    expect(driftOf(type, applied, observed, [], ["env"]).paths).toEqual(["a.b", "env"]);
    expect(driftOf(type, applied, observed, ["env.*"], ["env"]).paths).toEqual(["a.b"]);
  });

  it("is told of no more than a hundred paths", () => {
    const many = Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`k${1000 + i}`, i]));
    const { paths } = driftOf(type, { many: {} }, { many }, []);
    expect(paths).toHaveLength(101);
    expect(paths.slice(-2)).toEqual(["many.k1099", morePaths]);
    expect(driftOf(type, { many: {} }, { many }, ["many.k1100"]).paths).toHaveLength(100);
  });

  it("is of the whole property where only the type sees it", () => {
    const odd = { ...type, compare: () => ({ changed: ["a.b"], replace: true }) };
    expect(driftOf(odd, { "a.b": 1 }, { "a.b": 1 }, [])).toEqual({ paths: ['"a.b"'], replace: true });
  });
});

const names = ["a", "b", "fixed", "ignored"];
const { value } = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: "large" },
    fc.constantFrom<Json>(null, 0, 1, "x"),
    fc.array(tie("value"), { maxLength: 3 }),
    mapOf(tie("value"), [...names, "__proto__"]),
  ),
}));

function mapOf(values: fc.Arbitrary<Json>, keys: readonly string[]): fc.Arbitrary<JsonObject> {
  const entry = fc.tuple(fc.constantFrom(...keys), values);
  return fc.array(entry, { maxLength: 4 }).map((entries) => Object.fromEntries(entries));
}

const properties = mapOf(value, names);
const step = fc.constantFrom("a", "b", "fixed", "0", "1", "2", "*", "**");
const exempt = fc.array(
  fc.array(step, { minLength: 1, maxLength: 4 }).map((steps) => steps.join(".")),
  { maxLength: 3 },
);
const runs = { numRuns: 3000 };

/** Every path of the value with what is there, the inner ones too. */
function* placesOf(value: Json, path: (string | number)[] = []): Generator<[string, Json]> {
  if (path.length > 0) yield [propertyPath(path), value];
  if (value === null || typeof value !== "object") return;
  const entries = Array.isArray(value) ? value.entries() : Object.entries(value);
  for (const [step, part] of entries) yield* placesOf(part, [...path, step]);
}

/** The properties that reality reports otherwise than they were applied. */
function differingIn(applied: JsonObject, observed: JsonObject): string[] {
  return Object.keys(observed)
    .filter((name) => !Object.hasOwn(applied, name) || !jsonEqual(applied[name], observed[name]))
    .sort();
}

function isExempt(path: string, patterns: readonly string[]): boolean {
  const steps = path.split(".");
  return steps.some((_, i) =>
    patterns.some((pattern) => matchesPath(pattern, steps.slice(0, i + 1).join("."))),
  );
}

describe("the target of a repair", () => {
  test.each<[string, JsonObject, JsonObject, string[], JsonObject]>([
    ["is what was applied", { a: 1, b: [1] }, { a: 2, b: [], c: 3 }, [], { a: 1, b: [1] }],
    ["has what reality has where it is exempt", { a: 1, b: 1 }, { a: 2, b: 2 }, ["a"], { a: 2, b: 1 }],
    ["lacks what reality lacks there", { e: { A: 1, B: 2 } }, { e: { B: 3 } }, ["e.A"], { e: { B: 2 } }],
    [
      "takes on what reality has there",
      { e: {} },
      { e: { A: { x: 1, y: 2 } } },
      ["e.A.x"],
      { e: { A: { x: 1 } } },
    ],
    ["takes on null", { e: { A: 1 } }, { e: { A: null } }, ["e.A"], { e: { A: null } }],
    ["takes on null in a list", { l: [1] }, { l: [null] }, ["l.0"], { l: [null] }],
    ["keeps what reality does not report", { e: { A: 1 } }, {}, ["e.**"], { e: { A: 1 } }],
    ["takes on items without a gap", { l: [1] }, { l: [1, 2, 3, 4] }, ["l.1", "l.3"], { l: [1, 2] }],
    ["lets go of items at the end alone", { l: [1, 2, 3, 4] }, { l: [1] }, ["l.1", "l.3"], { l: [1, 2, 3] }],
    ["keeps a map in whose place is none", { e: { A: 1, B: 2 } }, { e: "x" }, ["e.A"], { e: { A: 1, B: 2 } }],
  ])("%s", (_what, applied, observed, patterns, target) => {
    expect(repairTarget(applied, observed, patterns)).toEqual(target);
  });

  it("is reality, once the paths of drift are empty, and is not before", () => {
    fc.assert(
      fc.property(properties, properties, exempt, (applied, observed, patterns) => {
        const target = repairTarget(applied, observed, patterns);
        const drift = driftOf(type, applied, observed, patterns);
        const change = type.compare({ ...applied, ...observed }, target);
        expect(drift.paths.length === 0).toBe(change.changed.length === 0);
        expect(drift.replace).toBe(change.replace);
        const told = new Set(drift.paths.map((path) => path.split(".")[0]));
        expect([...told].sort()).toEqual(change.changed);
      }),
      runs,
    );
  });

  it("leaves no drift when it is applied, and has itself as its target", () => {
    fc.assert(
      fc.property(properties, properties, exempt, (applied, observed, patterns) => {
        const target = repairTarget(applied, observed, patterns);
        expect(driftOf(type, applied, target, patterns).paths).toEqual([]);
        expect(repairTarget(applied, target, patterns)).toEqual(target);
      }),
      runs,
    );
  });

  it("without exemptions is what was applied; with all exempt it is reality, as far as that reports", () => {
    fc.assert(
      fc.property(properties, properties, (applied, observed) => {
        expect(driftOf(type, applied, applied, [])).toEqual({ paths: [], replace: false });
        expect(repairTarget(applied, observed, ["**"])).toEqual({ ...applied, ...observed });
        expect(driftOf(type, applied, observed, ["**"])).toEqual({ paths: [], replace: false });
        const target = repairTarget(applied, observed, []);
        expect(target).toEqual(applied);
        const told = driftOf(type, applied, observed, []).paths.map((path) => path.split(".")[0]);
        const differing = differingIn(applied, observed).filter((name) => name !== "ignored");
        expect([...new Set(told)].sort()).toEqual(differing);
      }),
      runs,
    );
  });

  it("has the observed value at every place that is exempt and that both sides have; no such path is told", () => {
    fc.assert(
      fc.property(properties, properties, exempt, (applied, observed, patterns) => {
        const there = new Map(placesOf(applied));
        const target = new Map(placesOf(repairTarget(applied, observed, patterns)));
        for (const [path, seen] of placesOf(observed)) {
          if (there.has(path) && isExempt(path, patterns)) expect(target.get(path)).toEqual(seen);
        }
        const { paths } = driftOf(type, applied, observed, patterns);
        expect(paths.filter((path) => isExempt(path, patterns))).toEqual([]);
      }),
      runs,
    );
  });
});

describe("the table of properties", () => {
  it("shows every leaf with what each side has, and marks what differs", () => {
    const desired = { env: { A: "1", B: "2" }, ports: [80], mode: "x" };
    const applied = { env: { A: "1" }, ports: [80, 81], mode: "x", secret: { k: "s3" }, kept: {} };
    const observed = { env: { A: "3" }, ports: "none", secret: { k: "s4" }, kept: {}, more: null };
    expect(propertyTable(desired, applied, observed, ["secret"])).toEqual([
      { path: "env.A", desired: "1", applied: "1", observed: "3", differs: true },
      { path: "env.B", desired: "2", differs: true },
      { path: "kept", applied: {}, observed: {}, differs: true },
      { path: "mode", desired: "x", applied: "x", differs: false },
      { path: "more", observed: null, differs: true },
      { path: "ports", desired: [80], applied: [80, 81], observed: "none", differs: true },
      { path: "secret", applied: "(hidden)", observed: "(hidden)", differs: true },
    ]);
  });

  it("does without a side that is not known", () => {
    const applied = { a: { b: 1 }, l: [1, 2], h: "s" };
    expect(propertyTable(undefined, applied, undefined, ["h"])).toEqual([
      { path: "a.b", applied: 1, differs: false },
      { path: "h", applied: "(hidden)", differs: false },
      { path: "l.0", applied: 1, differs: false },
      { path: "l.1", applied: 2, differs: false },
    ]);
    expect(propertyTable(undefined, applied, { a: {} }, [])).toContainEqual({
      path: "a.b",
      applied: 1,
      differs: true,
    });
  });

  it("marks exactly the properties in which the sides differ, and never shows what is hidden", () => {
    fc.assert(
      fc.property(properties, properties, fc.subarray(names), (applied, observed, hidden) => {
        const rows = propertyTable(undefined, applied, observed, hidden);
        const marked = rows.filter(({ differs }) => differs).map(({ path }) => path.split(".")[0]);
        expect([...new Set(marked)].sort()).toEqual(differingIn(applied, observed));
        for (const { path, ...row } of rows.filter((each) =>
          hidden.includes(each.path.split(".")[0] ?? ""),
        )) {
          expect(path).not.toContain(".");
          for (const side of [row.applied, row.observed]) expect([undefined, "(hidden)"]).toContain(side);
        }
      }),
      runs,
    );
  });
});
