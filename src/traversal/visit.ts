/**
 * A visit: what one worker does with one delivery. Claim, decide, commit, act, commit, pass on, end.
 *
 * Invariants
 * 1. No provider call starts before its intent is stored, after its deadline, or without the lease (R10).
 * 2. After a refused commit nothing of what was loaded is written; who waits for this resource is rung for (R9, R13).
 * 3. The message is acknowledged when all that it caused is durable; never by a visit that was fenced (R11).
 */

import type { ResourceEvent } from "../../machines/resource.js";
import { HomeostatError, InvalidError, messageOf } from "../errors.js";
import { type PolicyPart, resolvePolicy } from "../observer/policy.js";
import type { Thing } from "../providers/provider.js";
import { readStored } from "../store/damage.js";
import { stackPool } from "../store/hints.js";
import type { Commit, CommitAnswer, OutboxEvent, Ring, Visit } from "../store/store.js";
import type { Engine, Milestone } from "./engine.js";
import { giveAway, handOver, nothingMade } from "./hand-over.js";
import { type LifecycleEvent, toOutbox } from "./lifecycle-event.js";
import { type NodeGoal, readNodeGoal } from "./node-goal.js";
import { type Outcome, ProviderCall } from "./provider-call.js";
import { settleStack } from "./settle.js";
import { gatherUpdate, type UpdateFacts } from "./update-facts.js";
import { VisitedResource } from "./visited-resource.js";

/** ack: all is durable. leave: not acknowledged, timers and redelivery see to it. againMs: come back later. */
export type Verdict = "ack" | "leave" | { againMs: number };

/** `acknowledge` may be called early, once a long call's intent and timers are stored (R11). */
export async function handleVisit(engine: Engine, visit: Visit, acknowledge: () => void): Promise<Verdict> {
  const holder = engine.random.id();
  let at = visit;
  for (;;) {
    const answer = await engine.store.claim(at, holder);
    switch (answer.tag) {
      case "moved":
        at = { ...at, resource: answer.resource };
        continue;
      case "again":
        return { againMs: answer.ms };
      case "gone":
      case "ended":
      case "notReady":
      case "busy":
      case "waiting":
        return leaveAlone(engine, at, []);
      case "stale":
        return leaveAlone(engine, at, answer.rings);
      case "passing":
        return new VisitRun(engine, at, holder, acknowledge).passAgain(answer.cursor);
      case "claimed": {
        const run = new VisitRun(engine, at, holder, acknowledge);
        return run.act(answer);
      }
    }
  }
}

/** A visit with nothing to do but to ring for somebody. */
async function leaveAlone(engine: Engine, visit: Visit, rings: readonly Ring[]): Promise<Verdict> {
  const context = { stack: visit.stack, resource: nameIn(visit), operation: "none" };
  await engine.trace.reach("before-publish", context);
  await ringSafely(engine, visit.stack, rings);
  await engine.trace.reach("after-publish", context);
  await engine.trace.reach("before-ack", context);
  return "ack";
}

/** The resource's name as far as the delivery tells it. */
function nameIn(visit: Visit): string {
  return visit.node.startsWith("u:") ? visit.node.slice(2) : "";
}

/** Characters; it is told in events, which must fit a message. */
const longestReason = 2_000;

/** The states of which a reason says something; in others it is what went wrong before. */
const statesWithReason: ReadonlySet<string> = new Set([
  "retrying",
  "failed",
  "uncertain",
  "drifted",
  "missing",
  "contested",
  "unreadable",
]);

type Claimed = Extract<Awaited<ReturnType<Engine["store"]["claim"]>>, { tag: "claimed" }>;

/** What follows a step: the next event for the machine, or the visit's end. */
type Next = { event: ResourceEvent } | { verdict: Verdict };

