/**
 * Theory: a stack's status follows an event of a traversal that is over, or the stack rolls back, ends or goes away
 * when it must not. All reachable states are walked with every event.
 */
import { describe, expect, test } from "vitest";
import {
  type StackCommand,
  type StackContext,
  type StackEvent,
  statusOfState,
} from "../../machines/stack.js";
import { stackActor } from "../../src/actor/actor.js";
import { type Reached, walk } from "./walk.js";

type Here = Reached<string, StackContext, StackCommand, StackEvent, undefined>;

const truths = [true, false];

function progress(traversal: number): Extract<StackEvent, { type: "progress" }>[] {
  return truths.flatMap((updatesDone) =>
    truths.flatMap((allDone) =>
      truths.map((stuck) => ({
        type: "progress" as const,
        traversal,
        updatesDone,
        allDone,
        stuck,
        reason: "why",
      })),
    ),
  );
}

const told = (traversal: number): StackEvent[] => [
  ...progress(traversal),
  { type: "timeout", traversal, reason: "late" },
];

function asked(traversal: number): StackEvent[] {
  return [
    ...(["create", "update", "rollback", "delete"] as const).flatMap((action) =>
      truths.map((rollbackOnFailure) => ({
        type: "goal" as const,
        traversal,
        action,
        rollbackOnFailure,
        reason: "",
      })),
    ),
    { type: "cancel", traversal, reason: "cancelled" },
    { type: "stop", traversal, reason: "timed out" },
  ];
}

const reached = walk<string, StackContext, StackCommand, StackEvent, undefined>({
  actor: stackActor,
  start: undefined,
  events: ({ step }) => [...told(step.context.traversal), ...asked(step.context.traversal + 1)],
  follow: () => undefined,
  key: ({ step: { state, context } }) =>
    JSON.stringify([
      state,
      context.action,
      context.rollbackOnFailure,
      context.reason !== "",
      context.traversal > 0,
    ]),
});

function each(check: (here: Here, path: string) => void): void {
  for (const here of reached) {
    check(here, `${here.path.map((event) => JSON.stringify(event)).join("\n")}\n=> ${here.step.state}`);
  }
}

