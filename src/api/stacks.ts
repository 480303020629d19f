/**
 * What people can ask for: goals and views. Requests come validated by their schema; everything else that may be wrong
 * with them is said here. Every goal is durable when its method returns; `begin` then starts it.
 */
import { createHash } from "node:crypto";
import { statusOfState } from "../../machines/stack.js";
import { stackActor } from "../actor/actor.js";
import { HomeostatError, InvalidError } from "../errors.js";
import type { Json, JsonObject } from "../json.js";
import { readStored } from "../store/damage.js";
import type { IndexEntry, ResourceRecord } from "../store/store.js";
import { checkAgainstTypes, parameterValues, parseTemplate, resolveOutputs } from "../template/template.js";
import type { ParameterValues, TemplateSource } from "../template/types.js";
import type { Engine } from "../traversal/engine.js";
import {
  type GoalOptions,
  type GoalPurpose,
  type GoalRequest,
  notFound,
  readOptions,
  setGoal,
  UnbornStack,
} from "../traversal/goal.js";
import { emptyGoal, type GoalDocument, readGoal, templateOf } from "../traversal/goal-document.js";
import { prepareTraversal } from "../traversal/prepare.js";
import { lines, readObject, toldState } from "../traversal/record.js";
import { flushOutbox } from "../traversal/settle.js";
import { pauseNote } from "./explain.js";
import { findStack, newestByName, unknownResource } from "./find-stack.js";
import { answerOrphans } from "./orphans.js";
import { resolveCall } from "./resolve.js";
import type { ParsedRequest, Reply, ResourceView, StackView } from "./schemas.js";

/** How long a name whose stack does not exist yet is left to whoever claimed it. */
const claimGraceMs = 2_000;

/** How often a create whose id was barred tries another one. */
const createAttempts = 10;

const redacted = "(hidden)";

export class Stacks {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Starts a goal that was set: computes its graph and opens it. Whoever does not call it leaves it to the sweeper. */
  async begin(goal: Reply<"create">): Promise<void> {
    await flushOutbox(this.#engine, goal.stack);
    await prepareTraversal(this.#engine, goal.stack, goal.traversal);
  }

  async create(request: ParsedRequest<"create">): Promise<Reply<"create">> {
    const { name, template, parameters, options } = request;
    const id = request.request ?? this.#engine.random.id();
    // The same request has the same ids: whoever repeats it finds its own stack.
    const ids = Array.from({ length: createAttempts }, (_, attempt) => stackId(name, id, attempt));
    for (const stack of ids) {
      const goal = this.#goal(template, parameters, { stackName: name, stackId: stack }, undefined);
      await this.#engine.store.hintBirth(stack, name);
      const standing = await this.#claimName(name, stack);
      if (standing !== undefined) await this.#engine.store.forgetBirth(stack, name);
      if (standing !== undefined && ids.includes(standing)) continue;
      if (standing !== undefined) throw new HomeostatError("conflict", `there is a stack ${name} already`);
      try {
        return await this.#set({
          request: id,
          stack,
          name,
          kind: "create",
          goal,
          options: goalOptions(options),
        });
      } catch (error) {
        if (!(error instanceof UnbornStack)) throw error;
        await this.#engine.store.moveName(name, stack, "");
      }
    }
    throw new HomeostatError("unavailable", `stack ${name} could not be created in time; try again`);
  }

