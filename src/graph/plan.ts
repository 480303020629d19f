/**
 * Computes a traversal's graph from a goal's definitions and what exists. Pure; it runs only after the fence, when no
 * older traversal can change what it reads (R8).
 *
 * Invariants
 * 1. The graph is acyclic, whatever exists (R2): a preference gives way to `requires`.
 * 2. A definition is left out only when its resource is settled, was brought to exactly this definition, with exactly
 *    these inputs (R15).
 * 3. Whatever exists and is not left out has a cleanup node, after the update of its name (R2), after the cleanup of
 *    what requires it (R1), after the cleanup of what replaced it (R2, a preference).
 */
import type { IndexEntry } from "../store/store.js";
import type { BoundDefinition } from "../template/types.js";
import { componentOf } from "./components.js";

/** One resource of the goal. */
export interface Wanted {
  bound: BoundDefinition;
  /** Hash of the bound definition. */
  definition: string;
  pool: string;
}

export interface Dependency {
  name: string;
  /** The node that delivers it, when it is in the graph. */
  node?: string;
  /** The resource that stands for it, when it is not. */
  resource?: string;
}

export interface PlannedNode {
  node: string;
  name: string;
  type: string;
  pool: string;
  resource: string;
  predecessors: string[];
  successors: string[];
  /** Update nodes: what to bring the resource to. */
  goal?: {
    wanted: Wanted;
    dependencies: Dependency[];
    alternates: string[];
    isNew: boolean;
    repair?: false;
    condemned?: string;
  };
  /** Cleanup nodes: the update node that decides whether this incarnation stays. */
  standing?: string;
}

export interface Plan {
  /** In the order in which nodes that become ready together are notified. */
  nodes: PlannedNode[];
  updates: number;
  cleanups: number;
}

export function updateNode(name: string): string {
  return `u:${name}`;
}

export function cleanupNode(resource: string): string {
  return `k:${resource}`;
}

/** What else a traversal is for. */
export interface Purpose {
  /** It is the observer's: it leaves alone what was seen to differ unless a repair was wished for. */
  observing: boolean;
  /** Incarnations to be replaced whether they fit or not. */
  condemned: ReadonlySet<string>;
}

/** `wanted` by name, in the template's order; `newId` makes ids for resources that do not exist yet. */
export function planTraversal(
  wanted: ReadonlyMap<string, Wanted>,
  existing: ReadonlyMap<string, IndexEntry>,
  newId: () => string,
  purpose: Purpose = { observing: false, condemned: new Set() },
): Plan {
  const choices = choose(wanted, existing, newId, purpose);
  const updates = new Map<string, PlannedNode>();
  for (const [name, goal] of wanted) {
    const choice = choices.get(name);
    if (choice?.included !== true) continue;
    updates.set(name, {
      node: updateNode(name),
      name,
      type: goal.bound.definition.type,
      pool: goal.pool,
      resource: choice.resource,
      predecessors: [],
      successors: [],
      goal: {
        wanted: goal,
        dependencies: goal.bound.definition.dependencies.map((dependency) =>
          dependencyOn(dependency, choices.get(dependency)),
        ),
        alternates: choice.alternates,
        isNew: choice.isNew,
        ...(purpose.observing && isLeftAlone(existing.get(choice.resource)) ? { repair: false } : {}),
        ...(purpose.condemned.has(choice.resource) ? { condemned: choice.resource } : {}),
      },
    });
  }
  const cleanups = planCleanups(wanted, existing, choices);
  connectUpdates(updates);
  connectCleanups(cleanups, updates, existing);
  return {
    nodes: [...updates.values(), ...cleanups.values()],
    updates: updates.size,
    cleanups: cleanups.size,
  };
}

interface Choice {
  resource: string;
  isNew: boolean;
  /** Whether the name has an update node. */
  included: boolean;
  /** Other incarnations of the name that could be taken back. */
  alternates: string[];
  output: string | undefined;
}

