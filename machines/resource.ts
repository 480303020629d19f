/**
 * The life of one resource incarnation: what it does next, never how.
 *
 * Durable and pure (R9): it runs through XState's `transition`, its snapshot lies in Redis between events, and the
 * actions it names are plain data that `src/actor` hands to whoever carries them out after the commit. Outcomes come
 * back as events that carry the number of their call; a guard drops those of an earlier call.
 *
 * Invariants
 * 1. Only `creating`, `updating`, `deleting` and `uncertain` have a call in flight or an outcome unknown.
 * 2. `unsure` holds from the first create call until its effect is known: nothing may conclude "not there"
 *    from the record alone while it holds (R10).
 * 3. `dirty` holds while reality may differ from the recorded properties: an unchanged goal is then not enough.
 * 4. `doomed` never becomes false again: what has begun to go is not taken back.
 * 5. `drifted`, `missing`, `contested` and `unreadable` say what was seen of a thing that had been ready; nothing that
 *    was recorded is changed by seeing it.
 */
import { assign, setup } from "xstate";

export const resourceMachineVersion = 2;

export type ResourceState =
  | "declared"
  | "creating"
  | "ready"
  | "updating"
  | "replaced"
  | "deleting"
  | "deleted"
  | "uncertain"
  | "retrying"
  | "failed"
  | "drifted"
  | "missing"
  | "contested"
  | "unreadable";

export interface ResourceContext {
  /** Number of the newest call; outcomes name theirs. */
  call: number;
  /** Retryable failures in a row. */
  failures: number;
  physical: boolean;
  unsure: boolean;
  /** `unsure` as it was before the call in flight. */
  unsureBefore: boolean;
  dirty: boolean;
  doomed: boolean;
  /** Only another thing will do: this one is not there, or differs in what cannot be changed. */
  spoiled: boolean;
  /** The call in flight mends what was seen, for no traversal. */
  repairing: boolean;
  reason: string;
}

export type Finding = "inLine" | "drifted" | "missing" | "contested" | "unreadable";

/** What the provider can tell after a crash (R10). */
interface Knowledge {
  canFind: boolean;
  idempotent: boolean;
}

/** `late`: the deadline of the last call has passed, so that no call can take effect any more. */
export type ResourceEvent =
  /**
   * An update visit. `fit` compares the goal's type and properties with the recorded ones; where nothing was made,
   * "replace" says that its token must not carry them. `repair: false`: a traversal that leaves
   * this resource's drift to others.
   */
  | ({
      type: "visit.update";
      fit: "same" | "inPlace" | "replace";
      late: boolean;
      repair?: boolean;
    } & Knowledge)
  /** A cleanup visit. `wanted`: this incarnation stands for its name in the goal. */
  | ({ type: "visit.cleanup"; wanted: boolean; retain: boolean; late: boolean } & Knowledge)
  /** A successor found an unfinished call. */
  | ({ type: "resume"; late: boolean; cleanup: boolean } & Knowledge)
  | { type: "created" | "updated" | "removed" | "found" | "notCalled"; call: number }
  /** `find` saw nothing. */
  | { type: "absent"; call: number; late: boolean }
  | ({
      type: "failed";
      call: number;
      retryable: boolean;
      exhausted: boolean;
      effect: "none" | "unknown";
      reason: string;
    } & Knowledge)
  /** The goal cannot be worked out or is not valid for this type. */
  | { type: "rejected"; reason: string }
  /** A goal that this resource has not been visited for yet: retries start anew (R16). */
  | { type: "newGoal" }
  /** A worker that lost its lease had made the thing after all. */
  | { type: "handedOver"; late: boolean }
  /** Reality was looked at. `replace`: what differs cannot be changed in place. `repair`: the policy wants it mended. */
  | { type: "observed"; finding: Finding; replace: boolean; repair: boolean; reason: string }
  /** Mend in place what was seen. */
  | { type: "repair" };

/**
 * What to do after the commit:
 * create, update, delete, find: call the provider. replace: declare a successor. pass: the node is done.
 * forget: the record ends without a call. again: decide anew in this visit. retryLater, wait: a timer rings.
 * fail: the node has failed. ask: a person must look. mend: repair in place. reconverge: ask for a traversal.
 */
