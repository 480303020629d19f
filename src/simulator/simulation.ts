/**
 * One run of a scenario: the production engine between simulated seams, in one process.
 *
 * Invariants
 * 1. Whatever the engine awaits is a call through a seam; the run is quiet exactly when no such call is under way.
 * 2. A crashed worker's calls never return; nothing that it had in memory is used again.
 * 3. Time moves only here.
 */
import type { Redis } from "ioredis";
import { Stacks } from "../api/stacks.js";
import { messageOf } from "../errors.js";
import type { JsonObject } from "../json.js";
import { defaultLimits, type Limits } from "../limits.js";
import {
  type CallContext,
  type Operation,
  ProviderError,
  type Reading,
  ResourceTypes,
} from "../providers/provider.js";
import { simResource } from "../providers/sim/sim-resource.js";
import { Sealing } from "../store/sealing.js";
import {
  type Begin,
  type BeginAnswer,
  type Commit,
  type CommitAnswer,
  type Observation,
  type ObserveAnswer,
  type OutboxEvent,
  type Ring,
  Store,
  type Visit,
} from "../store/store.js";
import type { Engine, Milestone, MilestoneContext } from "../traversal/engine.js";
import type { LifecycleEvent } from "../traversal/lifecycle-event.js";
import { sweep } from "../traversal/sweep.js";
import { handleVisit, type Verdict } from "../traversal/visit.js";
import { Observers } from "./observers.js";
import type { lookPoints } from "./scenario.js";
import { describeStoreCall } from "./trace.js";
import { type PhysicalThing, World } from "./world.js";

/** As SCENARIOS says; a sweeper's hints are kept in one shard, for speed. */
const simulatedLimits: Limits = {
  ...defaultLimits,
  jitter: 0,
  // One after the other, so that their order is that of the schedule.
  looksAtOnce: 1,
};

const startMs = 1_700_000_000_000;

/** Calls of the store after which a hint may fall due at another time. */
const changesHints: ReadonlySet<string> = new Set([
  "hint",
  "hintBirth",
  "forgetBirth",
  "popDue",
  "returnDue",
]);

/** Far beyond what any scenario needs. */
const deliveriesLimit = 100_000;
const callsLimit = 50_000;

/** A process that runs engine code: a worker, the sweeper, an observer, or a caller of the API. */
export interface Life {
  name: string;
  role: "worker" | "sweeper" | "observer" | "caller";
  dead: boolean;
  pausedUntil: number;
  engine: Engine;
  /** What it is busy with. */
  delivery: Delivery | undefined;
  /** Under which it claimed last; of an observer, all under which it repairs. */
  holders: Set<string>;
  /** Under which traversals an observer repairs, by token. */
  repairs: Map<string, number>;
}

type LookPoint = (typeof lookPoints)[number];

export interface Delivery {
  visit: Visit;
  acknowledged: boolean;
}

export type Op = Operation | "none";

/** A fault that waits for its moment. */
export interface Armed {
  kind: "crash" | "pause" | "fail" | "hold";
  line: number;
  at?: Milestone | LookPoint;
  during?: "begin" | "look";
  stack?: string;
  resource?: string;
  op?: Op;
  forMs?: number;
  times: number;
  reached: boolean;
  optional: boolean;
  retryable?: boolean;
  after?: boolean;
  error?: string;
}

interface Timer {
  at: number;
  fire: () => void;
}

interface Held {
  stack: string;
  resource: string;
  op: Operation;
  life: Life;
  release: () => void;
}

export interface Passage {
  /** The caller vanishes when the call has taken effect, before it gets the reply. */
  crashAfter: boolean;
  /** The first answer is lost, and the call is sent again. */
  repeat: boolean;
  /** The caller stands still when the call has taken effect, before it gets the reply. */
  pauseAfterMs?: number;
}

/** What checkers are told as it happens. A message is a violation. */
export interface Watcher {
  callStarts(call: CallContext, operation: Operation, life: Life): Promise<void>;
  callEnds(call: CallContext, operation: Operation, life: Life): void;
  effect(
    call: CallContext,
    operation: Operation,
    properties: JsonObject,
    life: Life,
    physicalId: string,
  ): void;
  beforeRemoval(thing: PhysicalThing): Promise<void>;
  callFails(call: CallContext, operation: Operation, life: Life, error: unknown): void;
  begun(begin: Begin, answer: BeginAnswer): Promise<void>;
  committed(visit: Visit, commit: Commit, answer: CommitAnswer): void;
  announced(event: LifecycleEvent): void;
  /** A renewal was granted to one holder while the record named another or the same. */
  renewed(holder: string, named: string): void;
}

