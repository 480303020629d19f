/**
 * Why a resource, or a stack, is not at its goal: from what is stored to sentences. Pure; all times are in milliseconds on
 * the stack's clock.
 */
import { formatAge } from "../age.js";
import { type Limits, restMs } from "../limits.js";
import { readFights } from "../observer/fights.js";
import type { Policy } from "../observer/policy.js";
import type { IndexEntry, NodeView, View } from "../store/store.js";
import { lines } from "../traversal/record.js";
import type { VisitedResource } from "../traversal/visited-resource.js";

export const waitKinds = [
  "preparation",
  "predecessors",
  "queue",
  "worker",
  "call",
  "lease",
  "deadline",
  "backoff",
  "handover",
  "others",
  "traversal",
  "retry",
  "goal",
  "answer",
  "pause",
  "policy",
  "incident",
  "dismissed",
  "budget",
  "contested",
  "look",
] as const;

export interface Wait {
  kind: (typeof waitKinds)[number];
  /** A sentence without its full stop. */
  text: string;
  sinceMs?: number | undefined;
  untilMs?: number | undefined;
  /** Names of resources, or paths of properties. */
  on?: string[];
}

export interface StackFacts {
  view: View;
  name: string;
  status: string;
  action: string;
  reason: string;
  limits: Limits;
  /** What holds for the stack as a whole. */
  policy: Policy;
}

export interface ResourceFacts {
  stack: StackFacts;
  view: View;
  name: string;
  entry: IndexEntry | undefined;
  /** Undefined while it has no record. */
  resource: VisitedResource | undefined;
  policy: Policy;
  /** What the goal asks of this incarnation; undefined: nothing any more. */
  needs: "update" | "cleanup" | undefined;
  /** Resources that come before it and are not at their goal, as "NAME (STATE)". */
  blockers: readonly string[];
  nameOf: (id: string) => string;
  nextLookMs: number | undefined;
}

export interface Explanation {
  atGoal: boolean;
  state: string;
  sinceMs: number | undefined;
  reason: string;
  /** Failures in a row. */
  failures: number;
  lastCall:
    | { operation: string; beganMs: number; inFlight: boolean; deadlineMs: number | undefined }
    | undefined;
  waits: Wait[];
  text: string;
}

/** What is stored where nobody said why. */
export const pausedWithoutReason = "paused";

/** Why a stack is paused; empty when nobody said, also where there is only a time. */
export function pauseNote(paused: string): string {
  return paused === pausedWithoutReason || /^\d*$/.test(paused) ? "" : paused;
}

const seenStates: ReadonlySet<string> = new Set(["drifted", "missing", "contested", "unreadable"]);

export function explainResource(facts: ResourceFacts): Explanation {
  const { resource, view, name } = facts;
  const state = resource?.toldState ?? "declared";
  const field = (key: string) => resource?.field(key) ?? "";
  const sinceMs = time(field("differsAt")) ?? time(field("since")) ?? time(facts.stack.view.stack.updatedAt);
  const atGoal = isAtGoal(facts);
  const failures = resource?.context.failures ?? 0;
  const reason = atGoal ? "" : field("reason");
  const lastCall = lastCallOf(facts);
  const waits = atGoal ? [] : waitsOf(facts);
  const sentences = [
    `${name} is ${state}${atGoal ? " and at its goal" : ""}${forAge(view.nowMs, sinceMs)}${reason === "" ? "" : `: ${reason}`}`,
    ...triedOf(facts, lastCall, failures),
    ...waits.map(({ text }) => text),
    ...(atGoal ? looksOf(facts) : []),
  ];
  return { atGoal, state, sinceMs, reason, failures, lastCall, waits, text: prose(sentences) };
}

function isAtGoal({ needs, resource }: ResourceFacts): boolean {
  if (needs !== undefined || resource === undefined) return false;
  return resource.state === "ready" && !resource.context.dirty && resource.field("intent") === "";
}

