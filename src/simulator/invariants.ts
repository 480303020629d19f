/**
 * What must hold in every run without being asked. The checkers read the physical world, the call log and Redis, never
 * what the engine says of itself. The numbers are those of the scenario documentation.
 */
import type { Redis } from "ioredis";
import { stackActor } from "../actor/actor.js";
import { type JsonObject, jsonEqual } from "../json.js";
import { type CallContext, type Operation, ProviderError } from "../providers/provider.js";
import type {
  Begin,
  BeginAnswer,
  Commit,
  CommitAnswer,
  IndexEntry,
  ResourceRecord,
  Visit,
} from "../store/store.js";
import { hasCall } from "../template/functions.js";
import { bindDefinition, resolveProperties } from "../template/template.js";
import { emptyGoal } from "../traversal/goal-document.js";
import type { LifecycleEvent } from "../traversal/lifecycle-event.js";
import { toldState } from "../traversal/record.js";
import { type Goals, isAsWanted, type KnownGoal, referencesOf } from "./goals.js";
import { KnownWorld } from "./known-world.js";
import {
  type Failure,
  isRetained,
  type KnownRecord,
  type Past,
  Reality,
  readRecords,
  type SettledStack,
} from "./reality.js";
import type { Life, Simulation, Watcher } from "./simulation.js";
import type { PhysicalThing } from "./world.js";

interface OpenCall {
  /** Once it is aborted, its worker need not wait for its end. */
  signal: AbortSignal;
  token: string;
  operation: Operation;
  life: Life;
  /** Up to then it may take effect, at least. */
  until: number;
}

export class Invariants implements Watcher {
  readonly known: KnownWorld;
  readonly #simulation: Simulation;
  readonly #goals: Goals;
  readonly #redis: Redis;
  readonly #open = new Set<OpenCall>();
  /** Until when a call that was aborted may take effect, at least; by token and operation. */
  readonly #aborted = new Map<string, number>();
  /** Workers that were paused at some time: their lease may have run out under them. */
  readonly #suspended = new Set<Life>();
  /** Calls that failed for good, and under which traversal. */
  readonly #failures: Failure[] = [];
  readonly #retried = new Map<string, number>();
  /** Tokens of what somebody has begun to delete: whether it is gone is for the outcome to say. */
  readonly #deleting = new Set<string>();
  readonly #required = new Map<string, Set<string>>();
  readonly #retained = new Set<string>();
  /** Requests that have begun a traversal. */
  readonly #requests = new Set<string>();
  /** When the time of a goal is over, by stack and traversal. */
  readonly #endsAt = new Map<string, number>();
  /** The traversals under which a stack was seen complete. */
  readonly #complete = new Map<string, number[]>();
  /** The first decision to create: the token, by stack, traversal and name. */
  readonly #created = new Map<string, string>();
  readonly #announced = new Set<string>();
  /** What the newest event of each resource says, by stack and id. */
  readonly #told = new Map<string, Map<string, { revision: number; what: string }>>();
  /** What is about to be deleted, by id; and what has ended under another traversal than the newest. */
  readonly #condemned = new Map<string, IndexEntry>();
  readonly #ended: Past["ended"][number][] = [];
  /** Under which traversal a create or an update was decided last, by token. */
  readonly #meant = new Map<string, number>();
  /** Under which traversal a thing was made or last updated, and after how many effects. */
  readonly #touched = new Map<string, { traversal: number; at: number }>();

  constructor(simulation: Simulation, goals: Goals, redis: Redis) {
    this.#simulation = simulation;
    this.#goals = goals;
    this.#redis = redis;
    this.known = new KnownWorld(simulation.world);
  }