/** For each name the best existing resource (or a new one), dependencies first. */
function choose(
  wanted: ReadonlyMap<string, Wanted>,
  existing: ReadonlyMap<string, IndexEntry>,
  newId: () => string,
  { observing, condemned }: Purpose,
): Map<string, Choice> {
  const byName = groupByName(existing);
  const choices = new Map<string, Choice>();
  for (const name of dependenciesFirst(wanted)) {
    const goal = wanted.get(name);
    if (goal === undefined) continue;
    const dependencies = goal.bound.definition.dependencies.map((dependency) => choices.get(dependency));
    const inputs = dependencies.map((choice) => `${choice?.resource}@${choice?.output ?? ""}`).sort();
    const candidates = (byName.get(name) ?? []).filter((id) => isCandidate(existing.get(id)));
    const rank = (id: string) => (condemned.has(id) ? lastRank : rankOf(existing.get(id), goal, inputs));
    const sequence = (id: string) => existing.get(id)?.sequence ?? 0;
    const [best, ...others] = candidates.sort((a, b) => rank(a) - rank(b) || sequence(b) - sequence(a));
    if (best === undefined) {
      choices.set(name, {
        resource: newId(),
        isNew: true,
        included: true,
        alternates: [],
        output: undefined,
      });
      continue;
    }
    const upstream = dependencies.some((choice) => choice?.included === true);
    choices.set(name, {
      resource: best,
      isNew: false,
      included: upstream || condemned.has(best) || !isInLine(existing.get(best), goal, inputs, observing),
      alternates: others.filter((id) => existing.get(id)?.physical === true && !condemned.has(id)),
      output: existing.get(best)?.output,
    });
  }
  return choices;
}

/** What has begun to go is not taken back. */
function isCandidate(entry: IndexEntry | undefined): boolean {
  return (
    entry !== undefined && entry.doomed !== true && entry.state !== "deleting" && entry.state !== "deleted"
  );
}

/** The states of a thing that was ready, by what was seen of it since. */
const seenStates: ReadonlySet<string> = new Set(["drifted", "missing", "contested", "unreadable"]);

function isLeftAlone(entry: IndexEntry | undefined): boolean {
  return entry !== undefined && seenStates.has(entry.state) && entry.wished !== true;
}

function isInLine(
  entry: IndexEntry | undefined,
  goal: Wanted,
  inputs: readonly string[],
  observing: boolean,
): boolean {
  const sound = entry?.state === "ready" && entry.dirty !== true;
  return (
    entry !== undefined &&
    (sound || (observing && isLeftAlone(entry))) &&
    (entry.intent ?? "") === "" &&
    entry.definition === goal.definition &&
    sameList(entry.inputs ?? [], inputs)
  );
}

/** Of what is to be replaced: anything else that is there is better, also what has yet to be made. */
const lastRank = 6;

/** Lower is better: fits the goal, then healthy, then not made yet, then failed. */
function rankOf(entry: IndexEntry | undefined, goal: Wanted, inputs: readonly string[]): number {
  const healthy =
    entry?.state === "ready" ||
    entry?.state === "replaced" ||
    entry?.state === "drifted" ||
    entry?.state === "contested" ||
    entry?.state === "unreadable";
  if (healthy && entry?.dirty !== true && entry?.definition === goal.definition) {
    return sameList(entry.inputs ?? [], inputs) ? 0 : 1;
  }
  switch (entry?.state) {
    case "declared":
      return 3;
    case "failed":
      return entry.physical === true ? 4 : 5;
    default:
      return 2;
  }
}

function dependencyOn(name: string, choice: Choice | undefined): Dependency {
  if (choice === undefined) throw new Error(`the goal refers to ${name}, which it does not declare`);
  return choice.included ? { name, node: updateNode(name) } : { name, resource: choice.resource };
}

function planCleanups(
  wanted: ReadonlyMap<string, Wanted>,
  existing: ReadonlyMap<string, IndexEntry>,
  choices: ReadonlyMap<string, Choice>,
): Map<string, PlannedNode> {
  const place = new Map([...wanted.keys()].map((name, i) => [name, i]));
  const ids = [...existing.keys()].filter((id) => needsCleanup(id, existing.get(id), choices));
  const placeOf = (id: string) => place.get(existing.get(id)?.name ?? "") ?? place.size;
  ids.sort(
    (a, b) => placeOf(a) - placeOf(b) || (existing.get(a)?.sequence ?? 0) - (existing.get(b)?.sequence ?? 0),
  );
  return new Map(
    ids.map((id) => {
      const entry = existing.get(id) as IndexEntry;
      const standing = choices.get(entry.name)?.included === true ? updateNode(entry.name) : undefined;
      const node: PlannedNode = {
        node: cleanupNode(id),
        name: entry.name,
        type: entry.type,
        pool: entry.pool ?? "default",
        resource: id,
        predecessors: [],
        successors: [],
        ...(standing === undefined ? {} : { standing }),
      };
      return [id, node];
    }),
  );
}