function lastCallOf({ resource, view }: ResourceFacts): Explanation["lastCall"] {
  const operation = resource?.field("called") ?? "";
  const beganMs = time(resource?.field("calledAt"));
  if (resource === undefined || operation === "" || beganMs === undefined) return undefined;
  const finding = operation === "find" && resource.state === "uncertain" && isHeld(resource, view.nowMs);
  const inFlight = resource.field("intent") === operation || finding;
  return {
    operation,
    beganMs,
    inFlight,
    deadlineMs: inFlight ? time(resource.field("deadline")) : undefined,
  };
}

function triedOf(
  { view, stack, resource }: ResourceFacts,
  call: Explanation["lastCall"],
  failures: number,
): string[] {
  if (call === undefined || call.inFlight) return [];
  const { attempts } = stack.limits;
  const most = resource?.state === "retrying" ? ` of at most ${attempts}` : "";
  const count = failures === 0 ? "" : `; ${failures}${most} in a row failed`;
  return [`its last call was ${call.operation}, begun ${ago(view.nowMs, call.beganMs)}${count}`];
}

function looksOf({ resource, view, nextLookMs, policy }: ResourceFacts): string[] {
  const lookedMs = time(resource?.field("observedAt"));
  const last =
    lookedMs === undefined ? "it was not looked at since" : `last looked at ${ago(view.nowMs, lookedMs)}`;
  if (policy.mode === "ignore") return ["the policy ignores it: it is not looked at"];
  return [nextLookMs === undefined ? last : `${last}, next ${soon(view.nowMs, nextLookMs)}`];
}

function isHeld(resource: VisitedResource, nowMs: number): boolean {
  return resource.field("holder") !== "" && Number(resource.field("until") || 0) > nowMs;
}

/** The first is what it waits for now, what follows is what comes then. */
function waitsOf(facts: ResourceFacts): Wait[] {
  const busy = busyWaits(facts);
  if (busy !== undefined) return busy;
  const moving = (facts.stack.view.stack.unsettled ?? "") !== "";
  return moving ? traversalWaits(facts) : restWaits(facts);
}

/** Somebody acts on it, or did and is not heard of. */
function busyWaits({ resource, view }: ResourceFacts): Wait[] | undefined {
  if (resource === undefined) return undefined;
  const { nowMs, operationAtMs } = view;
  const field = (key: string) => resource.field(key);
  const held = isHeld(resource, nowMs);
  const untilMs = time(field("until"));
  const deadlineMs = time(field("deadline"));
  const intent = field("intent") || (held && resource.state === "uncertain" ? "find" : "");
  const beganMs = time(field("calledAt"));
  const [traversal = "", node = ""] = field("at").split("|");
  const whose =
    node === "" && resource.context.repairing
      ? "a repair"
      : Number(traversal) < Number(view.stack.traversal) && node !== ""
        ? "a visit of an earlier goal"
        : "a visit";
  if (held && intent !== "") {
    const limit =
      deadlineMs === undefined || deadlineMs <= nowMs
        ? ""
        : `; it has until ${soon(nowMs, deadlineMs)}, and longer if its worker renews its lease`;
    const text = `${whose} has called ${intent}${beganMs === undefined ? "" : ` ${ago(nowMs, beganMs)}`} and waits for the outcome${limit}`;
    return [{ kind: "call", sinceMs: beganMs, untilMs: deadlineMs, text }];
  }
  if (held)
    return [
      {
        kind: "lease",
        untilMs,
        text: `${whose} (${field("holder")}) holds it; its lease ends ${soon(nowMs, untilMs)}`,
      },
    ];
  if (field("handed") !== "")
    return [
      {
        kind: "handover",
        untilMs: operationAtMs,
        text: `a worker that had lost its lease handed over what it made, or a person said what became of its call; a visit takes it up${at(nowMs, operationAtMs)}`,
      },
    ];
  if (field("waiting") === "1" && deadlineMs !== undefined && deadlineMs > nowMs)
    return [
      {
        kind: "deadline",
        untilMs: deadlineMs,
        text: `its ${intent || "last"} call was interrupted and may still take effect until its deadline, ${soon(nowMs, deadlineMs)}; then it is looked what came of it`,
      },
    ];
  if (intent !== "") {
    const text = `whoever called ${intent} is not heard of: the lease ran out ${ago(nowMs, untilMs ?? nowMs)}; a successor is rung for${at(nowMs, operationAtMs)}`;
    return [{ kind: "lease", sinceMs: untilMs, untilMs: operationAtMs, text }];
  }
  return undefined;
}

