/**
 * The observers of a run: who takes what is told of things, and looks when the schedule says so.
 *
 * Invariants
 * 1. What is looked at, and when, is the production schedule in Redis; here is only what hands it on.
 * 2. Time passes for a look only when somebody waits for it: it was asked for and has not come to a conclusion, what it
 *    saw is to be mended, or a traversal was wished for. A poll that finds nothing is no reason.
 */
import type { Redis } from "ioredis";
import { policyOf, unstored } from "../observer/look.js";
import { type Hint, HintedLooks, observeShard } from "../observer/observer.js";
import { readWatched, stackPool, writeWatched } from "../store/hints.js";
import type { Sight, Watched } from "../store/store.js";
import { VisitedResource } from "../traversal/visited-resource.js";
import type { Life, Simulation } from "./simulation.js";

/** A message on the observed subject. */
export interface HintDelivery {
  hint: Hint;
  acknowledged: boolean;
}

/** The pool of simulated things. */
const pool = "default";
const pools = [pool, stackPool] as const;

/** The states of a thing that a look can see. */
const seenStates: ReadonlySet<string> = new Set([
  "ready",
  "drifted",
  "missing",
  "contested",
  "unreadable",
  "failed",
]);

interface Observer {
  life: Life;
  looks: HintedLooks;
  /** What it took and has not acknowledged. */
  inHand: Set<HintDelivery>;
  /** The pools whose schedule it is at. */
  passing: Set<string>;
}

/** One look as far as the seams tell of it. */
interface LookUnderWay {
  resource: string;
  began: number;
  concluded: boolean;
}

export class Observers {
  readonly queue: HintDelivery[] = [];
  readonly delayed: { at: number; delivery: HintDelivery }[] = [];
  /** Which of the observers is given something; exploring: now and then another than the first. */
  choose: () => number = () => 0;
  /** How many may pass over one schedule at once. */
  leaders = 1;
  /** Tokens of what no read has been answered for in time, though no step says so: it is read again. */
  readonly unread = new Set<string>();
  readonly #simulation: Simulation;
  readonly #redis: Redis;
  readonly #observers: Observer[] = [];
  /** Also those whose place another has taken. */
  readonly #all = new Map<Life, Observer>();
  readonly #looks = new Map<Life, Map<string, LookUnderWay>>();
  /** Entries of the schedule that somebody asked for, and when in the order of all that happens. */
  readonly #asked = new Map<string, number>();
  #count = 0;
  /** When the first entry of each pool falls due; a pool that is not here is not known. */
  readonly #due = new Map<string, number | undefined>();
  /** False: nobody waited for a look when that was last asked, and nothing has happened since. */
  #restless = false;

  constructor(simulation: Simulation, redis: Redis) {
    this.#simulation = simulation;
    this.#redis = redis;
  }

  // --- the bus

  /** An event producer reports a thing. */
  async notify(hint: Hint): Promise<void> {
    const simulation = this.#simulation;
    const delivery = () => ({ hint, acknowledged: false });
    const fate = simulation.fateOf(`${hint.physicalId}`);
    if (fate === "lose") return this.#missed(hint);
    if (typeof fate === "object") {
      this.delayed.push({ at: simulation.now + fate.delayMs, delivery: delivery() });
      return;
    }
    this.queue.push(delivery());
    if (fate === "duplicate") this.queue.push(delivery());
  }

