/**
 * What must hold in every run without being asked. The checkers read the physical world, the call log and Redis, never
 * what the engine says of itself. The numbers are those of the scenario documentation.
 */
import type { Redis } from "ioredis";
import { type JsonObject, jsonEqual } from "../json.js";
import { type CallContext, type Operation, ProviderError } from "../providers/provider.js";
import type { Begin, BeginAnswer, ResourceRecord } from "../store/store.js";
import { hasCall } from "../template/functions.js";
import { bindDefinition, resolveProperties } from "../template/template.js";
import { emptyGoal } from "../traversal/goal-document.js";
import type { LifecycleEvent } from "../traversal/lifecycle-event.js";
import {
  affectedBy,
  differenceOf,
  type Goals,
  isAsWanted,
  isResolvable,
  type KnownGoal,
  referencesOf,
} from "./goals.js";
import type { Life, Simulation, Watcher } from "./simulation.js";
import type { PhysicalThing } from "./world.js";

interface OpenCall {
  token: string;
  operation: Operation;
  life: Life;
}

/** Things that excuse reality from being the goal. */
export interface Excuses {
  drifted: boolean;
}

export class Invariants implements Watcher {
  readonly violations: string[] = [];
  readonly excuses: Excuses = { drifted: false };
  readonly #simulation: Simulation;
  readonly #goals: Goals;
  readonly #redis: Redis;
  readonly #open = new Set<OpenCall>();
  /** Workers that were paused at some time: their lease may have run out under them. */
  readonly #suspended = new Set<Life>();
  /** Calls that failed for good, and under which traversal. */
  readonly #failures: { stack: string; resource: string; traversal: number }[] = [];
  readonly #retried = new Map<string, number>();
  /** Tokens of what somebody has begun to delete: whether it is gone is for the outcome to say. */
  readonly #deleting = new Set<string>();
  /** Requests that have begun a traversal. */
  readonly #requests = new Set<string>();
  /** The traversal under which a stack was last seen complete. */
  readonly #complete = new Map<string, number>();
  readonly #announced = new Set<string>();
  /** Under which traversal a thing was made or last updated, and after how many effects. */
  readonly #touched = new Map<string, { traversal: number; at: number }>();
  /** What became of the physical world, one effect after the other. */
  readonly #history: { id: string; state: PhysicalThing | undefined }[] = [];

  constructor(simulation: Simulation, goals: Goals, redis: Redis) {
    this.#simulation = simulation;
    this.#goals = goals;
    this.#redis = redis;
  }

