import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { describeCycle, findCycles } from "../../src/template/cycles.js";
import { problemsOf, template } from "./refusals.js";

/** A graph is acyclic exactly if names without unmet edges can be taken away until nothing is left. */
function isCyclic(edges: ReadonlyMap<string, readonly string[]>): boolean {
  const left = new Map(edges);
  for (;;) {
    const free = [...left].filter(([, targets]) => !targets.some((target) => left.has(target)));
    if (free.length === 0) return left.size > 0;
    for (const [name] of free) left.delete(name);
  }
}

const graph = fc
  .integer({ min: 1, max: 9 })
  .chain((size) =>
    fc
      .array(fc.tuple(fc.nat(size - 1), fc.nat(size - 1)), { maxLength: 14 })
      .map((pairs) => ({ size, pairs })),
  )
  .map(({ size, pairs }) => {
    const names = Array.from({ length: size }, (_, index) => `n${index}`);
    return new Map(
      names.map((name, from) => [
        name,
        pairs.filter((pair) => pair[0] === from).map((pair) => `n${pair[1]}`),
      ]),
    );
  });

describe("cycles", () => {
  test("are found exactly where there are some, and are real", () => {
    fc.assert(
      fc.property(graph, (edges) => {
        const cycles = findCycles(edges);
        expect(cycles.length > 0).toBe(isCyclic(edges));
        for (const cycle of cycles) {
          const closed = [...cycle, cycle[0] ?? ""];
          for (const [index, name] of cycle.entries()) expect(edges.get(name)).toContain(closed[index + 1]);
          expect(new Set(cycle).size).toBe(cycle.length);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("are shown with their place, from their first name in the file", () => {
    const text = `
resources:
  free: {type: T, depends_on: a}
  b: {type: T, properties: {x: [{get_resource: c}]}}
  c: {type: T, properties: {x: {str_replace: {template: y, params: {z: {get_attr: [a, q]}}}}}}
  a: {type: T, depends_on: [b]}
  x: {type: T, depends_on: y}
  y: {type: T, depends_on: x}
`;
    expect(problemsOf(() => template(text))).toEqual([
      "4:3 resources depend on each other in a circle: b → c → a → b",
      "7:3 resources depend on each other in a circle: x → y → x",
    ]);
  });

  test("of great length are shown by their ends", () => {
    const text = describeCycle(Array.from({ length: 1000 }, (_, index) => `r${index}`));
    expect(text).toMatch(/^r0 → r1 → .* … 981 more … .* → r999 → r0$/);
    expect(text.length).toBeLessThan(300);
  });

  test("are few even when there are very many, and do not take for ever", () => {
    const names = Array.from({ length: 2000 }, (_, index) => `r${index}`);
    expect(findCycles(new Map(names.map((name) => [name, names]))).length).toBeLessThanOrEqual(20);
  });
});

describe("a chain of 100,000 resources", () => {
  const length = 100_000;
  const chain = (last: object) => {
    const link = (index: number) => ({ type: "T", properties: { x: { get_attr: [`r${index + 1}`, "y"] } } });
    const links = Array.from({ length: length - 1 }, (_, index): [string, object] => [
      `r${index}`,
      link(index),
    ]);
    return Object.fromEntries([...links, [`r${length - 1}`, last]]);
  };

  test("parses as JSON", () => {
    const text = JSON.stringify({ resources: chain({ type: "T" }) });
    expect(template(text).resources.size).toBe(length);
  });

  test("parses as YAML", () => {
    const lines = Object.entries(chain({ type: "T" })).map(
      ([name, body]) => `  ${name}: ${JSON.stringify(body)}`,
    );
    expect(template(`resources:\n${lines.join("\n")}`).resources.size).toBe(length);
  });

  test("that bites its tail is one cycle", () => {
    const text = JSON.stringify({ resources: chain({ type: "T", depends_on: "r0" }) });
    const problems = problemsOf(() => template(text));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/r0 → r1 → .* → r99999 → r0$/);
  });
});
