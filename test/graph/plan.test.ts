/**
 * Theory: for some combination of what exists and what is wanted the graph has a cycle, drops an order that `requires`
 * asks for, forgets a resource, or leaves out one that is not as the goal says. What exists is drawn at random: several
 * incarnations per name in every state, replaced, doomed, failed, with a call unfinished; `requires` is acyclic, as in
 * the real world, but may run against the template and against the order of replacement.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cleanupNode, type Plan, planTraversal, updateNode, type Wanted } from "../../src/graph/plan.js";
import type { IndexEntry } from "../../src/store/store.js";

const seed = Number(process.env.HOMEOSTAT_SEED ?? Date.now() % 2 ** 31);
console.log(`plan: seed ${seed} (HOMEOSTAT_SEED=${seed} repeats it)`);

const names = ["A", "B", "C", "D", "E", "F"];

const states = [
  ...["declared", "creating", "ready", "ready", "ready", "ready", "updating", "replaced", "deleting"],
  ...["uncertain", "retrying", "failed"],
];

/** An intent is stored only while a call is in flight or its outcome unknown. */
const inFlight = new Set(["creating", "updating", "deleting", "uncertain"]);

/** A template: any subset of the names in any order; dependencies go from later to earlier in a hidden second order. */
const wantedArbitrary = fc
  .record({
    order: fc.shuffledSubarray(names),
    rank: fc.shuffledSubarray(names, { minLength: names.length }),
    dependencies: fc.array(fc.tuple(fc.nat(5), fc.nat(5)), { maxLength: 10 }),
    versions: fc.array(fc.nat(2), { minLength: 6, maxLength: 6 }),
  })
  .map(({ order, rank, dependencies, versions }) => {
    const wanted = new Map<string, Wanted>();
    for (const name of order) {
      const needs = dependencies
        .map(([a, b]) => [rank[Math.max(a, b)], rank[Math.min(a, b)]])
        .filter(([from, to]) => from === name && to !== name && order.includes(to as string))
        .map(([, to]) => to as string);
      const dependsOn = [...new Set(needs)].sort();
      const definition = `${name}.${versions[names.indexOf(name)]}(${dependsOn.join(",")})`;
      wanted.set(name, {
        bound: {
          definition: {
            name,
            type: "Sim::Resource",
            properties: {},
            dependsOn,
            dependencies: dependsOn,
            deletionPolicy: "Delete",
            metadata: {},
          },
          parameters: {},
          hidden: [],
        },
        definition,
        pool: "default",
      });
    }
    return wanted;
  });

interface Drawn {
  name: string;
  state: string;
  requires: number[];
  replacedBy: number | undefined;
  doomed: boolean;
  dirty: boolean;
  physical: boolean;
  intent: boolean;
  /** How far it fits the goal: its definition, and the inputs too. */
  fits: "no" | "definition" | "inputs";
}

const drawnArbitrary: fc.Arbitrary<Drawn[]> = fc.array(
  fc.record({
    name: fc.constantFrom(...names, "G"),
    state: fc.constantFrom(...states),
    requires: fc.array(fc.nat(11), { maxLength: 3 }),
    replacedBy: fc.option(fc.nat(11), { nil: undefined, freq: 2 }),
    doomed: fc.constantFrom(false, false, false, true),
    dirty: fc.constantFrom(false, false, true),
    physical: fc.boolean(),
    intent: fc.constantFrom(false, false, true),
    fits: fc.constantFrom("no", "definition", "inputs", "inputs"),
  }),
  { maxLength: 12 },
);

/** Requires go from a later to an earlier place of a shuffled order, so that they have no cycle. */
function existingOf(
  drawn: readonly Drawn[],
  places: readonly number[],
  wanted: ReadonlyMap<string, Wanted>,
): Map<string, IndexEntry> {
  const id = (i: number) => `r${i}`;
  const output = (i: number) => `o${i}`;
  const existing = new Map<string, IndexEntry>();
  for (const [i, one] of drawn.entries()) {
    const goal = wanted.get(one.name);
    const earlier = one.requires
      .filter((j) => j < drawn.length && (places[j] ?? 0) < (places[i] ?? 0))
      .map(id);
    const replacement =
      one.replacedBy !== undefined && one.replacedBy < drawn.length && one.replacedBy !== i
        ? one.replacedBy
        : undefined;
    const inputs = (goal?.bound.definition.dependencies ?? []).map((dependency) => {
      const j = drawn.findIndex((other) => other.name === dependency);
      return j < 0 ? "?@" : `${id(j)}@${output(j)}`;
    });
    existing.set(id(i), {
      name: one.name,
      type: "Sim::Resource",
      state: one.state,
      sequence: i + 1,
      output: output(i),
      requires: [...new Set(earlier)],
      ...(one.fits !== "no" && goal !== undefined
        ? { definition: goal.definition }
        : { definition: "other" }),
      ...(one.fits === "inputs" ? { inputs: inputs.sort() } : {}),
      ...(replacement === undefined ? {} : { replacedBy: id(replacement) }),
      ...(one.doomed ? { doomed: true } : {}),
      ...(one.dirty ? { dirty: true } : {}),
      ...(one.physical ? { physical: true } : {}),
      ...(one.intent && inFlight.has(one.state) ? { intent: "create" } : {}),
    });
  }
  return existing;
}