export type ResourceAction =
  | "create"
  | "update"
  | "delete"
  | "find"
  | "replace"
  | "pass"
  | "forget"
  | "again"
  | "retryLater"
  | "wait"
  | "fail"
  | "ask"
  | "mend"
  | "reconverge";

const visitsOfBroken = {
  "visit.update": [
    { guard: "mayHaveMade", target: "uncertain", actions: ["countCall", "find"] },
    { guard: "mustWait", actions: "wait" },
    { guard: "mustAsk", target: "uncertain", actions: ["recordQuestion", "ask"] },
    { guard: "isToBeAnother", target: "deleted", actions: "replace" },
    { guard: "isNotMade", target: "creating", actions: ["countCall", "expectThing", "create"] },
    { guard: "needsReplacement", target: "replaced", actions: "replace" },
    { target: "updating", actions: ["countCall", "soil", "update"] },
  ],
  "visit.cleanup": [
    { guard: "isStillWanted", actions: "pass" },
    { guard: "isRetained", target: "deleted", actions: "forget" },
    { guard: "mayHaveMade", target: "uncertain", actions: ["countCall", "find"] },
    { guard: "mustWait", actions: "wait" },
    { guard: "mayRepeat", target: "creating", actions: ["countCall", "expectThing", "create"] },
    { guard: "mustAsk", target: "uncertain", actions: ["recordQuestion", "ask"] },
    { guard: "isNotMade", target: "deleted", actions: "forget" },
    { target: "deleting", actions: ["countCall", "doom", "delete"] },
  ],
} as const;

/** The call of another may still make the thing: the resource must not be deleted before that is over. */
const handedOver = [
  { guard: "isLate", target: "ready", actions: "recordMade" },
  { target: "uncertain", actions: "wait" },
] as const;

const visitsOfMade = {
  "visit.update": [
    { guard: "needsReplacement", target: "replaced", actions: "replace" },
    { guard: "isSpoiled", target: "replaced", actions: "replace" },
    { guard: "isInLine", target: "ready", actions: ["recordInLine", "pass"] },
    { target: "updating", actions: ["countCall", "soil", "update"] },
  ],
  "visit.cleanup": [
    { guard: "isStillWanted", actions: "pass" },
    { guard: "isRetained", target: "deleted", actions: "forget" },
    { target: "deleting", actions: ["countCall", "doom", "delete"] },
  ],
} as const;

const visitsOfDrifted = {
  "visit.update": [
    { guard: "needsReplacement", target: "replaced", actions: "replace" },
    { guard: "leavesDrift", actions: "pass" },
    { guard: "isSpoiled", target: "replaced", actions: "replace" },
    { target: "updating", actions: ["countCall", "soil", "update"] },
  ],
  "visit.cleanup": visitsOfMade["visit.cleanup"],
} as const;

const sightings = {
  observed: [
    { guard: "isUnreadable", actions: "recordSeen" },
    { guard: "isSeenInLine", target: "ready", actions: "recordSound" },
    { guard: "isContested", target: "contested", actions: ["recordSeen", "recordSpoiled"] },
    {
      guard: "isMissingToMend",
      target: "missing",
      actions: ["recordSeen", "recordSpoiled", "reconverge"],
    },
    { guard: "isMissing", target: "missing", actions: ["recordSeen", "recordSpoiled"] },
    {
      guard: "isToReplace",
      target: "drifted",
      actions: ["recordSeen", "recordSpoiled", "reconverge"],
    },
    { guard: "isToMend", target: "drifted", actions: ["recordSeen", "recordSpoiled", "mend"] },
    { target: "drifted", actions: ["recordSeen", "recordSpoiled"] },
  ],
} as const;

/** What was known stays known while it cannot be read. */
const firstSightings = {
  observed: [
    { guard: "isUnreadable", target: "unreadable", actions: "recordSeen" },
    ...sightings.observed.slice(1),
  ],
} as const;

