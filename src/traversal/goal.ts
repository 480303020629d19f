/**
 * Goals: who sets one fences off everything older in the same step (R6, R8); what it takes to get there follows.
 */
import { type StackAction, type StackEvent, statusOfState } from "../../machines/stack.js";
import { stackActor } from "../actor/actor.js";
import { HomeostatError } from "../errors.js";
import { readStored } from "../store/damage.js";
import type { BeginAnswer, ResourceRecord } from "../store/store.js";
import type { Engine } from "./engine.js";
import { emptyGoal, firstGoal, type GoalDocument, writeGoal } from "./goal-document.js";
import type { LifecycleEvent } from "./lifecycle-event.js";

export interface GoalOptions {
  rollbackOnFailure?: boolean;
  /** How long the goal may take, ms. */
  timeoutMs?: number;
}

export interface GoalRequest {
  /** Unique per request: the same id again is the same goal. */
  request: string;
  /** Stack id. */
  stack: string;
  name: string;
  kind: "create" | "update" | "rollback" | "delete" | "replace" | "observe" | "cancel" | "stop";
  goal?: GoalDocument;
  options?: GoalOptions;
  /** The traversal that the caller believes to be the current one. */
  expected?: number;
  reason?: string;
  /** Only if nothing is under way. */
  idle?: boolean;
  purpose?: GoalPurpose;
}

/** What a goal is for besides its template. */
export interface GoalPurpose {
  /** Incarnations to be replaced whether they fit or not, by id. */
  replace?: readonly string[];
  /** A replacement that came while an update was under way does what was left of it: it also mends what differs. */
  mend?: boolean;
}

/** As stored with the goal. */
export type StoredOptions = GoalOptions & GoalPurpose;

export function readOptions(record: ResourceRecord): StoredOptions {
  return JSON.parse(record.options || "{}") as StoredOptions;
}

export interface GoalSet {
  traversal: number;
  /** False when the request had been made before, or there was nothing to do. */
  begun: boolean;
}

/**
 * Fixes the goal and returns once it is durable. The caller (or the sweeper) prepares the traversal.
 *
 * @throws HomeostatError `conflict` or `not_found`.
 */
export async function setGoal(engine: Engine, request: GoalRequest): Promise<GoalSet> {
  const { store } = engine;
  const { stack, kind, name } = request;
  const template = kind === "create" ? firstGoal : `g${engine.sealing.fingerprint(request.request)}`;
  if (request.goal !== undefined) await writeGoal(engine, stack, template, request.goal);
  for (;;) {
    const record = kind === "create" ? undefined : await store.stack(stack);
    if (kind !== "create" && record === undefined) throw notFound(name);
    // Between the record and the goal: a sweeper that drops this hint has changed the record's revision.
    await store.hint(stack, request.options?.timeoutMs ?? engine.limits.beginMs);
    const traversal = Number(record?.traversal ?? 0) + 1;
    const action: StackAction =
      kind === "cancel" || kind === "stop" ? ((record?.action ?? "create") as StackAction) : kind;
    const step = readStored(store.keys.stack(stack), () =>
      stackActor.step(record?.snapshot ?? "", eventOf(request, traversal, action)),
    );
    const status = statusOfState[step.state] ?? "CONVERGING";
    const event: LifecycleEvent = {
      type: "io.homeostat.api.v1.stack",
      id: `${stack}.${traversal}.goal`,
      time: engine.clock.timestamp(),
      stack,
      stackName: name,
      traversal,
      what: status.toLowerCase(),
      action,
      ...(step.context.reason === "" ? {} : { reason: step.context.reason }),
    };
    await engine.trace.reach("before-fence", { stack });
    const answer = await store.begin({
      stack,
      request: request.request,
      kind,
      ...(request.expected === undefined ? {} : { expected: request.expected }),
      revision: record?.revision ?? "",
      snapshot: step.snapshot,
      status,
      action,
      template: request.goal === undefined ? emptyGoal : template,
      ...(request.options?.timeoutMs === undefined ? {} : { timeoutMs: request.options.timeoutMs }),
      name,
      options: JSON.stringify({ ...request.options, ...request.purpose } satisfies StoredOptions),
      event: JSON.stringify(event),
      ...(request.idle === undefined ? {} : { idle: request.idle }),
    });
    if (kind === "create" && answer.tag === "ok") await store.forgetBirth(stack, name);
    if (answer.tag === "void") await store.dropTemplate(stack, firstGoal);
    const set = await conclude(engine, request, answer);
    if (set !== undefined) return set;
  }
}

/** The id was barred before its stack came to be: its creator took too long. It needs another one. */
export class UnbornStack extends Error {}

/** Undefined: somebody else was faster; load again and decide again (R9). */
async function conclude(
  engine: Engine,
  request: GoalRequest,
  answer: BeginAnswer,
): Promise<GoalSet | undefined> {
  switch (answer.tag) {
    case "ok":
      await engine.trace.reach("after-fence", { stack: request.stack });
      return { traversal: answer.traversal, begun: true };
    case "repeated":
    case "nothing":
      return { traversal: answer.traversal, begun: false };
    case "stale":
      return undefined;
    case "busy":
      throw new HomeostatError("conflict", `something is under way in stack ${request.name}`);
    case "conflict":
      throw new HomeostatError(
        "conflict",
        `stack ${request.name} is at traversal ${answer.traversal}, not ${request.expected}`,
      );
    case "missing":
      throw notFound(request.name);
    case "exists":
      throw new HomeostatError("conflict", `there is a stack ${request.name} already`);
    case "void":
      // A stack that is gone leaves the same bar as one that never came to be.
      throw request.kind === "create" ? new UnbornStack(request.name) : notFound(request.name);
  }
}

function eventOf(request: GoalRequest, traversal: number, action: StackAction): StackEvent {
  const reason = request.reason ?? "";
  switch (request.kind) {
    case "cancel":
      return { type: "cancel", traversal, reason: reason || "cancelled" };
    case "stop":
      return { type: "stop", traversal, reason };
    default:
      return {
        type: "goal",
        traversal,
        action,
        rollbackOnFailure: request.options?.rollbackOnFailure ?? false,
        reason,
      };
  }
}

export function notFound(name: string): HomeostatError {
  return new HomeostatError("not_found", `there is no stack ${name}`);
}
