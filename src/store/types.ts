/** What the store is told and what it answers. */

/** Whom to notify: a ready node and the resource that stands for it. */
export interface Ring {
  traversal: number;
  attempt: string;
  /** Empty: only the resource's unfinished call is to be ended. */
  node: string;
  resource: string;
  pool: string;
}

/** Where a visit stands: what every script of a visit is told. */
export interface Visit extends Ring {
  stack: string;
}

export type ResourceRecord = Readonly<Record<string, string>>;

export type ClaimAnswer =
  | { tag: "gone" | "ended" | "notReady" | "busy" }
  | { tag: "moved"; resource: string }
  | { tag: "again" | "waiting"; ms: number }
  | { tag: "stale"; rings: Ring[] }
  | { tag: "passing"; cursor: number }
  | {
      tag: "claimed";
      current: boolean;
      late: boolean;
      /** The node's definition as the graph has it; empty when not current. */
      node: string;
      /** What the predecessors delivered, by node. */
      arrivals: Map<string, string>;
      /** The resource that stands for this name in the goal (cleanup nodes). */
      standing: string;
      record: ResourceRecord;
    };

export interface Commit {
  holder: string;
  /** Unique per decision: a repeated commit is recognised by it. */
  commit: string;
  mode: "decision" | "outcome";
  effect:
    | "keep"
    | "hold"
    | "intent"
    | "done"
    | "fail"
    | "retry"
    | "wait"
    | "release"
    | "replace"
    | "adopt"
    | "gone";
  operation?: string;
  fields?: Record<string, string>;
  /** Resource ids; absent: unchanged. */
  requires?: readonly string[];
  index?: string;
  next?: { resource: string; fields: Record<string, string>; index: string };
  /** What successors get. */
  value?: string;
  /** What was handed over, as far as this commit takes it into account. */
  handed?: string;
  callMs?: number;
  delayMs?: number;
  reason?: string;
  event?: OutboxEvent;
}

export interface OutboxEvent {
  id: string;
  text: string;
}

export type CommitAnswer =
  | { tag: "fenced" | "required" | "busy" }
  | { tag: "handed"; thing: string; late: boolean }
  | { tag: "stale"; rings: Ring[] }
  | { tag: "ok"; milestone: boolean; more: boolean; rings: Ring[]; record: ResourceRecord };

export interface Begin {
  stack: string;
  request: string;
  kind: "create" | "update" | "rollback" | "delete" | "observe" | "cancel" | "stop";
  /** The traversal that the caller expects to replace. */
  expected?: number;
  revision: string;
  snapshot: string;
  status: string;
  action: string;
  template: string;
  timeoutMs?: number;
  name: string;
  options: string;
  event: string;
}

export type BeginAnswer =
  | { tag: "ok"; traversal: number; goal: string }
  | { tag: "repeated" | "nothing" | "conflict"; traversal: number }
  | { tag: "stale" | "missing" | "exists" | "void" };

export type Facts =
  | { tag: "missing" }
  | {
      tag: "ok";
      revision: string;
      snapshot: string;
      traversal: number;
      open: string;
      updatesLeft: number;
      cleanupsLeft: number;
      why: string;
      stuck: boolean;
      unsettled: boolean;
      /** The goal was reached: it is what a rollback goes to. */
      inService: boolean;
    };

export type SweepAnswer =
  | { tag: "moved"; traversal: number; attempt: string }
  | { tag: "missing" }
  | { tag: "purged"; name: string }
  | {
      tag: "ok";
      begin: boolean;
      timeout: boolean;
      settle: boolean;
      outbox: boolean;
      garbage: boolean;
      /** Undefined when nothing is unfinished. */
      nextMs: number | undefined;
      rings: Ring[];
    };

/** What a resource looks like from afar; kept small, because a new traversal reads all of them. */
export interface IndexEntry {
  name: string;
  type: string;
  state: string;
  sequence: number;
  /** Hash of the definition that it was last brought to. */
  definition?: string;
  /** What it required then, as id@output. */
  inputs?: string[];
  /** Ids that it requires now (R3). */
  requires?: string[];
  /** Hash of what dependents see of it. */
  output?: string;
  replacedBy?: string;
  pool?: string;
  physical?: boolean;
  dirty?: boolean;
  doomed?: boolean;
  retain?: boolean;
  intent?: string;
}
