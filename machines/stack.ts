/**
 * What a stack's status is and what follows from it. Durable and pure, like the resource machine; it gets a constant
 * number of events per traversal, raised by counters in the scripts.
 *
 * Invariants
 * 1. A progress event counts only for the traversal that it names, and only while that is the current one.
 * 2. A stack rolls back by itself only from `converging`: once in service its goal was reached.
 */
import { assign, setup } from "xstate";

export const stackMachineVersion = 1;

export type StackAction = "create" | "update" | "rollback" | "delete" | "replace" | "observe";

export interface StackContext {
  traversal: number;
  action: StackAction;
  rollbackOnFailure: boolean;
  reason: string;
}

export type StackEvent =
  | { type: "goal"; traversal: number; action: StackAction; rollbackOnFailure: boolean; reason: string }
  | { type: "cancel" | "stop"; traversal: number; reason: string }
  | { type: "timeout"; traversal: number; reason: string }
  | {
      type: "progress";
      traversal: number;
      updatesDone: boolean;
      allDone: boolean;
      /** Nothing can move any more and not all is done. */
      stuck: boolean;
      reason: string;
    };

/** announce: publish the status. rollback: set the rollback goal. stop: set the goal to go no further. purge: remove the stack. */
export type StackCommand = "announce" | "rollback" | "stop" | "purge";

const anyTime = {
  goal: { target: ".converging", actions: ["adoptGoal", "announce"] },
  cancel: { target: ".cancelled", actions: ["adoptTraversal", "announce"] },
  stop: { target: ".failed", actions: ["adoptTraversal", "announce"] },
} as const;

export const stackMachine = setup({
  types: {
    context: {} as StackContext,
    events: {} as StackEvent,
  },
  guards: {
    isDeleted: ({ context, event }) =>
      event.type === "progress" &&
      event.traversal === context.traversal &&
      event.allDone &&
      context.action === "delete",
    isComplete: ({ context, event }) =>
      event.type === "progress" && event.traversal === context.traversal && event.allDone,
    isInService: ({ context, event }) =>
      event.type === "progress" &&
      event.traversal === context.traversal &&
      event.updatesDone &&
      context.action !== "delete" &&
      !event.stuck,
    isStuck: ({ context, event }) =>
      event.type === "progress" && event.traversal === context.traversal && event.stuck,
    isStuckAndRollsBack: ({ context, event }) =>
      event.type === "progress" &&
      event.traversal === context.traversal &&
      event.stuck &&
      !event.updatesDone &&
      context.rollbackOnFailure,
    isTimeout: ({ context, event }) => event.type === "timeout" && event.traversal === context.traversal,
    isTimeoutAndRollsBack: ({ context, event }) =>
      event.type === "timeout" && event.traversal === context.traversal && context.rollbackOnFailure,
  },
  actions: {
    adoptGoal: assign(({ event }: { event: StackEvent }) =>
      event.type === "goal"
        ? {
            traversal: event.traversal,
            action: event.action,
            rollbackOnFailure: event.rollbackOnFailure,
            reason: event.reason,
          }
        : {},
    ),
    adoptTraversal: assign(({ event }: { event: StackEvent }) =>
      event.type === "cancel" || event.type === "stop"
        ? { traversal: event.traversal, reason: event.reason, rollbackOnFailure: false }
        : {},
    ),
    recordReason: assign(({ event }: { event: StackEvent }) => ({ reason: event.reason })),
    announce: () => {},
    rollback: () => {},
    stop: () => {},
    purge: () => {},
  },
}).createMachine({
  id: "stack",
  initial: "converging",
  context: { traversal: 0, action: "create", rollbackOnFailure: false, reason: "" },
  on: anyTime,
  states: {
    converging: {
      on: {
        progress: [
          { guard: "isDeleted", target: "deleted", actions: ["announce", "purge"] },
          { guard: "isComplete", target: "complete", actions: "announce" },
          { guard: "isStuckAndRollsBack", actions: ["recordReason", "rollback"] },
          { guard: "isStuck", target: "failed", actions: ["recordReason", "announce"] },
          { guard: "isInService", target: "inService", actions: "announce" },
        ],
        timeout: [
          { guard: "isTimeoutAndRollsBack", actions: ["recordReason", "rollback"] },
          { guard: "isTimeout", actions: "stop" },
        ],
      },
    },
    inService: {
      on: {
        progress: [
          { guard: "isComplete", target: "complete", actions: "announce" },
          { guard: "isStuck", target: "failed", actions: ["recordReason", "announce"] },
        ],
        timeout: { guard: "isTimeout", actions: "stop" },
      },
    },
    complete: {},
    failed: {},
    cancelled: {},
    deleted: { on: { progress: { guard: "isDeleted", actions: "purge" } } },
  },
});

export type StackStatus = "CONVERGING" | "IN_SERVICE" | "COMPLETE" | "FAILED" | "CANCELLED";

/** The status that people see, by the machine's state; `deleted` is not found any more. */
export const statusOfState: Record<string, StackStatus> = {
  converging: "CONVERGING",
  inService: "IN_SERVICE",
  complete: "COMPLETE",
  failed: "FAILED",
  cancelled: "CANCELLED",
  deleted: "CONVERGING",
};
