/**
 * The life of a process: initialised, running, draining, drained, stopped; or failed. Not durable; it may invoke. What
 * opening, draining, closing and cutting off mean is the host's business (src/worker/host.ts).
 */
import { assign, fromPromise, setup } from "xstate";

export interface WorkerContext {
  /** Why it failed. */
  error: unknown;
}

export type WorkerEvent = { type: "drain" } | { type: "kill" };

export const workerMachine = setup({
  types: {
    context: {} as WorkerContext,
    events: {} as WorkerEvent,
  },
  actors: {
    /** Connects and starts everything. */
    open: fromPromise<void>(async () => {}),
    /** Takes nothing more and lets what runs end. */
    drain: fromPromise<void>(async () => {}),
    /** Closes what is left, in order. */
    close: fromPromise<void>(async () => {}),
  },
  actions: {
    /** Closes everything now, whatever runs. */
    cutOff: () => {},
    recordError: assign(({ event }) => ("error" in event ? { error: event.error } : {})),
  },
}).createMachine({
  id: "worker",
  context: { error: undefined },
  initial: "initialised",
  states: {
    initialised: {
      invoke: { src: "open", onDone: "running", onError: { target: "failed", actions: "recordError" } },
      on: { drain: "stopped", kill: "stopped" },
    },
    running: {
      on: { drain: "draining", kill: "stopped" },
    },
    draining: {
      invoke: { src: "drain", onDone: "drained", onError: { target: "failed", actions: "recordError" } },
      on: { kill: "stopped" },
    },
    drained: {
      invoke: { src: "close", onDone: "stopped", onError: { target: "failed", actions: "recordError" } },
      on: { kill: "stopped" },
    },
    stopped: { type: "final", entry: "cutOff" },
    failed: { type: "final", entry: "cutOff" },
  },
});
