/** What goals want, worked out once for many questions: to read a large template takes longer than the rest of an answer. */
import type { Wanted } from "../graph/plan.js";
import type { Engine } from "../traversal/engine.js";
import { readGoal } from "../traversal/goal-document.js";
import { wantedBy } from "../traversal/prepare.js";

type WantedOfGoal = ReadonlyMap<string, Wanted>;

/** Of all goals that are kept; what was asked for last is kept however large it is. */
const keptResources = 20_000;

export class WantedGoals {
  readonly #engine: Engine;
  /** A goal never changes. What was asked for last is at the end. */
  readonly #kept = new Map<string, WantedOfGoal>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Nothing when the goal is gone, because its stack is. */
  async of(stack: string, id: string): Promise<WantedOfGoal> {
    const key = `${stack}\n${id}`;
    const wanted = this.#kept.get(key) ?? (await this.#read(stack, id));
    if (wanted === undefined) return new Map();
    this.#kept.delete(key);
    this.#kept.set(key, wanted);
    this.#forget();
    return wanted;
  }

  async #read(stack: string, id: string): Promise<WantedOfGoal | undefined> {
    const goal = await readGoal(this.#engine, stack, id);
    return goal === undefined ? undefined : wantedBy(this.#engine, goal);
  }

  #forget(): void {
    let kept = 0;
    for (const [key, { size }] of [...this.#kept].reverse()) {
      // A goal without resources takes room too.
      if (kept > 0 && kept + size + 1 > keptResources) this.#kept.delete(key);
      else kept += size + 1;
    }
  }
}
