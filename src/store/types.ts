/** What the store is told and what it answers. */
import type { Finding } from "../../machines/resource.js";

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
  /** applied: reality has these properties from now on. visible: and, for no traversal, others see a change. */
  changed?: "applied" | "visible";
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
  kind: "create" | "update" | "rollback" | "delete" | "replace" | "observe" | "cancel" | "stop";
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
  /** Only if nothing is under way. */
  idle?: boolean;
}

export type BeginAnswer =
  | { tag: "ok"; traversal: number; goal: string }
  | { tag: "repeated" | "nothing" | "conflict"; traversal: number }
  | { tag: "stale" | "missing" | "exists" | "void" | "busy" };

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
  /** The observer may have it repaired by a traversal. */
  wished?: boolean;
  /** The last look could not read it; `state` is what was known before. */
  unreadable?: boolean;
}

/** What a look must know before it reads reality. */
export interface Sight {
  /** Redis's clock, ms. */
  nowMs: number;
  traversal: number;
  attempt: string;
  /** A traversal is under way. */
  moving: boolean;
  status: string;
  action: string;
  paused: string;
  /** Policy documents: the template's, and the one that was set at run time. */
  goalPolicy: string;
  policy: string;
  /** When somebody asked for all of the stack to be looked at, ms; 0: never. */
  askedAtMs: number;
  stackRevision: string;
  record: ResourceRecord;
}

/** What a look found, and what it would do about it. */
export interface Observation {
  /** Unique to this look; the holder of its repair. */
  look: string;
  traversal: number;
  attempt: string;
  type: string;
  /** When the look began, on the stack's clock. */
  seenAtMs: number;
  revision: string;
  /** Of the stack, from before it was hinted for. */
  stackRevision: string;
  fields: Record<string, string>;
  index: string;
  events: readonly OutboxEvent[];
  finding: Finding;
  /** The finding has led to a new state. */
  entered: boolean;
  want?: {
    how: "repair" | "reconverge";
    fields: Record<string, string>;
    index: string;
    callMs: number;
    budget: Budget;
    typeBudget: Budget | undefined;
    lost: { limit: number; withinMs: number };
    incident: OutboxEvent;
  };
}

export interface Budget {
  burst: number;
  perMinute: number;
}

export type ObserveAnswer =
  | { tag: "changed" | "unhinted" | "busy" | "repairing" | "wished" }
  | {
      tag: "noted";
      why: "paused" | "over" | "traversal" | "dismissed" | "incident" | "budget" | "nothing";
      /** When to ask again; undefined: not a matter of time. */
      ms: number | undefined;
    };

/** A node of the open traversal, as it stands. */
export interface NodeView {
  node: string;
  pool: string;
  /** That stands for it. */
  resource: string;
  predecessors: number;
  arrived: number;
  done: boolean;
  failed: boolean;
  /** When it is rung for again, ms; undefined when it is not ready. */
  ringAtMs: number | undefined;
  /** In the queue, from 1. */
  place: number | undefined;
  /** Some of the nodes that have not arrived; known of update nodes. */
  missing: string[];
}

/** How a resource stands, of one moment. */
export interface View {
  /** The stack's clock, ms. */
  nowMs: number;
  stack: ResourceRecord;
  /** Empty when there is none. */
  record: ResourceRecord;
  /** Those that the open graph has. */
  nodes: NodeView[];
  /** When somebody is rung for to end its call, ms. */
  operationAtMs: number | undefined;
  /** Since when it is missing, ms. */
  lostSinceMs: number | undefined;
  incident: { id: string; openedAtMs: number; lost: number } | undefined;
  /** What a person said of its loss. */
  verdict: "" | "approved" | "dismissed";
}

/** A thing that carries our marks and that no record knows. */
export interface Orphan {
  type: string;
  physicalId: string;
  stack: string;
  stackName: string;
  resource: string;
  token: string;
  /** Empty: the marks do not say. */
  deployment: string;
  why: "stack gone" | "resource gone" | "another thing" | "lost" | "retained";
  /** Redis's clock, ms. */
  firstSeen: number;
  lastSeen: number;
  /** It was announced. */
  told?: boolean;
  /** A person wants it removed. */
  decided?: boolean;
  /** Why it could not be removed. */
  failure?: string;
}

/** What to look at: a resource by where it physically is; without a resource, a stack that wants a traversal. */
export interface Watched {
  stack: string;
  resource?: { id: string; type: string; physicalId: string };
}