describe("the stack machine", () => {
  test("every state is reached and has a status that people see", () => {
    const states = [...new Set(reached.map(({ step }) => step.state))].sort();
    expect(states).toEqual(["cancelled", "complete", "converging", "deleted", "failed", "inService"]);
    expect(Object.keys(statusOfState).sort()).toEqual(states);
  });

  test("1: what another traversal tells changes nothing", () => {
    each((here, path) => {
      const { traversal } = here.step.context;
      for (const event of [...told(traversal - 1), ...told(traversal + 1)]) {
        const after = stackActor.step(here.step.snapshot, event);
        expect([after.snapshot, after.actions], path).toEqual([here.step.snapshot, []]);
      }
    });
  });

  test("R6: every state takes every goal, a cancel and a stop", () => {
    each((here, path) => {
      for (const event of asked(here.step.context.traversal + 1)) {
        const after = stackActor.step(here.step.snapshot, event);
        const state = { goal: "converging", cancel: "cancelled", stop: "failed" }[event.type as "goal"];
        expect([after.state, after.context.traversal], path).toEqual([state, event.traversal]);
        expect(after.actions, path).toEqual(["announce"]);
        if (event.type === "goal") {
          expect(after.context.action, path).toBe(event.action);
          expect(after.context.rollbackOnFailure, path).toBe(event.rollbackOnFailure);
        } else expect(after.context.rollbackOnFailure, path).toBe(false);
      }
    });
  });

  test("2: it rolls back by itself only from converging, when asked to, and only once", () => {
    each((here, path) => {
      const { state, context } = here.step;
      for (const event of told(context.traversal)) {
        const { actions } = stackActor.step(here.step.snapshot, event);
        if (!actions.includes("rollback")) continue;
        expect([state, context.rollbackOnFailure], path).toEqual(["converging", true]);
        if (event.type === "progress") expect([event.stuck, event.updatesDone]).toEqual([true, false]);
      }
    });
  });

  test("a goal that asked for it is rolled back when stuck and when late", () => {
    const goal = stackActor.step("", {
      type: "goal",
      traversal: 1,
      action: "update",
      rollbackOnFailure: true,
      reason: "",
    });
    const stuck = { updatesDone: false, allDone: false, stuck: true, reason: "B: no" };
    const after = stackActor.step(goal.snapshot, { type: "progress", traversal: 1, ...stuck });
    expect([after.actions, after.context.reason]).toEqual([["rollback"], "B: no"]);
    expect(stackActor.step(goal.snapshot, { type: "timeout", traversal: 1, reason: "late" }).actions).toEqual(
      ["rollback"],
    );
  });

  test("a stack goes away only when a delete has done everything", () => {
    each((here, path) => {
      for (const event of told(here.step.context.traversal)) {
        const after = stackActor.step(here.step.snapshot, event);
        if (!after.actions.includes("purge")) continue;
        expect(here.step.context.action, path).toBe("delete");
        expect(event, path).toMatchObject({ type: "progress", allDone: true });
        expect(after.state, path).toBe("deleted");
      }
    });
  });

  test("a purge that did not come about is asked for again", () => {
    const deletes = reached.filter(({ step }) => step.state === "deleted");
    expect(deletes.length).toBeGreaterThan(0);
    for (const { step } of deletes) {
      const all = { updatesDone: true, allDone: true, stuck: false, reason: "" };
      const event = { type: "progress" as const, traversal: step.context.traversal, ...all };
      expect(stackActor.step(step.snapshot, event).actions).toEqual(["purge"]);
    }
  });

  const becomes: [from: string, facts: object, to: string, why: string][] = [
    ["converging", { updatesDone: true, allDone: true }, "complete", "all is done"],
    ["converging", { updatesDone: true }, "inService", "cleanup is left"],
    ["converging", {}, "converging", "updates are left"],
    ["converging", { stuck: true }, "failed", "an update failed"],
    ["converging", { updatesDone: true, stuck: true }, "failed", "a cleanup failed (R7)"],
    ["inService", { updatesDone: true, allDone: true }, "complete", "cleanup is done"],
    ["inService", { updatesDone: true, stuck: true }, "failed", "a cleanup failed (R7)"],
    ["inService", { updatesDone: true }, "inService", "cleanup is left"],
  ];
  for (const [from, facts, to, why] of becomes) {
    test(`${from} becomes ${to} when ${why}`, () => {
      const some = reached.filter(
        ({ step }) =>
          step.state === from && step.context.action === "update" && !step.context.rollbackOnFailure,
      );
      expect(some.length).toBeGreaterThan(0);
      for (const { step } of some) {
        const event = {
          type: "progress",
          updatesDone: false,
          allDone: false,
          stuck: false,
          reason: "",
          ...facts,
        };
        const { traversal } = step.context;
        expect(stackActor.step(step.snapshot, { ...event, traversal } as StackEvent).state).toBe(to);
      }
    });
  }

  test("a delete is never in service: there is no goal left that could serve", () => {
    const deletes = reached.filter(
      ({ step }) => step.state === "converging" && step.context.action === "delete",
    );
    expect(deletes.length).toBeGreaterThan(0);
    for (const { step } of deletes) {
      const event = {
        type: "progress" as const,
        updatesDone: true,
        allDone: false,
        stuck: false,
        reason: "",
      };
      const after = stackActor.step(step.snapshot, { ...event, traversal: step.context.traversal });
      expect([after.state, after.actions]).toEqual(["converging", []]);
    }
  });

  test("complete, failed and cancelled wait for the next goal", () => {
    each((here, path) => {
      if (!["complete", "failed", "cancelled"].includes(here.step.state)) return;
      for (const event of told(here.step.context.traversal)) {
        const after = stackActor.step(here.step.snapshot, event);
        expect([after.snapshot, after.actions], path).toEqual([here.step.snapshot, []]);
      }
    });
  });
});
