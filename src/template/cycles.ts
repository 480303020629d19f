/** Cycles in a graph of any depth: no recursion, time linear in the edges. */
import { cyclesLimit } from "./limits.js";

export type Edges = ReadonlyMap<string, readonly string[]>;

interface Step {
  name: string;
  /** Index of the next edge to follow. */
  next: number;
}

/** Some of the graph's cycles, none exactly if it has none; each begins with its first name in the graph's order. */
export function findCycles(edges: Edges): string[][] {
  const search = new Search(edges);
  for (const name of edges.keys()) search.from(name);
  return rotateAll(search.cycles, edges);
}

class Search {
  readonly cycles: string[][] = [];
  readonly #edges: Edges;
  readonly #finished = new Set<string>();
  readonly #inCycle = new Set<string>();

  constructor(edges: Edges) {
    this.#edges = edges;
  }

  from(start: string): void {
    if (this.#finished.has(start)) return;
    const trail: Step[] = [{ name: start, next: 0 }];
    const depths = new Map([[start, 0]]);
    for (let step = trail.at(-1); step !== undefined; step = trail.at(-1)) {
      const target = this.#edges.get(step.name)?.[step.next++];
      if (target === undefined) {
        trail.pop();
        depths.delete(step.name);
        this.#finished.add(step.name);
      } else if (depths.has(target)) {
        this.#found(trail, depths.get(target) ?? 0);
      } else if (!this.#finished.has(target)) {
        depths.set(target, trail.length);
        trail.push({ name: target, next: 0 });
      }
    }
  }

  /** One that shares its ends with a cycle already found tells nothing new. */
  #found(trail: readonly Step[], from: number): void {
    const ends = [trail[from], trail.at(-1)];
    if (this.cycles.length >= cyclesLimit || ends.some((end) => end && this.#inCycle.has(end.name))) return;
    const cycle = trail.slice(from).map((step) => step.name);
    for (const name of cycle) this.#inCycle.add(name);
    this.cycles.push(cycle);
  }
}

function rotateAll(cycles: string[][], edges: Edges): string[][] {
  if (cycles.length === 0) return [];
  const order = new Map([...edges.keys()].map((name, index) => [name, index]));
  const rank = (name: string) => order.get(name) ?? 0;
  return cycles.map((cycle) => {
    const first = cycle.reduce((best, name, at) => (rank(name) < rank(cycle[best] ?? "") ? at : best), 0);
    return [...cycle.slice(first), ...cycle.slice(0, first)];
  });
}

const shownNames = 20;

/** `a → b → c → a`; of a very long one the two ends. */
export function describeCycle(cycle: readonly string[]): string {
  const closed = [...cycle, cycle[0]];
  if (closed.length <= shownNames) return closed.join(" → ");
  const half = shownNames / 2;
  const left = `… ${closed.length - shownNames} more …`;
  return [...closed.slice(0, half), left, ...closed.slice(-half)].join(" → ");
}
