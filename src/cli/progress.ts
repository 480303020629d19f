/** What a stack looks like while it converges: kept from events and looks, drawn as a frame or told line by line. */

import { formatAge, twoDigits } from "../age.js";
import type { Reply, ResourceView, StackView } from "../api/schemas.js";
import { urgencyOf } from "../api/urgency.js";
import type { LifecycleEvent } from "../traversal/lifecycle-event.js";
import { oneLine, truncate, widthOf } from "./printable.js";
import { stateColor, statusColor } from "./state-colors.js";
import { type Column, table } from "./table.js";
import type { Colors } from "./terminal.js";

interface Row {
  id: string;
  name: string;
  type: string;
  state: string;
  reason: string;
  /** Since when it is in this state; undefined when nobody saw it come into it. */
  sinceMs: number | undefined;
}

export interface FrameSize {
  columns: number;
  rows: number;
}

/** Header, titles and the line of the cursor. */
const linesAround = 3;
export class Progress {
  readonly #rows = new Map<string, Row>();
  readonly #beganMs: number;
  readonly #name: string;
  #stack: Pick<StackView, "action" | "status" | "traversal" | "reason"> | undefined;
  #looked = false;

  constructor(name: string, nowMs: number) {
    this.#name = name;
    this.#beganMs = nowMs;
  }

  onEvent(event: LifecycleEvent, nowMs: number): void {
    const { resource, resourceId = "", reason = "" } = event;
    if (resource === undefined) return;
    const what = event.what === "repaired" ? "ready" : event.what;
    const known = this.#rows.get(resourceId);
    if (what === "deleted") this.#rows.delete(resourceId);
    else if (known !== undefined && known.state === what) known.reason = reason;
    else {
      const type = known?.type ?? this.#typeOf(resource);
      this.#rows.set(resourceId, {
        id: resourceId,
        name: resource,
        type,
        state: what,
        reason,
        sinceMs: nowMs,
      });
    }
  }

  onLook({ stack, resources }: Reply<"show">, nowMs: number): void {
    this.#stack = stack;
    const before = new Map(this.#rows);
    this.#rows.clear();
    for (const resource of resources) this.#rows.set(resource.id, this.#rowOf(resource, before, nowMs));
    this.#looked = true;
  }

  onStatus(stack: StackView): void {
    this.#stack = stack;
  }

  #rowOf(resource: ResourceView, before: ReadonlyMap<string, Row>, nowMs: number): Row {
    const { id, name, type, state, reason } = resource;
    const known = before.get(id);
    const since = known?.state === state ? known.sinceMs : this.#looked ? nowMs : undefined;
    return { id, name, type, state, reason, sinceMs: since };
  }

  #typeOf(name: string): string {
    for (const row of this.#rows.values()) if (row.name === name) return row.type;
    return "";
  }

  frame(size: FrameSize, colors: Colors, nowMs: number): string[] {
    const rows = [...this.#rows.values()];
    const room = Math.max(1, size.rows - linesAround);
    const shown = rows.length <= room ? rows : mostImportant(rows, room - 1);
    const lines = [this.#header(colors, size.columns, nowMs)];
    if (shown.length > 0) lines.push(...table(shown, columnsOf(colors, nowMs), size.columns, colors.dim));
    if (shown.length < rows.length) lines.push(colors.dim(truncate(rest(rows, shown), size.columns)));
    return lines.slice(0, Math.max(1, size.rows - 1));
  }

  #header(colors: Colors, columns: number, nowMs: number): string {
    const elapsed = formatAge(nowMs - this.#beganMs);
    if (this.#stack === undefined) return truncate(`${this.#name}  ${elapsed}`, columns);
    const { action, traversal, status, reason } = this.#stack;
    const plain = `${this.#name}  ${action} ${traversal}  ${status}  ${elapsed}`;
    const space = columns - widthOf(plain) - 2;
    const why = reason === "" || space < 10 ? "" : `  ${colors.dim(truncate(oneLine(reason), space))}`;
    if (widthOf(plain) > columns) return truncate(plain, columns);
    return `${colors.bold(this.#name)}  ${action} ${traversal}  ${statusColor(colors, status)(status)}  ${elapsed}${why}`;
  }
}

function columnsOf(colors: Colors, nowMs: number): Column<Row>[] {
  return [
    { title: "RESOURCE", text: ({ name }) => name, flexible: true },
    { title: "TYPE", text: ({ type }) => type, color: () => colors.dim, flexible: true },
    { title: "STATE", text: ({ state }) => state, color: ({ state }) => stateColor(colors, state) },
    { title: "AGE", text: ({ sinceMs }) => (sinceMs === undefined ? "" : formatAge(nowMs - sinceMs)) },
    { title: "REASON", text: ({ reason }) => reason, flexible: true },
  ];
}

function mostImportant(rows: readonly Row[], count: number): Row[] {
  const rank = ({ state }: Row) => urgencyOf(state);
  const chosen = new Set([...rows].sort((a, b) => rank(a) - rank(b)).slice(0, count));
  return rows.filter((row) => chosen.has(row));
}

function rest(rows: readonly Row[], shown: readonly Row[]): string {
  const counts = new Map<string, number>();
  const seen = new Set(shown);
  for (const row of rows) if (!seen.has(row)) counts.set(row.state, (counts.get(row.state) ?? 0) + 1);
  const parts = [...counts].map(([state, count]) => `${count} ${state}`);
  return `… and ${rows.length - shown.length} more: ${parts.join(", ")}`;
}

export interface EventLineOptions {
  /** The stack's name before that of a resource. */
  withStack?: boolean;
  /** Why a stack has its status; not wanted where a summary follows. */
  withStackReason?: boolean;
}

/** Of events that tell what became of a goal. */
const statuses: ReadonlySet<string> = new Set([
  "converging",
  "in_service",
  "complete",
  "failed",
  "cancelled",
  "deleted",
]);

/** `12:00:01 web creating`; the stack itself shows its number. */
export function eventLine(event: LifecycleEvent, colors: Colors, options: EventLineOptions = {}): string {
  const { withStack = false, withStackReason = true } = options;
  const { resource, stackName, what, action, traversal, reason } = event;
  const time = colors.dim(timeOfDay(event.time));
  const why = reason ? colors.dim(` (${oneLine(reason)})`) : "";
  if (resource === undefined && !statuses.has(what)) {
    // What happens to a stack between its goals.
    return `${time} ${colors.bold(stackName)} ${statusColor(colors, what)(what)}${why}`;
  }
  if (resource === undefined) {
    const goal = colors.dim(` (${action ?? "goal"} ${traversal})`);
    const status = statusColor(colors, what)(what.toUpperCase());
    return `${time} ${colors.bold(stackName)} ${status}${goal}${withStackReason ? why : ""}`;
  }
  const name = withStack ? `${stackName} ${oneLine(resource)}` : oneLine(resource);
  return `${time} ${name} ${stateColor(colors, what)(what)}${why}`;
}

/** In the person's own time zone. */
export function timeOfDay(time: string): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(":");
}