class VisitRun {
  readonly #engine: Engine;
  readonly #holder: string;
  readonly #acknowledge: () => void;
  #visit: Visit;
  #current = false;
  #late = false;
  #standing = "";
  #arrivals = new Map<string, string>();
  #goal: NodeGoal | undefined;
  #update: UpdateFacts | undefined;
  #resource = new VisitedResource({});
  #operation = "none";
  /** What was handed over and is taken into account by the next commit. */
  #handed = "";
  #events: OutboxEvent[] = [];
  /** How many of them were sent off, and whether that went well. */
  #announcedEvents = 0;
  #announced: Promise<boolean> = Promise.resolve(true);
  #commits = 0;
  /** What the next commit says of reality. */
  #changed: Commit["changed"];

  constructor(engine: Engine, visit: Visit, holder: string, acknowledge: () => void) {
    this.#engine = engine;
    this.#visit = visit;
    this.#holder = holder;
    this.#acknowledge = acknowledge;
  }

  async act(claim: Claimed): Promise<Verdict> {
    this.#current = claim.current;
    this.#late = claim.late;
    this.#standing = claim.standing;
    this.#arrivals = claim.arrivals;
    await this.#read(claim);
    let next = await this.#begin();
    while ("event" in next) next = await this.#step(next.event);
    return next.verdict;
  }