  async begun({ stack, request, kind, snapshot, timeoutMs }: Begin, answer: BeginAnswer): Promise<void> {
    await this.#goals.note(stack);
    if (answer.tag !== "ok") return;
    this.#checkTimeout(stack, answer.traversal, stackActor.read(snapshot).context.reason, request);
    const { now } = this.#simulation;
    this.#endsAt.set(`${stack} ${answer.traversal}`, now + (timeoutMs ?? Number.POSITIVE_INFINITY));
    if (this.#requests.has(`${stack} ${request}`)) this.#violate(8, `${request} begins another traversal`);
    this.#requests.add(`${stack} ${request}`);
    if (kind === "rollback") this.#checkRollback(stack, answer.traversal, answer.goal);
  }

  /** 8. A goal is given up for its time only when that is over. */
  #checkTimeout(stack: string, traversal: number, reason: string, request: string): void {
    const isGivenUp = request.startsWith("!") && reason.startsWith("timed out");
    const endsAt = this.#endsAt.get(`${stack} ${traversal - 1}`) ?? 0;
    if (isGivenUp && endsAt > this.#simulation.now)
      this.#violate(8, `the goal ${traversal - 1} is given up for its time, which is not over`);
  }

  committed(visit: Visit, commit: Commit, answer: CommitAnswer): void {
    if (commit.effect === "gone" && (answer.tag === "ok" || answer.tag === "stale")) this.#noteEnd(visit);
    if (answer.tag !== "ok") return;
    if (commit.operation === "delete" && commit.index)
      this.#condemned.set(visit.resource, JSON.parse(commit.index) as IndexEntry);
    const { effect, operation } = commit;
    if (effect === "intent" && operation !== "delete" && visit.node.startsWith("u:"))
      this.#meant.set(visit.resource, visit.traversal);
    const required = this.#required.get(visit.resource) ?? new Set();
    this.#required.set(visit.resource, new Set([...required, ...(commit.requires ?? [])]));
    this.#checkIncarnation(visit, commit);
    if (commit.effect === "fail") this.#noteQuestion(visit, commit);
  }

  #noteEnd({ stack, resource: id, traversal }: Visit): void {
    const entry = this.#condemned.get(id);
    const newest = this.#goals.newest(stack)?.traversal ?? traversal;
    if (entry !== undefined && newest > traversal)
      this.#ended.push({ id, name: entry.name, sequence: entry.sequence, stack, traversal: newest });
  }

