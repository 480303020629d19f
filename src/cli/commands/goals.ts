/** Commands that set a goal and stay with it: up, delete, rollback, cancel, replace. */
import type { Reply } from "../../api/schemas.js";
import { HomeostatError } from "../../errors.js";
import type { TemplateSource } from "../../template/types.js";
import type { Context } from "../context.js";
import { exitStatus } from "../exit-status.js";
import { lookAgain, reportGoal } from "../goal-report.js";
import type { WatchedGoal } from "../goal-watch.js";
import { Pursuit } from "../pursuit.js";
import { newRequestId, Session } from "../session.js";
import { parseDuration, parseParameters } from "../settings.js";
import { suggesting } from "../stack-names.js";
import { checkStackName, looksLikeFile, nameFromFile, readTemplate } from "../template-file.js";
import { refuseUnusedFolder } from "../unused-folder.js";

export interface WaitOptions {
  timeout?: string;
  detach?: boolean;
}

export interface UpOptions extends WaitOptions {
  file?: string;
  param: string[];
  rollbackOnFailure?: boolean;
}

type Goal = Reply<"create">;
type SetGoal = (session: Session) => Promise<Goal>;

/** Attempts to create or update while others delete and create the same name. */
const upAttempts = 10;
const noticeMs = 1500;

export async function up(context: Context, given: string | undefined, options: UpOptions): Promise<number> {
  const { file } = options;
  if (file === undefined) throw missingFile(given);
  const parameters = parseParameters(options.param);
  const timeoutMs = timeoutOf(options);
  const name = checkStackName(given ?? nameFromFile(file));
  const template = await readTemplate(file);
  const rollbackOnFailure = options.rollbackOnFailure ?? false;
  const request = { name, template, parameters, options: goalOptions(timeoutMs, rollbackOnFailure) };
  const set: SetGoal = (session) => createOrUpdate(session, request);
  return pursueGoal(context, { kind: "up", name, set, timeoutMs, rollbackOnFailure, detach: options.detach });
}

export async function remove(context: Context, name: string, options: WaitOptions): Promise<number> {
  const timeoutMs = timeoutOf(options);
  const request = { name: checkStackName(name), request: newRequestId(), options: goalOptions(timeoutMs) };
  const set: SetGoal = (session) => suggesting(session, name, () => session.call("delete", request));
  return pursueGoal(context, { kind: "delete", name, set, timeoutMs, detach: options.detach });
}

export async function rollback(context: Context, name: string, options: WaitOptions): Promise<number> {
  const timeoutMs = timeoutOf(options);
  const request = { name: checkStackName(name), request: newRequestId(), options: goalOptions(timeoutMs) };
  const set: SetGoal = (session) => suggesting(session, name, () => session.call("rollback", request));
  return pursueGoal(context, { kind: "rollback", name, set, timeoutMs, detach: options.detach });
}

export async function cancel(
  context: Context,
  name: string,
  options: WaitOptions & { rollback?: boolean },
): Promise<number> {
  const timeoutMs = timeoutOf(options);
  const rolls = options.rollback ?? false;
  const request = { name: checkStackName(name), request: newRequestId(), rollback: rolls };
  const set: SetGoal = (session) => suggesting(session, name, () => session.call("cancel", request));
  return pursueGoal(context, {
    kind: rolls ? "rollback" : "cancel",
    name,
    set,
    timeoutMs,
    detach: options.detach,
  });
}

export async function replace(
  context: Context,
  name: string,
  resource: string,
  options: WaitOptions,
): Promise<number> {
  const timeoutMs = timeoutOf(options);
  const checked = checkStackName(name);
  const request = { name: checked, resource, request: newRequestId(), options: goalOptions(timeoutMs) };
  const set: SetGoal = (session) => suggesting(session, name, () => session.call("replace", request));
  return pursueGoal(context, { kind: "replace", name, set, timeoutMs, detach: options.detach });
}