  /** A repair in place: its intent is stored already, and no traversal knows of it. */
  async repair(resource: VisitedResource, call: ProviderCall): Promise<Verdict> {
    this.#resource = resource;
    this.#operation = "update";
    await this.#reach("after-intent");
    await this.#reach("before-call");
    const outcome = await call.run(this.#acknowledge, async () => {});
    await this.#reach("after-call");
    let next = await this.#conclude("update", outcome);
    while ("event" in next) next = await this.#step(next.event);
    return next.verdict;
  }

  /** What a newer version wrote is let go of, so that a newer worker need not wait for the end of this lease. */
  async #read({ record, node }: Claimed): Promise<void> {
    const { store, sealing } = this.#engine;
    const { stack, traversal, attempt, resource } = this.#visit;
    try {
      this.#resource = readStored(store.keys.resource(stack, resource), () => new VisitedResource(record));
      if (node === "") return;
      const graph = store.keys.graph(stack, traversal, attempt);
      this.#goal = readStored(graph, () => readNodeGoal(sealing, node));
    } catch (error) {
      if (!(error instanceof HomeostatError) || error.code !== "newer_version") throw error;
      const holder = this.#holder;
      const release = { holder, commit: holder, mode: "outcome", effect: "release" } as const;
      const answer = await store.commit(this.#visit, release);
      if (answer.tag === "ok") await ringSafely(this.#engine, stack, answer.rings);
      throw error;
    }
  }

  /** A duplicate of a finished visit passes its results on again and does nothing else (R11). */
  async passAgain(cursor: number): Promise<Verdict> {
    const { store } = this.#engine;
    await this.#reach("before-publish");
    const passed = await store.passOn(this.#visit, cursor);
    if (!passed.current) return "ack";
    await ringSafely(this.#engine, this.#visit.stack, passed.rings);
    await settleStack(this.#engine, this.#visit.stack, this.#visit.traversal, this.#visit.attempt);
    return this.#finish(cursor, passed.more);
  }

  /** The first event: what somebody else left unfinished comes before what this visit is for (R13). */
  async #begin(): Promise<Next> {
    const resource = this.#resource;
    if (resource.field("at-goal") !== String(this.#visit.traversal) && this.#current) {
      resource.step({ type: "newGoal" });
      resource.set({ "at-goal": String(this.#visit.traversal) });
    }
    if (resource.field("handed") !== "") return this.#takeHandedOver(resource.field("handed"), this.#late);
    if (resource.field("intent") !== "") {
      const { capabilities } = this.#provider();
      return {
        event: { type: "resume", late: this.#late, cleanup: this.#isCleanup(), ...capabilities },
      };
    }
    if (!this.#current) return this.#release();
    return this.#decide();
  }

  /** `late`: nobody's call can take effect any more. */
  async #takeHandedOver(text: string, late: boolean): Promise<Next> {
    const resource = this.#resource;
    const event = { type: "handedOver", late } as const;
    const isToGo = resource.state === "deleting" || resource.state === "deleted";
    this.#handed = text;
    if (text === nothingMade) {
      if (late) resource.set({ handed: "" });
      return { event: { type: "absent", call: resource.context.call, late } };
    }
    if (!isToGo && resource.would(event) === "wait") return { event };
    resource.set({ handed: "" });
    await this.#recordThing(this.#readThing(text));
    if (isToGo) {
      if (resource.state === "deleted") {
        resource.keepTried();
        resource.step(event);
      }
      resource.set({ intent: "delete" });
      return { event: { type: "resume", late: true, cleanup: true, ...this.#provider().capabilities } };
    }
    resource.keepTried();
    resource.step(event);
    return this.#again();
  }

  #readThing(text: string): Thing {
    return JSON.parse(this.#engine.sealing.open(text)) as Thing;
  }

  #isCleanup(): boolean {
    return this.#visit.node.startsWith("k:");
  }

  /** What this visit is for. */
  async #decide(): Promise<Next> {
    const { capabilities } = this.#provider();
    const late = this.#late || this.#resource.field("deadline") === "";
    if (this.#goal === undefined) {
      const wanted = this.#standing === this.#visit.resource;
      const retain = this.#resource.field("retain") !== "";
      return { event: { type: "visit.cleanup", wanted, retain, late, ...capabilities } };
    }
    try {
      this.#update = await gatherUpdate(
        this.#engine,
        this.#visit,
        this.#goal,
        this.#arrivals,
        this.#resource,
      );
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      return { event: { type: "rejected", reason: error.message } };
    }
    const condemned = this.#goal.condemned === this.#visit.resource;
    return {
      event: {
        type: "visit.update",
        fit: condemned ? "replace" : this.#update.fit,
        late,
        ...(this.#goal.repair === false ? { repair: false } : {}),
        ...capabilities,
      },
    };
  }

  async #step(event: ResourceEvent): Promise<Next> {
    const wasUnsure = this.#resource.context.unsure;
    const command = this.#resource.step(event);
    switch (command) {
      case "pass":
        return this.#resource.state === "deleted" ? this.#gone("outcome") : this.#pass("decision");
      case "forget":
        await this.#noteRetained();
        return this.#gone("decision");
      case "again":
        return this.#again(event.type === "failed");
      case "create":
      case "update":
      case "delete":
        return this.#call(command, event.type === "resume" || (command === "create" && wasUnsure));
      case "find":
        return this.#find();
      case "replace":
        return this.#replace();
      case "retryLater":
        return this.#retryLater();
      case "wait":
        return this.#end({ mode: "outcome", effect: "wait" });
      case "fail":
      case "ask":
        return this.#fail(this.#resource.context.reason);
      case "mend":
      case "reconverge":
      case undefined:
        return this.#fail(`internal: nothing is foreseen for ${event.type} while ${this.#resource.state}`);
    }
  }

  /** The outcome is known; go on to what this visit is for, in one commit when nothing more is to be done. */
  async #again(failed = false): Promise<Next> {
    // A repair that was cut short may still land until its deadline.
    this.#resource.set(failed ? { intent: "" } : { intent: "", deadline: "" });
    // What has turned out not to exist refers to nothing (R1), and may yet come too late, whatever comes between (R10).
    const freed = this.#resource.state === "declared" ? { requires: [] } : {};
    if (this.#resource.state === "declared") this.#resource.set({ absent: "1" });
    if (!this.#current) return this.#end({ mode: "outcome", effect: "keep", ...freed });
    const next = await this.#decide();
    if ("event" in next && this.#resource.would(next.event) === "pass") {
      this.#resource.step(next.event);
      return this.#pass("outcome");
    }
    if ("verdict" in next) return next;
    await this.#reach("before-commit");
    const answer = await this.#commit({ mode: "outcome", effect: "keep", ...freed });
    await this.#reach("after-commit");
    return answer.tag === "ok" ? next : this.#refused(answer);
  }

  async #pass(mode: "decision" | "outcome"): Promise<Next> {
    const update = this.#update;
    if (update !== undefined) this.#resource.recordGoal(this.#engine, update);
    const value = this.#isCleanup() ? "" : `${this.#visit.resource}@${this.#resource.field("output")}`;
    return this.#end({
      mode,
      effect: "done",
      value,
      ...(update === undefined ? {} : { requires: update.requires }),
    });
  }

  #gone(mode: "decision" | "outcome"): Promise<Next> {
    this.#resource.set({ intent: "" });
    return this.#end({ mode, effect: "gone", value: "", requires: [] });
  }

  /** Its thing stays, and is no orphan. */
  async #noteRetained(): Promise<void> {
    const resource = this.#resource;
    if (resource.field("retain") === "") return;
    const token = resource.field("token") || this.#visit.resource;
    await this.#engine.store.noteRetained({ [token]: resource.field("type") });
  }

  #fail(reason: string): Promise<Next> {
    this.#resource.set({ intent: "", reason });
    return this.#end({ mode: "outcome", effect: "fail", reason });
  }

  #retryLater(): Promise<Next> {
    const { backoffMs, backoffMaxMs, jitter } = this.#engine.limits;
    const { context, state } = this.#resource;
    const full = Math.min(backoffMs * 2 ** (context.failures - 1), backoffMaxMs);
    const delayMs = full * (1 - jitter * this.#engine.random.fraction());
    if (state !== "uncertain" && !this.#isStray()) this.#resource.set({ intent: "" });
    return this.#end({ mode: "outcome", effect: "retry", delayMs });
  }

  /** No traversal knows of it, so its delete is tried until it succeeds: its intent stays. */
  #isStray(): boolean {
    return this.#resource.field("stray") !== "";
  }

  async #release(): Promise<Next> {
    return this.#end({ mode: "outcome", effect: "release" });
  }

  /** A commit after which this visit does nothing more to its resource. */
  async #end(commit: Omit<Commit, "holder" | "commit" | "handed">): Promise<Next> {
    if (commit.effect === "retry") await this.#engine.store.hint(this.#visit.stack, commit.delayMs ?? 0);
    await this.#reach("before-commit");
    const answer = await this.#commit(commit);
    await this.#reach("after-commit");
    const { effect, mode } = commit;
    const isStored = answer.tag === "ok" || (answer.tag === "stale" && mode === "outcome");
    if (effect === "gone" && isStored) await this.#unwatch();
    if (answer.tag !== "ok") return this.#refused(answer);
    await this.#reach("before-publish");
    await this.#publish(answer.rings);
    if (effect === "done" || effect === "gone") {
      if (answer.milestone) await this.#settle();
      return { verdict: await this.#finish(0, answer.more) };
    }
    if (answer.milestone) await this.#settle();
    await this.#reach("after-publish");
    await this.#clearEvents();
    await this.#reach("before-ack");
    return { verdict: "ack" };
  }

  /** The rest of the fan-out, then the node leaves the pending set (R14, R17). */
  async #finish(chunk: number, more: boolean): Promise<Verdict> {
    const { store } = this.#engine;
    for (let next = chunk + 1, left = more; left; next += 1) {
      const passed = await store.passOn(this.#visit, next);
      if (!passed.current) break;
      await ringSafely(this.#engine, this.#visit.stack, passed.rings);
      left = passed.more;
    }
    await this.#reach("after-publish");
    const ended = await store.end(
      this.#visit,
      this.#events.map((event) => event.id),
    );
    await ringSafely(this.#engine, this.#visit.stack, ended.rings);
    if (ended.stuck) await this.#settle();
    await this.#reach("before-ack");
    return "ack";
  }

  async #settle(): Promise<void> {
    await this.#clearEvents();
    return settleStack(this.#engine, this.#visit.stack, this.#visit.traversal, this.#visit.attempt);
  }

  async #refused(answer: Exclude<CommitAnswer, { tag: "ok" }>): Promise<Next> {
    switch (answer.tag) {
      case "fenced":
        return { verdict: "leave" };
      case "stale":
        await this.#reach("before-publish");
        await this.#publish(answer.rings);
        await this.#reach("after-publish");
        await this.#clearEvents();
        await this.#reach("before-ack");
        return { verdict: "ack" };
      case "busy":
        return { verdict: "ack" };
      case "handed":
        this.#resource.undo();
        if (answer.thing === "") return { verdict: "leave" };
        return this.#takeHandedOver(answer.thing, answer.late);
      case "required":
        this.#resource.undo();
        return this.#fail("something that still exists requires it");
    }
  }

  async #replace(): Promise<Next> {
    const goal = this.#goal;
    const update = this.#update;
    if (goal === undefined || update === undefined) throw new Error("only an update replaces");
    // There is nothing to retain: what comes too late is one too many.
    if (this.#resource.state === "deleted") this.#resource.set({ retain: "" });
    const taken = update.alternate;
    if (taken !== undefined) {
      this.#resource.set({ replacedBy: taken });
      const answer = await this.#commit({
        mode: "decision",
        effect: "adopt",
        next: { resource: taken, fields: {}, index: "" },
      });
      return answer.tag === "ok" ? this.#moveTo(taken, answer.record) : this.#refused(answer);
    }
    const resource = this.#engine.random.id();
    const { type, name } = goal.bound.definition;
    const { pool } = this.#visit;
    this.#resource.set({ replacedBy: resource });
    const answer = await this.#commit({
      mode: "decision",
      effect: "replace",
      next: {
        resource,
        fields: {
          name,
          type,
          pool,
          stackName: this.#resource.field("stackName"),
          ...(this.#resource.context.spoiled ? { fights: this.#resource.field("fights"), repairs: "1" } : {}),
        },
        index: JSON.stringify({ name, type, state: "declared", sequence: 0, pool }),
      },
    });
    return answer.tag === "ok" ? this.#moveTo(resource, answer.record) : this.#refused(answer);
  }

