/** Theory: from any order of events and looks, a goal's end is told right, and only once it is certain. */
import { describe, expect, it } from "vitest";
import type { StackView } from "../../src/api/schemas.js";
import { type GoalEnd, GoalWatch, type WatchedGoal } from "../../src/cli/goal-watch.js";
import type { LifecycleEvent } from "../../src/traversal/lifecycle-event.js";

const up: WatchedGoal = {
  kind: "up",
  traversal: 3,
  rollbackOnFailure: false,
  timeoutMs: undefined,
  beganMs: 0,
};

type Seen =
  | { event: [traversal: number, what: string, action?: string, reason?: string] }
  | { look: [traversal: number, status: StackView["status"], action?: StackView["action"], reason?: string] }
  | { gone: true };

function watch(goal: Partial<WatchedGoal>, seen: readonly Seen[], stepMs = 0): GoalEnd | undefined {
  const watched = new GoalWatch({ ...up, ...goal });
  seen.forEach((each, i) => {
    if ("event" in each) watched.onEvent(eventOf(...each.event), i * stepMs);
    else if ("look" in each) watched.onLook(viewOf(...each.look), i * stepMs);
    else watched.onLook(undefined, i * stepMs);
  });
  return watched.end;
}

function eventOf(traversal: number, what: string, action = "update", reason = ""): LifecycleEvent {
  const time = "2026-01-01T00:00:00Z";
  return {
    type: "io.homeostat.api.v1.stack",
    id: "x",
    time,
    stack: "s",
    stackName: "n",
    traversal,
    what,
    action,
    reason,
  };
}

function viewOf(
  traversal: number,
  status: StackView["status"],
  action: StackView["action"] = "update",
  reason = "",
): StackView {
  const counts = { updatesLeft: 0, cleanupsLeft: 0, createdAt: "", updatedAt: "" };
  return { id: "s", name: "n", status, action, reason, traversal, ...counts };
}

const timed = { timeoutMs: 1000, beganMs: -2000 };

const ends: [string, Partial<WatchedGoal>, Seen[], GoalEnd | undefined][] = [
  ["an event completes it", {}, [{ event: [3, "complete"] }], { tag: "reached" }],
  ["a look completes it", {}, [{ look: [3, "COMPLETE"] }], { tag: "reached" }],
  ["in service is not the end", {}, [{ event: [3, "in_service"] }, { look: [3, "IN_SERVICE"] }], undefined],
  [
    "an older goal's end is not this one's",
    {},
    [{ event: [2, "complete"] }, { look: [2, "COMPLETE"] }],
    undefined,
  ],
  [
    "a failure has its reason",
    {},
    [{ event: [3, "failed", "update", "no"] }],
    { tag: "failed", reason: "no" },
  ],
  [
    "the first end counts",
    {},
    [{ event: [3, "complete"] }, { event: [4, "converging"] }],
    { tag: "reached" },
  ],
  [
    "a newer goal supersedes",
    {},
    [{ event: [4, "converging", "delete"] }],
    { tag: "superseded", action: "delete", traversal: 4 },
  ],
  [
    "so does one whose start was missed",
    {},
    [{ event: [5, "complete", "rollback"] }],
    { tag: "superseded", action: "rollback", traversal: 5 },
  ],
  [
    "the observer's traversal goes to the same goal",
    {},
    [
      { event: [4, "converging", "observe"] },
      { event: [4, "incident"] },
      { event: [4, "complete", "observe"] },
    ],
    { tag: "reached" },
  ],
  [
    "and what becomes of it counts",
    {},
    [{ event: [4, "converging", "observe"] }, { event: [4, "failed", "observe", "no"] }],
    { tag: "failed", reason: "no" },
  ],
  ["a cancel", {}, [{ event: [4, "cancelled"] }], { tag: "cancelled", traversal: 4 }],
  ["its own cancel", { kind: "cancel" }, [{ event: [3, "cancelled"] }], { tag: "reached" }],
  ["a delete, by its event", { kind: "delete" }, [{ event: [3, "deleted", "delete"] }], { tag: "reached" }],
  ["a delete, by a look", { kind: "delete" }, [{ gone: true }], { tag: "reached" }],
  ["a delete by somebody else", {}, [{ gone: true }], { tag: "deletedByOther" }],
  [
    "two deletes have one aim",
    { kind: "delete" },
    [{ event: [4, "converging", "delete"] }, { event: [4, "deleted", "delete"] }],
    { tag: "reached" },
  ],
  [
    "an update revives what was being deleted",
    { kind: "delete" },
    [{ event: [4, "converging", "update"] }],
    { tag: "superseded", action: "update", traversal: 4 },
  ],
  [
    "the engine's own rollback is followed",
    { rollbackOnFailure: true },
    [{ event: [4, "converging", "rollback", "no"] }],
    undefined,
  ],
  [
    "to its end",
    { rollbackOnFailure: true },
    [{ event: [4, "converging", "rollback", "no"] }, { look: [4, "COMPLETE", "rollback", "no"] }],
    { tag: "failed", reason: "no", rolledBack: "complete" },
  ],
  [
    "which may be a failure too",
    { rollbackOnFailure: true },
    [{ event: [4, "converging", "rollback", "no"] }, { event: [4, "failed", "rollback", "worse"] }],
    { tag: "failed", reason: "no", rolledBack: "failed" },
  ],
  [
    "or be superseded",
    { rollbackOnFailure: true },
    [{ event: [4, "converging", "rollback", "no"] }, { event: [5, "converging", "update"] }],
    { tag: "superseded", action: "update", traversal: 5 },
  ],
  [
    "a person's rollback has no reason",
    { rollbackOnFailure: true },
    [{ event: [4, "converging", "rollback"] }],
    { tag: "superseded", action: "rollback", traversal: 4 },
  ],
  [
    "the goal's time is over",
    timed,
    [{ event: [4, "failed", "update", "timed out"] }],
    { tag: "timedOut", reason: "timed out" },
  ],
  [
    "and it was rolled back",
    { ...timed, rollbackOnFailure: true },
    [
      { event: [4, "converging", "rollback", "timed out"] },
      { event: [4, "complete", "rollback", "timed out"] },
    ],
    { tag: "timedOut", reason: "timed out", rolledBack: "complete" },
  ],
  [
    "a failure before that is a failure",
    { timeoutMs: 1000, rollbackOnFailure: true },
    [{ event: [4, "converging", "rollback", "no"] }, { event: [4, "complete", "rollback", "no"] }],
    { tag: "failed", reason: "no", rolledBack: "complete" },
  ],
];

describe("the end of a goal", () => {
  it.each(ends)("%s", (_what, goal, seen, end) => {
    expect(watch(goal, seen)).toEqual(end);
  });

  it("waits for the event that explains a newer goal, but not for ever", () => {
    const looks: Seen[] = [{ look: [4, "CONVERGING"] }, { look: [4, "CONVERGING"] }];
    expect(watch({}, looks, 1000)).toBeUndefined();
    expect(watch({}, looks, 5000)).toEqual({ tag: "superseded", action: "update", traversal: 4 });
  });
});