/** What checkers of observation are told as it happens. */
export interface Looker {
  /** Something was read. `found`: its properties; undefined when there is no such thing, an error when that failed. */
  read(call: CallContext, found: JsonObject | Error | undefined, life: Life): void;
  /** A look was stored, and what became of the wish to mend what it found. May come twice. */
  observed(
    stack: string,
    resource: string,
    look: Observation,
    answer: ObserveAnswer,
    life: Life,
  ): Promise<void>;
  /** A visit has stored something. May come twice. */
  committed(visit: Visit, commit: Commit, answer: CommitAnswer): Promise<void>;
  /** An engine call made a thing what it is now; `before`: what it was. */
  changed(call: CallContext, physicalId: string, before: JsonObject | undefined, life: Life): void;
  /** Reality was changed by somebody else. */
  drifted(thing: PhysicalThing): void;
  /** A person has approved an incident. */
  approved(resources: readonly string[]): void;
}

export interface SimulationOptions {
  /** Of its keys in Redis, so that several runs can share a server. */
  prefix?: string;
  /** Whether anybody will read the trace. */
  traced?: boolean;
  limits?: Partial<Limits>;
}

/** An invariant does not hold. */
export class Violation extends Error {}

export class Simulation {
  now = startMs;
  readonly world = new World();
  readonly limits: Limits;
  /** For checkers: reads Redis past all seams. */
  readonly store: Store;
  readonly sealing = new Sealing(Buffer.alloc(32, 7).toString("base64"));
  readonly queue: Delivery[] = [];
  readonly delayed: { at: number; delivery: Delivery }[] = [];
  readonly armed: Armed[] = [];
  readonly held: Held[] = [];
  readonly trace: string[] = [];
  readonly traced: boolean;
  readonly stackNames = new Map<string, string>();
  readonly observers: Observers;
  visits = 0;
  deliveries = 0;
  /** When the last fault struck, or is over. */
  lastFaultAt = 0;
  duplicates = 0;
  losses = 0;
  /** Counts what changed something; a run in which it stands still is not going anywhere. */
  progress = 0;
  /** Exploring: where every call of a seam waits for its turn. */
  gate: ((life: Life, label: string) => Promise<Passage>) | undefined;
  /** Exploring: where a provider's effect waits. Rejects when it comes too late. */
  gateOfEffect:
    | ((life: Life, call: CallContext, operation: Operation, timeoutMs: number | undefined) => Promise<void>)
    | undefined;
  /** Exploring: rejects when a call ends because it was aborted; its effect may still come. */
  cut: ((call: CallContext) => Promise<never>) | undefined;
  /** Exploring: whether what is published now is refused. */
  refuses: (() => "before" | "after" | undefined) | undefined;
  /** Exploring: what may happen to a notification. */
  fateOfRing: (() => "deliver" | "duplicate" | "lose" | { delayMs: number }) | undefined;
  /** Exploring: a lease was renewed, and with it a call's deadline. */
  renewed: ((life: Life, resource: string, callMs: number) => void) | undefined;
  /** Creates that took effect after their deadline. */
  readonly late = new Set<CallContext>();
  /** Set to be asked after every effect; a true answer parks the call there. */
  afterEffect: (() => Promise<boolean>) | undefined;
  readonly #redis: Redis;
  #watchers: Watcher[] = [];
  #lookers: Looker[] = [];
  #timers: Timer[] = [];
  #parked: (() => void)[] = [];
  #faults = 0;
  #outstanding = 0;
  #ids = 0;
  #lives = 0;
  #worker: Life | undefined;
  #sweeper: Life | undefined;
  readonly #paused: Life[] = [];
  #problem: Error | undefined;
  /** Of the store and the bus. */
  #calls = 0;
  /** When the first hint falls due, read from Redis; undefined: not known since a hint may have changed. */
  #hintDue: { at: number | undefined } | undefined;
  #whenIdle: (() => void) | undefined;