  /** The node goes on with another incarnation; the lease has moved with it. */
  async #moveTo(resource: string, record: Readonly<Record<string, string>>): Promise<Next> {
    await this.#publish([]);
    await this.#clearEvents();
    this.#visit = { ...this.#visit, resource };
    this.#handed = "";
    this.#resource = new VisitedResource(record);
    this.#late = !(Number(record.deadline || 0) > 0);
    this.#update = undefined;
    return this.#begin();
  }

  /** `tried`: the properties are those of the attempt before, because its token carries one set only (R10). */
  async #call(operation: "create" | "update" | "delete", tried: boolean): Promise<Next> {
    this.#operation = operation;
    const resource = this.#resource;
    const call = new ProviderCall(this.#engine, this.#visit, this.#holder, resource, operation);
    const requires = new Set(resource.requires());
    if (operation !== "delete" && !tried && this.#update !== undefined) {
      resource.recordAttempt(this.#engine, this.#update);
      for (const id of this.#update.requires) requires.add(id);
    }
    resource.set({ intent: operation });
    await this.#reach("before-intent");
    call.readClock();
    const answer = await this.#commit({
      mode: this.#isResolving(tried) ? "outcome" : "decision",
      effect: "intent",
      operation,
      requires: [...requires],
      callMs: call.deadlineMs,
    });
    if (answer.tag !== "ok") return this.#refused(answer);
    this.#announced = announceSafely(this.#engine, this.#unannounced());
    await this.#reach("after-intent");
    await this.#reach("before-call");
    const outcome = await call.run(this.#acknowledge, (late) => this.#handOver(late));
    await this.#reach("after-call");
    return this.#conclude(operation, outcome);
  }

  /** Ending what is unfinished needs no traversal (R13). */
  #isResolving(tried: boolean): boolean {
    return tried && !this.#current;
  }

  async #conclude(operation: string, outcome: Outcome): Promise<Next> {
    const resource = this.#resource;
    const { call } = resource.context;
    switch (outcome.tag) {
      case "fenced":
      case "abandoned":
        return { verdict: "leave" };
      case "notCalled":
        return { event: { type: "notCalled", call } };
      case "failed": {
        const exhausted = resource.context.failures + 1 >= this.#engine.limits.attempts;
        const { capabilities } = this.#provider();
        // What was cut short may still land until its deadline; a find says nothing about the call before it.
        if (operation !== "find" && !outcome.interrupted) resource.set({ deadline: "" });
        const reason = resource.masked(this.#engine, outcome.reason).slice(0, longestReason);
        const failed = { type: "failed", call, exhausted, ...outcome, reason, ...capabilities };
        return {
          event: (this.#isStray()
            ? { ...failed, retryable: true, exhausted: false }
            : failed) as ResourceEvent,
        };
      }
      case "absent":
        return { event: { type: "absent", call, late: this.#late } };
      case "removed":
        resource.set({ deadline: "", tried: "" });
        return { event: { type: "removed", call } };
      case "thing": {
        await this.#recordThing(outcome.thing);
        resource.keepTried();
        const type = operation === "find" ? "found" : operation === "create" ? "created" : "updated";
        const next: Next = { event: { type, call } };
        return operation === "create" ? this.#concludeCreate(next, outcome.thing) : next;
      }
    }
  }

  /** Where the thing is must be known before it is recorded, so that observers find it. */
  async #recordThing(thing: Thing): Promise<void> {
    const resource = this.#resource;
    const { store, limits } = this.#engine;
    const { stack, resource: id } = this.#visit;
    const output = resource.field("output");
    if (thing.physicalId !== resource.field("physical")) {
      const where = { id, type: resource.field("type"), physicalId: thing.physicalId };
      const { pollMs } = resolvePolicy(JSON.parse(resource.field("policy") || "{}") as PolicyPart);
      await store.watch(
        resource.field("pool"),
        { stack, resource: where },
        Math.min(limits.firstLookMs, pollMs),
      );
    }
    resource.recordThing(this.#engine, thing);
    const visible = resource.context.repairing && resource.field("output") !== output;
    if (visible) await store.watch(stackPool, { stack }, 0);
    this.#changed = visible ? "visible" : "applied";
  }

  /** Nobody need look at what is gone. */
  async #unwatch(): Promise<void> {
    const resource = this.#resource;
    const physicalId = resource.field("physical");
    if (physicalId === "") return;
    const where = { id: this.#visit.resource, type: resource.field("type"), physicalId };
    await this.#engine.store.unwatch(resource.field("pool"), { stack: this.#visit.stack, resource: where });
  }

  /** A fenced worker that made something hands it over (R10). */
  async #concludeCreate(next: Next, thing: Thing): Promise<Next> {
    const result = "event" in next ? await this.#step(next.event) : next;
    if ("verdict" in result && result.verdict === "leave") await this.#handOver(thing);
    return result;
  }

  #handOver(thing: Thing): Promise<void> {
    return handOver(this.#engine, this.#visit, this.#holder, this.#resource, thing);
  }

  async #find(): Promise<Next> {
    this.#operation = "find";
    const answer = await this.#commit({ mode: "outcome", effect: "hold", operation: "find" });
    if (answer.tag !== "ok") return this.#refused(answer);
    await this.#reach("before-call");
    const call = new ProviderCall(this.#engine, this.#visit, this.#holder, this.#resource, "find");
    call.readClock();
    const outcome = await call.run(this.#acknowledge, async () => {});
    await this.#reach("after-call");
    return this.#conclude("find", outcome);
  }

  async #commit(commit: Omit<Commit, "holder" | "commit" | "handed">): Promise<CommitAnswer> {
    const answer = await this.#tryCommit(commit);
    if (answer.tag !== "handed" || !this.#resource.isChanged("physical")) return answer;
    // This visit made a thing itself: what was handed over besides is one too many.
    const thing = answer.thing === nothingMade ? undefined : this.#readThing(answer.thing);
    if (thing !== undefined && thing.physicalId !== this.#resource.field("physical")) {
      await giveAway(this.#engine, this.#visit, this.#holder, this.#resource, thing);
    }
    this.#handed = answer.thing;
    this.#resource.set({ handed: "" });
    return this.#commit(commit);
  }

  async #tryCommit(commit: Omit<Commit, "holder" | "commit" | "handed">): Promise<CommitAnswer> {
    const resource = this.#resource;
    this.#commits += 1;
    const event = this.#eventOf();
    const answer = await this.#engine.store.commit(this.#visit, {
      ...commit,
      holder: this.#holder,
      commit: `${this.#holder}.${this.#commits}`,
      handed: this.#handed,
      fields: resource.changes(),
      index: commit.effect === "gone" ? "" : resource.indexEntry(commit.requires),
      ...(event === undefined ? {} : { event }),
      ...(this.#changed === undefined ? {} : { changed: this.#changed }),
    });
    if (answer.tag === "ok" || (answer.tag === "stale" && commit.mode === "outcome")) {
      resource.committed(commit.requires);
      this.#changed = undefined;
      this.#handed = "";
      if (event !== undefined) this.#events.push(event);
    }
    return answer;
  }

  #eventOf(): OutboxEvent | undefined {
    const resource = this.#resource;
    if (!resource.hasNewState()) return undefined;
    const reason = statesWithReason.has(resource.state) ? resource.context.reason : "";
    const what = resource.isRepaired() ? "repaired" : resource.state;
    if (what === "repaired") resource.set({ repairs: "" });
    return toOutbox(resourceEvent(this.#engine, this.#visit, resource, what, reason));
  }

  async #publish(rings: readonly Ring[]): Promise<void> {
    const announced = announceSafely(this.#engine, this.#unannounced());
    await ringSafely(this.#engine, this.#visit.stack, rings);
    // What could not be published stays in the outbox.
    const all = (await this.#announced) && (await announced);
    this.#announced = Promise.resolve(true);
    if (!all) this.#forgetEvents();
  }

  #forgetEvents(): void {
    this.#events = [];
    this.#announcedEvents = 0;
  }

  #unannounced(): OutboxEvent[] {
    const events = this.#events.slice(this.#announcedEvents);
    this.#announcedEvents = this.#events.length;
    return events;
  }

  async #clearEvents(): Promise<void> {
    const ids = this.#events.map((event) => event.id);
    this.#forgetEvents();
    await this.#engine.store.clearOutbox(this.#visit.stack, ids);
  }

  #provider() {
    const type = this.#engine.types.get(this.#resource.field("type"));
    const properties = this.#resource.triedOrApplied(this.#engine);
    const capabilities = type?.capabilities(properties) ?? { find: false, idempotent: false };
    return { type, capabilities: { canFind: capabilities.find, idempotent: capabilities.idempotent } };
  }

  #reach(milestone: Milestone): Promise<void> | undefined {
    return this.#engine.trace.reach(milestone, {
      stack: this.#visit.stack,
      resource: this.#resource.field("name") || nameIn(this.#visit),
      operation: this.#operation,
    });
  }
}