const situation = fc
  .record({
    wanted: wantedArbitrary,
    drawn: drawnArbitrary,
    places: fc.shuffledSubarray(
      Array.from({ length: 12 }, (_, i) => i),
      { minLength: 12 },
    ),
  })
  .map(({ wanted, drawn, places }) => ({ wanted, existing: existingOf(drawn, places, wanted) }));

interface Planned {
  wanted: ReadonlyMap<string, Wanted>;
  existing: ReadonlyMap<string, IndexEntry>;
  plan: Plan;
  nodes: Map<string, Plan["nodes"][number]>;
}

function planned(given: Omit<Planned, "plan" | "nodes">): Planned {
  let made = 0;
  const plan = planTraversal(given.wanted, given.existing, () => {
    made += 1;
    return `new${made}`;
  });
  return { ...given, plan, nodes: new Map(plan.nodes.map((node) => [node.node, node])) };
}

function always(check: (planned: Planned) => void): void {
  fc.assert(
    fc.property(situation, (given) => check(planned(given))),
    { seed, numRuns: 3000 },
  );
}

/** Whether one node comes before another on some path. */
function isBefore({ nodes }: Planned, first: string, then: string): boolean {
  const found = new Set([first]);
  for (const node of found) for (const next of nodes.get(node)?.successors ?? []) found.add(next);
  return first !== then && found.has(then);
}

/** Whether `requires` leads from one resource to another, over resources that are cleaned up. */
function requiresLeads({ existing, nodes }: Planned, from: string, to: string): boolean {
  const found = new Set([from]);
  for (const id of found) {
    for (const next of existing.get(id)?.requires ?? []) if (nodes.has(cleanupNode(next))) found.add(next);
  }
  return from !== to && found.has(to);
}

