/**
 * Elects one process for a task, by Redlock over a list of independent Redis nodes.
 *
 * It saves work and protects nothing: two leaders for a moment do no harm, because everything a leader does goes through
 * the fences in the Lua scripts. It reads the wall clock; nothing else does.
 */
import { Redis } from "ioredis";
import Redlock, { type Lock } from "redlock";
import { createActor, fromPromise } from "xstate";
import { leadershipMachine } from "../../machines/leadership.js";
import { messageOf } from "../errors.js";
import type { ProviderLog } from "../providers/provider.js";
import type { Clock } from "../traversal/engine.js";

export interface Leadership {
  /** Runs the task whenever this process leads; aborts its signal when it does not any more. */
  lead(task: (signal: AbortSignal) => Promise<void>): void;
  /** Ends the task, gives the leadership up and resolves when both is done. */
  stop(): Promise<void>;
  /** Leaves everything as it is, as a crash would. */
  abandon(): void;
}

/** A leader that died is followed within the sum of these. */
const lockMs = 6_000;
const patienceMs = 1_500;
const extendMs = 1_500;
const answerMs = 1_000;

const shortenScript = `
if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[1]) then return redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 0
`;

export interface RedlockLeadershipOptions {
  /** URLs of independent Redis nodes; most of them must answer. */
  nodes: readonly string[];
  /** Name of the lock. */
  key: string;
  clock: Clock;
  log: ProviderLog;
}

export class RedlockLeadership implements Leadership {
  readonly #options: RedlockLeadershipOptions;
  readonly #nodes: Redis[];
  readonly #redlock: Redlock;
  readonly #stopping = new AbortController();
  #lock: Lock | undefined;
  #busy: Promise<void> = Promise.resolve();
  #halt: () => void = () => {};

  constructor(options: RedlockLeadershipOptions) {
    this.#options = options;
    this.#nodes = options.nodes.map(connectNode);
    this.#redlock = new Redlock(this.#nodes, { retryCount: 0 });
  }

  lead(task: (signal: AbortSignal) => Promise<void>): void {
    const machine = leadershipMachine.provide({
      actors: {
        campaign: fromPromise(() => this.#keepBusy(this.#campaign())),
        reign: fromPromise(() => this.#keepBusy(this.#reign(task))),
      },
    });
    const actor = createActor(machine, { input: { patienceMs } });
    this.#halt = () => {
      if (actor.getSnapshot().status === "active") actor.send({ type: "stop" });
    };
    actor.start();
  }

  async stop(): Promise<void> {
    this.#halt();
    this.#stopping.abort();
    await this.#busy.catch(() => {});
    await this.#release();
    this.abandon();
  }

  abandon(): void {
    this.#halt();
    this.#stopping.abort();
    for (const node of this.#nodes) node.disconnect();
  }

  #keepBusy(work: Promise<void>): Promise<void> {
    this.#busy = work;
    return work;
  }

  async #campaign(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => this.#shorten(node)));
    this.#lock = await this.#redlock.acquire([this.#options.key], lockMs);
  }

  /** The end of a lock is a time of the node's clock: when that is set back, a dead leader would lead until then. */
  async #shorten(node: Redis): Promise<void> {
    await node.eval(shortenScript, 1, this.#options.key, lockMs).catch(() => {});
  }

  async #reign(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { log } = this.#options;
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, this.#stopping.signal]);
    log.debug({ key: this.#options.key }, "elected");
    const work = task(signal).catch((error: unknown) =>
      log.warn({ error: messageOf(error) }, "what the leader does has failed"),
    );
    const end = work.finally(() => over.abort());
    await this.#hold(signal);
    over.abort();
    await end;
    await this.#release();
  }

  /** Until the lock is lost, or the signal aborts. */
  async #hold(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(extendMs, signal);
      if (signal.aborted) return;
      try {
        this.#lock = await this.#lock?.extend(lockMs);
      } catch {
        if ((this.#lock?.expiration ?? 0) > Date.now()) continue;
        log.info({ key: this.#options.key }, "the leadership was lost");
        return;
      }
    }
  }

  async #release(): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    // A lock that cannot be released runs out.
    await lock?.release().catch(() => {});
  }
}

/** Fails soon when a node does not answer: the others decide. */
function connectNode(url: string): Redis {
  const node = new Redis(url, {
    maxRetriesPerRequest: 1,
    commandTimeout: answerMs,
    // A connection that says nothing any more would never get its answers.
    socketTimeout: 2 * answerMs,
    retryStrategy: (times) => Math.min(times * 100, 2_000),
  });
  node.on("error", () => {});
  return node;
}