/** Ends a repair in place, whose intent `observe.lua` has stored under this holder. */
export function repairInPlace(
  engine: Engine,
  visit: Visit,
  holder: string,
  resource: VisitedResource,
  call: ProviderCall,
): Promise<Verdict> {
  return new VisitRun(engine, visit, holder, () => {}).repair(resource, call);
}

export function resourceEvent(
  engine: Engine,
  visit: Visit,
  resource: VisitedResource,
  what: string,
  reason: string,
): LifecycleEvent {
  return {
    type: "io.homeostat.api.v1.resource",
    id: `${visit.stack}.${visit.resource}.${resource.field("revision") || 0}`,
    time: engine.clock.timestamp(),
    stack: visit.stack,
    stackName: resource.field("stackName"),
    resource: resource.field("name"),
    resourceId: visit.resource,
    traversal: visit.traversal,
    what,
    ...(reason === "" ? {} : { reason }),
  };
}

/** A ring that is lost costs time: the timers ring again (R17). */
export async function ringSafely(engine: Engine, stack: string, rings: readonly Ring[]): Promise<void> {
  if (rings.length === 0) return;
  try {
    await engine.bus.ring(stack, rings);
  } catch (error) {
    engine.log.warn({ stack, error: messageOf(error) }, "could not notify; the timers will");
  }
}

/** False when the events are not stored: they stay in the outbox for the sweeper. */
export async function announceSafely(engine: Engine, events: readonly OutboxEvent[]): Promise<boolean> {
  if (events.length === 0) return true;
  try {
    await engine.bus.announce(events);
    return true;
  } catch (error) {
    engine.log.warn({ error: messageOf(error) }, "could not publish events; they will be sent later");
    return false;
  }
}