describe("planTraversal", () => {
  test("the drawn situations are worth something", () => {
    let replacements = 0;
    let leftOut = 0;
    let dropped = 0;
    always((here) => {
      const updates = here.plan.updates;
      if (updates < here.wanted.size) leftOut += 1;
      for (const [id, entry] of here.existing) {
        const by = entry.replacedBy;
        if (by === undefined || !here.nodes.has(cleanupNode(by)) || !here.nodes.has(cleanupNode(id)))
          continue;
        replacements += 1;
        if (requiresLeads(here, id, by)) dropped += 1;
      }
    });
    expect(replacements).toBeGreaterThan(200);
    expect(leftOut).toBeGreaterThan(100);
    expect(dropped).toBeGreaterThan(30);
  });

  test("1: the graph is acyclic, and both ends of every edge know of it, once", () => {
    always(({ plan, nodes }) => {
      const waits = new Map(plan.nodes.map((node) => [node.node, node.predecessors.length]));
      for (const node of plan.nodes) {
        expect(new Set(node.predecessors).size).toBe(node.predecessors.length);
        expect(new Set(node.successors).size).toBe(node.successors.length);
        for (const next of node.successors) expect(nodes.get(next)?.predecessors).toContain(node.node);
        for (const before of node.predecessors) expect(nodes.get(before)?.successors).toContain(node.node);
      }
      const ready = plan.nodes.filter((node) => node.predecessors.length === 0).map(({ node }) => node);
      for (const node of ready) {
        for (const next of nodes.get(node)?.successors ?? []) {
          const left = (waits.get(next) ?? 0) - 1;
          waits.set(next, left);
          if (left === 0) ready.push(next);
        }
      }
      expect(ready).toHaveLength(plan.nodes.length);
    });
  });

  test("the counts are those of the nodes, and every node is there once", () => {
    always(({ plan, nodes }) => {
      expect(nodes.size).toBe(plan.nodes.length);
      expect(plan.updates).toBe(plan.nodes.filter(({ goal }) => goal !== undefined).length);
      expect(plan.cleanups).toBe(plan.nodes.length - plan.updates);
      for (const node of plan.nodes) {
        expect(node.node).toBe(node.goal ? updateNode(node.name) : cleanupNode(node.resource));
      }
    });
  });

  test("order: updates in the template's order, then cleanups, those of the template's names first in its order", () => {
    always(({ plan, wanted, existing }) => {
      const place = [...wanted.keys()];
      const rank = (node: Plan["nodes"][number]) => {
        const at = place.indexOf(node.name);
        const within = at < 0 ? place.length : at;
        return node.goal ? within : 1000 + within;
      };
      const ranks = plan.nodes.map(rank);
      expect(ranks).toEqual([...ranks].sort((a, b) => a - b));
      const same = plan.nodes.filter((node, i) => i > 0 && ranks[i] === ranks[i - 1] && !node.goal);
      for (const node of same) {
        const before = plan.nodes[plan.nodes.indexOf(node) - 1];
        const sequence = (id: string | undefined) => existing.get(id ?? "")?.sequence ?? 0;
        expect(sequence(before?.resource)).toBeLessThan(sequence(node.resource));
      }
    });
  });

  test("3: whatever exists has exactly one cleanup, except what is left out", () => {
    always(({ plan, existing, nodes }) => {
      const kept = new Set<string>();
      for (const { goal } of plan.nodes) {
        for (const { resource } of goal?.dependencies ?? []) if (resource !== undefined) kept.add(resource);
      }
      for (const [id, entry] of existing) {
        const cleanup = plan.nodes.filter((node) => node.resource === id && node.goal === undefined);
        const update = nodes.get(updateNode(entry.name));
        const leftOut = update === undefined && isSettled(entry);
        if (!leftOut) expect(cleanup).toHaveLength(1);
        else expect(cleanup.length).toBeLessThanOrEqual(1);
        if (kept.has(id)) expect(cleanup).toEqual([]);
      }
    });
  });

  function isSettled(entry: IndexEntry | undefined): boolean {
    return entry?.state === "ready" && entry.dirty !== true && entry.doomed !== true && !entry.intent;
  }

  test("2: a definition is left out only when one settled resource has exactly it, with exactly these inputs", () => {
    always(({ wanted, existing, nodes }) => {
      for (const [name, goal] of wanted) {
        if (nodes.has(updateNode(name))) continue;
        const settled = [...existing].filter(
          ([id, entry]) => entry.name === name && !nodes.has(cleanupNode(id)),
        );
        expect(settled).toHaveLength(1);
        const [[, entry] = []] = settled;
        expect(isSettled(entry)).toBe(true);
        expect(entry?.definition).toBe(goal.definition);
        const inputs = goal.bound.definition.dependencies.map((dependency) => {
          expect(nodes.has(updateNode(dependency)), "nothing upstream may change").toBe(false);
          const [id, found] =
            [...existing].find(
              ([other, { name: its }]) => its === dependency && !nodes.has(cleanupNode(other)),
            ) ?? [];
          return `${id}@${found?.output ?? ""}`;
        });
        expect(entry?.inputs ?? []).toEqual(inputs.sort());
      }
    });
  });

  test("R15: what is settled, fits exactly and has nothing to change upstream is left out", () => {
    always(({ wanted, existing, nodes }) => {
      for (const [name, goal] of wanted) {
        const { dependencies } = goal.bound.definition;
        const fitting = [...existing.values()].filter(
          (entry) =>
            entry.name === name &&
            isSettled(entry) &&
            entry.definition === goal.definition &&
            (entry.inputs ?? []).length === 0,
        );
        // Two incarnations differ in definition or inputs, or one would not have replaced the other.
        const alike = [...existing.values()].some(
          (entry) =>
            entry.name === name && entry.state === "replaced" && entry.definition === goal.definition,
        );
        if (dependencies.length === 0 && fitting.length > 0 && !alike)
          expect(nodes.has(updateNode(name)), name).toBe(false);
      }
    });
  });

  test("R1: an update comes after those that it depends on, and knows where each input comes from", () => {
    always(({ plan, wanted, nodes, existing }) => {
      for (const node of plan.nodes) {
        if (node.goal === undefined) continue;
        const { dependencies } = wanted.get(node.name)?.bound.definition ?? { dependencies: [] };
        expect(node.goal.dependencies.map(({ name }) => name)).toEqual(dependencies);
        for (const { name, node: by, resource } of node.goal.dependencies) {
          if (by === undefined) {
            expect(nodes.has(updateNode(name))).toBe(false);
            expect(existing.get(resource ?? "")?.name).toBe(name);
          } else {
            expect(by).toBe(updateNode(name));
            expect(node.predecessors).toContain(by);
            expect(resource).toBeUndefined();
          }
        }
        const wanted_ = node.goal.dependencies.flatMap(({ node: by }) => (by === undefined ? [] : [by]));
        expect([...node.predecessors].sort()).toEqual(wanted_.sort());
      }
    });
  });

  test("R1: what requires is cleaned up before what it requires, always", () => {
    always(({ existing, nodes }) => {
      for (const [id, entry] of existing) {
        const node = nodes.get(cleanupNode(id));
        for (const required of node === undefined ? [] : (entry.requires ?? [])) {
          if (nodes.has(cleanupNode(required))) expect(node?.successors).toContain(cleanupNode(required));
        }
      }
    });
  });

  test("R2: nothing is cleaned up before its name is updated", () => {
    always(({ plan, nodes }) => {
      for (const node of plan.nodes) {
        if (node.goal !== undefined) continue;
        const update = nodes.get(updateNode(node.name));
        expect(node.standing).toBe(update?.node);
        if (update !== undefined) expect(node.predecessors).toContain(update.node);
      }
    });
  });

  test("R2: a replacement is cleaned up before what it replaced, unless requires leads the other way", () => {
    always((here) => {
      const { existing, nodes } = here;
      // Chains of replacement may contradict requires only together: what is certain is the single preference.
      const contradicted = [...existing].some(([id, { replacedBy }]) => {
        const by = replacedBy ?? "";
        return nodes.has(cleanupNode(by)) && nodes.has(cleanupNode(id)) && requiresLeads(here, id, by);
      });
      const links = new Map([...existing].map(([id, { replacedBy }]) => [id, replacedBy]));
      const circular = [...links.keys()].some((id) => {
        const seen = new Set<string>();
        for (let at: string | undefined = id; at !== undefined; at = links.get(at)) {
          if (seen.has(at)) return true;
          seen.add(at);
        }
        return false;
      });
      if (contradicted || circular) return;
      const many = [...existing.values()].filter(({ replacedBy }) => replacedBy !== undefined).length > 1;
      for (const [id, { replacedBy }] of existing) {
        const [first, then] = [cleanupNode(replacedBy ?? ""), cleanupNode(id)];
        if (!nodes.has(first) || !nodes.has(then)) continue;
        if (!many) expect(isBefore(here, first, then), `${first} ${then}`).toBe(true);
      }
    });
  });

  test("R2: newer leftovers do not wait for older ones unless they require them or were replaced by them", () => {
    always(({ plan, existing }) => {
      for (const node of plan.nodes) {
        if (node.goal !== undefined) continue;
        for (const predecessor of node.predecessors) {
          if (predecessor === node.standing) continue;
          const other = predecessor.slice("k:".length);
          const requires = existing.get(other)?.requires?.includes(node.resource) === true;
          const replaced = existing.get(node.resource)?.replacedBy === other;
          expect(requires || replaced, `${predecessor} -> ${node.node}`).toBe(true);
        }
      }
    });
  });

  test("an update stands on the best: never on what has begun to go, on a new one only when there is none", () => {
    always(({ plan, wanted, existing }) => {
      for (const node of plan.nodes) {
        if (node.goal === undefined) continue;
        const candidates = [...existing].filter(
          ([, entry]) => entry.name === node.name && entry.doomed !== true && entry.state !== "deleting",
        );
        expect(node.goal.isNew).toBe(candidates.length === 0);
        if (node.goal.isNew) {
          expect(node.resource).toMatch(/^new\d+$/);
          continue;
        }
        const ids = candidates.map(([id]) => id);
        expect(ids).toContain(node.resource);
        for (const id of node.goal.alternates) {
          expect(ids).toContain(id);
          expect(id).not.toBe(node.resource);
        }
        const healthy = (id: string) => {
          const entry = existing.get(id);
          return (entry?.state === "ready" || entry?.state === "replaced") && entry.dirty !== true;
        };
        const fits = (id: string) => existing.get(id)?.definition === wanted.get(node.name)?.definition;
        if (ids.some((id) => healthy(id) && fits(id)))
          expect(healthy(node.resource) && fits(node.resource)).toBe(true);
        if (ids.some(healthy)) expect(existing.get(node.resource)?.state).not.toBe("failed");
      }
    });
  });

  test("it changes neither what is wanted nor what exists, and repeats itself", () => {
    always(({ wanted, existing, plan }) => {
      const before = JSON.stringify([[...wanted], [...existing]]);
      expect(planned({ wanted, existing }).plan).toEqual(plan);
      expect(JSON.stringify([[...wanted], [...existing]])).toBe(before);
    });
  });
});