  /** What nobody was told of is waited for all the same: the schedule has it. */
  async #missed({ type, physicalId }: Hint): Promise<void> {
    const known = await this.#simulation.store.resourcesOf(pool, type, physicalId);
    for (const { stack, resource } of known) {
      this.#ask(writeWatched({ stack, resource: { id: resource, type, physicalId } }));
    }
  }

  #ask(entry: string): void {
    this.#count += 1;
    this.#asked.set(entry, this.#count);
    this.#restless = true;
  }

  /** Gives what was told to an observer, which acknowledges it when it has looked. */
  deliver(deliveries: readonly HintDelivery[]): void {
    const observer = this.#observerOf(this.choose());
    for (const delivery of deliveries) observer.inHand.add(delivery);
    const { life } = observer;
    this.#simulation.log(
      `${life.name} is told of ${deliveries.map(({ hint }) => hint.physicalId).join(", ")}`,
    );
    Promise.all(deliveries.map(({ hint }) => observer.looks.take(hint))).then(
      async () => {
        await this.#simulation.reachLook(life, "before-ack", undefined);
        for (const delivery of deliveries) {
          delivery.acknowledged = true;
          observer.inHand.delete(delivery);
        }
      },
      (error: unknown) => this.#simulation.threw(life, "an observer", error),
    );
  }

  /** One pass over what is due of a pool. */
  #pass(of: string): void {
    const chosen = this.choose();
    const place = this.#isPassing(chosen, of) ? this.leaders - 1 - chosen : chosen;
    if (this.#isPassing(place, of)) return;
    const { life, passing } = this.#observerOf(place);
    passing.add(of);
    const over = () => passing.delete(of);
    observeShard(life.engine, of, 0)
      .catch((error: unknown) => this.#simulation.threw(life, "an observer", error))
      .finally(over);
  }

  #alive(place: number): Observer | undefined {
    const known = this.#observers[place];
    if (known === undefined || known.life.dead || known.life.pausedUntil > this.#simulation.now)
      return undefined;
    return known;
  }

  #isPassing(place: number, of: string): boolean {
    return this.#alive(place)?.passing.has(of) === true;
  }

  #observerOf(place: number): Observer {
    const known = this.#alive(place);
    if (known !== undefined) return known;
    const life = this.#simulation.newLife("observer");
    const looks = new HintedLooks(life.engine, new Set([pool]));
    const observer: Observer = { life, looks, inHand: new Set(), passing: new Set() };
    this.#observers[place] = observer;
    this.#all.set(life, observer);
    return observer;
  }

  /** What a life that vanishes had not acknowledged comes again at once. */
  crashed(life: Life): void {
    for (const delivery of this.#inHandOf(life)) this.queue.push({ ...delivery });
    this.#looks.delete(life);
  }

  /** What is not acknowledged for longer than the server waits comes again. */
  paused(life: Life): void {
    const at = this.#simulation.now + this.#simulation.limits.leaseMs;
    for (const delivery of this.#inHandOf(life)) this.delayed.push({ at, delivery: { ...delivery } });
  }

  #inHandOf(life: Life): HintDelivery[] {
    return [...(this.#all.get(life)?.inHand ?? [])];
  }

  // --- what the seams tell

  /** A life has called the store. */
  called(life: Life, method: string, args: readonly unknown[], result: unknown): void {
    switch (method) {
      case "sight":
        if (life.role === "observer") this.#began(life, result as Sight | undefined, String(args[1]));
        return;
      case "fresh":
        if (result === true) this.#concluded(life, String(args[1]));
        return;
      case "observe": {
        const { tag } = result as { tag: string };
        if (!unstored.has(tag)) this.#concluded(life, String(args[1]));
        this.#restless = true;
        return;
      }
      case "attend":
        this.#restless = true;
        return;
      case "watch":
        this.#due.delete(String(args[0]));
        this.#arranged(life, args[1] as Watched);
        return;
      case "popWatched":
      case "returnWatched":
        this.#due.delete(String(args[0]));
    }
  }

  #began(life: Life, sight: Sight | undefined, resource: string): void {
    if (sight === undefined) return;
    this.#count += 1;
    const looks = this.#looks.get(life) ?? new Map<string, LookUnderWay>();
    looks.set(resource, { resource: sight.record.name ?? "", began: this.#count, concluded: false });
    this.#looks.set(life, looks);
  }

  #concluded(life: Life, resource: string): void {
    const look = this.#looks.get(life)?.get(resource);
    if (look === undefined) return;
    look.concluded = true;
    for (const [entry, asked] of this.#asked) {
      if (asked < look.began && readWatched(entry).resource?.id === resource) this.#asked.delete(entry);
    }
  }

  #arranged(life: Life, watched: Watched): void {
    this.#restless = true;
    const { resource } = watched;
    if (resource === undefined || life.role === "worker") return;
    const look = this.#looks.get(life)?.get(resource.id);
    if (look?.concluded !== true) this.#ask(writeWatched(watched));
  }

  /** Whether somebody has something in hand that is not acknowledged. */
  get isBusy(): boolean {
    const { now } = this.#simulation;
    return [...this.#all.values()].some(
      ({ life, inHand }) => !life.dead && life.pausedUntil <= now && inHand.size > 0,
    );
  }

  /** What is to be looked at, as it stands in the schedule. */
  async scheduled(): Promise<Set<string>> {
    return new Set((await this.#scheduled(pool)).map(([entry]) => entry));
  }

  /** Which resources a thing's events are taken to, as it stands in Redis, by type and physical id. */
  owners(): Promise<Record<string, string>> {
    return this.#redis.hgetall(this.#simulation.store.keys.physical(pool, 0));
  }

  /** Whether what was lost is left as it is. */
  async hasDismissed(stack: string): Promise<boolean> {
    const fields = await this.#redis.hkeys(this.#simulation.store.keys.incidents(stack));
    return fields.some((field) => field.startsWith("dismissed:"));
  }

  /** The name of what a life is looking at. */
  nameOf(life: Life, resource: string): string {
    return this.#looks.get(life)?.get(resource)?.resource ?? "";
  }

  // --- time

  /** Hands on what is due now. */
  async fireDue(): Promise<void> {
    const { now } = this.#simulation;
    for (const delayed of this.delayed.filter(({ at }) => at <= now)) {
      this.delayed.splice(this.delayed.indexOf(delayed), 1);
      this.queue.push(delayed.delivery);
    }
    for (const of of pools) {
      const at = await this.#nextOf(of);
      if (at !== undefined && at <= now) this.#pass(of);
    }
  }

  /** When the next thing falls due that happens as time passes. */
  async next(): Promise<number | undefined> {
    const times = this.delayed.map(({ at }) => at);
    for (const of of pools) {
      const at = await this.#nextOf(of);
      if (at !== undefined) times.push(at);
    }
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Undefined when there is nothing, or somebody is at it. */
  async #nextOf(of: string): Promise<number | undefined> {
    const { now, store } = this.#simulation;
    const places = Array.from({ length: this.leaders }, (_, place) => place);
    if (places.every((place) => this.#isPassing(place, of))) return undefined;
    if (!this.#due.has(of)) {
      this.#due.set(of, await store.firstWatched(of, 0));
    }
    const at = this.#due.get(of);
    return at === undefined ? undefined : Math.max(at, now);
  }

  /** When the next thing falls due that somebody waits for. */
  async nextAwaited(): Promise<number | undefined> {
    const { now } = this.#simulation;
    const times = this.delayed.map(({ at }) => at);
    if (this.#restless) {
      const looks = [...(await this.#awaitedStacks()), ...(await this.#awaitedLooks())];
      this.#restless = looks.length > 0 || this.#asked.size > 0;
      for (const at of looks) {
        // Whoever would take it has a slow one in hand: that ends by a timer of its own.
        const from = at <= now && !(await this.#isFree()) ? this.#simulation.nextTimer() : at;
        if (from !== undefined) times.push(Math.max(from, now));
      }
    }
    return times.length === 0 ? undefined : Math.min(...times);
  }

  async #isFree(): Promise<boolean> {
    return (await this.#nextOf(pool)) !== undefined || (await this.#nextOf(stackPool)) !== undefined;
  }

  async #awaitedStacks(): Promise<number[]> {
    const times: number[] = [];
    for (const [entry, at] of await this.#scheduled(stackPool)) {
      const record = await this.#simulation.store.stack(readWatched(entry).stack);
      const wished = (record?.wish ?? "") !== "" && (record?.paused ?? "") === "";
      if (wished && record?.status !== "CANCELLED") times.push(at);
    }
    return times;
  }

  async #awaitedLooks(): Promise<number[]> {
    const times: number[] = [];
    const entries = await this.#scheduled(pool);
    const states = new Map<string, string>();
    for (const stack of new Set(entries.map(([entry]) => readWatched(entry).stack))) {
      for (const [id, { state }] of await this.#simulation.store.index(stack)) states.set(id, state);
    }
    for (const [entry, at] of entries) {
      const { stack, resource } = readWatched(entry);
      const state = states.get(resource?.id ?? "");
      const seen = state === "drifted" || state === "missing" || state === "unreadable";
      if (!seen && !(this.#asked.has(entry) && state !== undefined)) continue;
      if (await this.#isAwaited(entry, stack, resource)) times.push(at);
    }
    for (const entry of this.#asked.keys()) {
      if (!entries.some(([one]) => one === entry)) this.#asked.delete(entry);
    }
    return times;
  }

  async #isAwaited(entry: string, stack: string, resource: Watched["resource"]): Promise<boolean> {
    const sight = await this.#simulation.store.sight(stack, resource?.id ?? "");
    const { record } = sight ?? {};
    if (sight === undefined || record?.tombstone !== undefined || record?.physical !== resource?.physicalId)
      return false;
    const visited = new VisitedResource(sight.record);
    if (!seenStates.has(visited.state)) return false;
    const { mode } = policyOf(sight, sight.record);
    const asked = this.#asked.has(entry);
    if (mode === "ignore") return asked && sight.askedAtMs > Number(record?.observedAt || 0);
    if (asked) return true;
    if (visited.state === "unreadable") return this.unread.has(sight.record.token || (resource?.id ?? ""));
    const { paused, status, action } = sight;
    if (mode !== "repair" || paused !== "" || status === "CANCELLED" || action === "delete") return false;
    return visited.state !== "missing" || !(await this.#isHeld(stack, resource));
  }

  /** Whether it is left alone until somebody says so. */
  async #isHeld(stack: string, resource: Watched["resource"]): Promise<boolean> {
    const key = this.#simulation.store.keys.incidents(stack);
    const id = resource?.id ?? "";
    const [open, approved, dismissed] = await this.#redis.hmget(
      key,
      "open",
      `approved:${id}`,
      `dismissed:${id}`,
    );
    return (open !== null && approved === null) || dismissed !== null;
  }

  async #scheduled(of: string): Promise<[entry: string, at: number][]> {
    const key = this.#simulation.store.keys.watch(of, 0);
    const flat = await this.#redis.zrange(key, "0", "-1", "WITHSCORES");
    return flat.flatMap((entry, i): [string, number][] =>
      i % 2 === 0 ? [[entry, Math.ceil(Number(flat[i + 1]))]] : [],
    );
  }
}
