/** What the stacks look like while somebody watches them: kept from events and answers, drawn as a frame or told by line. */
import { formatAge } from "../age.js";
import type { Reply } from "../api/schemas.js";
import type { LifecycleEvent } from "../traversal/lifecycle-event.js";
import { oneLine, truncate } from "./printable.js";
import { eventLine, type FrameSize } from "./progress.js";
import { stateColor, statusColor } from "./state-colors.js";
import { type Column, table } from "./table.js";
import type { Colors } from "./terminal.js";

type Why = Reply<"why">;
type Explained = Why["resources"][number];

export interface StackSummary {
  stack: string;
  name: string;
  status: string;
  action: string;
  traversal: number;
  ready: number;
  total: number;
  /** How many resources are in which state, of those that move, and of those that are not as they were applied. */
  moving: Record<string, number>;
  seen: Record<string, number>;
  /** Events of the last minutes. */
  drifted: number;
  repaired: number;
  paused: boolean;
  /** Id of the incident that is held; empty when there is none. */
  incident: string;
  reason: string;
}

/** How far back drift and repairs are counted. */
export const memoryMs = 10 * 60_000;
const memoryText = "10m";
const pastTitle = `LAST ${memoryText}`;

const movingStates = ["declared", "creating", "updating", "deleting", "retrying", "uncertain", "failed"];
const seenStates = ["drifted", "missing", "contested", "unreadable"];
/** Of what happens between a stack's goals. */
const notable: ReadonlySet<string> = new Set([...seenStates, "repaired", "incident"]);
/** Titles, the line of what is not shown, the line of the cursor. */
const linesAround = 3;
const eventsShown = 6;
const eventsKept = 1_000;

interface Watched {
  why: Why;
  /** Notable events, ever. */
  happened: number;
}

export class WatchView {
  readonly #stacks = new Map<string, Watched>();
  readonly #recent: { event: LifecycleEvent; atMs: number }[] = [];
  readonly #single: boolean;
  #more = 0;

  /** `single`: one stack is watched, with its resources. */
  constructor(single: boolean) {
    this.#single = single;
  }

