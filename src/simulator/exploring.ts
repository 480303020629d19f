/** In a random order, with faults: the same steps, reached in whatever way the seed says. */
import { Stacks } from "../api/stacks.js";
import { messageOf } from "../errors.js";
import type { Explorer } from "./explorer.js";
import type { Action, CallOutcome, Driver } from "./scenario-run.js";
import type { Life, Simulation } from "./simulation.js";

/** Time without any progress after which a run with a held call is as settled as it gets, ms. */
const idleMs = 180_000;

/** Time without any progress after which a run hangs, ms. */
const hangMs = 4 * 3600_000;

export class ExploringDriver implements Driver {
  readonly explores = true;
  readonly #simulation: Simulation;
  readonly #explorer: Explorer;

  constructor(simulation: Simulation, explorer: Explorer) {
    this.#simulation = simulation;
    this.#explorer = explorer;
  }

  async call(actions: readonly Action[]): Promise<CallOutcome[]> {
    const calls = actions.map((action) => new Call(this.#simulation, action));
    await this.#simulation.quiesce();
    for (;;) {
      for (const call of calls) await call.repeatIfLost();
      if (calls.every((call) => call.outcome !== undefined)) break;
      if (await this.#goOrWait()) this.#simulation.check();
      else break;
    }
    return calls.map((call) => call.outcome ?? {});
  }

  async visits(count: number): Promise<boolean> {
    const end = this.#simulation.visits + count;
    while (this.#simulation.visits < end) if (!(await this.#explorer.step())) return false;
    return true;
  }

  async until(holds: () => Promise<boolean>): Promise<boolean> {
    const lastsTooLong = this.#patience();
    while (!(await holds())) {
      if (await this.#explorer.step()) continue;
      if (lastsTooLong() || !(await this.#letTimePass())) return false;
    }
    return true;
  }

  async settle(whenIdle: () => Promise<void>): Promise<void> {
    const simulation = this.#simulation;
    const lastsTooLong = this.#patience();
    while (await this.#explorer.step()) simulation.check();
    await whenIdle();
    for (;;) {
      while (await this.#explorer.step()) simulation.check();
      if (lastsTooLong() || !(await this.#letTimePass())) return;
    }
  }

  /** Tells, whenever only time can pass, whether nothing has moved for too long. */
  #patience(): () => boolean {
    const simulation = this.#simulation;
    let { progress, now: since } = simulation;
    return () => {
      if (simulation.progress !== progress) {
        progress = simulation.progress;
        since = simulation.now;
      }
      return simulation.now - since > (simulation.held.length > 0 ? idleMs : hangMs);
    };
  }

  async advance(ms: number): Promise<void> {
    const simulation = this.#simulation;
    const end = simulation.now + ms;
    for (;;) {
      while (await this.#explorer.step()) simulation.check();
      const due = (await this.#explorer.nextDue()) ?? (await this.#explorer.nextOfItself());
      if (due > end) break;
      await this.#explorer.passTime(due);
    }
    await this.#explorer.passTime(end);
  }

  async resume(): Promise<void> {}

  /** One thing, with time passing only when nothing else can happen. */
  async #go(): Promise<boolean> {
    return (await this.#explorer.step()) || (await this.#letTimePass());
  }

  /** As long as somebody waits for a timer of their own, time passes too. */
  async #goOrWait(): Promise<boolean> {
    if (await this.#go()) return true;
    const at = this.#simulation.nextTimer();
    if (at === undefined) return false;
    await this.#explorer.passTime(at);
    return true;
  }

  async #letTimePass(): Promise<boolean> {
    const due = await this.#explorer.nextDue();
    if (due === undefined) return false;
    await this.#explorer.passTime(due);
    return true;
  }
}

/**
 * A caller that vanishes before it was answered asks again, with the same request (R6). Once it is answered the steps go
 * on, and the traversal may have yet to be prepared.
 */
class Call {
  outcome: CallOutcome | undefined;
  readonly #simulation: Simulation;
  readonly #action: Action;
  #life: Life;

  constructor(simulation: Simulation, action: Action) {
    this.#simulation = simulation;
    this.#action = action;
    this.#life = this.#start();
  }

  async repeatIfLost(): Promise<void> {
    if (this.outcome !== undefined || !this.#life.dead) return;
    this.#life = this.#start();
    await this.#simulation.quiesce();
  }

  #start(): Life {
    const life = this.#simulation.newLife("caller");
    const answered = () => {
      this.outcome ??= {};
    };
    this.#action(new Stacks(life.engine), life.engine, answered).then(answered, (error: unknown) => {
      if (this.outcome === undefined) this.outcome = { error };
      else this.#simulation.violated(`a goal that was answered could not begin: ${messageOf(error)}`);
    });
    return life;
  }
}
