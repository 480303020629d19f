/** What every part of the engine is given: one seam per outside system, and the bounds. */
import type { Limits } from "../limits.js";
import type { ProviderLog, ResourceTypes } from "../providers/provider.js";
import type { Sealing } from "../store/sealing.js";
import type { OutboxEvent, Ring, Store } from "../store/store.js";

/** Time of this process. Never compared with another's (leases run on Redis's clock). */
export interface Clock {
  monotonicMs(): number;
  /** RFC 3339, UTC; for people. */
  timestamp(): string;
  /** Resolves early, without an error, when the signal aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Acts once, in so many ms, unless what is returned was called before. */
  after(ms: number, act: () => void): () => void;
}

interface Random {
  /** Unique, unguessable, safe in NATS subjects and Redis keys. */
  id(): string;
  /** 0 ≤ x < 1 */
  fraction(): number;
}

export interface Bus {
  /** Rings for ready nodes and unfinished calls. May fail: the timers ring again (R17). */
  ring(stack: string, rings: readonly Ring[]): Promise<void>;
  /** Publishes lifecycle events; resolves when they are stored. */
  announce(events: readonly OutboxEvent[]): Promise<void>;
}

/** The points of a visit and of a traversal's start, in order; for tracing. */
export type Milestone =
  | "before-intent"
  | "after-intent"
  | "before-call"
  | "after-call"
  | "before-commit"
  | "after-commit"
  | "before-publish"
  | "after-publish"
  | "before-ack"
  | "before-fence"
  | "after-fence"
  | "after-graph"
  | "before-open"
  | "after-open";

export interface MilestoneContext {
  stack: string;
  resource?: string;
  operation?: string;
}

interface Trace {
  reach(milestone: Milestone, context: MilestoneContext): Promise<void> | undefined;
}

export interface Engine {
  store: Store;
  bus: Bus;
  clock: Clock;
  random: Random;
  types: ResourceTypes;
  sealing: Sealing;
  limits: Limits;
  /** Marks what is made. */
  deployment?: string;
  trace: Trace;
  log: ProviderLog;
}
