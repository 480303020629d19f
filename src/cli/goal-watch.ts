/**
 * What became of a goal, from the events of its stack and from looks at it. Pure: told what was seen and what time it is.
 *
 * 1. A goal of somebody else with a higher number ends the watch; the engine's own rollback of this goal does not.
 * 2. A traversal of the observer's goes to the same goal: what becomes of it counts.
 * 3. Events may be lost, doubled and out of order: a look at the stack decides alone when its event does not come.
 */
import type { StackView } from "../api/schemas.js";
import type { LifecycleEvent } from "../traversal/lifecycle-event.js";

export interface WatchedGoal {
  kind: "up" | "delete" | "rollback" | "cancel" | "replace";
  traversal: number;
  rollbackOnFailure: boolean;
  timeoutMs: number | undefined;
  beganMs: number;
}

export type GoalEnd =
  | { tag: "reached" }
  /** `rolledBack`: the automatic rollback has ended as well. */
  | { tag: "failed"; reason: string; rolledBack?: "complete" | "failed" }
  | { tag: "timedOut"; reason: string; rolledBack?: "complete" | "failed" }
  | { tag: "cancelled"; traversal: number }
  | { tag: "superseded"; action: string; traversal: number }
  | { tag: "deletedByOther" };

/** How long the event that explains a newer traversal may take. */
const eventPatienceMs = 3000;

interface OwnRollback {
  reason: string;
  timedOut: boolean;
}

export class GoalWatch {
  readonly #goal: WatchedGoal;
  /** The goal's traversal, or that of what goes on in its place. */
  #followed: number;
  #rollback: OwnRollback | undefined;
  #unexplainedSinceMs: number | undefined;
  end: GoalEnd | undefined;

  constructor(goal: WatchedGoal) {
    this.#goal = goal;
    this.#followed = goal.traversal;
  }

  get isRollingBack(): boolean {
    return this.#rollback !== undefined;
  }

  onEvent(event: LifecycleEvent, nowMs: number): void {
    if (event.resource !== undefined || this.end !== undefined) return;
    const { traversal, what, action = "", reason = "" } = event;
    if (traversal > this.#followed) this.#newer({ traversal, status: what, action, reason }, nowMs);
    else if (traversal === this.#followed) this.#progress(what, reason);
  }

  onLook(view: StackView | undefined, nowMs: number): void {
    if (this.end !== undefined) return;
    if (view === undefined) {
      this.end = this.#goal.kind === "delete" ? { tag: "reached" } : { tag: "deletedByOther" };
    } else if (view.traversal === this.#followed) {
      this.#progress(view.status.toLowerCase(), view.reason);
    } else if (view.traversal > this.#followed) {
      this.#lookAtNewer(view, nowMs);
    }
  }

  #lookAtNewer(view: StackView, nowMs: number): void {
    this.#unexplainedSinceMs ??= nowMs;
    if (nowMs - this.#unexplainedSinceMs < eventPatienceMs) return;
    const { traversal, action, reason } = view;
    this.#newer({ traversal, status: view.status.toLowerCase(), action, reason }, nowMs);
  }

  #progress(status: string, reason: string): void {
    if (status === "complete") this.end = this.#rollback ? this.#rolledBack("complete") : { tag: "reached" };
    else if (status === "deleted") this.end = { tag: "reached" };
    else if (status === "failed") {
      this.end = this.#rollback ? this.#rolledBack("failed") : { tag: "failed", reason };
    } else if (status === "cancelled" && this.#goal.kind === "cancel") this.end = { tag: "reached" };
  }

  #rolledBack(rolledBack: "complete" | "failed"): GoalEnd {
    const { reason = "", timedOut = false } = this.#rollback ?? {};
    return { tag: timedOut ? "timedOut" : "failed", reason, rolledBack };
  }

  #newer(newer: { traversal: number; status: string; action: string; reason: string }, nowMs: number): void {
    const { traversal, status, action, reason } = newer;
    const isNext = traversal === this.#followed + 1;
    const isOver = this.#isOver(nowMs);
    const { kind, rollbackOnFailure } = this.#goal;
    const isOwnRollback = isNext && rollbackOnFailure && action === "rollback" && reason !== "";
    if (status === "cancelled") this.end = { tag: "cancelled", traversal };
    else if (isNext && status === "failed" && isOver) this.end = { tag: "timedOut", reason };
    else if (isOwnRollback) this.#follow(traversal, status, reason, { reason, timedOut: isOver });
    else if (isNext && action === "observe") this.#follow(traversal, status, reason);
    else if (kind === "delete" && action === "delete") this.#follow(traversal, status, reason);
    else this.end = { tag: "superseded", action, traversal };
  }

  /** The engine stops or rolls back a goal by itself only then. */
  #isOver(nowMs: number): boolean {
    const { timeoutMs, beganMs } = this.#goal;
    return timeoutMs !== undefined && nowMs - beganMs >= timeoutMs;
  }

  #follow(traversal: number, status: string, reason: string, rollback = this.#rollback): void {
    this.#followed = traversal;
    this.#rollback = rollback;
    this.#unexplainedSinceMs = undefined;
    this.#progress(status, reason);
  }
}