  get stacks(): ReadonlySet<string> {
    return new Set(this.#stacks.keys());
  }

  onEvent(event: LifecycleEvent): void {
    if (!notable.has(event.what)) return;
    this.#recent.push({ event, atMs: Date.parse(event.time) });
    if (this.#recent.length > eventsKept) this.#recent.shift();
    const watched = this.#stacks.get(event.stack);
    if (watched !== undefined) watched.happened += 1;
  }

  onAnswer(why: Why): void {
    const happened = this.#stacks.get(why.stack.id)?.happened ?? 0;
    this.#stacks.set(why.stack.id, { why, happened });
  }

  /** What it looked like last; undefined when it was not known. */
  onGone(stack: string, nowMs: number): StackSummary | undefined {
    const summary = this.summary(stack, nowMs);
    this.#stacks.delete(stack);
    return summary && { ...summary, status: "DELETED" };
  }

  /** So many stacks are not watched. */
  onMore(count: number): void {
    this.#more = count;
  }

  summary(stack: string, nowMs: number): StackSummary | undefined {
    const watched = this.#stacks.get(stack);
    if (watched === undefined) return undefined;
    const { states, total, paused, incident, stack: view } = watched.why;
    const count = (...whats: string[]) =>
      this.#recent.filter(
        ({ event, atMs }) => event.stack === stack && atMs > nowMs - memoryMs && whats.includes(event.what),
      ).length;
    const among = (names: readonly string[]) =>
      Object.fromEntries(names.flatMap((name) => (states[name] ? [[name, states[name]]] : [])));
    const { id, name, status, action, traversal, reason } = view;
    return {
      ...{ stack: id, name, status, action, traversal },
      ...{ ready: states.ready ?? 0, total, moving: among(movingStates), seen: among(seenStates) },
      ...{ drifted: count(...seenStates), repaired: count("repaired"), paused, incident, reason },
    };
  }

  /** Differs when there is something new to tell of a stack. */
  fingerprint(stack: string): string {
    const watched = this.#stacks.get(stack);
    if (watched === undefined) return "";
    const { stack: view, states, paused, incident } = watched.why;
    return JSON.stringify([
      view.status,
      view.traversal,
      view.reason,
      states,
      paused,
      incident,
      watched.happened,
    ]);
  }

  frame(size: FrameSize, colors: Colors, nowMs: number): string[] {
    const summaries = [...this.#stacks.keys()].flatMap((stack) => this.summary(stack, nowMs) ?? []);
    summaries.sort((a, b) => (a.name < b.name ? -1 : 1));
    const room = Math.max(1, size.rows - linesAround);
    const shown = [...summaries].sort((a, b) => urgency(b) - urgency(a)).slice(0, room);
    const rows = summaries.filter((summary) => shown.includes(summary));
    const lines = table(rows, columnsFor(size.columns, colors), size.columns, colors.dim);
    const hidden = summaries.length - rows.length + this.#more;
    if (hidden > 0) lines.push(colors.dim(truncate(`… and ${hidden} more`, size.columns)));
    if (summaries.length === 0) lines.splice(0, lines.length, colors.dim("there are no stacks"));
    if (this.#single) lines.push(...this.#resourceLines(size, colors, nowMs));
    lines.push(...this.#eventLines(colors, size.columns, size.rows - 1 - lines.length));
    return lines.slice(0, Math.max(1, size.rows - 1));
  }

  #resourceLines(size: FrameSize, colors: Colors, nowMs: number): string[] {
    const resources = [...this.#stacks.values()].flatMap(({ why }) => why.resources);
    if (resources.length === 0) return [];
    const shown: Column<Explained>[] = [
      { title: "RESOURCE", text: ({ name, current }) => (current ? name : `${name} (old)`), flexible: true },
      { title: "STATE", text: ({ state }) => state, color: ({ state }) => stateColor(colors, state) },
      {
        title: "AGE",
        text: ({ since }) => (since === undefined ? "" : formatAge(nowMs - Date.parse(since))),
      },
      { title: "REASON", text: ({ reason }) => reason, flexible: true },
      {
        title: "WAITS FOR",
        text: ({ waits }) => waits[0]?.text ?? "",
        color: () => colors.dim,
        flexible: true,
      },
    ];
    return ["", ...table(resources, shown, size.columns, colors.dim)];
  }

  #eventLines(colors: Colors, columns: number, room: number): string[] {
    const count = Math.min(eventsShown, room - 1);
    const recent = count < 1 ? [] : this.#recent.slice(-count);
    if (recent.length === 0) return [];
    return ["", ...recent.map(({ event }) => fitting(event, colors, columns, !this.#single))];
  }
}

/** Colours cannot be cut: a line that is too long goes without its reason. */
function fitting(event: LifecycleEvent, colors: Colors, columns: number, withStack: boolean): string {
  const plainLine = (told: LifecycleEvent) => eventLine(told, noColors(colors), { withStack });
  const { reason = "", ...short } = event;
  const spare = columns - plainLine(short).length - 3;
  if (spare < 0) return truncate(plainLine(short), columns);
  const cut = truncate(oneLine(reason), spare);
  return eventLine(cut.length < 4 ? short : { ...short, reason: cut }, colors, { withStack });
}

function noColors(colors: Colors): Colors {
  const plain = (text: unknown) => String(text);
  return new Proxy(colors, { get: () => plain });
}

/** Which stacks are shown when not all fit. */
function urgency({ status, incident, paused, seen, moving }: StackSummary): number {
  if (incident !== "" || status === "FAILED") return 4;
  if (Object.keys(seen).length > 0) return 3;
  if (Object.keys(moving).length > 0) return 2;
  return paused ? 1 : 0;
}

/** A narrow terminal does without some. */
function columnsFor(width: number, colors: Colors): Column<StackSummary>[] {
  const left = width < 76 ? ["GOAL", pastTitle, "REASON"] : width < 100 ? ["REASON"] : [];
  return columnsOf(colors).filter(({ title }) => !left.includes(title));
}

function columnsOf(colors: Colors): Column<StackSummary>[] {
  return [
    { title: "STACK", text: ({ name }) => name, flexible: true },
    { title: "STATUS", text: ({ status }) => status, color: ({ status }) => statusColor(colors, status) },
    { title: "GOAL", text: ({ action, traversal }) => `${action} ${traversal}` },
    { title: "READY", text: ({ ready, total }) => `${ready}/${total}` },
    {
      title: "NOW",
      text: nowText,
      flexible: true,
      color: ({ seen }) => (Object.keys(seen).length > 0 ? colors.yellow : colors.cyan),
    },
    { title: pastTitle, text: pastText, color: () => colors.dim, flexible: true },
    { title: "HELD", text: heldText, color: () => colors.red, flexible: true },
    { title: "REASON", text: ({ reason }) => reason, color: () => colors.dim, flexible: true },
  ];
}

function nowText({ moving, seen }: StackSummary): string {
  return countsText({ ...seen, ...moving });
}

function pastText({ drifted, repaired }: StackSummary): string {
  return drifted + repaired === 0 ? "" : `${drifted} drifted, ${repaired} repaired`;
}

function heldText({ paused, incident }: StackSummary): string {
  return [...(incident === "" ? [] : ["incident"]), ...(paused ? ["paused"] : [])].join(", ");
}

function countsText(counts: Record<string, number>): string {
  return Object.entries(counts)
    .map(([state, count]) => `${count} ${state}`)
    .join(", ");
}

/** `12:00:01 web COMPLETE 3/3 ready, 1 drifted; last 10m: 1 drifted, 0 repaired` */
export function summaryLine(summary: StackSummary, colors: Colors, time: string): string {
  const { name, status, ready, total, reason } = summary;
  const counts = [`${ready}/${total} ready`, nowText(summary), heldText(summary)].filter(
    (text) => text !== "",
  );
  const past = pastText(summary);
  const rest = [
    ...(past === "" ? [] : [`last ${memoryText}: ${past}`]),
    ...(reason === "" ? [] : [oneLine(reason)]),
  ];
  const tail = rest.length === 0 ? "" : colors.dim(`; ${rest.join("; ")}`);
  return `${colors.dim(time)} ${colors.bold(name)} ${statusColor(colors, status)(status)} ${counts.join(", ")}${tail}`;
}