function traversalWaits(facts: ResourceFacts): Wait[] {
  const { view, stack, needs, entry } = facts;
  const { nowMs } = view;
  const record = stack.view.stack;
  if ((record.open ?? "") === "") {
    const sinceMs = time(record.updatedAt);
    const untilMs = time(record.beginAt);
    const text = `its goal was set ${ago(nowMs, sinceMs ?? nowMs)}, and the graph of what to do is being computed; somebody else does it${at(nowMs, untilMs)} if that does not end`;
    return [{ kind: "preparation", sinceMs, untilMs, text }];
  }
  const update = view.nodes.find(({ node }) => node.startsWith("u:"));
  const cleanup = view.nodes.find(({ node }) => node.startsWith("k:"));
  const open = [needs === "cleanup" ? undefined : update, cleanup].find((node) => node?.done === false);
  if (open === undefined) {
    const sinceMs = time(record.updatedAt);
    if (entry === undefined || !seenStates.has(entry.state))
      return [
        {
          kind: "traversal",
          sinceMs,
          text: "the traversal that is under way has nothing more to do with it",
        },
      ];
    const gate = gateWait(facts);
    if (gate !== undefined) return [gate];
    return [
      {
        kind: "traversal",
        sinceMs,
        text: "nothing is repaired while a traversal is under way; it is looked at again when that is over",
      },
    ];
  }
  if (open.failed) return [othersWait(facts)];
  return [nodeWait(facts, open)];
}

function othersWait({ stack, view }: ResourceFacts): Wait {
  const left = Number(view.stack.updatesLeft ?? 0) + Number(view.stack.cleanupsLeft ?? 0);
  const then = stack.view.stack.options?.includes('"rollbackOnFailure":true') ? "rolls back" : "is FAILED";
  return {
    kind: "others",
    text: `it has failed for this goal; the stack ${then} when nothing else of it can move (${left} steps are not done)`,
  };
}

function nodeWait(facts: ResourceFacts, node: NodeView): Wait {
  const { resource, view, stack, nameOf } = facts;
  const { nowMs } = view;
  const { ringAtMs, place, predecessors, arrived, missing } = node;
  const step = node.node.startsWith("u:") ? "update" : "cleanup";
  const deadlineMs = time(resource?.field("deadline"));
  if (ringAtMs !== undefined) {
    if (deadlineMs !== undefined && deadlineMs > nowMs)
      return {
        kind: "deadline",
        untilMs: deadlineMs,
        text: `its last call was interrupted and may still take effect until its deadline, ${soon(nowMs, deadlineMs)}; its ${step} goes on after that`,
      };
    const failures = resource?.context.failures ?? 0;
    if (failures > 0)
      return {
        kind: "backoff",
        untilMs: ringAtMs,
        text: `it is tried again ${soon(nowMs, ringAtMs)}, as attempt ${failures + 1} of ${stack.limits.attempts}`,
      };
    return {
      kind: "worker",
      untilMs: ringAtMs,
      text: `its ${step} is ready for a worker of the pool ${node.pool}; if none comes it is rung for again ${soon(nowMs, ringAtMs)}`,
    };
  }
  if (place !== undefined)
    return {
      kind: "queue",
      text: `its ${step} is ready and number ${place} of those that wait for room: ${stack.limits.windowNodes} of a stack are worked on at once`,
    };
  const left = predecessors - arrived;
  const names = missing.length > 0 ? missing.map((id) => predecessorName(id, nameOf)) : [...facts.blockers];
  const on = [...new Set(names)].slice(0, Math.max(left, 1));
  const rest = left > on.length ? ` and ${left - on.length} more` : "";
  return {
    kind: "predecessors",
    on,
    text: `its ${step} waits for ${on.length === 0 ? `${left} others` : `${on.join(", ")}${rest}`} to come first`,
  };
}

