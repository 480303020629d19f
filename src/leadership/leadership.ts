/**
 * Elects one process for a task, by Redlock over a list of independent Redis nodes.
 *
 * It saves work and protects nothing: two leaders for a moment do no harm, because everything a leader does goes through
 * the fences in the Lua scripts. Redlock reads the wall clock; nothing else does.
 */
import type { Lock } from "redlock";
import { createActor, fromPromise } from "xstate";
import { leadershipMachine } from "../../machines/leadership.js";
import { messageOf } from "../errors.js";
import type { ProviderLog } from "../providers/provider.js";
import type { Clock, Engine } from "../traversal/engine.js";
import type { ElectionNodes } from "./election-nodes.js";

export interface Leadership {
  /** Runs the task whenever this process leads; aborts its signal when it does not any more. */
  lead(task: (signal: AbortSignal) => Promise<void>): void;
  /** Ends the task, gives the leadership up and resolves when both is done. */
  stop(): Promise<void>;
  /** Leaves everything as it is, as a crash would. */
  abandon(): void;
}

/** In ms. A leader that died is followed within the sum of the first two. */
export interface LeadershipTimes {
  lockMs: number;
  /** The longest pause between two campaigns. */
  patienceMs: number;
  extendMs: number;
}

export const defaultLeadershipTimes: LeadershipTimes = { lockMs: 6_000, patienceMs: 1_500, extendMs: 1_500 };

/** How many campaign or lead at a time. */
interface Seats {
  /** Resolves when there is one; rejects when there will be none any more. */
  take(): Promise<void>;
  leave(): void;
}

export interface RedlockLeadershipOptions {
  nodes: ElectionNodes;
  /** Name of the lock. */
  key: string;
  clock: Clock;
  random: Engine["random"];
  log: ProviderLog;
  times?: LeadershipTimes;
  /** Default: no limit. */
  seats?: Seats;
}

export class RedlockLeadership implements Leadership {
  readonly #options: RedlockLeadershipOptions;
  readonly #times: LeadershipTimes;
  readonly #stopping = new AbortController();
  #lock: Lock | undefined;
  /** By the clock of this process. */
  #heldUntilMs = 0;
  /** Ends the reign, while there is one. */
  #over: AbortController | undefined;
  #abandoned = false;
  #busy: Promise<void> = Promise.resolve();
  #halt: () => void = () => {};

  constructor(options: RedlockLeadershipOptions) {
    this.#options = options;
    this.#times = options.times ?? defaultLeadershipTimes;
  }

  lead(task: (signal: AbortSignal) => Promise<void>): void {
    const { clock, random } = this.#options;
    const machine = leadershipMachine.provide({
      actors: {
        campaign: fromPromise(() => this.#keepBusy(this.#campaign())),
        reign: fromPromise(() => this.#keepBusy(this.#reign(task))),
      },
      // Two that campaign at the same moment, and get half of the nodes each, do not do so again.
      delays: { patience: ({ context }) => context.patienceMs * (0.5 + random.fraction() / 2) },
    });
    const { patienceMs } = this.#times;
    const actor = createActor(machine, { input: { patienceMs }, clock: timersOf(clock) });
    this.#halt = () => {
      if (actor.getSnapshot().status === "active") actor.send({ type: "stop" });
    };
    actor.start();
  }

  /** Ends the task if it runs, leaves the lock to others, and campaigns again later. Resolves when the lock is free. */
  async resign(): Promise<void> {
    if (this.#over === undefined) return;
    this.#over.abort();
    await this.#busy;
  }

  async stop(): Promise<void> {
    this.#halt();
    this.#stopping.abort();
    await this.#busy.catch(() => {});
    await this.#release();
  }

  abandon(): void {
    this.#abandoned = true;
    this.#halt();
    this.#stopping.abort();
  }

  #keepBusy(work: Promise<void>): Promise<void> {
    this.#busy = work;
    return work;
  }

  async #campaign(): Promise<void> {
    const { nodes, key, clock, seats } = this.#options;
    await seats?.take();
    try {
      const beganMs = clock.monotonicMs();
      this.#lock = await nodes.acquire(key, this.#times.lockMs);
      this.#heldUntilMs = beganMs + this.#times.lockMs;
    } catch (error) {
      seats?.leave();
      throw error;
    }
  }

  async #reign(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { log, key, seats } = this.#options;
    const over = new AbortController();
    this.#over = over;
    const signal = AbortSignal.any([over.signal, this.#stopping.signal]);
    log.debug({ key }, "elected");
    const work = task(signal).catch((error: unknown) =>
      log.warn({ error: messageOf(error) }, "what the leader does has failed"),
    );
    const end = work.finally(() => over.abort());
    await this.#hold(signal);
    over.abort();
    await end;
    await this.#release();
    this.#over = undefined;
    seats?.leave();
  }

  /** Until the lock is lost, or the signal aborts. */
  async #hold(signal: AbortSignal): Promise<void> {
    const { clock, log, key } = this.#options;
    const { lockMs, extendMs } = this.#times;
    for (;;) {
      const leftMs = this.#heldUntilMs - clock.monotonicMs();
      if (leftMs <= 0) break;
      await clock.sleep(Math.min(extendMs, leftMs), signal);
      if (signal.aborted) return;
      const beganMs = clock.monotonicMs();
      try {
        await unlessAborted(this.#extend(), signal);
        if (signal.aborted) return;
        this.#heldUntilMs = beganMs + lockMs;
      } catch {
        // It is held for as long as it was.
      }
    }
    log.info({ key }, "the leadership was lost");
  }

  async #extend(): Promise<void> {
    const { lockMs, extendMs } = this.#times;
    if (this.#lock !== undefined) await this.#options.nodes.extend(this.#lock, lockMs, extendMs);
  }

  async #release(): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    if (this.#abandoned) return;
    // A lock that cannot be released runs out.
    await lock?.release().catch(() => {});
  }
}

/** Resolves when it is done, or nobody waits for it any more. */
async function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  let end = () => {};
  const aborted = new Promise<void>((resolve) => {
    end = resolve;
  });
  signal.addEventListener("abort", end, { once: true });
  await Promise.race([work, aborted]).finally(() => signal.removeEventListener("abort", end));
}

/** The clock, as XState wants it. */
function timersOf(clock: Clock) {
  return {
    setTimeout: (act: () => void, ms: number) => clock.after(ms, act),
    clearTimeout: (cancel: () => void) => cancel(),
  };
}