  /** No call has failed, and still the node may: only a person can say what became of the one that was interrupted. */
  #noteQuestion({ stack, traversal, node, resource: token }: Visit, { index }: Commit): void {
    const { name } = JSON.parse(index ?? "{}") as { name: string };
    const isUnknowable = this.#goals.all(stack).some(({ template }) => {
      const { $findable, $idempotent } = template.resources.get(name)?.properties ?? {};
      return $findable === false && $idempotent !== true;
    });
    const operation = node.startsWith("k:") ? "delete" : "find";
    if (isUnknowable) this.#failures.push({ stack, resource: name, token, operation, traversal });
  }

  /** 7. A name comes to be once under a goal, as one incarnation. */
  #checkIncarnation({ stack, traversal, node, resource }: Visit, commit: Commit): void {
    if (commit.effect !== "intent" || commit.operation !== "create") return;
    if (node === "" || commit.mode !== "decision") return;
    if ([...this.#created.values()].includes(resource)) return;
    const key = `${stack} ${traversal} ${node}`;
    const other = this.#created.get(key);
    if (other !== undefined)
      this.#violate(7, `${other} and ${resource} are both made for ${node} of the goal ${traversal}`);
    this.#created.set(key, resource);
  }

  announced(event: LifecycleEvent): void {
    const { id, stack, traversal, what, resourceId } = event;
    if (resourceId === undefined) {
      this.#announced.add(`${stack} ${traversal} ${what}`);
      return;
    }
    const told = this.#told.get(stack) ?? new Map<string, { revision: number; what: string }>();
    this.#told.set(stack, told);
    // They come in any order; the id has the revision that they tell of.
    const revision = Number(id.slice(id.lastIndexOf(".") + 1));
    // What was repaired is ready again.
    const state = what === "repaired" ? "ready" : what;
    if (revision >= (told.get(resourceId)?.revision ?? 0)) told.set(resourceId, { revision, what: state });
  }

  callFails(call: CallContext, operation: Operation, life: Life, error: unknown): void {
    if (operation === "read") return;
    for (const open of this.#open) {
      if (open.signal === call.signal && call.signal.aborted)
        this.#aborted.set(`${call.token} ${operation}`, open.until);
    }
    const traversal = life.delivery?.visit.traversal ?? 0;
    const key = `${call.token} ${operation} ${traversal}`;
    const times = (this.#retried.get(key) ?? 0) + 1;
    this.#retried.set(key, times);
    const retryable = error instanceof ProviderError && error.retryable;
    if (retryable && times < this.#simulation.limits.attempts) return;
    const { stack, resource, token } = call;
    this.#failures.push({ stack, resource, token, operation, traversal });
  }

  async callStarts(call: CallContext, operation: Operation, life: Life): Promise<void> {
    // A look may come at any time: it changes nothing, and concludes nothing that has changed meanwhile.
    if (operation === "read") return;
    this.#checkOverlap(call, operation, life);
    const { token, signal, deadlineMs } = call;
    this.#open.add({ token, signal, operation, life, until: this.#simulation.now + deadlineMs });
    if (operation === "delete") this.#deleting.add(call.token);
    if (operation !== "find") await this.#checkRight(call, operation, life);
    if (isLasting(operation)) await this.#checkPrerequisites(call, life);
  }

  callEnds(call: CallContext, operation: Operation, life: Life): void {
    for (const open of this.#open) {
      if (open.token === call.token && open.operation === operation && open.life === life)
        this.#open.delete(open);
    }
  }

  effect(
    call: CallContext,
    operation: Operation,
    properties: JsonObject,
    life: Life,
    physicalId: string,
  ): void {
    if (operation === "read") return;
    if (operation === "find") {
      const found = this.#simulation.world.things.get(physicalId);
      if (found !== undefined) this.known.recorded(physicalId, found.properties);
      return;
    }
    // What comes to be after its deadline is promised to be handed over, and nothing else.
    const isLate = this.#simulation.late.has(call);
    // A create that is repeated gives what is there, as it is.
    const isRepeated = operation === "create" && this.#touched.has(physicalId);
    // A thing that was handed over to a record of its own has its token from another.
    const { node = "u:", resource = "" } = life.delivery?.visit ?? {};
    const isStray = !node.startsWith("u:") && resource !== call.token;
    if (!isLate && !isRepeated && !isStray) this.known.touched(call.token, physicalId);
    if (operation === "create") this.#checkToken(call.token);
    const thing = this.#simulation.world.things.get(physicalId);
    if (thing === undefined) return;
    this.#retained.delete(physicalId);
    const traversal = this.#traversalOf(call, life);
    this.#touched.set(physicalId, { traversal, at: this.known.history.length });
    this.known.note(physicalId);
    const goal = this.#goals.at(call.stack, traversal);
    // A repair gives back what was applied: it refers to what it referred to.
    const isRepair = life.delivery === undefined;
    if (goal === undefined || isLate || isRepair) return;
    thing.refersTo = referencesOf(goal, call.stack, call.resource, properties, this.known);
  }

  /** Whoever ends or repeats what another goal began says what that one said. */
  #traversalOf({ token }: CallContext, { delivery, repairs }: Life): number {
    if (delivery === undefined) return repairs.get(token) ?? 0;
    const { node, traversal } = delivery.visit;
    return node.startsWith("u:") ? traversal : (this.#meant.get(token) ?? traversal);
  }

  async beforeRemoval({ id: physicalId, stack }: PhysicalThing): Promise<void> {
    this.known.removed(physicalId);
    for (const thing of [...this.#simulation.world.things.values()]) {
      if (thing.id === physicalId || !thing.refersTo.has(physicalId)) continue;
      if (this.#isReleased(this.known.of(thing), physicalId)) continue;
      if (isRetained(this.#past, thing, await readRecords(this.#simulation, stack))) continue;
      this.#violate(2, `${physicalId} is deleted while ${thing.id}, which refers to it, still exists`);
    }
  }

  get #past(): Past {
    return {
      goals: this.#goals,
      known: this.known,
      failures: this.#failures,
      versions: this.known.history.flatMap(({ state }) => (state === undefined ? [] : [state])),
      required: this.#required,
      ended: this.#ended,
      retained: this.#retained,
      deleting: this.#deleting,
      retainableSince: (thing) => this.#retainableSince(thing),
    };
  }

  /** When the engine last did, or certainly saw to it that it need not do, anything about a thing. */
  #retainableSince({ id, name, stack }: PhysicalThing): number {
    const touched = this.#touched.get(id)?.traversal ?? 0;
    const complete = (this.#complete.get(stack) ?? []).filter((traversal) =>
      this.#goals.at(stack, traversal)?.template.resources.has(name),
    );
    return Math.max(touched, ...complete);
  }

  /** At some time since it was touched, it was what a newer goal says without the other one: nothing had to be changed. */
  #isReleased(thing: PhysicalThing, physicalId: string): boolean {
    const { traversal, at } = this.#touched.get(thing.id) ?? { traversal: 0, at: 0 };
    const goals = this.#goals.all(thing.stack).filter((goal) => goal.traversal > traversal);
    const world = new Map<string, PhysicalThing>();
    const others = (name: string) =>
      [...world.values()].findLast(
        (other) => other.name === name && other.stack === thing.stack && other.id !== physicalId,
      );
    for (const [index, { id, state }] of this.known.history.entries()) {
      if (state === undefined) world.delete(id);
      else world.set(id, state);
      if (index >= at && goals.some((goal) => isAsWanted(goal, thing, others))) return true;
    }
    return false;
  }

  /** 1. No two operations on one resource at once, unless a lease ran out under a paused or crashed worker. */
  #checkOverlap(call: CallContext, operation: Operation, life: Life): void {
    const landsUntil = this.#aborted.get(`${call.token} ${operation}`) ?? 0;
    if (isLasting(operation) && landsUntil > this.#simulation.now)
      this.#violate(1, `${operation} of ${call.resource} starts while one that was aborted may take effect`);
    for (const open of this.#open) {
      const { life: other } = open;
      if (other.pausedUntil > 0) this.#suspended.add(other);
      if (
        open.signal.aborted ||
        open.token !== call.token ||
        other === life ||
        other.dead ||
        this.#suspended.has(other)
      )
        continue;
      this.#violate(1, `${operation} of ${call.resource} starts while ${open.operation} is in progress`);
    }
  }

  renewed(holder: string, named: string): void {
    if (holder !== named) this.#violate(11, `a lease of ${named || "nobody"} was renewed for ${holder}`);
  }

  /** 11. Who calls holds the lease and has said so, and the deadline has not passed. */
  async #checkRight(
    { stack, token, resource }: CallContext,
    operation: Operation,
    life: Life,
  ): Promise<void> {
    // A thing that was handed over to a record of its own has its token from another.
    const ids = new Set([token, life.delivery?.visit.resource ?? token]);
    const fields = ["holder", "intent", "deadline", "retain"] as const;
    const records = await this.#simulation.store.resources(stack, [...ids], fields);
    if (operation === "delete" && (records.at(-1)?.retain ?? "") !== "")
      this.#violate(2, `${resource} is deleted, though it is retained`);
    const wrong = records
      .filter((record) => record?.holder !== undefined)
      .map((record) => this.#wrongIn(record ?? {}, operation, life));
    if (wrong.length === 0 || wrong.includes(undefined)) return;
    this.#violate(11, `${operation} of ${resource} is called ${wrong[0]}`);
  }

  #wrongIn(
    { holder, intent, deadline }: ResourceRecord,
    operation: Operation,
    life: Life,
  ): string | undefined {
    if (!life.holders.has(holder ?? "")) return "without the lease";
    if (intent !== operation) return `with the intent ${intent || "of nothing"}`;
    return Number(deadline) <= this.#simulation.now ? "after its deadline" : undefined;
  }

  /** 3. What a resource requires under a traversal has reached that traversal's goal before it is touched. */
  async #checkPrerequisites(call: CallContext, life: Life): Promise<void> {
    const visit = life.delivery?.visit;
    if (visit === undefined || visit.node === "") return;
    const goal = this.#goals.at(call.stack, visit.traversal);
    const traversal = await this.#redis.hget(this.#simulation.store.keys.stack(call.stack), "traversal");
    if (goal === undefined || traversal !== String(visit.traversal)) return;
    for (const dependency of goal.template.resources.get(call.resource)?.dependencies ?? []) {
      const literals = literalProperties(goal, dependency);
      const things = this.known.named(dependency, call.stack);
      if (things.some((thing) => includes(thing.properties, literals))) continue;
      this.#violate(
        3,
        `${call.resource} is touched before ${dependency} has reached the goal ${visit.traversal}`,
      );
    }
  }

  /** 7. One token never makes two physical things. */
  #checkToken(token: string): void {
    const made = this.#simulation.world.made.get(token) ?? 0;
    const late = [...this.#simulation.late].filter((call) => call.token === token).length;
    if (made - late > 1) this.#violate(7, `the token ${token} has made ${made} things`);
  }

  /** 10. Without faults whoever can go on is told at once, by whoever made it possible. */
  async checkPrompt(): Promise<void> {
    const { faults, held, stackNames, store } = this.#simulation;
    if (faults > 0 || held.length > 0) return;
    for (const [stack, name] of stackNames) {
      if (((await store.stack(stack))?.unsettled ?? "") === "") continue;
      this.#violate(10, `stack ${name} waits for a timer, although nothing went wrong`);
    }
  }

  /** 8. A rollback goes back no further than to what was last seen complete. */
  #checkRollback(stack: string, traversal: number, target: string): void {
    const before = this.#goals.all(stack).filter((goal) => goal.traversal < traversal);
    const complete = this.#complete.get(stack)?.at(-1);
    const candidates = before.filter((goal) => goal.traversal >= (complete ?? 0)).map((goal) => goal.id);
    if (complete === undefined) candidates.push(emptyGoal);
    if (!candidates.includes(target)) this.#violate(8, `the rollback ${traversal} goes to ${target}`);
  }

  /** 4 to 9, for when nothing is left to do. */
  async checkSettled(stacks: readonly SettledStack[]): Promise<void> {
    if (this.#simulation.held.length > 0) return;
    for (const settled of stacks) {
      this.#checkReality(settled);
      await this.#checkLeftovers(settled);
    }
    for (const [name, stack] of await this.#simulation.store.names()) {
      const settled = stacks.find((one) => one.stack === stack);
      const record = settled === undefined ? await this.#simulation.store.stack(stack) : settled.record;
      if (record === undefined) this.#violate(5, `the name ${name} is taken, but there is no such stack`);
    }
    if (this.#simulation.queue.length > 0 || this.#simulation.delayed.length > 0) {
      this.#violate(5, "there are messages that nobody acknowledged");
    }
    this.#checkVisits();
  }

  #checkReality({ stack, record, known }: SettledStack): void {
    const name = this.#simulation.stackNames.get(stack) ?? stack;
    const goal = this.#goals.newest(stack);
    const status = record?.status ?? "NOT_FOUND";
    if (!["COMPLETE", "FAILED", "CANCELLED", "NOT_FOUND"].includes(status)) {
      this.#violate(5, `nothing is left to do, and stack ${name} is ${status}`);
      return;
    }
    if (goal === undefined) return;
    this.#checkAnnounced(stack, goal, status);
    this.#checkTold(stack, known);
    const reality = new Reality(this.#past, stack, goal, known);
    const problem = reality.ofStatus(status);
    if (problem !== undefined) this.#violate(4, `stack ${name} is ${status}, but ${problem}`);
    for (const wrong of reality.ofRecords()) this.#violate(4, wrong);
    if (status !== "COMPLETE" && status !== "NOT_FOUND")
      for (const wrong of reality.ofNoGoal()) this.#violate(4, wrong);
    const complete = this.#complete.get(stack) ?? [];
    if (status === "COMPLETE") this.#complete.set(stack, [...complete, goal.traversal]);
  }

  /** 9. Who only listens knows what became of the goal. */
  #checkAnnounced(stack: string, { traversal }: KnownGoal, status: string): void {
    const what = status === "NOT_FOUND" ? "deleted" : status.toLowerCase();
    if (this.#announced.has(`${stack} ${traversal} ${what}`)) return;
    const name = this.#simulation.stackNames.get(stack) ?? stack;
    this.#violate(9, `stack ${name} is ${status}, and no event said so`);
  }

  /** 9. The last event of a resource says what is stored of it: none was lost. */
  #checkTold(stack: string, records: readonly KnownRecord[]): void {
    const states = new Map(records.map(({ id, ...record }) => [id, toldState(record)]));
    const told = this.#told.get(stack) ?? new Map<string, { what: string }>();
    for (const [id, { what }] of told) {
      const state = states.get(id) ?? "deleted";
      if (what !== state) this.#violate(9, `${id} is ${state}, and its last event says ${what}`);
    }
    for (const [id, state] of states) {
      if (!told.has(id) && state !== "declared") this.#violate(9, `${id} is ${state}, and no event said so`);
    }
  }

  /** 5. What only older traversals, or work in progress, needed is gone. */
  async #checkLeftovers({ stack, record, index, resources }: SettledStack): Promise<void> {
    const prefix = this.#simulation.store.keys.of(stack, "");
    const { name = "" } = record ?? {};
    if (record !== undefined && (await this.#simulation.store.stackOfName(name)) !== stack)
      this.#violate(5, `the name ${name} does not lead to its stack`);
    const allowed = new Set<string>();
    if (record !== undefined) {
      for (const suffix of ["s", "ix", "rq", "q", "b", "i", "m"]) allowed.add(suffix);
      // Of what is there no more as long as there is a record of it.
      const lost = await this.#redis.zrange(`${prefix}l`, "0", "-1");
      if (lost.every((id) => index.has(id))) allowed.add("l");
      for (const id of index.keys()) allowed.add(`r:${id}`);
      for (const goal of new Set([record.goal, record.lastGood, record.base])) {
        allowed.add(`t:${goal}`);
        if ((await this.#redis.pttl(`${prefix}t:${goal}`)) > 0) this.#violate(5, `the goal ${goal} expires`);
      }
    }
    const found = await this.#redis.keys(`${prefix}*`);
    const extra: string[] = [];
    for (const suffix of found.map((key) => key.slice(prefix.length)).sort()) {
      if (!allowed.has(suffix) && !(await this.#expires(suffix, prefix))) extra.push(suffix);
    }
    if (extra.length > 0) this.#violate(5, `left over in Redis: ${extra.join(", ")}`);
    for (const resource of resources.values()) {
      if (Number(resource?.until) > this.#simulation.now)
        this.#violate(5, `${resource?.name} is still leased`);
      // Who waited for the deadline of an aborted call, and whose goal is over, leaves a mark that is void.
      const isVoid =
        resource?.intent === "" &&
        resource.deadline !== "" &&
        resource.mark?.startsWith(`${record?.traversal}\n`) === false;
      for (const field of ["mark", "intent"] as const) {
        if ((resource?.[field] ?? "") === "" || (field === "mark" && isVoid)) continue;
        this.#violate(5, `${resource?.name} still has a ${field}`);
      }
    }
  }

  /** A goal that was refused, and the bar of an id that must not come to be any more, go by themselves. */
  async #expires(suffix: string, prefix: string): Promise<boolean> {
    if (suffix === "s") return (await this.#redis.hexists(`${prefix}s`, "void")) === 1;
    return suffix.startsWith("t:") && (await this.#redis.pttl(`${prefix}${suffix}`)) > 0;
  }

  /** 6. Visits are bounded by nodes, traversals and faults. */
  #checkVisits(): void {
    const { visits, faults } = this.#simulation;
    let nodes = 0;
    for (const stack of this.#goals.stacks()) {
      const goals = this.#goals.all(stack);
      const names = goals.map((goal) => goal.template.resources.size);
      const most = names.reduce((sum, size) => sum + size, 0);
      nodes += 2 * (goals.length + 1) * (most + 1);
    }
    const bound = 4 * nodes + 40 * (faults + 1) + 10 * faults * Math.max(1, nodes / 4);
    if (visits > bound) this.#violate(6, `${visits} visits for ${nodes} nodes and ${faults} faults`);
  }

  #violate(invariant: number, message: string): void {
    this.#simulation.violated(`invariant ${invariant}: ${message}`);
  }
}

function literalProperties(goal: KnownGoal, name: string): JsonObject {
  const definition = goal.template.resources.get(name);
  if (definition === undefined) return {};
  const literal = Object.entries(definition.properties).filter(
    ([property, value]) => !property.startsWith("$") && !hasReference(value),
  );
  const bound = bindDefinition({ ...definition, properties: Object.fromEntries(literal) }, goal.parameters);
  return resolveProperties(bound, () => undefined).properties;
}

function hasReference(value: unknown): boolean {
  const text = JSON.stringify(value);
  return text.includes('"get_resource"') || text.includes('"get_attr"')
    ? hasCall(value as JsonObject)
    : false;
}

/** Twice in any order is not as good as once. */
function isLasting(operation: Operation): boolean {
  return operation === "create" || operation === "update";
}

function includes(found: JsonObject, wanted: JsonObject): boolean {
  return Object.entries(wanted).every(([name, value]) => jsonEqual(found[name], value));
}