function predecessorName(node: string, nameOf: (id: string) => string): string {
  return node.startsWith("u:") ? node.slice(2) : nameOf(node.slice(2));
}

/** No traversal is under way. */
function restWaits(facts: ResourceFacts): Wait[] {
  const { stack, resource, needs, blockers } = facts;
  if (stack.status === "CANCELLED")
    return [
      {
        kind: "goal",
        sinceMs: time(stack.view.stack.updatedAt),
        text: "the goal was cancelled; nothing more is done until a new one is set",
      },
    ];
  if (resource !== undefined && needs !== "cleanup" && seenStates.has(resource.state))
    return driftWaits(facts, resource);
  const waits: Wait[] = [];
  if (resource?.state === "uncertain")
    waits.push({
      kind: "answer",
      sinceMs: time(resource.field("since")),
      text: `only a person can tell what became of its last call: look whether it made a thing, and say so with "homeostat resolve ${stack.name} ${facts.name}" and --made ID or --not-made`,
    });
  if (needs !== undefined && blockers.length > 0)
    waits.push({
      kind: "predecessors",
      on: [...blockers],
      text: `its turn comes after ${blockers.join(", ")}`,
    });
  return [...waits, ...(stack.status === "FAILED" ? [retryWait(stack)] : wishWaits(facts))];
}

/** What is not in line though the stack is COMPLETE. */
function wishWaits(facts: ResourceFacts): Wait[] {
  const { view, stack, nextLookMs } = facts;
  const paused = pauseWait(stack);
  if (paused !== undefined) return [paused];
  const wishedMs = time(stack.view.stack.wish);
  if (wishedMs !== undefined) return [wishWait(view.nowMs, wishedMs)];
  if (nextLookMs === undefined)
    return [{ kind: "goal", text: "nothing is done about it until a new goal is set" }];
  return [{ kind: "look", untilMs: nextLookMs, text: `it is looked at ${soon(view.nowMs, nextLookMs)}` }];
}

function wishWait(nowMs: number, sinceMs: number): Wait {
  return {
    kind: "traversal",
    sinceMs,
    text: `a traversal that mends it was asked for ${ago(nowMs, sinceMs)}, and begins as soon as nothing is under way`,
  };
}

/** What keeps drift from being mended whatever else there is. */
function gateWait({ stack, policy }: ResourceFacts): Wait | undefined {
  if (policy.mode === "repair") return pauseWait(stack);
  return (
    pauseWait(stack) ?? { kind: "policy", text: `the policy says ${policy.mode}: it is told and not mended` }
  );
}