describe("inverted dependencies", () => {
  const entry = (name: string, more: Partial<IndexEntry>): IndexEntry => ({
    name,
    type: "Sim::Resource",
    state: "ready",
    sequence: 1,
    definition: "old",
    physical: true,
    ...more,
  });

  test("both replaced: the old ones go in the order of requires, whatever replaced them", () => {
    // Old: B requires A. New: A' requires B'. A' replaced A and B' replaced B, and old B still requires old A.
    const existing = new Map([
      ["A", entry("A", { sequence: 1, state: "replaced", replacedBy: "A2" })],
      ["B", entry("B", { sequence: 2, state: "replaced", replacedBy: "B2", requires: ["A"] })],
      ["B2", entry("B", { sequence: 3 })],
      ["A2", entry("A", { sequence: 4, requires: ["B2"] })],
    ]);
    const { nodes, plan } = planned({ wanted: new Map(), existing });
    expect(plan.cleanups).toBe(4);
    expect(nodes.get("k:B")?.successors).toContain("k:A");
    expect(nodes.get("k:A2")?.successors).toEqual(expect.arrayContaining(["k:B2", "k:A"]));
    expect(nodes.get("k:B2")?.successors).toContain("k:B");
  });

  test("one replaced: the replaced one requires what requires its replacement, and goes first", () => {
    const existing = new Map([
      ["A", entry("A", { sequence: 1, state: "replaced", replacedBy: "A2", requires: ["B"] })],
      ["B", entry("B", { sequence: 2, requires: ["A2"] })],
      ["A2", entry("A", { sequence: 3 })],
    ]);
    const { nodes } = planned({ wanted: new Map(), existing });
    expect(nodes.get("k:A")?.successors).toEqual(["k:B"]);
    expect(nodes.get("k:B")?.successors).toEqual(["k:A2"]);
    expect(nodes.get("k:A2")?.successors).toEqual([]);
  });
});