export const resourceMachine = setup({
  types: {
    context: {} as ResourceContext,
    events: {} as ResourceEvent,
  },
  guards: {
    isThisCall: ({ context, event }) => "call" in event && event.call === context.call,
    isLateAnswer: ({ context, event }) =>
      event.type === "absent" && event.call === context.call && event.late,
    needsReplacement: ({ event }) => event.type === "visit.update" && event.fit === "replace",
    isToBeAnother: ({ context, event }) =>
      event.type === "visit.update" && event.fit === "replace" && !context.physical && !context.unsure,
    isInLine: ({ context, event }) => event.type === "visit.update" && event.fit === "same" && !context.dirty,
    isSpoiled: ({ context }) => context.spoiled,
    leavesDrift: ({ context, event }) =>
      event.type === "visit.update" && event.repair === false && event.fit === "same" && !context.doomed,
    isUnreadable: ({ event }) => event.type === "observed" && event.finding === "unreadable",
    isSeenInLine: ({ event }) => event.type === "observed" && event.finding === "inLine",
    isContested: ({ event }) => event.type === "observed" && event.finding === "contested",
    isMissingToMend: ({ event }) => event.type === "observed" && event.finding === "missing" && event.repair,
    isMissing: ({ event }) => event.type === "observed" && event.finding === "missing",
    /** Its update failed because it was not there: only a certain thing can be missing. */
    isLostToMend: ({ context, event }) =>
      event.type === "observed" &&
      event.finding === "missing" &&
      event.repair &&
      context.physical &&
      !context.unsure &&
      !context.doomed,
    isLost: ({ context, event }) =>
      event.type === "observed" &&
      event.finding === "missing" &&
      context.physical &&
      !context.unsure &&
      !context.doomed,
    isToReplace: ({ event }) =>
      event.type === "observed" && event.finding === "drifted" && event.replace && event.repair,
    isToMend: ({ event }) => event.type === "observed" && event.finding === "drifted" && event.repair,
    isRepair: ({ context, event }) => context.repairing && "call" in event && event.call === context.call,
    isLateRepair: ({ context, event }) =>
      context.repairing && event.type === "resume" && (event.late || event.cleanup),
    isDoomed: ({ context }) => context.doomed,
    isStillWanted: ({ event }) => event.type === "visit.cleanup" && event.wanted,
    isRetained: ({ event }) => event.type === "visit.cleanup" && event.retain,
    isNotMade: ({ context }) => !context.physical,
    mayHaveMade: ({ context, event }) => context.unsure && "canFind" in event && event.canFind,
    mustWait: ({ context, event }) =>
      context.unsure && "idempotent" in event && event.idempotent && "late" in event && !event.late,
    mayRepeat: ({ context, event }) => context.unsure && "idempotent" in event && event.idempotent,
    mustAsk: ({ context, event }) => context.unsure && "idempotent" in event && !event.idempotent,
    isFindable: ({ event }) => "canFind" in event && event.canFind,
    isLateAndIdempotent: ({ event }) => event.type === "resume" && event.late && event.idempotent,
    isLate: ({ event }) => (event.type === "resume" || event.type === "handedOver") && event.late,
    isLateOrCleanup: ({ event }) => event.type === "resume" && (event.late || event.cleanup),
    isRetryable: ({ context, event }) =>
      event.type === "failed" && event.call === context.call && event.retryable && !event.exhausted,
    isUnknowable: ({ context, event }) =>
      event.type === "failed" &&
      event.call === context.call &&
      event.effect === "unknown" &&
      event.retryable &&
      !event.canFind &&
      !event.idempotent,
  },
  actions: {
    countCall: assign({ call: ({ context }: { context: ResourceContext }) => context.call + 1 }),
    expectThing: assign({ unsure: true, unsureBefore: ({ context }) => context.unsure }),
    recordNotCalled: assign({ unsure: ({ context }) => context.unsureBefore }),
    soil: assign({ dirty: true }),
    doom: assign({ doomed: true }),
    recordMade: assign({ physical: true, unsure: false, dirty: false, failures: 0, reason: "" }),
    recordClean: assign({ dirty: false, spoiled: false, repairing: false, failures: 0, reason: "" }),
    recordInLine: assign({ reason: "" }),
    recordGone: assign({ physical: false, unsure: false, dirty: false, failures: 0, reason: "" }),
    recordNotThere: assign({ physical: false, unsure: false }),
    recordFailure: assign({
      failures: ({ context, event }) =>
        event.type === "failed" && event.retryable ? context.failures + 1 : 0,
      reason: ({ context, event }) => (event.type === "failed" ? event.reason : context.reason),
    }),
    /** A create that certainly changed nothing leaves what was unknown before it. */
    recordNoEffect: assign({
      unsure: ({ context, event }) =>
        event.type === "failed" && event.effect === "none" ? context.unsureBefore : context.unsure,
    }),
    recordQuestion: assign({
      reason:
        "the outcome of an interrupted create is unknown, and its provider can neither find it nor repeat it: a person must say it (homeostat resolve)",
    }),
    recordRejection: assign(({ event }: { event: ResourceEvent }) =>
      event.type === "rejected" ? { reason: event.reason } : {},
    ),
    recordSound: assign({ dirty: false, spoiled: false, failures: 0, reason: "" }),
    recordSeen: assign(({ event }: { event: ResourceEvent }) =>
      event.type === "observed" ? { reason: event.reason } : {},
    ),
    recordSpoiled: assign({
      spoiled: ({ event }) => event.type === "observed" && (event.replace || event.finding === "missing"),
    }),
    beginRepair: assign({ repairing: true }),
    endRepair: assign({ repairing: false }),
    /** However often a repair fails, it is for the next look to try again. */
    recordRepairFailure: assign({
      repairing: false,
      failures: ({ context }) => context.failures + 1,
      reason: ({ context, event }) => (event.type === "failed" ? event.reason : context.reason),
    }),
    forgetReason: assign({ reason: "" }),
    endRetries: assign({ failures: 0 }),
    create: () => {},
    update: () => {},
    delete: () => {},
    find: () => {},
    replace: () => {},
    pass: () => {},
    forget: () => {},
    again: () => {},
    retryLater: () => {},
    wait: () => {},
    fail: () => {},
    ask: () => {},
    mend: () => {},
    reconverge: () => {},
  },
}).createMachine({
  id: "resource",
  initial: "declared",
  context: {
    call: 0,
    failures: 0,
    physical: false,
    unsure: false,
    unsureBefore: false,
    dirty: false,
    doomed: false,
    spoiled: false,
    repairing: false,
    reason: "",
  },
  on: {
    newGoal: { actions: ["endRetries", "forgetReason"] },
    rejected: { actions: ["recordRejection", "fail"] },
  },
  states: {
    declared: {
      on: {
        "visit.update": [
          { guard: "isToBeAnother", target: "deleted", actions: "replace" },
          { target: "creating", actions: ["countCall", "expectThing", "create"] },
        ],
        "visit.cleanup": [
          { guard: "isStillWanted", actions: "pass" },
          { target: "deleted", actions: "forget" },
        ],
        rejected: { target: "failed", actions: ["recordRejection", "fail"] },
        handedOver,
      },
    },
    creating: {
      on: {
        created: { guard: "isThisCall", target: "ready", actions: ["recordMade", "again"] },
        notCalled: { guard: "isThisCall", target: "retrying", actions: ["recordNotCalled", "again"] },
        failed: [
          { guard: "isUnknowable", target: "uncertain", actions: ["recordFailure", "recordQuestion", "ask"] },
          {
            guard: "isRetryable",
            target: "retrying",
            actions: ["recordFailure", "recordNoEffect", "retryLater"],
          },
          {
            guard: "isThisCall",
            target: "failed",
            actions: ["recordFailure", "recordNoEffect", "endRetries", "fail"],
          },
        ],
        resume: [
          { guard: "isFindable", target: "uncertain", actions: ["countCall", "find"] },
          { guard: "isLateAndIdempotent", actions: ["countCall", "expectThing", "create"] },
          { guard: "isLate", target: "uncertain", actions: ["recordQuestion", "ask"] },
          { target: "uncertain", actions: "wait" },
        ],
        handedOver,
      },
    },
    uncertain: {
      on: {
        found: { guard: "isThisCall", target: "ready", actions: ["recordMade", "again"] },
        absent: [
          { guard: "isLateAnswer", target: "declared", actions: ["recordNotThere", "again"] },
          { guard: "isThisCall", actions: "wait" },
        ],
        failed: [
          { guard: "isRetryable", actions: ["recordFailure", "retryLater"] },
          { guard: "isThisCall", actions: ["recordFailure", "endRetries", "fail"] },
        ],
        resume: [
          { guard: "isFindable", actions: ["countCall", "find"] },
          {
            guard: "isLateAndIdempotent",
            target: "creating",
            actions: ["countCall", "expectThing", "create"],
          },
          { guard: "isLate", actions: ["recordQuestion", "ask"] },
          { actions: "wait" },
        ],
        "visit.update": [
          { guard: "isFindable", actions: ["countCall", "find"] },
          { guard: "mustWait", actions: "wait" },
          { guard: "mayRepeat", target: "creating", actions: ["countCall", "expectThing", "create"] },
          { actions: ["recordQuestion", "ask"] },
        ],
        "visit.cleanup": [
          { guard: "isStillWanted", actions: "pass" },
          { guard: "isRetained", target: "deleted", actions: "forget" },
          { guard: "isFindable", actions: ["countCall", "find"] },
          { guard: "mustWait", actions: "wait" },
          { guard: "mayRepeat", target: "creating", actions: ["countCall", "expectThing", "create"] },
          { actions: ["recordQuestion", "ask"] },
        ],
        handedOver,
      },
    },
    ready: { on: { ...visitsOfMade, ...firstSightings } },
    drifted: {
      on: {
        ...visitsOfDrifted,
        ...sightings,
        repair: { target: "updating", actions: ["countCall", "soil", "beginRepair", "update"] },
      },
    },
    missing: { on: { ...visitsOfDrifted, ...sightings } },
    contested: { on: { ...visitsOfDrifted, ...sightings } },
    unreadable: { on: { ...visitsOfMade, ...sightings } },
    updating: {
      on: {
        updated: { guard: "isThisCall", target: "ready", actions: ["recordClean", "again"] },
        notCalled: [
          { guard: "isRepair", target: "drifted", actions: ["endRepair", "again"] },
          { guard: "isThisCall", target: "ready", actions: "again" },
        ],
        failed: [
          { guard: "isRepair", target: "drifted", actions: ["recordRepairFailure", "again"] },
          { guard: "isRetryable", target: "retrying", actions: ["recordFailure", "retryLater"] },
          { guard: "isThisCall", target: "failed", actions: ["recordFailure", "endRetries", "fail"] },
        ],
        resume: [
          { guard: "isLateRepair", target: "drifted", actions: ["endRepair", "again"] },
          { guard: "isLateOrCleanup", target: "ready", actions: "again" },
          { actions: "wait" },
        ],
      },
    },
    replaced: { on: visitsOfMade },
    retrying: {
      on: {
        ...visitsOfBroken,
        handedOver,
        resume: { guard: "isDoomed", target: "deleting", actions: ["countCall", "delete"] },
      },
    },
    failed: {
      on: {
        ...visitsOfBroken,
        handedOver,
        observed: [
          {
            guard: "isLostToMend",
            target: "missing",
            actions: ["recordSeen", "recordSpoiled", "reconverge"],
          },
          { guard: "isLost", target: "missing", actions: ["recordSeen", "recordSpoiled"] },
        ],
      },
    },
    deleting: {
      on: {
        removed: { guard: "isThisCall", target: "deleted", actions: ["recordGone", "pass"] },
        notCalled: { guard: "isThisCall", actions: ["countCall", "delete"] },
        failed: [
          { guard: "isRetryable", target: "retrying", actions: ["recordFailure", "retryLater"] },
          { guard: "isThisCall", target: "failed", actions: ["recordFailure", "endRetries", "fail"] },
        ],
        resume: { actions: ["countCall", "delete"] },
      },
    },
    deleted: {
      on: {
        "visit.cleanup": { actions: "pass" },
        handedOver: { target: "deleting", actions: ["countCall", "doom", "delete"] },
      },
    },
  },
});