function driftWaits(facts: ResourceFacts, resource: VisitedResource): Wait[] {
  const { view, stack, policy, nextLookMs } = facts;
  const { nowMs, incident, verdict, lostSinceMs } = view;
  const look: Wait = {
    kind: "look",
    untilMs: nextLookMs,
    text: `it is looked at again${at(nowMs, nextLookMs)}`,
  };
  if (resource.isUnreadable || resource.state === "unreadable") return [look];
  const gate = gateWait(facts);
  if (gate !== undefined) return [gate];
  if (resource.state === "contested") return [contestedWait(resource, policy, nowMs), look];
  if (resource.state === "missing" && verdict === "dismissed")
    return [
      {
        kind: "dismissed",
        sinceMs: lostSinceMs,
        text: "its loss was dismissed by a person: it is not made again until it was seen to be there, or a goal makes it",
      },
    ];
  if (resource.state === "missing" && incident !== undefined && verdict === "") return [incidentWait(view)];
  const wishedMs = time(stack.view.stack.wish);
  if (wishedMs !== undefined) return [wishWait(nowMs, wishedMs)];
  const { why, untilMs } = lastAnswer(resource);
  if (why === "budget" && untilMs !== undefined)
    return [
      {
        kind: "budget",
        untilMs,
        text: `the budget for repairs is used up; the next one is allowed ${untilMs > nowMs ? soon(nowMs, untilMs) : "now"}, and it is looked at${at(nowMs, nextLookMs)}`,
      },
    ];
  if (stack.status === "FAILED" && resource.context.spoiled) return [retryWait(stack)];
  const { failures } = resource.context;
  const kind = failures > 0 ? "backoff" : "look";
  const what =
    failures > 0 ? "its repair is tried again" : "it is looked at again, and repaired if it still differs,";
  return [{ kind, untilMs: nextLookMs, text: `${what}${at(nowMs, nextLookMs)}` }];
}

/** Why the last look did not mend it (observe.lua). */
function lastAnswer(resource: VisitedResource): { why: string; untilMs: number | undefined } {
  const text = resource.field("looked");
  if (text === "") return { why: "", untilMs: undefined };
  const [, , why = "", ms = "", atMs] = JSON.parse(text) as [string, string, string, string, number?];
  return { why, untilMs: ms === "" || atMs === undefined ? undefined : Number(atMs) + Number(ms) };
}

function contestedWait(resource: VisitedResource, policy: Policy, nowMs: number): Wait {
  const fights = readFights({ fights: resource.field("fights"), appliedAt: resource.field("appliedAt") });
  const on = lines(resource.field("drift"));
  const seen = fights.filter(({ path }) => on.includes(path)).map((fight) => fight.seen);
  const untilMs = seen.length === 0 ? undefined : Math.max(...seen) + policy.fight.withinMs;
  return {
    kind: "contested",
    on,
    untilMs,
    text: `something else keeps changing ${on.join(", ")}: what was repaired ${policy.fight.repairs} times within ${formatAge(policy.fight.withinMs)} is left alone until it was quiet for as long${untilMs === undefined ? "" : `, ${soon(nowMs, untilMs)} at the earliest`}`,
  };
}

function incidentWait({ nowMs, incident }: View): Wait {
  const { id = "", openedAtMs = nowMs, lost = 0 } = incident ?? {};
  return {
    kind: "incident",
    sinceMs: openedAtMs,
    text: `${lost === 1 ? "1 thing is missing" : `${lost} things are missing at once`}; this incident (${id}) has been held for ${formatAge(nowMs - openedAtMs)}, and nothing is made again until a person approves or dismisses it`,
  };
}

function pauseWait({ view }: StackFacts): Wait | undefined {
  const paused = view.stack.paused ?? "";
  if (paused === "") return undefined;
  const sinceMs = time(view.stack.pausedAt);
  const note = pauseNote(paused);
  return {
    kind: "pause",
    sinceMs,
    text: `the stack has been paused${forAge(view.nowMs, sinceMs)}${note === "" ? "" : ` (${note})`}: nothing is mended until it is resumed`,
  };
}

/** A stack that FAILED. */
function retryWait(stack: StackFacts): Wait {
  const { view, limits, policy } = stack;
  const record = view.stack;
  const paused = pauseWait(stack);
  if (paused !== undefined) return paused;
  const sinceMs = time(record.updatedAt);
  if (!policy.retry || policy.mode !== "repair") {
    const why = policy.retry ? `says ${policy.mode}` : "says retry: false";
    return {
      kind: "goal",
      sinceMs,
      text: `the goal is not tried again, because the policy ${why}; set one anew`,
    };
  }
  const count = Number(record.retries ?? 0) + 1;
  const untilMs = (record.wish ?? "") !== "" ? view.nowMs : (sinceMs ?? 0) + restMs(limits, record.retries);
  return {
    kind: "retry",
    sinceMs,
    untilMs,
    text: `the goal is tried again ${soon(view.nowMs, untilMs)}, for the ${ordinal(count)} time`,
  };
}