  async update(request: ParsedRequest<"update">): Promise<Reply<"update">> {
    const { name, stack, record } = await findStack(this.#engine, request.name);
    const previous = await readGoal(this.#engine, stack, record.base ?? emptyGoal);
    const source = request.template ?? previous?.source;
    if (source === undefined) throw notFound(name);
    const context = { stackName: name, stackId: stack };
    const goal = this.#goal(source, request.parameters, context, previous?.parameters);
    return this.#set({ ...this.#common(request, name, stack), kind: "update", goal });
  }

  async delete(request: ParsedRequest<"delete">): Promise<Reply<"delete">> {
    const { name, stack } = await findStack(this.#engine, request.name);
    return this.#set({ ...this.#common(request, name, stack), kind: "delete" });
  }

  async rollback(request: ParsedRequest<"rollback">): Promise<Reply<"rollback">> {
    const { name, stack } = await findStack(this.#engine, request.name);
    return this.#set({ ...this.#common(request, name, stack), kind: "rollback" });
  }

  async cancel(request: ParsedRequest<"cancel">): Promise<Reply<"cancel">> {
    const { name, stack, record } = await findStack(this.#engine, request.name);
    const common = this.#common(request, name, stack);
    if (!request.rollback) return this.#set({ ...common, kind: "cancel" });
    if (record.status !== "CONVERGING" && record.status !== "IN_SERVICE") {
      return { stack, name, traversal: Number(record.traversal), begun: false };
    }
    return this.#set({ ...common, kind: "rollback" });
  }

  /** What a goal under way has left to do is done too: the new one goes to the same goal. */
  async replace(request: ParsedRequest<"replace">): Promise<Reply<"replace">> {
    const id = request.request ?? this.#engine.random.id();
    for (;;) {
      const { name, stack, record } = await findStack(this.#engine, request.name);
      const answered = await this.#engine.store.answered(stack, id);
      if (answered !== undefined) return { stack, name, traversal: answered, begun: false };
      if (record.action === "delete")
        throw new HomeostatError("conflict", `the goal of stack ${name} is that nothing is left of it`);
      const things = await this.#things(stack, name, record, request.resource);
      const goal = {
        ...this.#common({ ...request, request: id }, name, stack),
        expected: request.expected ?? Number(record.traversal),
        kind: "replace" as const,
        purpose: purposeBeside(record, things),
      };
      const left = record.unsettled === "" ? {} : optionsLeft(record);
      try {
        return await this.#set({ ...goal, options: { ...left, ...goal.options } });
      } catch (error) {
        // Another goal came between: what is to be replaced is looked up anew.
        const raced = error instanceof HomeostatError && error.code === "conflict";
        if (!raced || request.expected !== undefined) throw error;
      }
    }
  }

  /** All incarnations of a name that there are. @throws HomeostatError `not_found` or `invalid` */
  async #things(stack: string, name: string, record: ResourceRecord, resource: string): Promise<string[]> {
    const goal = await readGoal(this.#engine, stack, record.goal ?? emptyGoal);
    const known = goal === undefined ? [] : [...templateOf(goal).resources.keys()];
    if (!known.includes(resource)) throw unknownResource(name, resource, known);
    const entries = [...(await this.#engine.store.index(stack))];
    const things = entries.filter(([, entry]) => entry.name === resource && entry.physical === true);
    if (things.length > 0) return things.map(([id]) => id);
    throw new HomeostatError(
      "invalid",
      `there is no thing of ${resource} in stack ${name} yet, so there is nothing to replace`,
    );
  }

  async list({ offset, limit }: ParsedRequest<"list">): Promise<Reply<"list">> {
    const names = (await this.#engine.store.names()).sort(([a], [b]) => (a < b ? -1 : 1));
    const views = await Promise.all(names.map(([name, stack]) => this.#listed(name, stack)));
    const stacks = views.filter((view) => view !== undefined);
    return { total: stacks.length, offset, limit, stacks: stacks.slice(offset, offset + limit) };
  }

  /** One whose record cannot be used says so, and does not keep the others from being listed. */
  async #listed(name: string, stack: string): Promise<StackView | undefined> {
    try {
      const record = await this.#engine.store.stack(stack);
      return record === undefined ? undefined : await this.#view(stack, record);
    } catch (error) {
      const ownFault = error instanceof HomeostatError && ["internal", "newer_version"].includes(error.code);
      if (!ownFault) throw error;
      return unreadable(stack, name, error.message);
    }
  }

  async #view(stack: string, record: ResourceRecord): Promise<StackView> {
    return stackView(this.#engine, stack, record, await this.#engine.store.heldMissing(stack));
  }

  async show(request: ParsedRequest<"show">): Promise<Reply<"show">> {
    const { stack, record } = await findStack(this.#engine, request.name);
    const view = await this.#view(stack, record);
    if (!request.resources) return { stack: view, resources: [], outputs: {} };
    const goal = await readGoal(this.#engine, stack, record.goal ?? emptyGoal);
    const resources = await this.#resources(stack, record, goal);
    return { stack: view, resources, outputs: await this.#outputs(stack, record, goal, resources) };
  }

  resolve(request: ParsedRequest<"resolve">): Promise<Reply<"resolve">> {
    return resolveCall(this.#engine, request);
  }

  orphans(request: ParsedRequest<"orphans">): Promise<Reply<"orphans">> {
    return answerOrphans(this.#engine, request);
  }

  #common(
    request: {
      request?: string | undefined;
      expected?: number | undefined;
      options?: ParsedRequest<"update">["options"];
    },
    name: string,
    stack: string,
  ) {
    return {
      request: request.request ?? this.#engine.random.id(),
      stack,
      name,
      options: goalOptions(request.options ?? {}),
      ...(request.expected === undefined ? {} : { expected: request.expected }),
    };
  }

  async #set(request: GoalRequest): Promise<Reply<"create">> {
    const { traversal, begun } = await setGoal(this.#engine, request);
    return { stack: request.stack, name: request.name, traversal, begun };
  }

  /** @throws HomeostatError `invalid` when template or parameters cannot be used, or not be sealed. */
  #goal(
    source: TemplateSource,
    given: Record<string, unknown>,
    context: { stackName: string; stackId: string },
    previous: ParameterValues | undefined,
  ): GoalDocument {
    const template = parseTemplate(source);
    const problems = checkAgainstTypes(template, this.#engine.types);
    if (problems.length > 0) throw new InvalidError(problems);
    const parameters = parameterValues(template, given, context, previous);
    if (parameters.hidden.length > 0) this.#engine.sealing.requireKey();
    return { source, parameters };
  }

  /**
   * A name is claimed before its stack is created. A claim whose stack never came to be is taken over once it cannot
   * come to be any more. Answers the id of another stack that has the name.
   */
  async #claimName(name: string, stack: string): Promise<string | undefined> {
    const { store, clock } = this.#engine;
    const patience = clock.monotonicMs() + claimGraceMs;
    for (;;) {
      const other = await store.moveName(name, "", stack);
      if (other === undefined || (await store.stack(other)) !== undefined) return other;
      if (clock.monotonicMs() < patience) {
        await clock.sleep(50);
        continue;
      }
      if (await store.void(other)) await store.moveName(name, other, "");
    }
  }

  async #resources(
    stack: string,
    record: ResourceRecord,
    goal: GoalDocument | undefined,
  ): Promise<ResourceView[]> {
    const { store, sealing } = this.#engine;
    const index = await store.index(stack);
    const ids = [...index.keys()];
    const records = await store.resources(stack, ids, [
      "physical",
      "attributes",
      "hiddenAttributes",
      "reason",
    ]);
    const newest = newestByName(index);
    const views = ids.map((id, i): ResourceView => {
      const entry = index.get(id) as IndexEntry;
      const hidden = new Set(lines(records[i]?.hiddenAttributes));
      const attributes = readStored(store.keys.resource(stack, id), () =>
        readObject(sealing, hidden.size > 0 ? undefined : records[i]?.attributes),
      );
      const opened = hidden.size > 0 ? this.#openAttributes(records[i]?.attributes, hidden) : attributes;
      return {
        id,
        name: entry.name,
        type: entry.type,
        state: toldState(entry),
        physicalId: records[i]?.physical || null,
        attributes: opened,
        requires: [
          ...new Set((entry.requires ?? []).map((required) => index.get(required)?.name ?? required)),
        ].sort(),
        reason: records[i]?.reason ?? "",
        current: newest.get(entry.name) === id && entry.state !== "replaced",
      };
    });
    views.push(...this.#declared(record, goal, newest));
    const order = new Map(
      [...(goal === undefined ? [] : templateOf(goal).resources.keys())].map((name, i) => [name, i]),
    );
    const place = (name: string) => order.get(name) ?? order.size;
    return views.sort(
      (a, b) =>
        place(a.name) - place(b.name) || (index.get(b.id)?.sequence ?? 0) - (index.get(a.id)?.sequence ?? 0),
    );
  }

  #openAttributes(text: string | undefined, hidden: ReadonlySet<string>): JsonObject {
    try {
      const attributes = readObject(this.#engine.sealing, text);
      return Object.fromEntries(
        Object.entries(attributes).map(([name, value]) => [name, hidden.has(name) ? redacted : value]),
      );
    } catch {
      return {};
    }
  }

  /** What the goal wants and no visit has come to yet has no record. */
  #declared(
    record: ResourceRecord,
    goal: GoalDocument | undefined,
    names: ReadonlyMap<string, string>,
  ): ResourceView[] {
    if (goal === undefined || record.action === "delete") return [];
    const unmade = [...templateOf(goal).resources.values()].filter(({ name }) => !names.has(name));
    return unmade.map(({ name, type }) => ({
      id: "",
      name,
      type,
      state: "declared",
      physicalId: null,
      attributes: {},
      requires: [],
      reason: "",
      current: true,
    }));
  }

  async #outputs(
    stack: string,
    record: ResourceRecord,
    goal: GoalDocument | undefined,
    resources: readonly ResourceView[],
  ): Promise<Reply<"show">["outputs"]> {
    if (goal === undefined || record.action === "delete") return {};
    const { store, sealing } = this.#engine;
    const current = resources.filter((resource) => resource.current && resource.physicalId !== null);
    const records = await store.resources(
      stack,
      current.map((resource) => resource.id),
      ["physical", "attributes", "hiddenAttributes"],
    );
    const views = new Map(
      current.map((resource, i) => [
        resource.name,
        {
          physicalId: records[i]?.physical ?? "",
          attributes: readStored(store.keys.resource(stack, resource.id), () =>
            readObject(sealing, records[i]?.attributes),
          ),
          hiddenAttributes: lines(records[i]?.hiddenAttributes),
        },
      ]),
    );
    const outputs = resolveOutputs(templateOf(goal), goal.parameters, (name) => views.get(name));
    return Object.fromEntries(
      Object.entries(outputs).map(([name, output]) => [
        name,
        output.hidden ? { ...output, value: redacted as Json } : output,
      ]),
    ) as Reply<"show">["outputs"];
  }
}

/** `heldMissing`: how many things are missing under its open incident. */
export function stackView(
  { store }: Engine,
  stack: string,
  record: ResourceRecord,
  heldMissing = 0,
): StackView {
  const view = readStored(store.keys.stack(stack), () => viewOf(stack, record));
  return heldMissing === 0 ? view : { ...view, heldMissing };
}

function stackId(name: string, request: string, attempt: number): string {
  return createHash("sha256").update(`${name}\n${request}\n${attempt}`).digest("hex").slice(0, 20);
}

function goalOptions(options: ParsedRequest<"create">["options"]): GoalOptions {
  return {
    ...(options.rollback_on_failure === undefined ? {} : { rollbackOnFailure: options.rollback_on_failure }),
    ...(options.timeout_ms === undefined ? {} : { timeoutMs: options.timeout_ms }),
  };
}

/** Earlier replacements that have not come to an end are still wanted, and so is all that the goal under way was for. */
function purposeBeside(record: ResourceRecord, things: readonly string[]): GoalPurpose {
  const before = readOptions(record);
  const left = record.status === "COMPLETE" ? [] : (before.replace ?? []);
  const mends = record.action === "replace" ? before.mend === true : record.action !== "observe";
  return {
    replace: [...new Set([...left, ...things])],
    ...(record.unsettled !== "" && mends ? { mend: true } : {}),
  };
}

function optionsLeft(record: ResourceRecord): GoalOptions {
  const { replace: _, mend: __, ...options } = readOptions(record);
  return options;
}

function viewOf(id: string, record: ResourceRecord): StackView {
  const { state, context } = stackActor.read(record.snapshot ?? "");
  return {
    id,
    name: record.name ?? "",
    status: statusOfState[state] ?? "CONVERGING",
    action: context.action,
    // What made the observer begin is over when all is well again.
    reason:
      (state === "complete" && context.action === "observe" ? "" : context.reason) ||
      (record.why ?? "").replaceAll("\n", "; "),
    traversal: wholeNumber(record.traversal),
    updatesLeft: wholeNumber(record.updatesLeft),
    cleanupsLeft: wholeNumber(record.cleanupsLeft),
    ...(record.paused ? { paused: pauseNote(record.paused) } : {}),
    createdAt: new Date(Number(record.createdAt)).toISOString(),
    updatedAt: new Date(Number(record.updatedAt)).toISOString(),
  };
}

/** @throws RangeError for anything else: nobody who reads the reply could use it. */
function wholeNumber(text: string | undefined): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number)) throw new RangeError("not a whole number");
  return number;
}

function unreadable(id: string, name: string, reason: string): StackView {
  const never = new Date(0).toISOString();
  const unknown = { traversal: 0, updatesLeft: 0, cleanupsLeft: 0, createdAt: never, updatedAt: never };
  return { id, name, status: "FAILED", action: "observe", reason, ...unknown };
}
