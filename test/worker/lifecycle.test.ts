/** Theory: a process's life has six states, whatever happens in whatever order, and it is cut off when it ends. */
import { describe, expect, it } from "vitest";
import { createActor, fromPromise } from "xstate";
import { type WorkerEvent, workerMachine } from "../../machines/worker.js";

type Step = "open" | "drain" | "close";

/** An actor whose steps end when the test says so. */
function live() {
  const waiting = new Map<Step, { resolve: () => void; reject: (error: Error) => void }>();
  const step = (name: Step) =>
    fromPromise(() => new Promise<void>((resolve, reject) => waiting.set(name, { resolve, reject })));
  let cuts = 0;
  const actor = createActor(
    workerMachine.provide({
      actors: { open: step("open"), drain: step("drain"), close: step("close") },
      actions: {
        cutOff: () => {
          cuts += 1;
        },
      },
    }),
  );
  actor.start();
  return {
    state: () => actor.getSnapshot().value,
    error: () => actor.getSnapshot().context.error,
    cuts: () => cuts,
    async happens(what: string) {
      const [name = "", outcome] = what.split(" ");
      if (outcome === "ends") waiting.get(name as Step)?.resolve();
      else if (outcome === "fails") waiting.get(name as Step)?.reject(new Error(`${name} failed`));
      else if (actor.getSnapshot().status === "active") actor.send({ type: name } as WorkerEvent);
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

describe("a worker", () => {
  it.each([
    [[], "initialised", "connecting"],
    [["open ends"], "running", "connected"],
    [["open fails"], "failed", "a server is not there"],
    [["drain"], "stopped", "nothing runs yet"],
    [["drain", "open ends"], "stopped", "what comes late does not count"],
    [["open ends", "drain"], "draining", "calls are in flight"],
    [["open ends", "drain", "drain"], "draining", "asked twice"],
    [["open ends", "drain", "drain ends"], "drained", "closing"],
    [["open ends", "drain", "drain ends", "close ends"], "stopped", "in order"],
    [["open ends", "drain", "drain fails"], "failed", "cannot drain"],
    [["open ends", "drain", "drain ends", "close fails"], "failed", "cannot close"],
    [["open ends", "kill"], "stopped", "at once"],
    [["open ends", "drain", "kill"], "stopped", "patience is over"],
    [["open ends", "drain", "kill", "drain ends", "close ends"], "stopped", "for good"],
    [["open ends", "open fails"], "running", "a step ends once"],
  ] as [string[], string, string][])("after %j it is %s: %s", async (events, state) => {
    const worker = live();
    for (const event of events) await worker.happens(event);
    expect(worker.state()).toBe(state);
    expect(worker.cuts()).toBe(state === "stopped" || state === "failed" ? 1 : 0);
    if (state === "failed") expect(worker.error()).toBeInstanceOf(Error);
  });
});