  async begun({ stack, request, kind }: Begin, answer: BeginAnswer): Promise<void> {
    await this.#goals.note(stack);
    if (answer.tag !== "ok") return;
    if (this.#requests.has(`${stack} ${request}`)) this.#violate(8, `${request} begins another traversal`);
    this.#requests.add(`${stack} ${request}`);
    if (kind === "rollback") this.#checkRollback(stack, answer.traversal, answer.goal);
  }

  announced(event: LifecycleEvent): void {
    if (event.resource === undefined) this.#announced.add(`${event.stack} ${event.traversal} ${event.what}`);
  }

  callFails(call: CallContext, operation: Operation, life: Life, error: unknown): void {
    const key = `${call.token} ${operation}`;
    const times = (this.#retried.get(key) ?? 0) + 1;
    this.#retried.set(key, times);
    const retryable = error instanceof ProviderError && error.retryable;
    if (retryable && times < this.#simulation.limits.attempts) return;
    const traversal = life.delivery?.visit.traversal ?? 0;
    this.#failures.push({ stack: call.stack, resource: call.resource, traversal });
  }

  async callStarts(call: CallContext, operation: Operation, life: Life): Promise<void> {
    this.#checkOverlap(call, operation, life);
    this.#open.add({ token: call.token, operation, life });
    if (operation === "delete") this.#deleting.add(call.token);
    if (operation !== "find" && operation !== "read") await this.#checkRight(call, operation, life);
    if (operation === "create" || operation === "update") await this.#checkPrerequisites(call, life);
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
    // What comes to be after its deadline is promised to be handed over, and nothing else.
    if (this.#simulation.late.has(call.token)) return;
    if (operation === "create") this.#checkToken(call.token);
    if (operation !== "create" && operation !== "update") return;
    const traversal = life.delivery?.visit.traversal ?? 0;
    const goal = this.#goals.at(call.stack, traversal);
    const thing = this.#simulation.world.things.get(physicalId);
    if (thing === undefined) return;
    this.#touched.set(physicalId, { traversal, at: this.#history.length });
    this.#history.push({ id: physicalId, state: { ...thing } });
    if (goal === undefined) return;
    thing.refersTo = referencesOf(goal, call.stack, call.resource, properties, this.#simulation.world);
  }

  beforeRemoval(_call: CallContext, physicalId: string): void {
    this.#history.push({ id: physicalId, state: undefined });
    if (this.excuses.drifted) return;
    for (const thing of this.#simulation.world.things.values()) {
      const refers = thing.id !== physicalId && thing.refersTo.has(physicalId);
      if (refers && !this.#isRetained(thing) && !this.#isReleased(thing, physicalId)) {
        this.#violate(2, `${physicalId} is deleted while ${thing.id}, which refers to it, still exists`);
      }
    }
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
    for (const [index, { id, state }] of this.#history.entries()) {
      if (state === undefined) world.delete(id);
      else world.set(id, state);
      if (index >= at && goals.some((goal) => isAsWanted(goal, thing, others))) return true;
    }
    return false;
  }

  /** Once its resource is gone, nobody looks after what a retained thing refers to. */
  #isRetained({ stack, name }: PhysicalThing): boolean {
    return this.#goals
      .all(stack)
      .some((goal) => goal.template.resources.get(name)?.deletionPolicy === "Retain");
  }

  /** 1. No two operations on one resource at once, unless a lease ran out under a paused or crashed worker. */
  #checkOverlap(call: CallContext, operation: Operation, life: Life): void {
    for (const open of this.#open) {
      const { life: other } = open;
      if (other.pausedUntil > 0) this.#suspended.add(other);
      if (open.token !== call.token || other === life || other.dead || this.#suspended.has(other)) continue;
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
    const fields = ["holder", "intent", "deadline"] as const;
    const records = await this.#simulation.store.resources(stack, [...ids], fields);
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
    if (holder !== life.holder) return "without the lease";
    if (intent !== operation) return `with the intent ${intent || "of nothing"}`;
    return Number(deadline) <= this.#simulation.now ? "after its deadline" : undefined;
  }

  /** 3. What a resource requires under a traversal has reached that traversal's goal before it is touched. */
  async #checkPrerequisites(call: CallContext, life: Life): Promise<void> {
    const visit = life.delivery?.visit;
    if (visit === undefined || visit.node === "" || this.excuses.drifted) return;
    const goal = this.#goals.at(call.stack, visit.traversal);
    const record = await this.#simulation.store.stack(call.stack);
    if (goal === undefined || record?.traversal !== String(visit.traversal)) return;
    for (const dependency of goal.template.resources.get(call.resource)?.dependencies ?? []) {
      const literals = literalProperties(goal, dependency);
      const things = this.#simulation.world.named(dependency, call.stack);
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
    if (made > 1) this.#violate(7, `the token ${token} has made ${made} things`);
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
    const complete = this.#complete.get(stack);
    const candidates = before.filter((goal) => goal.traversal >= (complete ?? 0)).map((goal) => goal.id);
    if (complete === undefined) candidates.push(emptyGoal);
    if (!candidates.includes(target)) this.#violate(8, `the rollback ${traversal} goes to ${target}`);
  }

  /** 4 to 9, for when nothing is left to do. */
  async checkSettled(): Promise<void> {
    if (this.#simulation.held.length > 0) return;
    for (const stack of this.#goals.stacks()) {
      await this.#checkReality(stack);
      await this.#checkLeftovers(stack);
    }
    for (const [name, stack] of await this.#simulation.store.names()) {
      const record = await this.#simulation.store.stack(stack);
      if (record === undefined) this.#violate(5, `the name ${name} is taken, but there is no such stack`);
    }
    if (this.#simulation.queue.length > 0 || this.#simulation.delayed.length > 0) {
      this.#violate(5, "there are messages that nobody acknowledged");
    }
    this.#checkVisits();
  }

  async #checkReality(stack: string): Promise<void> {
    const record = await this.#simulation.store.stack(stack);
    const name = this.#simulation.stackNames.get(stack) ?? stack;
    const goal = this.#goals.newest(stack);
    const status = record?.status ?? "NOT_FOUND";
    if (!["COMPLETE", "FAILED", "CANCELLED", "NOT_FOUND"].includes(status)) {
      return this.#violate(5, `nothing is left to do, and stack ${name} is ${status}`);
    }
    if (goal === undefined) return;
    if (status === "COMPLETE") this.#complete.set(stack, goal.traversal);
    this.#checkAnnounced(stack, goal, status);
    if (this.excuses.drifted || this.#retains(stack)) return;
    const things = [...this.#simulation.world.things.values()].filter((thing) => thing.stack === stack);
    const problem =
      status === "COMPLETE" || status === "NOT_FOUND"
        ? differenceOf(goal, things)
        : this.#unexcused(stack, goal, things);
    if (problem !== undefined) this.#violate(4, `stack ${name} is ${status}, but ${problem}`);
    await this.#checkRecords(stack, things);
  }

  /** 9. Who only listens knows what became of the goal. */
  #checkAnnounced(stack: string, { traversal }: KnownGoal, status: string): void {
    const what = status === "NOT_FOUND" ? "deleted" : status.toLowerCase();
    if (this.#announced.has(`${stack} ${traversal} ${what}`)) return;
    const name = this.#simulation.stackNames.get(stack) ?? stack;
    this.#violate(9, `stack ${name} is ${status}, and no event said so`);
  }

  /** A failure belongs to its resource: what does not depend on it is as the goal says. */
  #unexcused(stack: string, goal: KnownGoal, things: readonly PhysicalThing[]): string | undefined {
    if (goal.status === "CANCELLED" || goal.status === "FAILED") return undefined;
    const names = [...goal.template.resources.keys()];
    const failed = [
      ...this.#failures
        .filter((failure) => failure.stack === stack && failure.traversal === goal.traversal)
        .map(({ resource }) => resource),
      ...names.filter((name) => !isResolvable(goal, name, things) || isUncertain(goal, name)),
    ];
    if (failed.length === 0) return "nothing has failed";
    const affected = affectedBy(goal, failed);
    const chosen = new Map<string, PhysicalThing | undefined>();
    // Cleanups may wait for what failed, so a name can have several things: one of them must be right.
    const rightOne = (name: string): PhysicalThing | undefined => {
      if (!chosen.has(name)) {
        const named = things.filter((thing) => thing.name === name);
        chosen.set(
          name,
          named.find((thing) => isAsWanted(goal, thing, rightOne)),
        );
      }
      return chosen.get(name);
    };
    const wrong = names.find((name) => !affected.has(name) && rightOne(name) === undefined);
    if (wrong === undefined) return undefined;
    const what = things.some(({ name }) => name === wrong) ? "not as wanted" : "not there";
    return `${wrong}, which does not depend on what failed, is ${what}`;
  }

  /** Whatever became of the goal: each thing has a record, and each record that has a thing is right. */
  async #checkRecords(stack: string, things: readonly PhysicalThing[]): Promise<void> {
    const { store } = this.#simulation;
    const ids = [...(await store.index(stack)).keys()];
    const records = await store.resources(stack, ids, ["physical", "token"]);
    const tokenOf = (index: number) => records[index]?.token || ids[index] || "";
    const tokens = new Set(ids.map((_, index) => tokenOf(index)));
    for (const { id, token } of things) {
      if (!tokens.has(token)) this.#violate(4, `no record knows ${id}`);
    }
    for (const [index, record] of records.entries()) {
      const physical = record?.physical ?? "";
      if (physical === "" || this.#simulation.world.things.has(physical)) continue;
      if (!this.#deleting.has(tokenOf(index))) this.#violate(4, `${physical} is gone, but its record stands`);
    }
  }

  #retains(stack: string): boolean {
    return this.#goals
      .all(stack)
      .some((goal) => [...goal.template.resources.values()].some((one) => one.deletionPolicy === "Retain"));
  }

  /** 5. What only older traversals, or work in progress, needed is gone. */
  async #checkLeftovers(stack: string): Promise<void> {
    const prefix = this.#simulation.store.keys.of(stack, "");
    const record = await this.#simulation.store.stack(stack);
    const index = await this.#simulation.store.index(stack);
    const allowed = new Set<string>();
    if (record !== undefined) {
      for (const suffix of ["s", "ix", "rq", "q"]) allowed.add(suffix);
      for (const id of index.keys()) allowed.add(`r:${id}`);
      for (const goal of [record.goal, record.lastGood, record.base]) {
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
    const records = await this.#simulation.store.resources(
      stack,
      [...index.keys()],
      ["until", "mark", "intent"],
    );
    for (const resource of records) {
      if (Number(resource?.until) > this.#simulation.now)
        this.#violate(5, `${resource?.name} is still leased`);
      for (const field of ["mark", "intent"] as const) {
        if ((resource?.[field] ?? "") !== "") this.#violate(5, `${resource?.name} still has a ${field}`);
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
    const text = `invariant ${invariant}: ${message}`;
    this.#simulation.log(`>>> ${text}`);
    if (this.violations.length < 20) this.violations.push(text);
  }
}

/** Only a person can say what became of an interrupted call. */
function isUncertain(goal: KnownGoal, name: string): boolean {
  const properties = goal.template.resources.get(name)?.properties ?? {};
  return properties.$findable === false && properties.$idempotent !== true;
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

function includes(found: JsonObject, wanted: JsonObject): boolean {
  return Object.entries(wanted).every(([name, value]) => jsonEqual(found[name], value));
}
