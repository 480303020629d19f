/** Everything bounded, with its unit, in one place. */
export interface Limits {
  /** How long a claim holds without renewal. */
  leaseMs: number;
  renewMs: number;
  /** How long after a lease or deadline the timer rings for a successor. */
  graceMs: number;
  /** When a ready node that nobody claimed is rung for again. */
  ringMs: number;
  /** When a begun traversal that nobody opened is prepared again. */
  beginMs: number;
  /** A call that lasts longer has its message acknowledged early; its intent and timers stand in Redis. */
  earlyAckMs: number;
  /** How often an unfinished stack is swept at least. */
  sweepMs: number;
  /** How long a sweeper keeps a popped stack to itself. */
  holdMs: number;
  backoffMs: number;
  backoffMaxMs: number;
  /** Share of the back-off that is random, 0 to 1. */
  jitter: number;
  /** Attempts for retryable errors. */
  attempts: number;
  /** Ready nodes of one stack on the wire at once. */
  windowNodes: number;
  /** Successors that one script arrives at. */
  chunkNodes: number;
  /** How long an aborted call gets to end before it is left to its deadline. */
  abortGraceMs: number;
  /** When a thing is looked at for the first time after it was made, unless its template's policy says sooner. */
  firstLookMs: number;
  /** First pause before a failed goal is tried again, and the longest one. */
  retryMs: number;
  retryMaxMs: number;
  /** When a look that came while something was under way is repeated. */
  lookAgainMs: number;
  /** Looks of one process at once, as the schedule says, and as many that events ask for. */
  looksAtOnce: number;
  /** A source of events that says nothing for so long counts as quiet. */
  quietMs: number;
  /** How many times longer the pauses between looks are while a source's events flow. */
  relaxation: number;
  /** When the first slow sweep after a start is done, and the pause from one to the next. */
  firstSlowSweepMs: number;
  slowSweepMs: number;
  /** Orphans of one type that are removed in a minute. */
  orphansPerMinute: number;
}

export const defaultLimits: Limits = {
  leaseMs: 30_000,
  renewMs: 10_000,
  graceMs: 1_000,
  ringMs: 15_000,
  beginMs: 5_000,
  earlyAckMs: 5_000,
  sweepMs: 5_000,
  holdMs: 30_000,
  backoffMs: 1_000,
  backoffMaxMs: 60_000,
  jitter: 0.3,
  attempts: 5,
  windowNodes: 256,
  chunkNodes: 100,
  abortGraceMs: 5_000,
  firstLookMs: 5_000,
  retryMs: 30_000,
  retryMaxMs: 900_000,
  lookAgainMs: 1_000,
  looksAtOnce: 128,
  quietMs: 15_000,
  relaxation: 10,
  firstSlowSweepMs: 180_000,
  slowSweepMs: 3_600_000,
  orphansPerMinute: 20,
};

/** How long a goal that failed rests before it is tried again; `retries`: how often it was, as stored. */
export function restMs({ retryMs, retryMaxMs }: Limits, retries: string | undefined): number {
  return Math.min(retryMs * 2 ** Number(retries ?? 0), retryMaxMs);
}