interface Plan {
  kind: WatchedGoal["kind"];
  name: string;
  set: SetGoal;
  timeoutMs: number | undefined;
  rollbackOnFailure?: boolean;
  detach: boolean | undefined;
}

async function pursueGoal(context: Context, plan: Plan): Promise<number> {
  const { settings, log, interruption } = context;
  if (plan.kind !== "up") await refuseUnusedFolder(settings, plan.name);
  const session = await Session.open(settings, plan.detach ? "daemon" : "engine", log);
  try {
    if (interruption.signal.aborted) return interruption.status;
    return await setAndPursue(context, session, plan);
  } finally {
    await closeNoticeably(context, session);
  }
}

/** Calls in flight may take a while to end, of this stack or of others. */
async function closeNoticeably({ terminal }: Context, session: Session): Promise<void> {
  const notice = setTimeout(
    () => terminal.note("letting calls in flight end … (Ctrl-C twice ends at once)"),
    noticeMs,
  );
  await session.close();
  clearTimeout(notice);
}

async function setAndPursue(context: Context, session: Session, plan: Plan): Promise<number> {
  const { terminal, interruption } = context;
  const { kind, name, timeoutMs, rollbackOnFailure = false } = plan;
  const beganMs = Date.now();
  const { stack, traversal, begun } = await plan.set(session);
  if (plan.detach) return reportDetached(context, { stack, name, traversal, begun });
  const goal: WatchedGoal = { kind, traversal, rollbackOnFailure, timeoutMs, beganMs };
  const pursuit = new Pursuit({ session, terminal, interruption, stack, name, goal, begun });
  const end = await pursuit.run();
  if (end.tag === "interrupted") return leave(context, session, name);
  return reportGoal(context, session, end, { name, stack, goal, begun, lastSeen: pursuit.lastSeen });
}

function reportDetached({ terminal }: Context, goal: Goal): number {
  if (terminal.json) terminal.data(goal);
  else terminal.say(`goal ${goal.traversal} of ${goal.name} is on its way; ${lookAgain(goal.name)}`);
  return exitStatus.reached;
}

async function leave({ terminal, interruption }: Context, session: Session, name: string): Promise<number> {
  if (!session.isHosting) {
    terminal.note(`detached; the daemon goes on with ${name}. To ${lookAgain(name)}`);
    return interruption.status;
  }
  terminal.note("letting calls in flight end … (Ctrl-C again ends at once)");
  await session.close();
  terminal.note(`stopped; the next homeostat up or homeostat dev in this folder goes on with ${name}`);
  return interruption.status;
}

interface UpRequest {
  name: string;
  template: TemplateSource;
  parameters: Record<string, string>;
  options: ReturnType<typeof goalOptions>;
}

/** Others may create or delete the stack between two attempts. */
async function createOrUpdate(session: Session, given: UpRequest): Promise<Goal> {
  for (let attempt = 1; ; attempt++) {
    const request = { ...given, request: newRequestId() };
    const updated = await unless("not_found", () => session.call("update", request));
    if (updated !== undefined) return updated;
    if (attempt === upAttempts) return session.call("create", request);
    const created = await unless("conflict", () => session.call("create", request));
    if (created !== undefined) return created;
  }
}

async function unless<T>(code: HomeostatError["code"], work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof HomeostatError && error.code === code) return undefined;
    throw error;
  }
}

function goalOptions(timeoutMs: number | undefined, rollbackOnFailure = false) {
  return {
    ...(timeoutMs === undefined ? {} : { timeout_ms: timeoutMs }),
    ...(rollbackOnFailure ? { rollback_on_failure: true } : {}),
  };
}

function timeoutOf({ timeout }: WaitOptions): number | undefined {
  return timeout === undefined ? undefined : parseDuration(timeout);
}

function missingFile(name: string | undefined): HomeostatError {
  const file = name !== undefined && looksLikeFile(name) ? name : "FILE";
  return new HomeostatError(
    "invalid",
    `which template? Write: homeostat up ${name === file || name === undefined ? "" : `${name} `}-f ${file}`,
  );
}
