/** What people and programs are told at the end of a goal. */
import { setTimeout as sleep } from "node:timers/promises";
import { formatAge } from "../age.js";
import type { Reply, ResourceView, StackView } from "../api/schemas.js";
import { HomeostatError } from "../errors.js";
import type { Context } from "./context.js";
import { exitStatus } from "./exit-status.js";
import type { WatchedGoal } from "./goal-watch.js";
import { printable } from "./printable.js";

import type { PursuitEnd } from "./pursuit.js";
import type { Session } from "./session.js";
import { outputLines } from "./stack-view.js";
import { statusColor } from "./state-colors.js";

export interface GoalReport {
  name: string;
  stack: string;
  goal: WatchedGoal;
  begun: boolean;
  lastSeen: StackView | undefined;
}

const goneWithinMs = 5_000;

const gone = { resources: [] as ResourceView[], outputs: {} };

/** The exit status. */
export async function reportGoal(
  context: Context,
  session: Session,
  end: Exclude<PursuitEnd, { tag: "interrupted" }>,
  report: GoalReport,
): Promise<number> {
  const goes = end.tag === "reached" && report.goal.kind === "delete";
  const shown = await (goes ? showUntilGone : showIfThere)(session, report.stack);
  const { terminal } = context;
  if (terminal.json) terminal.data(shown ?? { stack: { ...report.lastSeen, status: "DELETED" }, ...gone });
  if (end.tag === "reached") {
    if (!terminal.json) for (const line of success(context, report, shown)) terminal.say(line);
    return exitStatus.reached;
  }
  const { status, lines } = shortfall(end, report, shown);
  for (const line of lines) terminal.note(line);
  return status;
}

/** The last event comes a moment before the name is free. */
async function showUntilGone(session: Session, stack: string): Promise<Reply<"show"> | undefined> {
  const end = performance.now() + goneWithinMs;
  for (;;) {
    const shown = await showIfThere(session, stack);
    if (shown === undefined || performance.now() > end) return shown;
    await sleep(50);
  }
}

async function showIfThere(session: Session, stack: string): Promise<Reply<"show"> | undefined> {
  try {
    return await session.call("show", { name: stack });
  } catch (error) {
    if (error instanceof HomeostatError && error.code === "not_found") return undefined;
    throw error;
  }
}

function success({ terminal }: Context, report: GoalReport, shown: Reply<"show"> | undefined): string[] {
  const { colors } = terminal;
  const { name, goal, begun } = report;
  const took = formatAge(Date.now() - goal.beganMs);
  if (shown === undefined) return [`${colors.bold(name)} is ${colors.green("deleted")} (${took})`];
  const { status, action, traversal } = shown.stack;
  const colored = statusColor(colors, status)(status);
  const detail = begun
    ? `${action} ${traversal}, ${took}`
    : `${action} ${traversal}; there was nothing to do`;
  return [`${colors.bold(name)} is ${colored} (${detail})`, ...outputLines(shown.outputs, colors)];
}

function shortfall(
  end: Exclude<PursuitEnd, { tag: "interrupted" | "reached" }>,
  { name, goal }: GoalReport,
  shown: Reply<"show"> | undefined,
): { status: number; lines: string[] } {
  switch (end.tag) {
    case "failed": {
      const lines = [`${name} FAILED`, ...reasons(end.reason, shown), ...rollbackLines(name, end.rolledBack)];
      return { status: exitStatus.failed, lines };
    }
    case "timedOut": {
      const lines = [`${name} did not reach its goal in time`, ...reasons(end.reason, shown)];
      return { status: exitStatus.timedOut, lines: [...lines, ...rollbackLines(name, end.rolledBack)] };
    }
    case "gaveUp":
      return { status: exitStatus.timedOut, lines: [`gave up waiting for ${name}; ${lookAgain(name)}`] };
    case "cancelled":
      return {
        status: exitStatus.conflict,
        lines: [`goal ${goal.traversal} of ${name} was cancelled by somebody`],
      };
    case "superseded": {
      const newer = `${end.action || "goal"} ${end.traversal}`;
      const lines = [
        `goal ${goal.traversal} of ${name} was superseded by a newer one, ${newer}; ${lookAgain(name)}`,
      ];
      return { status: exitStatus.conflict, lines };
    }
    case "deletedByOther":
      return { status: exitStatus.conflict, lines: [`${name} was deleted by somebody meanwhile`] };
  }
}

/** Resources say most precisely what went wrong; after a rollback they are gone and the goal's reason is left. */
function reasons(reason: string, shown: Reply<"show"> | undefined): string[] {
  const failed = (shown?.resources ?? []).filter(({ state }) => state === "failed" || state === "uncertain");
  const lines = failed.map(({ name, state, reason: why }) => `${name} (${state}): ${why}`);
  return (lines.length > 0 ? lines : reason === "" ? [] : [reason]).map(
    (line) => `  ${printable(line).replaceAll("\n", "\n    ")}`,
  );
}

function rollbackLines(name: string, rolledBack: "complete" | "failed" | undefined): string[] {
  if (rolledBack === undefined) return [];
  return rolledBack === "complete"
    ? [`${name} was rolled back to what it was before`]
    : [`the rollback of ${name} FAILED as well`];
}

export function lookAgain(name: string): string {
  return `look again with: homeostat show ${name}, or homeostat events ${name} --follow`;
}
