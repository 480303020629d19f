/**
 * How people act on observation: looks, pauses, incidents, policies, and what there is to watch. A reply comes when what
 * was said is durable; the looks that follow from it are hinted after that, a bounded number at once. Hints that a crash
 * cut short cost time only: every thing has its schedule.
 */
import { resourceActor } from "../actor/actor.js";
import { HomeostatError, messageOf } from "../errors.js";
import type { Json } from "../json.js";
import { isPutOff, policyOf } from "../observer/look.js";
import { type Policy, parsePolicyDocument } from "../observer/policy.js";
import { readStored } from "../store/damage.js";
import { stackPool } from "../store/hints.js";
import type { IndexEntry, ResourceRecord } from "../store/store.js";
import { bindDefinition, templatePolicy } from "../template/template.js";
import type { Engine } from "../traversal/engine.js";
import { notFound } from "../traversal/goal.js";
import { emptyGoal, type GoalDocument, readGoal, templateOf } from "../traversal/goal-document.js";
import { type LifecycleEvent, toOutbox } from "../traversal/lifecycle-event.js";
import { lines, toldState } from "../traversal/record.js";
import { flushOutbox } from "../traversal/settle.js";
import { pausedWithoutReason } from "./explain.js";
import { type FoundStack, findStack, newestByName, unknownResource } from "./find-stack.js";
import type { ParsedRequest, Reply } from "./schemas.js";

/** Records that are read, and hints that are written, at once. */
const atOnce = 256;
/** Missing things that an incident names. */
const namedMissing = 100;

type Entries = readonly (readonly [id: string, entry: IndexEntry])[];
type Seen = Reply<"observe">["seen"][number];
type Effective = Reply<"policy">["effective"][string];