export interface StackExplanation {
  atGoal: boolean;
  sinceMs: number | undefined;
  waits: Wait[];
  text: string;
}

export function explainStack(stack: StackFacts, total: number, notAtGoal: number): StackExplanation {
  const { view, status, action, name, reason } = stack;
  const record = view.stack;
  const sinceMs = time(record.updatedAt);
  const atGoal = status === "COMPLETE" && notAtGoal === 0;
  const waits = stackWaits(stack, notAtGoal);
  const told = atGoal || reason === "" || status === "COMPLETE" ? "" : `: ${reason}`;
  const sentences = [
    `${name} is ${status}${atGoal ? " and at its goal" : ""} (${action} ${record.traversal})${forAge(view.nowMs, sinceMs)}${told}`,
    ...(total === 0 ? [] : [`${total - notAtGoal} of ${total} resources are at their goal`]),
    ...waits.map(({ text }) => text),
  ];
  return { atGoal, sinceMs, waits, text: prose(sentences) };
}

function stackWaits(stack: StackFacts, notAtGoal: number): Wait[] {
  const { view, status } = stack;
  const record = view.stack;
  const { nowMs, incident } = view;
  const waits: Wait[] = [];
  if ((record.unsettled ?? "") !== "") {
    const left = Number(record.updatesLeft ?? 0) + Number(record.cleanupsLeft ?? 0);
    const sinceMs = time(record.updatedAt);
    if ((record.open ?? "") === "")
      waits.push({
        kind: "preparation",
        sinceMs,
        untilMs: time(record.beginAt),
        text: "the graph of what to do is being computed",
      });
    else waits.push({ kind: "traversal", sinceMs, text: `${left} steps of its traversal are not done` });
    const timeoutMs = time(record.timeoutAt);
    if (timeoutMs !== undefined)
      waits.push({
        kind: "deadline",
        untilMs: timeoutMs,
        text: `the goal's time is over ${soon(nowMs, timeoutMs)}`,
      });
  } else if (status === "FAILED") waits.push(retryWait(stack));
  else if (status === "CANCELLED" && notAtGoal > 0)
    waits.push({
      kind: "goal",
      sinceMs: time(record.updatedAt),
      text: "the goal was cancelled; nothing more is done until a new one is set",
    });
  const paused = pauseWait(stack);
  if (paused !== undefined && !waits.some(({ kind }) => kind === "pause")) waits.push(paused);
  if (incident !== undefined) waits.push(incidentWait(view));
  return waits;
}

/** The first begins with a name. */
function prose([first = "", ...others]: readonly string[]): string {
  const sentences = [first, ...others.map((text) => `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`)];
  return sentences.map((text) => `${text.replace(/[.\s]+$/, "")}.`).join(" ");
}

/** Undefined for a field that is absent or empty. */
function time(text: string | undefined): number | undefined {
  return text === undefined || text === "" || text === "0" ? undefined : Number(text);
}

function forAge(nowMs: number, sinceMs: number | undefined): string {
  return sinceMs === undefined ? "" : ` for ${formatAge(nowMs - sinceMs)}`;
}

function ago(nowMs: number, ms: number): string {
  return `${formatAge(nowMs - ms)} ago`;
}

function soon(nowMs: number, ms: number | undefined): string {
  if (ms === undefined) return "at a time that is not known";
  return ms > nowMs ? `in ${formatAge(ms - nowMs)}` : "at once";
}

function at(nowMs: number, ms: number | undefined): string {
  return ms === undefined ? "" : ` ${soon(nowMs, ms)}`;
}

function ordinal(count: number): string {
  const endings = ["th", "st", "nd", "rd"];
  const last = count % 100 > 10 && count % 100 < 14 ? 0 : count % 10;
  return `${count}${endings[last] ?? "th"}`;
}