describe("what is to be replaced", () => {
  const wanted = fc.sample(wantedArbitrary, { numRuns: 100, seed: 1 }).find((each) => each.size === 1) as Map<
    string,
    Wanted
  >;
  const [[name, goal]] = [...wanted] as [[string, Wanted]];
  const made = { name, type: "Sim::Resource", physical: true, definition: goal.definition, inputs: [] };
  const plan = (existing: Record<string, IndexEntry>, ...condemned: string[]) =>
    planTraversal(wanted, new Map(Object.entries(existing)), () => "new", {
      observing: true,
      condemned: new Set(condemned),
    });
  const update = ({ nodes }: Plan) => nodes.find(({ node }) => node === updateNode(name));

  test("has a node though it is in line", () => {
    const existing = { v1: { ...made, state: "ready", sequence: 1 } };
    expect(plan(existing).nodes).toEqual([]);
    expect(update(plan(existing, "v1"))).toMatchObject({ resource: "v1", goal: { condemned: "v1" } });
  });

  test("gives way to what has yet to be made in its place, and is not taken back", () => {
    const existing = {
      v1: { ...made, state: "replaced", sequence: 1, replacedBy: "v2" },
      v2: { name, type: "Sim::Resource", state: "failed", sequence: 2 },
    };
    expect(update(plan(existing))).toMatchObject({ resource: "v1" });
    const replacing = plan(existing, "v1");
    expect(update(replacing)).toMatchObject({ resource: "v2", goal: { alternates: [] } });
    expect(update(replacing)?.goal?.condemned).toBeUndefined();
    expect(replacing.nodes.map(({ node }) => node)).toContain(cleanupNode("v1"));
  });

  test("is not replaced again once its replacement stands", () => {
    const existing = {
      v1: { ...made, state: "replaced", sequence: 1, replacedBy: "v2" },
      v2: { ...made, state: "ready", sequence: 2 },
    };
    expect(plan(existing, "v1").nodes.map(({ node }) => node)).toEqual([cleanupNode("v1")]);
  });
});
