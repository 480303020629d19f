/**
 * Whether this process leads, stands by, or tries to. A process's machine, not durable: the lock on the Redis nodes is
 * what lasts.
 */
import { fromPromise, setup } from "xstate";

export const leadershipMachine = setup({
  types: {
    events: {} as { type: "stop" },
    input: {} as { patienceMs: number },
    context: {} as { patienceMs: number },
  },
  actors: {
    /** Resolves once elected, fails when somebody else leads or it cannot be known. */
    campaign: fromPromise<void>(async () => {}),
    /** Lasts as long as the leadership. */
    reign: fromPromise<void>(async () => {}),
  },
  delays: {
    patience: ({ context }) => context.patienceMs,
  },
}).createMachine({
  id: "leadership",
  context: ({ input }) => ({ patienceMs: input.patienceMs }),
  initial: "campaigning",
  on: { stop: ".stopped" },
  states: {
    campaigning: { invoke: { src: "campaign", onDone: "leading", onError: "standingBy" } },
    leading: { invoke: { src: "reign", onDone: "standingBy", onError: "standingBy" } },
    standingBy: { after: { patience: "campaigning" } },
    stopped: { type: "final" },
  },
});