/**
 * A best incarnation may yet be replaced when its update is visited; one that is in line may not. What was never made may
 * be handed over before that visit (R10).
 */
function needsCleanup(
  id: string,
  entry: IndexEntry | undefined,
  choices: ReadonlyMap<string, Choice>,
): boolean {
  const choice = choices.get(entry?.name ?? "");
  return choice?.resource !== id || choice.included;
}

function connectUpdates(updates: ReadonlyMap<string, PlannedNode>): void {
  for (const node of updates.values()) {
    for (const dependency of node.goal?.dependencies ?? []) {
      const predecessor = updates.get(dependency.name);
      if (predecessor !== undefined) connect(predecessor, node);
    }
  }
}

function connectCleanups(
  cleanups: ReadonlyMap<string, PlannedNode>,
  updates: ReadonlyMap<string, PlannedNode>,
  existing: ReadonlyMap<string, IndexEntry>,
): void {
  const requires: Edge[] = [];
  const prefers: Edge[] = [];
  for (const [id, node] of cleanups) {
    const update = updates.get(node.name);
    if (update !== undefined) connect(update, node);
    const entry = existing.get(id);
    for (const required of new Set(entry?.requires ?? [])) {
      const after = cleanups.get(required);
      if (after !== undefined && after !== node) requires.push([node, after]);
    }
    const replacement = cleanups.get(entry?.replacedBy ?? "");
    if (replacement !== undefined && !existing.get(replacement.resource)?.requires?.includes(id)) {
      prefers.push([replacement, node]);
    }
  }
  const kept = withoutCycles([...requires, ...prefers], new Set(prefers));
  // `requires` alone has no cycle; should it ever have one, a refused delete with its reason is better than a hang.
  for (const [from, to] of withoutCycles(kept, new Set(kept))) {
    connect(from, to);
  }
}

type Edge = readonly [from: PlannedNode, to: PlannedNode];

/** The edges less the droppable ones that lie on a cycle. */
function withoutCycles(edges: readonly Edge[], droppable: ReadonlySet<Edge>): Edge[] {
  const successors = new Map<string, string[]>();
  for (const [from, to] of edges) {
    const list = successors.get(from.node);
    if (list === undefined) successors.set(from.node, [to.node]);
    else list.push(to.node);
  }
  const component = componentOf(successors.keys(), (node) => successors.get(node) ?? []);
  return edges.filter(
    (edge) => !droppable.has(edge) || component.get(edge[0].node) !== component.get(edge[1].node),
  );
}

function connect(from: PlannedNode, to: PlannedNode): void {
  from.successors.push(to.node);
  to.predecessors.push(from.node);
}

function dependenciesFirst(wanted: ReadonlyMap<string, Wanted>): string[] {
  const done = new Set<string>();
  const order: string[] = [];
  for (const root of wanted.keys()) {
    const path = [{ name: root, next: 0 }];
    while (path.length > 0) {
      const top = path.at(-1) as { name: string; next: number };
      const dependencies = wanted.get(top.name)?.bound.definition.dependencies ?? [];
      const dependency = dependencies[top.next];
      top.next += 1;
      if (done.has(top.name)) path.pop();
      else if (dependency === undefined) {
        done.add(top.name);
        order.push(top.name);
        path.pop();
      } else if (!done.has(dependency)) path.push({ name: dependency, next: 0 });
    }
  }
  return order;
}

function groupByName(existing: ReadonlyMap<string, IndexEntry>): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const [id, { name }] of existing) {
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [id]);
    else group.push(id);
  }
  return groups;
}

function sameList(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((value, i) => value === right[i]);
}
