/**
 * Works on one pool: visits what it is notified of, a bounded number at once. A visit whose call takes long has
 * acknowledged its message; it then counts against a larger bound and no longer keeps others waiting.
 */

import { inTrace } from "../bus/trace-context.js";
import { type Delivery, WorkQueue, type WorkQueueOptions } from "../bus/work-queue.js";
import { HomeostatError, messageOf } from "../errors.js";
import type { Engine } from "../traversal/engine.js";
import { handleVisit, type Verdict } from "../traversal/visit.js";

export interface WorkerLimits {
  /** Visits at once whose message is not acknowledged yet. */
  visitsAtOnce: number;
  /** Visits at once, with those whose call takes long. */
  callsAtOnce: number;
  /** When work that only a newer version can do is offered again. */
  newerVersionMs: number;
}

export const defaultWorkerLimits: WorkerLimits = {
  visitsAtOnce: 64,
  callsAtOnce: 1_000,
  newerVersionMs: 2_000,
};

export class Worker {
  readonly #engine: Engine;
  readonly #limits: WorkerLimits;
  readonly #queue: WorkQueue;
  readonly #visits = new Set<Promise<void>>();
  #unacknowledged = 0;
  #visited = 0;
  #abandoned = false;

  constructor(
    engine: Engine,
    queue: Omit<WorkQueueOptions, "room" | "take" | "log">,
    limits: WorkerLimits = defaultWorkerLimits,
  ) {
    this.#engine = engine;
    this.#limits = limits;
    this.#queue = new WorkQueue({
      ...queue,
      log: engine.log,
      room: () => this.#room(),
      take: (delivery) => this.#take(delivery),
    });
  }

  get visited(): number {
    return this.#visited;
  }

  get inFlight(): number {
    return this.#visits.size;
  }

  start(): Promise<void> {
    return this.#queue.start();
  }

  connectionLost(): void {
    this.#queue.connectionLost();
  }

  connectionBack(): void {
    this.#queue.connectionBack();
  }

  /** Takes nothing more; resolves when what runs has ended. */
  async drain(): Promise<void> {
    this.#queue.stop();
    await Promise.all(this.#visits);
    this.#queue.close();
  }

  /** Takes nothing more; what runs is left to itself. */
  abandon(): void {
    this.#abandoned = true;
    this.#queue.close();
  }

  #room(): number {
    const { visitsAtOnce, callsAtOnce } = this.#limits;
    return Math.min(visitsAtOnce - this.#unacknowledged, callsAtOnce - this.#visits.size);
  }

  #take(delivery: Delivery): void {
    const visit = inTrace(delivery.traceparent, () => this.#visit(delivery));
    this.#visits.add(visit);
    void visit.finally(() => {
      this.#visits.delete(visit);
      this.#queue.more();
    });
  }

  async #visit(delivery: Delivery): Promise<void> {
    let open = true;
    const once = (answer: () => void) => {
      if (!open) return;
      open = false;
      this.#unacknowledged -= 1;
      answer();
    };
    this.#unacknowledged += 1;
    try {
      const verdict = await handleVisit(this.#engine, delivery.visit, () => {
        once(delivery.acknowledge);
        this.#queue.more();
      });
      once(() => settle(delivery, verdict));
    } catch (error) {
      once(() => this.#failed(delivery, error));
    }
    this.#visited += 1;
  }

  /** Not acknowledged: it is delivered again, and the timers ring for it (R11, R17). */
  #failed(delivery: Delivery, error: unknown): void {
    if (this.#abandoned) return;
    const { stack, node, resource } = delivery.visit;
    this.#engine.log.warn(
      { stack, node, resource, error: messageOf(error) },
      "a visit failed; it comes again",
    );
    if (error instanceof HomeostatError && error.code === "newer_version") {
      delivery.giveBack(this.#limits.newerVersionMs);
    }
  }
}

function settle(delivery: Delivery, verdict: Verdict): void {
  if (verdict === "ack") delivery.acknowledge();
  else if (verdict !== "leave") delivery.giveBack(verdict.againMs);
}
