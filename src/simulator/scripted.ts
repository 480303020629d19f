/** Step by step: one visit at a time, exact and repeatable. */
import type { Action, CallOutcome, Driver } from "./scenario-run.js";
import type { Simulation } from "./simulation.js";

/** Time without any progress after which a run with a held call is as settled as it gets, ms. */
const idleMs = 180_000;

/** Time without any progress after which a run hangs, ms. */
const hangMs = 4 * 3600_000;

export class ScriptedDriver implements Driver {
  readonly explores = false;
  readonly #simulation: Simulation;

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
  }

  async call(actions: readonly Action[]): Promise<CallOutcome[]> {
    const outcomes: CallOutcome[] = [];
    for (const action of actions) outcomes.push(await this.#simulation.call(action));
    return outcomes;
  }

  async visits(count: number): Promise<boolean> {
    for (let visited = 0; visited < count; ) {
      const counted = await this.#simulation.deliverNext();
      if (counted === undefined) return false;
      if (counted) visited += 1;
    }
    return true;
  }

  async until(holds: () => Promise<boolean>): Promise<boolean> {
    const simulation = this.#simulation;
    simulation.afterEffect = holds;
    try {
      await simulation.unpark();
      let { progress } = simulation;
      let since = simulation.now;
      while (!simulation.isParked && !(await holds())) {
        if ((await simulation.deliverNext()) !== undefined) continue;
        if (simulation.progress !== progress) {
          progress = simulation.progress;
          since = simulation.now;
        }
        if (!(await this.#letTimePass(since, false))) return false;
      }
      return true;
    } finally {
      simulation.afterEffect = undefined;
    }
  }

  async settle(whenIdle: () => Promise<void>): Promise<void> {
    const simulation = this.#simulation;
    let { progress } = simulation;
    let since = simulation.now;
    await simulation.drain();
    await whenIdle();
    do {
      await simulation.drain();
      if (simulation.progress !== progress) {
        progress = simulation.progress;
        since = simulation.now;
      }
    } while (await this.#letTimePass(since));
  }

  async advance(ms: number): Promise<void> {
    const end = this.#simulation.now + ms;
    await this.#simulation.drain();
    await this.#simulation.advanceTo(end);
  }

  resume(): Promise<void> {
    return this.#simulation.unpark();
  }

  /** To the next thing that falls due; false when there is none, or nothing has come of it for too long. */
  async #letTimePass(since: number, visit = true): Promise<boolean> {
    const due = await this.#simulation.nextDue();
    if (due === undefined) return false;
    const patience = this.#simulation.held.length > 0 ? idleMs : hangMs;
    if (due - since > patience && due > (await this.#simulation.lastTimeout())) return false;
    await this.#simulation.advanceTo(due, visit);
    return true;
  }
}