  constructor(redis: Redis, { prefix = "hs:", traced = true, limits = {} }: SimulationOptions = {}) {
    this.#redis = redis;
    this.traced = traced;
    this.limits = { ...simulatedLimits, ...limits };
    this.store = new Store(redis, this.limits, { prefix, now: () => this.now, hintShards: 1 });
    this.observers = new Observers(this, redis);
    this.world.beforeRemoval = (thing) =>
      this.#unseen(() => each(this.#watchers, (watcher) => watcher.beforeRemoval(thing)));
  }

  get faults(): number {
    return this.#faults;
  }

  set faults(count: number) {
    this.#faults = count;
    this.lastFaultAt = Math.max(this.lastFaultAt, this.now);
  }

  watch(watcher: Watcher): void {
    this.#watchers.push(watcher);
  }

  watchLooks(looker: Looker): void {
    this.#lookers.push(looker);
  }

  /** Reality changes behind the engine's back. */
  drift(physicalId: string, change: (thing: PhysicalThing) => void): void {
    const thing = this.world.things.get(physicalId);
    if (thing === undefined) return;
    change(thing);
    for (const looker of this.#lookers) looker.drifted(thing);
  }

  /** The run ends: what comes after a violation only hides it. */
  violated(text: string): void {
    this.log(`>>> ${text}`);
    this.#problem ??= new Violation(text);
  }

  /** @throws Violation of an invariant; Error when engine code threw where it must not. */
  check(): void {
    if (this.#problem !== undefined) throw this.#problem;
  }

  log(text: string): void {
    if (!this.traced) return;
    this.trace.push(`${((this.now - startMs) / 1000).toFixed(1).padStart(7)}s ${text}`);
  }

  // --- processes

  newLife(role: Life["role"]): Life {
    this.#lives += 1;
    const life: Life = {
      name: `${role}-${this.#lives}`,
      role,
      dead: false,
      pausedUntil: 0,
      delivery: undefined,
      holders: new Set(),
      repairs: new Map(),
      engine: undefined as unknown as Engine,
    };
    life.engine = this.#engineOf(life);
    return life;
  }

  #engineOf(life: Life): Engine {
    const types = new ResourceTypes().add(
      simResource(this.world, (call, operation, properties, effect) =>
        this.#provide(life, call, operation, properties, () => effect(() => undefined)),
      ),
    );
    return {
      store: this.#seamOf(life),
      bus: {
        ring: (stack, rings) =>
          this.#seam(life, "ring", async () => this.#publish(life, () => this.#ring(stack, rings))),
        announce: (events) =>
          this.#seam(life, "announce", async () => this.#publish(life, () => this.#announce(events))),
      },
      clock: {
        monotonicMs: () => this.now,
        timestamp: () => new Date(this.now).toISOString(),
        sleep: (ms, signal) => this.#sleep(life, ms, signal),
        after: (ms, act) => this.#after(life, ms, act),
      },
      random: { id: () => this.#id(), fraction: () => 0 },
      types,
      sealing: this.sealing,
      limits: this.limits,
      trace: { reach: (milestone, context) => this.#reach(life, milestone, context) },
      log: {
        debug: () => {},
        info: () => {},
        warn: (_fields, message) => this.log(`${life.name}: ${message}`),
      },
    };
  }

  #id(): string {
    this.#ids += 1;
    return `id${this.#ids}`;
  }

  /** The store, every method of it a seam. */
  #seamOf(life: Life): Store {
    const seams = new Map<string | symbol, unknown>();
    return new Proxy(this.store, {
      get: (store, key) => {
        const known = seams.get(key);
        if (known !== undefined) return known;
        const member = Reflect.get(store, key, store) as unknown;
        if (typeof member !== "function") return member;
        const seam = async (...args: unknown[]) => {
          if (key === "commit") this.progress += 1;
          const finds = key === "observe" || key === "fresh";
          if (finds) await this.reachLook(life, "before-finding", args);
          const answer = await this.#seam(life, String(key), async () => {
            if (key === "claim") life.holders = new Set([String(args[1])]);
            const held = key === "renew" ? await this.#holderOf(args[0] as Visit) : undefined;
            const result: unknown = await member.apply(store, args);
            if (this.traced) {
              const line = describeStoreCall(String(key), args, result);
              if (line !== undefined) this.log(`${life.name} ${line}`);
            }
            if (key === "renew" && result === true) {
              const [, holder, callMs] = args as [Visit, string, number | undefined];
              for (const watcher of this.#watchers) watcher.renewed(holder, held ?? "");
              const { resource } = args[0] as Visit;
              if (callMs !== undefined) this.renewed?.(life, resource, callMs);
            }
            if (key === "commit") {
              const [visit, commit] = args as [Visit, Commit];
              for (const watcher of this.#watchers) watcher.committed(visit, commit, result as CommitAnswer);
            }
            this.observers.called(life, String(key), args, result);
            await this.#tell(life, String(key), args, result);
            if (key === "begin") {
              const begin = args[0] as Begin;
              this.stackNames.set(begin.stack, begin.name);
              await each(this.#watchers, (watcher) => watcher.begun(begin, result as BeginAnswer));
            }
            return result;
          });
          if (finds) await this.reachLook(life, "after-finding", args);
          return answer;
        };
        seams.set(key, seam);
        return seam;
      },
    });
  }

  async #tell(life: Life, key: string, args: readonly unknown[], result: unknown): Promise<void> {
    const lookers = this.#lookers;
    if (key === "observe") {
      const [stack, resource, observation] = args as [string, string, Observation];
      const answer = result as ObserveAnswer;
      if (answer.tag === "repairing") {
        const [record] = await this.store.resources(stack, [resource], ["token"]);
        life.holders.add(observation.look);
        life.repairs.set(record?.token || resource, observation.traversal);
      }
      await each(lookers, (looker) => looker.observed(stack, resource, observation, answer, life));
    } else if (key === "commit") {
      const [visit, commit] = args as [Visit, Commit];
      await each(lookers, (looker) => looker.committed(visit, commit, result as CommitAnswer));
    } else if (key === "answerIncident") {
      const { resources = [] } = result as { resources?: string[] };
      if (args[2] === "approved") for (const looker of lookers) looker.approved(resources);
    }
  }

  async #holderOf({ stack, resource }: Visit): Promise<string | undefined> {
    const [record] = await this.store.resources(stack, [resource], ["holder"]);
    return record?.holder;
  }