export class Observation {
  readonly #engine: Engine;
  readonly #hints = new Set<Promise<void>>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Resolves when all that is to be looked at is hinted for. */
  async hinted(): Promise<void> {
    await Promise.all(this.#hints);
  }

  async observe(request: ParsedRequest<"observe">): Promise<Reply<"observe">> {
    const found = await this.#find(request.name);
    const { stack, name } = found;
    const entries = await this.#standing(stack, name, request.resource);
    if (request.asked !== undefined) {
      return {
        stack,
        name,
        askedAt: request.asked,
        ...(await this.#seen(found, entries, request.asked)),
      };
    }
    const asked = await this.#engine.store.attend(stack, "askedAt", "now");
    if (asked.tag !== "ok") throw notFound(name);
    const things = entries.filter(([, entry]) => entry.physical === true);
    this.#hintSoon(stack, things);
    return { stack, name, askedAt: asked.atMs, resources: things.length, waiting: things.length, seen: [] };
  }

  async pause({ name, reason }: ParsedRequest<"pause">): Promise<Reply<"pause">> {
    const paused = reason === "" ? pausedWithoutReason : reason;
    const found = await this.#sayPaused(name, paused, { what: "paused", reason });
    return { stack: found.stack, name: found.name, paused };
  }

  async resume({ name: given }: ParsedRequest<"resume">): Promise<Reply<"resume">> {
    const found = await this.#sayPaused(given, "", { what: "resumed", reason: "" });
    const { stack, name } = found;
    const entries = [...(await this.#engine.store.index(stack))];
    this.#hintSoon(
      stack,
      entries.filter(([, entry]) => entry.state !== "ready"),
      { withStack: true },
    );
    return { stack, name, paused: "" };
  }

  async incidents(request: ParsedRequest<"incidents">): Promise<Reply<"incidents">> {
    const { store } = this.#engine;
    const stacks =
      request.name === undefined
        ? sortedNames(await store.names())
        : [namedPair(await this.#find(request.name))];
    const found: Reply<"incidents">["incidents"] = [];
    for (const some of chunks(stacks)) {
      found.push(...(await Promise.all(some.map(([name, stack]) => this.#incidentOf(name, stack)))).flat());
    }
    return { incidents: found };
  }

  async #incidentOf(name: string, stack: string): Promise<Reply<"incidents">["incidents"]> {
    const { store } = this.#engine;
    const incident = await store.incident(stack);
    if (incident === undefined) return [];
    const ids = incident.lost.slice(0, namedMissing).map(([id]) => id);
    const records = await store.resources(stack, ids, []);
    return [
      {
        stack,
        name,
        id: incident.id,
        since: new Date(incident.openedAtMs).toISOString(),
        missing: incident.lost.length,
        resources: records.map((record, i) => record?.name ?? ids[i] ?? ""),
      },
    ];
  }

  async answer(
    request: ParsedRequest<"approve">,
    verdict: "approved" | "dismissed",
  ): Promise<Reply<"approve">> {
    const { store } = this.#engine;
    for (;;) {
      const found = await this.#find(request.name);
      const { stack, name, record } = found;
      const incident = request.incident ?? (await store.incident(stack))?.id;
      if (incident === undefined) throw new HomeostatError("not_found", `stack ${name} has no open incident`);
      const event = this.#event(found, `incident.${incident}.${verdict}`, `incident-${verdict}`, "");
      await store.hint(stack, this.#engine.limits.graceMs);
      const answer = await store.answerIncident(stack, incident, verdict, {
        event: toOutbox(event),
        revision: record.revision ?? "",
      });
      if (answer.tag === "stale") continue;
      if (answer.tag === "missing") {
        throw new HomeostatError("not_found", `stack ${name} has no open incident ${incident}`);
      }
      if (answer.tag === "answered") {
        throw new HomeostatError(
          "conflict",
          `incident ${incident} of stack ${name} was ${answer.verdict} before`,
        );
      }
      await flushOutbox(this.#engine, stack);
      const ids = new Set(answer.resources);
      const entries = [...(await store.index(stack))];
      this.#hintSoon(
        stack,
        entries.filter(([id]) => ids.has(id)),
      );
      return { stack, name, incident, resources: ids.size };
    }
  }

  async policy({ name: given, document }: ParsedRequest<"policy">): Promise<Reply<"policy">> {
    const { store } = this.#engine;
    let found = await this.#find(given);
    const { stack, name } = found;
    const index = await store.index(stack);
    const goal = await readGoal(this.#engine, stack, found.record.goal ?? emptyGoal);
    if (document !== undefined) {
      const text = document === null ? "" : JSON.stringify(checkedPolicy(document, goal, index));
      const set = await store.attend(stack, "policy", text);
      if (set.tag === "missing") throw notFound(name);
      this.#hintSoon(stack, [...index], { withStack: true });
      found = await this.#find(stack);
    }
    return { stack, name, ...(await this.#policies(found, goal, index)) };
  }

  async #policies(
    { stack, record }: FoundStack,
    goal: GoalDocument | undefined,
    index: ReadonlyMap<string, IndexEntry>,
  ) {
    const effective: [string, Effective][] = [];
    const wanted = goal === undefined ? [] : [...templateOf(goal).resources.values()];
    const document = goal === undefined ? {} : templatePolicy(goal.parameters);
    const made = newestByName(index);
    for (const some of chunks(wanted)) {
      const ids = some.map(({ name }) => made.get(name) ?? "");
      const records = await this.#engine.store.resources(stack, ids, ["type", "policy", "properties"]);
      for (const [i, definition] of some.entries()) {
        // What is not brought to its goal yet is looked at under the policy that it was made under.
        const { policy } = goal === undefined ? {} : bindDefinition(definition, goal.parameters, document);
        const own = records[i]?.properties
          ? records[i]
          : { ...definition, policy: JSON.stringify(policy ?? {}) };
        const holds = readStored(this.#engine.store.keys.stack(stack), () => policyOf(record, own));
        effective.push([definition.name, effectiveOf(holds)]);
      }
    }
    return {
      template: document as unknown as Json,
      runtime: (record.policy ? JSON.parse(record.policy) : null) as Json,
      effective: Object.fromEntries(effective),
    };
  }

  /** Stacks are gone through one after the other, so that no more than one index is held at a time. */
  async watched(request: ParsedRequest<"watched">): Promise<Reply<"watched">> {
    const { type, pool, offset, limit } = request;
    const { store } = this.#engine;
    const found: Reply<"watched">["watched"] = [];
    let total = 0;
    for (const [stackName, stack] of sortedNames(await store.names())) {
      const things = [...(await store.index(stack))].filter(
        ([, entry]) =>
          entry.physical === true &&
          (type === undefined || entry.type === type) &&
          (pool === undefined || poolOf(entry) === pool),
      );
      const from = Math.max(0, offset - total);
      const to = Math.max(from, offset + limit - total);
      total += things.length;
      if (from >= things.length || to === from) continue;
      const page = things.sort(([a], [b]) => (a < b ? -1 : 1)).slice(from, to);
      const records = await this.#records(stack, page, ["physical"]);
      for (const [i, [id, entry]] of page.entries()) {
        const physicalId = records[i]?.physical ?? "";
        if (physicalId === "") continue;
        found.push({
          type: entry.type,
          physical_id: physicalId,
          pool: poolOf(entry),
          stack,
          stack_name: stackName,
          resource: id,
          name: entry.name,
        });
      }
    }
    return { total, offset, limit, watched: found };
  }

  #find(name: string): Promise<FoundStack> {
    return findStack(this.#engine, name);
  }

  /** Tells of it unless it had been said before. @throws HomeostatError `not_found` */
  async #sayPaused(
    given: string,
    paused: string,
    { what, reason }: { what: string; reason: string },
  ): Promise<FoundStack> {
    const { store, limits, random } = this.#engine;
    const id = `${what}.${random.id()}`;
    for (;;) {
      const found = await this.#find(given);
      const { stack, record } = found;
      await store.hint(stack, limits.graceMs);
      const event = toOutbox(this.#event(found, id, what, reason));
      const { tag } = await store.attend(stack, "paused", paused, { event, revision: record.revision ?? "" });
      if (tag === "missing") throw notFound(given);
      if (tag === "stale") continue;
      await flushOutbox(this.#engine, stack);
      return found;
    }
  }

  #event({ stack, name, record }: FoundStack, id: string, what: string, reason: string): LifecycleEvent {
    return {
      type: "io.homeostat.api.v1.stack",
      id: `${stack}.${id}`,
      time: this.#engine.clock.timestamp(),
      stack,
      stackName: name,
      traversal: Number(record.traversal),
      what,
      ...(reason === "" ? {} : { reason }),
    };
  }

  /** The newest incarnation of every name, or of one, that is not on its way out. @throws HomeostatError `not_found` */
  async #standing(stack: string, name: string, resource: string | undefined): Promise<Entries> {
    const index = await this.#engine.store.index(stack);
    const standing = [...newestByName(index)].flatMap(([each, id]): Entries => {
      const entry = index.get(id);
      if (entry === undefined || (resource !== undefined && each !== resource)) return [];
      return entry.doomed === true || entry.state === "deleting" || entry.state === "deleted"
        ? []
        : [[id, entry]];
    });
    if (resource === undefined || standing.length > 0) return standing;
    throw unknownResource(name, resource, [...newestByName(index).keys()]);
  }

  /** The stack is read before and after its things: a traversal that came between may have changed any of them. */
  async #seen(found: FoundStack, entries: Entries, askedAtMs: number) {
    const { store } = this.#engine;
    const records = await this.#records(found.stack, entries, lookFields);
    const after = await store.stack(found.stack);
    const stood = after !== undefined && after.traversal === found.record.traversal;
    const isMoving = !stood || hasWork(found.record) || hasWork(after);
    const seen: Seen[] = [];
    let [resources, waiting] = [0, 0];
    for (const [i, [id, { name, type }]] of entries.entries()) {
      const record = records[i] ?? {};
      const finding = readStored(store.keys.resource(found.stack, id), () =>
        findingOf(record, isMoving, askedAtMs),
      );
      if (finding === undefined) continue;
      resources += 1;
      if (finding === "waiting") {
        waiting += 1;
        continue;
      }
      const isWell = finding === "inLine" || finding === "repaired";
      seen.push({
        id,
        name,
        type,
        finding,
        paths: lines(record.drift),
        reason: isWell ? "" : (record.reason ?? ""),
      });
    }
    return { resources, waiting, seen };
  }

  async #records(stack: string, entries: Entries, fields: readonly string[]) {
    const records: (ResourceRecord | undefined)[] = [];
    for (const some of chunks(entries)) {
      const ids = some.map(([id]) => id);
      records.push(...(await this.#engine.store.resources(stack, ids, fields)));
    }
    return records;
  }

  #hintSoon(stack: string, entries: Entries, { withStack = false } = {}): void {
    const hints = this.#hint(stack, entries, withStack).catch((error: unknown) =>
      this.#engine.log.warn(
        { stack, error: messageOf(error) },
        "could not hint for looks; the schedule brings them",
      ),
    );
    this.#hints.add(hints);
    void hints.finally(() => this.#hints.delete(hints));
  }

  async #hint(stack: string, entries: Entries, withStack: boolean): Promise<void> {
    const { store } = this.#engine;
    if (withStack) await store.watch(stackPool, { stack }, 0);
    for (const some of chunks(entries.filter(([, { physical }]) => physical === true))) {
      const records = await this.#records(stack, some, ["physical"]);
      await Promise.all(
        some.map(([id, entry], i) => {
          const physicalId = records[i]?.physical ?? "";
          if (physicalId === "") return undefined;
          return store.watch(poolOf(entry), { stack, resource: { id, type: entry.type, physicalId } }, 0);
        }),
      );
    }
  }
}

/** The states in which a thing is looked at; in others it is for a goal to go on. */
const findings: Readonly<Record<string, Seen["finding"]>> = {
  ready: "inLine",
  drifted: "drifted",
  missing: "missing",
  contested: "contested",
  unreadable: "unreadable",
};

const lookFields = ["snapshot", "unreadable", "observedAt", "appliedAt", "drift", "reason", "looked"];

/** A traversal is under way, or will be. */
function hasWork({ unsettled, wish }: ResourceRecord): boolean {
  return (unsettled ?? "") !== "" || (wish ?? "") !== "";
}

/** Undefined: there is no thing, and none is on its way. */
function findingOf(
  { snapshot, unreadable, observedAt, appliedAt, looked }: ResourceRecord,
  isMoving: boolean,
  askedAtMs: number,
): Seen["finding"] | "waiting" | undefined {
  const { state, context } = resourceActor.read(snapshot ?? "");
  if (!context.physical) return isMoving ? "waiting" : undefined;
  if (state === "updating") return "waiting";
  const finding = findings[toldState({ state, unreadable: (unreadable ?? "") !== "" })];
  if (finding === undefined) return isMoving ? "waiting" : "failed";
  const [seenAtMs, appliedAtMs] = [Number(observedAt || 0), Number(appliedAt || 0)];
  if (finding === "inLine" && appliedAtMs >= askedAtMs) return "repaired";
  if (finding === "inLine") return seenAtMs < askedAtMs ? "waiting" : finding;
  return seenAtMs < askedAtMs || isMoving || isPutOff(looked) ? "waiting" : finding;
}

function checkedPolicy(
  document: Json,
  goal: GoalDocument | undefined,
  index: ReadonlyMap<string, IndexEntry>,
) {
  const wanted = goal === undefined ? [] : [...templateOf(goal).resources.values()];
  const known = [...wanted, ...index.values()];
  return parsePolicyDocument(document, {
    types: new Set(known.map(({ type }) => type)),
    resources: new Set(known.map(({ name }) => name)),
  });
}

function effectiveOf({
  mode,
  ignore,
  pollMs,
  graceMs,
  retry,
  budget,
  incident,
  fight,
  orphans,
}: Policy): Effective {
  return {
    policy: mode,
    ignore: [...ignore],
    poll_ms: pollMs,
    grace_ms: graceMs,
    retry,
    budget: { burst: budget.burst, per_minute: budget.perMinute },
    incident: { missing: incident.missing, within_ms: incident.withinMs },
    fight: { repairs: fight.repairs, within_ms: fight.withinMs },
    orphans,
  };
}

function poolOf({ pool }: IndexEntry): string {
  return pool ?? "default";
}

function namedPair({ name, stack }: FoundStack): [string, string] {
  return [name, stack];
}

function sortedNames(names: readonly [name: string, stack: string][]): [name: string, stack: string][] {
  return [...names].sort(([a], [b]) => (a < b ? -1 : 1));
}

function* chunks<T>(items: readonly T[]): Generator<T[]> {
  for (let from = 0; from < items.length; from += atOnce) yield items.slice(from, from + atOnce);
}