  /** A checker's look: no point of the run. */
  async #unseen<T>(action: () => Promise<T>): Promise<T> {
    this.#outstanding += 1;
    try {
      return await action();
    } finally {
      this.#settled();
    }
  }

  #settled(): void {
    this.#outstanding -= 1;
    if (this.#outstanding === 0) this.#whenIdle?.();
  }

  async #seam<T>(life: Life, label: string, action: () => Promise<T>): Promise<T> {
    if (life.dead) return forever();
    this.#calls += 1;
    if (this.#calls > callsLimit) {
      this.#problem ??= new Error(`${this.#calls} calls of the store and the bus: something spins`);
      return forever();
    }
    const passage = await this.gate?.(life, label);
    this.#outstanding += 1;
    let result: T;
    try {
      if (passage?.repeat === true) await action();
      result = await action();
    } finally {
      if (changesHints.has(label)) this.#hintDue = undefined;
      this.#settled();
    }
    if (passage?.crashAfter === true) this.crash(life, `after ${label}`);
    if (passage?.pauseAfterMs !== undefined && !life.dead) await this.pause(life, passage.pauseAfterMs);
    return life.dead ? forever() : result;
  }

  #sleep(life: Life, ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const cancel = () => {
        stop();
        resolve();
      };
      const stop = this.#after(life, ms, () => {
        signal?.removeEventListener("abort", cancel);
        resolve();
      });
      signal?.addEventListener("abort", cancel);
    });
  }

  #after(life: Life, ms: number, act: () => void): () => void {
    const timer: Timer = {
      at: this.now + ms,
      fire: () => {
        if (!life.dead) act();
      },
    };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  // --- the bus

  /** The bus may refuse, or take it and fail to say so. */
  #publish(life: Life, publish: () => void): void {
    const refusal = this.refuses?.();
    if (refusal !== "before") publish();
    if (refusal === undefined) return;
    this.log(`the bus refuses ${life.name}`);
    throw new Error("the bus refuses");
  }

  #ring(stack: string, rings: readonly Ring[]): void {
    for (const ring of rings) {
      const delivery = () => ({ visit: { ...ring, stack }, acknowledged: false });
      const fate = this.fateOf(ring.node);
      if (fate === "lose") continue;
      if (typeof fate === "object") {
        this.delayed.push({ at: this.now + fate.delayMs, delivery: delivery() });
        continue;
      }
      this.queue.push(delivery());
      if (fate === "duplicate") this.queue.push(delivery());
    }
  }

  /** What happens to a notification; `what`: empty when no step is about it. */
  fateOf(what: string): "deliver" | "duplicate" | "lose" | { delayMs: number } {
    if (what !== "" && this.losses > 0) {
      this.losses -= 1;
      this.faults += 1;
      this.log(`the notification for ${what} is lost`);
      return "lose";
    }
    const fate = this.fateOfRing?.() ?? "deliver";
    if (fate !== "deliver" || what === "" || this.duplicates === 0) return fate;
    this.duplicates -= 1;
    this.faults += 1;
    return "duplicate";
  }

  #announce(events: readonly OutboxEvent[]): void {
    for (const event of events) {
      const known = JSON.parse(event.text) as LifecycleEvent;
      for (const watcher of this.#watchers) watcher.announced(known);
      const { what, resource, reason } = known;
      this.log(`event: ${resource ?? "stack"} ${what}${reason === undefined ? "" : ` (${reason})`}`);
    }
  }

  // --- faults

  #reach(life: Life, milestone: Milestone, context: MilestoneContext): Promise<void> | undefined {
    if (life.dead) return forever();
    const begin = context.resource === undefined;
    const fault = this.#take(["crash", "pause"], context.stack, (armed) =>
      begin
        ? armed.during === "begin" && armed.at === milestone
        : armed.during === undefined && armed.at === milestone && matches(armed, context),
    );
    return fault === undefined ? undefined : this.#strike(life, fault, milestone);
  }

  #take(
    kinds: Armed["kind"][],
    stack: string | undefined,
    fits: (armed: Armed) => boolean,
  ): Armed | undefined {
    const name = this.stackNames.get(stack ?? "");
    const fault = this.armed.find(
      (armed) =>
        kinds.includes(armed.kind) && (armed.stack === undefined || armed.stack === name) && fits(armed),
    );
    if (fault === undefined) return undefined;
    fault.reached = true;
    fault.times -= 1;
    if (fault.times === 0) this.armed.splice(this.armed.indexOf(fault), 1);
    this.faults += 1;
    return fault;
  }

  /** `of`: the stack and the id of what is looked at; undefined: of no one thing. */
  reachLook(life: Life, point: LookPoint, of: readonly unknown[] | undefined): Promise<void> | undefined {
    if (life.dead) return forever();
    if (life.role !== "observer") return undefined;
    const [stack, id] = (of ?? []).map(String);
    const resource = id === undefined ? undefined : this.observers.nameOf(life, id);
    const fault = this.#take(["crash", "pause"], stack, (armed) => {
      const isThis = armed.resource === undefined || armed.resource === resource;
      return armed.during === "look" && armed.at === point && isThis;
    });
    return fault === undefined ? undefined : this.#strike(life, fault, point);
  }

  /** Engine code threw where it must not. */
  threw(life: Life, who: string, error: unknown): void {
    if (!life.dead) this.#problem ??= new Error(`${who} threw: ${messageOf(error)}`, { cause: error });
  }

  #strike(life: Life, fault: Armed, milestone: string): Promise<void> {
    if (fault.kind === "crash") {
      this.crash(life, milestone);
      return forever();
    }
    this.log(`${life.name} stops ${milestone}`);
    return this.pause(life, fault.forMs ?? 0);
  }

  /** The process stands still, not knowing; resolves when it goes on. */
  pause(life: Life, forMs: number): Promise<void> {
    this.log(`${life.name} is paused for ${forMs / 1000}s`);
    life.pausedUntil = this.now + forMs;
    this.lastFaultAt = Math.max(this.lastFaultAt, life.pausedUntil);
    this.#paused.push(life);
    if (life.role === "observer" && forMs > this.limits.leaseMs) this.observers.paused(life);
    const { delivery } = life;
    if (delivery !== undefined && forMs > this.limits.leaseMs) {
      // Unacknowledged for longer than the server waits: it is delivered again.
      this.delayed.push({
        at: this.now + this.limits.leaseMs,
        delivery: { visit: delivery.visit, acknowledged: false },
      });
    }
    return new Promise((resolve) => {
      this.#timers.push({
        at: life.pausedUntil,
        fire: () => {
          this.log(`${life.name} goes on`);
          resolve();
        },
      });
    });
  }

  crash(life: Life, where: string): void {
    this.log(`${life.name} crashes ${where}`);
    life.dead = true;
    const { delivery } = life;
    if (delivery !== undefined && !delivery.acknowledged) {
      this.queue.push({ visit: delivery.visit, acknowledged: false });
    }
    if (life.role === "observer") this.observers.crashed(life);
  }

  // --- the provider

  async #provide<T>(
    life: Life,
    call: CallContext,
    operation: Operation,
    properties: JsonObject,
    effect: () => Promise<T>,
  ): Promise<T> {
    if (life.dead) return forever();
    const { stack, resource } = call;
    if (operation === "read") await this.reachLook(life, "before-read", [stack, call.token]);
    else this.progress += 1;
    this.log(`${life.name} calls ${operation} of ${resource} (${call.token})`);
    this.world.calls.push({ operation, stack, resource, token: call.token, worker: life.name });
    await this.#unseen(() => each(this.#watchers, (watcher) => watcher.callStarts(call, operation, life)));
    // Whatever took so long, from then on somebody waits for a deadline.
    call.signal.addEventListener("abort", () => {
      this.faults += 1;
    });
    let result: T;
    try {
      const work = this.#perform(life, call, operation, properties, effect);
      result = await (this.cut === undefined ? work : Promise.race([work, this.cut(call)]));
    } catch (error) {
      if (operation === "read") for (const looker of this.#lookers) looker.read(call, error as Error, life);
      for (const watcher of this.#watchers) watcher.callFails(call, operation, life, error);
      throw error;
    } finally {
      for (const watcher of this.#watchers) watcher.callEnds(call, operation, life);
    }
    if (operation === "read") await this.reachLook(life, "after-read", [stack, call.token]);
    return life.dead ? forever() : result;
  }

  async #perform<T>(
    life: Life,
    call: CallContext,
    operation: Operation,
    properties: JsonObject,
    effect: () => Promise<T>,
  ): Promise<T> {
    const { stack, resource } = call;
    const about: MilestoneContext = { stack, resource, operation };
    const hold = this.#take(["hold"], stack, (armed) => matches(armed, about));
    if (hold !== undefined) await this.#hold(life, stack, resource, operation, call.signal);
    const fail = this.#take(["fail"], stack, (armed) => matches(armed, about));
    const { unread } = this.observers;
    if (operation === "read") unread.delete(call.token);
    if (fail !== undefined && fail.after !== true) throw failureOf(fail);
    const timeoutMs = life.engine.types.get("Sim::Resource")?.timeoutMs(operation, properties);
    if (operation === "read") unread.add(call.token);
    await this.gateOfEffect?.(life, call, operation, timeoutMs);
    if (operation === "read" && !call.signal.aborted) unread.delete(call.token);
    const things = [...this.world.things.values()].filter(({ token }) => token === call.token);
    const before = new Map(things.map(({ id, properties: found }) => [id, found]));
    const result = await effect();
    const { physicalId = "", properties: found } = (result ?? {}) as Partial<Reading>;
    if (physicalId !== "") this.log(`${operation} of ${resource} (${call.token}): ${physicalId}`);
    for (const watcher of this.#watchers) watcher.effect(call, operation, properties, life, physicalId);
    // A create that is repeated gives what is there, as it is.
    const changes = operation !== "find" && !(operation === "create" && before.has(physicalId));
    for (const looker of this.#lookers) {
      if (operation === "read") looker.read(call, found, life);
      else if (changes) looker.changed(call, physicalId, before.get(physicalId), life);
    }
    const { afterEffect } = this;
    if (afterEffect !== undefined && (await this.#unseen(afterEffect))) {
      await new Promise<void>((resolve) => this.#parked.push(resolve));
    }
    if (fail !== undefined) throw failureOf(fail);
    return result;
  }

  #hold(life: Life, stack: string, resource: string, op: Operation, signal: AbortSignal): Promise<void> {
    this.log(`${op} of ${resource} is held`);
    return new Promise((resolve, reject) => {
      const held: Held = {
        stack,
        resource,
        op,
        life,
        release: () => {
          this.held.splice(this.held.indexOf(held), 1);
          resolve();
        },
      };
      this.held.push(held);
      signal.addEventListener("abort", () => {
        if (!this.held.includes(held)) return;
        this.held.splice(this.held.indexOf(held), 1);
        reject(new ProviderError("aborted", { retryable: true }));
      });
    });
  }

  /** Lets a call that `afterEffect` parked go on. */
  async unpark(): Promise<void> {
    const parked = this.#parked;
    this.#parked = [];
    for (const resume of parked) resume();
    await this.quiesce();
  }

  // --- driving

  /** Until nothing is under way any more. */
  async quiesce(): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#outstanding === 0) break;
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve;
      });
    }
    this.check();
  }

  /** An API call, by a process of its own. */
  async call<T>(
    action: (stacks: Stacks, engine: Engine) => Promise<T>,
  ): Promise<{ value?: T; error?: unknown; fenced: boolean }> {
    const life = this.newLife("caller");
    const outcome: { value?: T; error?: unknown; fenced: boolean } = { fenced: false };
    let over = false;
    action(new Stacks(life.engine), life.engine).then(
      (value) => {
        outcome.value = value;
        over = true;
      },
      (error: unknown) => {
        outcome.error = error;
        over = true;
      },
    );
    await this.quiesce();
    // A caller that waits for somebody (a claimed name) needs time to pass.
    while (!over && !life.dead && life.pausedUntil <= this.now && this.#timers.length > 0) {
      await this.advanceTo(this.now + 100);
    }
    outcome.fenced = life.dead || life.pausedUntil > this.now;
    return outcome;
  }

  /**
   * Gives observers what they were told of, or delivers what is first in the queue; answers whether it was a visit,
   * undefined when there is nothing.
   */
  async deliverNext(): Promise<boolean | undefined> {
    const hints = this.observers.queue.splice(0);
    if (hints.length > 0) {
      this.observers.deliver(hints);
      await this.quiesce();
      return false;
    }
    const delivery = this.queue.shift();
    if (delivery === undefined) return undefined;
    const { visit } = delivery;
    const record = await this.store.stack(visit.stack);
    const counts = visit.node !== "" && record?.traversal === String(visit.traversal);
    this.deliveries += 1;
    if (counts) this.visits += 1;
    if (this.deliveries > deliveriesLimit) throw new Error(`${this.deliveries} deliveries: something spins`);
    this.deliver(delivery, this.#freeWorker());
    await this.quiesce();
    return counts;
  }

  deliver(delivery: Delivery, life: Life): void {
    life.delivery = delivery;
    const { visit } = delivery;
    this.log(
      `${life.name} visits ${visit.node || `the call of ${visit.resource}`} of traversal ${visit.traversal}`,
    );
    handleVisit(life.engine, visit, () => {
      delivery.acknowledged = true;
    }).then(
      (verdict) => this.#conclude(life, delivery, verdict),
      (error: unknown) => this.threw(life, "a visit", error),
    );
  }

  #conclude(life: Life, delivery: Delivery, verdict: Verdict): void {
    if (life.dead) return;
    if (life.delivery === delivery) life.delivery = undefined;
    if (delivery.acknowledged || verdict === "ack") {
      delivery.acknowledged = true;
      return;
    }
    const afterMs = verdict === "leave" ? this.limits.leaseMs : verdict.againMs;
    this.delayed.push({ at: this.now + Math.max(1, afterMs), delivery: { ...delivery } });
  }

  /** A worker that is dead, paused or busy has another take its place. */
  #freeWorker(): Life {
    const life = this.#worker;
    const free =
      life !== undefined && !life.dead && life.pausedUntil <= this.now && life.delivery === undefined;
    this.#worker = free ? life : this.newLife("worker");
    return this.#worker;
  }

  /** Starts a sweep by the sweeper of the moment. */
  startSweep(): Life {
    let life = this.#sweeper;
    if (life === undefined || life.dead || life.pausedUntil > this.now) life = this.newLife("sweeper");
    this.#sweeper = life;
    const sweeper = life;
    sweep(sweeper.engine).catch((error: unknown) => this.threw(sweeper, "the sweeper", error));
    return sweeper;
  }

  /** When the next thing falls due, undefined when nothing will. Timers of processes are no reason to wait. */
  async nextDue(): Promise<number | undefined> {
    const hintDue = await this.#nextHint();
    const times = this.delayed.map(({ at }) => at);
    if (hintDue !== undefined) times.push(hintDue);
    const looked = await this.observers.nextAwaited();
    if (looked !== undefined) times.push(looked);
    for (const life of this.#paused) if (life.pausedUntil > this.now) times.push(life.pausedUntil);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  async #nextHint(): Promise<number | undefined> {
    if (this.#hintDue === undefined) {
      this.#hintDue = { at: await this.store.firstDue(0) };
    }
    const { at } = this.#hintDue;
    return at === undefined ? undefined : Math.max(at, this.now);
  }

  /** When the last of the stacks' own timeouts strikes; 0 when there is none. */
  async lastTimeout(): Promise<number> {
    const records = await Promise.all([...this.stackNames.keys()].map((stack) => this.store.stack(stack)));
    return Math.max(
      0,
      ...records.map((record) => (record?.timeoutAt ? Number(record.timeoutAt) + this.limits.sweepMs : 0)),
    );
  }

  /** When the next timer of a process is due. */
  nextTimer(): number | undefined {
    return this.#timers.length === 0 ? undefined : Math.min(...this.#timers.map(({ at }) => at));
  }

  /** Fires what is due now: timers, delayed messages, the sweeper, looks. */
  async fireDue(): Promise<void> {
    for (const timer of this.#timers.filter(({ at }) => at <= this.now)) {
      this.#timers = this.#timers.filter((other) => other !== timer);
      timer.fire();
    }
    for (const delayed of this.delayed.filter(({ at }) => at <= this.now)) {
      this.delayed.splice(this.delayed.indexOf(delayed), 1);
      this.queue.push(delayed.delivery);
    }
    if ((await this.#nextHint()) === this.now) this.startSweep();
    await this.observers.fireDue();
  }

  /** Lets time pass up to `end`, doing what falls due on the way; `visit`: also what is delivered then. */
  async advanceTo(end: number, visit = true): Promise<void> {
    for (;;) {
      const sweepAt = (await this.#nextHint()) ?? Number.POSITIVE_INFINITY;
      const timer = this.#timers.reduce<Timer | undefined>(
        (first, other) => (first === undefined || other.at < first.at ? other : first),
        undefined,
      );
      const delayed = this.delayed.reduce<(typeof this.delayed)[number] | undefined>(
        (first, other) => (first === undefined || other.at < first.at ? other : first),
        undefined,
      );
      const lookAt = (await this.observers.next()) ?? Number.POSITIVE_INFINITY;
      const at = Math.min(
        sweepAt,
        lookAt,
        timer?.at ?? Number.POSITIVE_INFINITY,
        delayed?.at ?? Number.POSITIVE_INFINITY,
      );
      if (at > end) break;
      this.now = Math.max(this.now, at);
      if (timer !== undefined && timer.at === at) {
        this.#timers = this.#timers.filter((other) => other !== timer);
        timer.fire();
        await this.quiesce();
      } else if (delayed !== undefined && delayed.at === at) {
        this.delayed.splice(this.delayed.indexOf(delayed), 1);
        this.queue.push(delayed.delivery);
      } else if (sweepAt === at) {
        this.startSweep();
        await this.quiesce();
      } else {
        await this.observers.fireDue();
        await this.quiesce();
      }
      if (visit) await this.drain();
    }
    this.now = Math.max(this.now, end);
  }

  /** Delivers whatever is in the queue; stops early when a call was parked. */
  async drain(): Promise<void> {
    while (this.#parked.length === 0 && (await this.deliverNext()) !== undefined) this.check();
  }

  get isParked(): boolean {
    return this.#parked.length > 0;
  }

  /** Removes every key of the run. */
  async clear(): Promise<void> {
    const keys = await this.#redis.keys(`${this.store.keys.prefix}*`);
    await Promise.all(keys.map((key) => this.#redis.unlink(key)));
  }
}

function failureOf({ error = "", retryable = false, after }: Armed): ProviderError {
  return new ProviderError(error, { retryable, effect: after === true ? "unknown" : "none" });
}

function matches(armed: Armed, context: MilestoneContext): boolean {
  return (
    (armed.resource === undefined || armed.resource === context.resource) &&
    (armed.op === undefined || armed.op === context.operation)
  );
}

async function each<T>(items: readonly T[], action: (item: T) => Promise<void>): Promise<void> {
  for (const item of items) await action(item);
}

function forever(): Promise<never> {
  return new Promise(() => {});
}
