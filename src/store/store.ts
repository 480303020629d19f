/**
 * The only door to Redis: one method per script or plain read, typed results, no decisions.
 *
 * Invariants
 * 1. Every change of a stack is one script (R9); plain commands only read, or write what nothing refers to yet.
 * 2. Every method may be repeated with the same arguments (R18).
 */
import { type Command, Redis } from "ioredis";
import { HomeostatError } from "../errors.js";
import type { Limits } from "../limits.js";
import { damaged, isMisfit, readStored, typed } from "./damage.js";
import {
  decodeEntry,
  decodeMark,
  decodeOperation,
  decodeRings,
  decodeView,
  fieldsOf,
  pairs,
  unexpected,
} from "./decode.js";
import { Gathered } from "./gathered.js";
import { Keys, schemaVersion, shardOf } from "./keys.js";
import { type KeysByName, ScriptRunner, type Value } from "./script.js";
import type {
  Begin,
  BeginAnswer,
  ClaimAnswer,
  Commit,
  CommitAnswer,
  Facts,
  IndexEntry,
  Observation,
  ObserveAnswer,
  Orphan,
  OutboxEvent,
  ResourceRecord,
  Ring,
  Sight,
  SweepAnswer,
  View,
  Visit,
  Watched,
} from "./types.js";

export type * from "./types.js";

const defaultHintShards = 16;

/** Every observer looks after the entries of stacks, whatever its pools are. */
export const stackPool = "";

/** Where what is due of unfinished stacks is kept. */
export const duePlace = "due";

/** Where what is to be looked at is kept: one shard of one pool. */
export function watchPlace(pool: string, shard: number): string {
  return `watch\n${shard}\n${pool}`;
}

/** Marks the hint of a stack that may not exist yet. */
const birthMark = "+";

/** The stack that a hint is for; with its name when it may not exist yet. */
export function readHint(hint: string): { stack: string; name?: string } {
  if (!hint.startsWith(birthMark)) return { stack: hint };
  const [stack = "", name = ""] = hint.slice(birthMark.length).split(" ");
  return { stack, name };
}

function birthHint(stack: string, name: string): string {
  return `${birthMark}${stack} ${name}`;
}

/** One line each, then the physical id, which may have more. */
export function writeWatched({ stack, resource }: Watched): string {
  if (resource === undefined) return stack;
  return [stack, resource.id, resource.type, resource.physicalId].join("\n");
}

export function readWatched(entry: string): Watched {
  const [stack = "", id, type = "", ...physical] = entry.split("\n");
  if (id === undefined) return { stack };
  return { stack, resource: { id, type, physicalId: physical.join("\n") } };
}

/** A look that found nothing new. */
interface Seen {
  resource: string;
  revision: string;
  seenAtMs: number;
}

/** Of those that a node waits for, so many are told. */
const namedPredecessors = 10;

/** How long an id that never came to be is barred, and how long the note of a purged stack may stand. */
const voidMs = 24 * 3600_000;
const purgeNoteMs = 3600_000;

export class Store {
  readonly keys: Keys;
  readonly #redis: Redis;
  readonly #runner: ScriptRunner;
  readonly #limits: Limits;
  readonly #now: () => number | undefined;
  readonly #soon: (place: string, ms: number) => void;
  readonly #sights = new Gathered<string, Sight | undefined>((stack, resources) =>
    this.#readSights(stack, resources),
  );
  readonly #fresh = new Gathered<Seen, boolean>((stack, seen) => this.#noteFresh(stack, seen));
  /** By shard and pool, one per line. */
  readonly #owners = new Gathered<string, string | null>((place, physical) =>
    this.#readOwners(place, physical),
  );
  /** By shard, verb and pool, one per line. */
  readonly #hints = new Gathered<(string | number)[], undefined>((place, entries) =>
    this.#giveHints(place, entries),
  );
  /** How many shards each kind of hint is spread over; the same for all processes of a deployment. */
  readonly hintShards: number;

  /**
   * `now`: a simulated Redis clock in ms; by default scripts read Redis's own. `soon`: is told what was stored, where, and
   * when it is due (ms); who looks after it may sleep longer.
   */
  constructor(
    redis: Redis,
    limits: Limits,
    options: {
      prefix?: string;
      now?: () => number;
      hintShards?: number;
      soon?: (place: string, ms: number) => void;
    } = {},
  ) {
    this.keys = new Keys(options.prefix);
    this.#redis = redis;
    this.#runner = new ScriptRunner(redis);
    this.#limits = limits;
    this.hintShards = options.hintShards ?? defaultHintShards;
    this.#now = options.now ?? (() => undefined);
    this.#soon = options.soon ?? (() => {});
  }

  async begin(begin: Begin): Promise<BeginAnswer> {
    const { stack } = begin;
    const [tag, first, goal] = await this.#run(
      "begin",
      {
        stack: this.keys.stack(stack),
        pending: this.keys.pending(stack),
        requests: this.keys.requests(stack),
        garbage: this.keys.garbage(stack),
        template: this.keys.template(stack, begin.template),
        outbox: this.keys.outbox(stack),
        operations: this.keys.operations(stack),
      },
      {
        now: this.#clock(),
        request: begin.request,
        kind: begin.kind,
        expected: begin.expected ?? "",
        revision: begin.revision,
        snapshot: begin.snapshot,
        status: begin.status,
        action: begin.action,
        template: begin.template,
        timeoutMs: begin.timeoutMs ?? "",
        beginMs: this.#limits.beginMs,
        schema: schemaVersion,
        name: begin.name,
        id: stack,
        options: begin.options,
        event: begin.event,
        idle: begin.idle === true ? 1 : "",
      },
    );
    switch (tag) {
      case "ok":
        return { tag, traversal: Number(first), goal: String(goal) };
      case "repeated":
      case "nothing":
      case "conflict":
        return { tag, traversal: Number(first) };
      case "stale":
      case "missing":
      case "exists":
      case "void":
      case "busy":
        return { tag };
      default:
        throw unexpected("begin", tag);
    }
  }

  /** False when the traversal is over or another attempt was opened. */
  async writeGraph(
    stack: string,
    traversal: number,
    attempt: string,
    fields: string[],
    ready: (string | number)[],
  ): Promise<boolean> {
    const [tag] = await this.#run(
      "write-graph",
      {
        stack: this.keys.stack(stack),
        graph: this.keys.graph(stack, traversal, attempt),
        queue: this.keys.queue(stack, traversal, attempt),
        garbage: this.keys.garbage(stack),
      },
      { traversal, attempt, fields: JSON.stringify(fields), ready: JSON.stringify(ready) },
    );
    return tag === "ok";
  }

  async open(
    stack: string,
    traversal: number,
    attempt: string,
    counts: { updates: number; cleanups: number; ready: number },
    policy = "",
  ): Promise<{ opened: boolean; milestone: boolean; rings: Ring[] }> {
    const [tag, milestone, rings] = await this.#run(
      "open",
      {
        ...this.#traversalKeys({ stack, traversal, attempt }),
        pending: this.keys.pending(stack),
        queue: this.keys.queue(stack, traversal, attempt),
        garbage: this.keys.garbage(stack),
      },
      {
        now: this.#clock(),
        traversal,
        attempt,
        ...counts,
        window: this.#limits.windowNodes,
        ringMs: this.#limits.ringMs,
        policy,
      },
    );
    return {
      opened: tag !== "stale",
      milestone: milestone === "1",
      rings: decodeRings(rings, traversal, attempt),
    };
  }

  async claim(visit: Visit, holder: string): Promise<ClaimAnswer> {
    const { stack, traversal, attempt, node, resource, pool } = visit;
    const answer = await this.#run(
      "claim",
      {
        ...this.#traversalKeys({ stack, traversal, attempt }),
        resource: this.keys.resource(stack, resource),
        pending: this.keys.pending(stack),
        operations: this.keys.operations(stack),
        index: this.keys.index(stack),
      },
      {
        now: this.#clock(),
        traversal,
        attempt,
        node,
        resource,
        pool,
        holder,
        leaseMs: this.#limits.leaseMs,
        graceMs: this.#limits.graceMs,
        schema: schemaVersion,
      },
    );
    const [tag, first] = answer;
    switch (tag) {
      case "gone":
      case "ended":
      case "notReady":
      case "busy":
        return { tag };
      case "moved":
        if (typeof first !== "string") throw damaged(this.keys.graph(stack, traversal, attempt), first);
        return { tag, resource: first };
      case "newer":
        throw newerSchema(stack, first);
      case "again":
      case "waiting":
        return { tag, ms: Number(first) };
      case "stale":
        return { tag, rings: decodeMark(first) };
      case "passing":
        return { tag, cursor: Number(first) };
      case "claimed":
        return {
          tag,
          current: first === "1",
          late: answer[2] === "1",
          node: String(answer[4]),
          arrivals: new Map(pairs(answer[5])),
          standing: String(answer[6]),
          record: fieldsOf(answer[7]),
        };
      default:
        throw unexpected("claim", tag);
    }
  }

  async commit(visit: Visit, commit: Commit): Promise<CommitAnswer> {
    const { stack, traversal, attempt, node, resource, pool } = visit;
    const { next } = commit;
    const answer = await this.#run(
      "commit",
      {
        ...this.#traversalKeys({ stack, traversal, attempt }),
        resource: this.keys.resource(stack, resource),
        next: this.keys.resource(stack, next?.resource ?? resource),
        pending: this.keys.pending(stack),
        operations: this.keys.operations(stack),
        index: this.keys.index(stack),
        required: this.keys.required(stack),
        garbage: this.keys.garbage(stack),
        queue: this.keys.queue(stack, traversal, attempt),
        outbox: this.keys.outbox(stack),
        lost: this.keys.lost(stack),
      },
      {
        now: this.#clock(),
        traversal,
        attempt,
        node,
        resource,
        pool,
        holder: commit.holder,
        commit: commit.commit,
        mode: commit.mode,
        effect: commit.effect,
        operation: commit.operation ?? "",
        fields: JSON.stringify(Object.entries(commit.fields ?? {}).flat()),
        requires: commit.requires === undefined ? "=" : commit.requires.join("\n"),
        index: commit.index ?? "",
        nextResource: next?.resource ?? "",
        nextFields: JSON.stringify(Object.entries(next?.fields ?? {}).flat()),
        nextIndex: next?.index ?? "",
        value: commit.value ?? "",
        handed: commit.handed ?? "",
        callMs: commit.callMs ?? 0,
        delayMs: Math.ceil(commit.delayMs ?? 0),
        reason: commit.reason ?? "",
        leaseMs: this.#limits.leaseMs,
        graceMs: this.#limits.graceMs,
        ringMs: this.#limits.ringMs,
        window: this.#limits.windowNodes,
        eventId: commit.event?.id ?? "",
        event: commit.event?.text ?? "",
        changed: commit.changed ?? "",
      },
    );
    const [tag, first] = answer;
    switch (tag) {
      case "fenced":
      case "required":
      case "busy":
        return { tag };
      case "handed":
        return { tag, thing: String(first), late: answer[2] === "1" };
      case "stale":
        return { tag, rings: decodeMark(first) };
      case "ok":
        return {
          tag,
          milestone: first === "1",
          more: answer[2] === "1",
          rings: [...decodeRings(answer[3], traversal, attempt), ...decodeMark(answer[4])],
          record: fieldsOf(answer[5]),
        };
      default:
        throw unexpected("commit", tag);
    }
  }

  async passOn(visit: Visit, chunk: number): Promise<{ current: boolean; more: boolean; rings: Ring[] }> {
    const { stack, traversal, attempt, node } = visit;
    const [tag, more, rings] = await this.#run(
      "pass-on",
      {
        ...this.#traversalKeys(visit),
        pending: this.keys.pending(stack),
        queue: this.keys.queue(stack, traversal, attempt),
      },
      {
        now: this.#clock(),
        traversal,
        attempt,
        node,
        chunk,
        window: this.#limits.windowNodes,
        ringMs: this.#limits.ringMs,
      },
    );
    return { current: tag === "ok", more: more === "1", rings: decodeRings(rings, traversal, attempt) };
  }

  /** `events`: ids of outbox entries that were published. */
  async end(visit: Visit, events: readonly string[]): Promise<{ stuck: boolean; rings: Ring[] }> {
    const { stack, traversal, attempt, node } = visit;
    const [, stuck, rings] = await this.#run(
      "end",
      {
        ...this.#traversalKeys(visit),
        pending: this.keys.pending(stack),
        queue: this.keys.queue(stack, traversal, attempt),
        outbox: this.keys.outbox(stack),
      },
      {
        now: this.#clock(),
        traversal,
        attempt,
        node,
        events: JSON.stringify(events),
        window: this.#limits.windowNodes,
        ringMs: this.#limits.ringMs,
      },
    );
    return { stuck: stuck === "1", rings: decodeRings(rings, traversal, attempt) };
  }

  /** False when somebody else holds the resource now. `callMs`: how far to move the deadline of the call in flight. */
  async renew(visit: Visit, holder: string, callMs: number | undefined): Promise<boolean> {
    const { stack, node, resource } = visit;
    const [tag] = await this.#run(
      "renew",
      {
        stack: this.keys.stack(stack),
        resource: this.keys.resource(stack, resource),
        pending: this.keys.pending(stack),
        operations: this.keys.operations(stack),
      },
      {
        now: this.#clock(),
        holder,
        resource,
        node,
        leaseMs: this.#limits.leaseMs,
        callMs: callMs ?? "",
        graceMs: this.#limits.graceMs,
      },
    );
    return tag === "ok";
  }

  async handOver(
    stack: string,
    resource: string,
    holder: string,
    thing: { physical: string; text: string },
    stray: { resource: string; fields: Record<string, string>; index: string },
  ): Promise<"known" | "handed" | "stray"> {
    const [tag] = await this.#run(
      "handover",
      {
        stack: this.keys.stack(stack),
        resource: this.keys.resource(stack, resource),
        stray: this.keys.resource(stack, stray.resource),
        operations: this.keys.operations(stack),
        index: this.keys.index(stack),
      },
      {
        now: this.#clock(),
        resource,
        holder,
        strayResource: stray.resource,
        physical: thing.physical,
        thing: thing.text,
        strayFields: JSON.stringify(Object.entries(stray.fields).flat()),
        strayIndex: stray.index,
      },
    );
    return tag as "known" | "handed" | "stray";
  }

  /** Notes what a person says became of a call. False when the record is not as it was read, or somebody is at it. */
  async resolve(
    stack: string,
    resource: string,
    said: { revision: string; physical: string; answer: string },
  ): Promise<boolean> {
    const [tag] = await this.#run(
      "resolve",
      {
        stack: this.keys.stack(stack),
        resource: this.keys.resource(stack, resource),
        operations: this.keys.operations(stack),
      },
      { now: this.#clock(), resource, ...said },
    );
    return tag === "ok";
  }

  async sweep(stack: string, traversal: number | "", attempt: string, limit: number): Promise<SweepAnswer> {
    // Who knows neither yet would only be told what they are.
    const known = traversal === "" ? await this.#opened(stack) : undefined;
    if (known !== undefined) return { tag: "moved", ...known };
    const answer = await this.#run(
      "sweep",
      {
        ...this.#traversalKeys({ stack, traversal, attempt }),
        pending: this.keys.pending(stack),
        operations: this.keys.operations(stack),
        queue: this.keys.queue(stack, traversal, attempt),
        outbox: this.keys.outbox(stack),
        index: this.keys.index(stack),
        garbage: this.keys.garbage(stack),
      },
      {
        now: this.#clock(),
        traversal,
        attempt,
        limit,
        ringMs: this.#limits.ringMs,
        beginMs: this.#limits.beginMs,
      },
    );
    if (answer[0] === "moved") return { tag: "moved", ...this.#readOpened(stack, answer[1], answer[2]) };
    if (answer[0] === "missing") return { tag: "missing" };
    if (answer[0] === "purged") return { tag: "purged", name: String(answer[1]) };
    const [, begin, timeout, settle, outbox, garbage, nextMs, rings, operations] = answer;
    return {
      tag: "ok",
      begin: begin !== "",
      timeout: timeout === "1",
      settle: settle === "1",
      outbox: outbox === "1",
      garbage: garbage === "1",
      nextMs: nextMs === "" ? undefined : Number(nextMs),
      rings: [
        ...decodeRings(rings, Number(traversal), attempt),
        ...(operations as string[]).map((operation) =>
          readStored(this.keys.index(stack), () => decodeOperation(operation, Number(traversal), attempt)),
        ),
      ],
    };
  }

  /** Undefined when there is no such stack. */
  async #opened(stack: string): Promise<{ traversal: number; attempt: string } | undefined> {
    const key = this.keys.stack(stack);
    const [traversal, open] = await typed(key, this.#redis.hmget(key, "traversal", "open"));
    return traversal === null ? undefined : this.#readOpened(stack, traversal, open);
  }

  #readOpened(stack: string, traversal: unknown, open: unknown): { traversal: number; attempt: string } {
    if (!isTraversal(traversal)) throw damaged(this.keys.stack(stack), traversal);
    return { traversal: Number(traversal), attempt: String(open ?? "") };
  }

  async facts(stack: string, traversal: number, attempt: string): Promise<Facts> {
    const answer = await this.#run(
      "facts",
      {
        stack: this.keys.stack(stack),
        pending: this.keys.pending(stack),
        queue: this.keys.queue(stack, traversal, attempt),
      },
      {},
    );
    if (answer[0] !== "ok") return { tag: "missing" };
    const [, revision, snapshot, current, open, updatesLeft, cleanupsLeft, why, stuck, unsettled, inService] =
      answer;
    return {
      tag: "ok",
      revision: String(revision),
      snapshot: String(snapshot),
      traversal: Number(current),
      open: String(open ?? ""),
      updatesLeft: Number(updatesLeft),
      cleanupsLeft: Number(cleanupsLeft),
      why: String(why ?? ""),
      stuck: stuck === "1",
      unsettled: unsettled !== "" && unsettled !== null,
      inService: inService === "1",
    };
  }

  async settle(
    stack: string,
    traversal: number,
    settle: { revision: string; snapshot: string; status: string; final: boolean; event?: OutboxEvent },
  ): Promise<boolean> {
    const [tag] = await this.#run(
      "settle",
      { stack: this.keys.stack(stack), outbox: this.keys.outbox(stack) },
      {
        now: this.#clock(),
        traversal,
        revision: settle.revision,
        snapshot: settle.snapshot,
        status: settle.status,
        final: settle.final ? 1 : 0,
        eventId: settle.event?.id ?? "",
        event: settle.event?.text ?? "",
      },
    );
    return tag === "ok";
  }

  /** `record`: the stack's own, for the goals that it keeps. */
  async purge(
    stack: string,
    traversal: number,
    attempt: string,
    record: Readonly<Record<string, string>>,
  ): Promise<"ok" | "stale" | "unfinished"> {
    const { base = "", lastGood = "" } = record;
    const [tag] = await this.#run(
      "purge",
      {
        stack: this.keys.stack(stack),
        pending: this.keys.pending(stack),
        operations: this.keys.operations(stack),
        index: this.keys.index(stack),
        required: this.keys.required(stack),
        requests: this.keys.requests(stack),
        garbage: this.keys.garbage(stack),
        outbox: this.keys.outbox(stack),
        queue: this.keys.queue(stack, traversal, attempt),
        baseTemplate: this.keys.template(stack, base),
        lastGoodTemplate: this.keys.template(stack, lastGood),
        lost: this.keys.lost(stack),
        losses: this.keys.losses(stack),
        budget: this.keys.budget(stack),
        incidents: this.keys.incidents(stack),
      },
      { traversal, base, lastGood, ttlMs: purgeNoteMs },
    );
    return tag as "ok" | "stale" | "unfinished";
  }

  /** Removes the note that a purged stack left until its name was free. */
  async forgetPurged(stack: string): Promise<void> {
    if ((await this.#redis.hexists(this.keys.stack(stack), "purged")) === 1) {
      await this.#redis.del(this.keys.stack(stack));
    }
  }

  /** False when the stack exists after all. */
  async void(stack: string): Promise<boolean> {
    const [tag] = await this.#run("void", { stack: this.keys.stack(stack) }, { ttlMs: voidMs });
    return tag === "ok";
  }

  /** Points a name from one stack id (empty: free) to another; answers the id that stands in the way. */
  async moveName(name: string, from: string, to: string): Promise<string | undefined> {
    const [tag, other] = await this.#run(
      "name",
      { names: this.keys.names(this.#shardOf(name)) },
      { name, from, to },
    );
    return tag === "ok" ? undefined : String(other);
  }

  async stackOfName(name: string): Promise<string | undefined> {
    return (await this.#redis.hget(this.keys.names(this.#shardOf(name)), name)) ?? undefined;
  }

  /** Every claimed name with its stack id; hints, to be verified. */
  async names(): Promise<[name: string, stack: string][]> {
    const shards = await Promise.all(
      Array.from({ length: this.hintShards }, (_, shard) => this.#redis.hgetall(this.keys.names(shard))),
    );
    return shards.flatMap((shard) => Object.entries(shard));
  }

  /** Hints that the stack has something due in `delayMs` at the latest; must stand before the stack is changed. */
  async hint(stack: string, delayMs: number): Promise<void> {
    const ms = Math.min(delayMs, this.#limits.sweepMs);
    await this.#due(this.#shardOf(stack), "add", { stack, delayMs: ms });
    this.#soon(duePlace, ms);
  }

  /** Hints that a stack of this id is about to come to be; must stand before its name is claimed. */
  async hintBirth(stack: string, name: string): Promise<void> {
    const delayMs = this.#limits.sweepMs;
    await this.#due(this.#shardOf(stack), "add", { stack: birthHint(stack, name), delayMs });
    this.#soon(duePlace, delayMs);
  }

  /** The stack has come to be, or is not to. */
  async forgetBirth(stack: string, name: string): Promise<void> {
    await this.#redis.zrem(this.keys.due(this.#shardOf(stack)), birthHint(stack, name));
  }

  /** The stacks that are due in one shard, with the score that this sweeper holds them by. */
  async popDue(
    shard: number,
    limit: number,
  ): Promise<{ stacks: [id: string, score: string][]; nextMs: number | undefined }> {
    return this.#due(shard, "pop", { limit });
  }

  /** Ids of all stacks with a hint; for checkers. */
  async hinted(): Promise<string[]> {
    const shards = Array.from({ length: this.hintShards }, (_, shard) => this.keys.due(shard));
    return (await Promise.all(shards.map((key) => this.#redis.zrange(key, "0", "-1"))))
      .flat()
      .map((hint) => readHint(hint).stack);
  }

  /** When the first hint of a shard falls due, ms; undefined when there is none. For checkers. */
  firstDue(shard: number): Promise<number | undefined> {
    return this.#firstScore(this.keys.due(shard));
  }

  /** When the first entry of a shard is to be looked at, ms; undefined when there is none. For checkers. */
  firstWatched(pool: string, shard: number): Promise<number | undefined> {
    return this.#firstScore(this.keys.watch(pool, shard));
  }

  async #firstScore(key: string): Promise<number | undefined> {
    const [, score] = await this.#redis.zrange(key, "0", "0", "WITHSCORES");
    return score === undefined ? undefined : Math.ceil(Number(score));
  }

  /** Gives a popped stack back: to be looked at in `delayMs`, or not any more. A newer hint stands. */
  async returnDue(stack: string, score: string, delayMs: number | undefined): Promise<void> {
    const verb = delayMs === undefined ? "drop" : "set";
    await this.#due(this.#shardOf(readHint(stack).stack), verb, {
      stack,
      score,
      delayMs: Math.min(delayMs ?? 0, this.#limits.sweepMs),
    });
  }

  /** For `ms` from now; the same for all. Answers how many observers are registered, this one among them. */
  async registerObserver(pool: string, observer: string, ms: number): Promise<number> {
    const [, count] = await this.#observers(pool, observer, ms);
    return Number(count);
  }

  async forgetObserver(pool: string, observer: string): Promise<void> {
    await this.#observers(pool, observer, 0);
  }

  #observers(pool: string, observer: string, ms: number): Promise<unknown[]> {
    return this.#run(
      "observers",
      { observers: this.keys.observers(pool) },
      { now: this.#clock(), observer, ms },
    );
  }

  #shardOf(key: string): number {
    return shardOf(key, this.hintShards);
  }

  async #due(
    shard: number,
    verb: string,
    args: { stack?: string; delayMs?: number; score?: string; limit?: number },
  ): Promise<{ stacks: [string, string][]; nextMs: number | undefined }> {
    const [, nextMs, stacks] = await this.#run(
      "due",
      { due: this.keys.due(shard), clock: this.keys.dueClock(shard) },
      {
        now: this.#clock(),
        verb,
        stack: args.stack ?? "",
        delayMs: Math.ceil(args.delayMs ?? 0),
        score: args.score ?? "",
        holdMs: this.#limits.holdMs,
        limit: args.limit ?? 0,
      },
    );
    return { stacks: pairs(stacks), nextMs: nextMs === "" ? undefined : Number(nextMs) };
  }

  /** Undefined when the resource is gone. */
  sight(stack: string, resource: string): Promise<Sight | undefined> {
    return this.#sights.ask(stack, resource);
  }

  async #readSights(stack: string, resources: readonly string[]): Promise<(Sight | undefined)[]> {
    const keys = resources.map((resource) => this.keys.resource(stack, resource));
    const [
      tag,
      now,
      traversal,
      attempt,
      unsettled,
      status,
      action,
      paused,
      goalPolicy,
      policy,
      askedAt,
      stackRevision,
      records,
    ] = await this.#run("sight", { stack: this.keys.stack(stack), resources: keys }, { now: this.#clock() });
    if (tag !== "ok") return [];
    return (records as string[]).map((record) =>
      record === ""
        ? undefined
        : {
            nowMs: Number(now),
            traversal: Number(traversal),
            attempt: String(attempt),
            moving: unsettled !== "",
            status: String(status),
            action: String(action),
            paused: String(paused),
            goalPolicy: String(goalPolicy),
            policy: String(policy),
            askedAtMs: Number(askedAt),
            stackRevision: String(stackRevision),
            record: fieldsOf(JSON.parse(record)),
          },
    );
  }

  /** How a resource (empty: none) and nodes that could be in the open graph stand; undefined when the stack is gone. */
  async view(stack: string, resource: string, nodes: readonly string[]): Promise<View | undefined> {
    // The first answer tells what they are.
    let [traversal, attempt] = ["", ""];
    for (;;) {
      const [tag, first, record, ...more] = await this.#run(
        "view",
        {
          ...this.#traversalKeys({ stack, traversal, attempt: attempt }),
          resource: this.keys.resource(stack, resource),
          pending: this.keys.pending(stack),
          queue: this.keys.queue(stack, traversal, attempt),
          operations: this.keys.operations(stack),
          lost: this.keys.lost(stack),
          incidents: this.keys.incidents(stack),
        },
        {
          now: this.#clock(),
          traversal,
          attempt,
          resource,
          nodes: JSON.stringify(nodes),
          limit: namedPredecessors,
        },
      );
      if (tag === "gone") return undefined;
      if (tag === "ok") return decodeView([first, record, ...more]);
      [traversal, attempt] = [String(first), String(record)];
    }
  }

  /** When something is looked at next, ms; undefined when it is not on the schedule. */
  async nextLook(pool: string, watched: Watched): Promise<number | undefined> {
    const key = this.keys.watch(pool, this.#watchShard(watched));
    const score = await this.#redis.zscore(key, writeWatched(watched));
    return score === null ? undefined : Math.ceil(Number(score));
  }

  /** Notes that a look that began then saw nothing new. False when the record has changed since. */
  fresh(stack: string, resource: string, revision: string, seenAtMs: number): Promise<boolean> {
    return this.#fresh.ask(stack, { resource, revision, seenAtMs });
  }

  async #noteFresh(stack: string, seen: readonly Seen[]): Promise<boolean[]> {
    const [, known] = await this.#run(
      "fresh",
      { resources: seen.map(({ resource }) => this.keys.resource(stack, resource)) },
      { seen: JSON.stringify(seen.flatMap(({ revision, seenAtMs }) => [revision, String(seenAtMs)])) },
    );
    return (known as string[]).map((one) => one === "1");
  }

  /** Notes that the next look at a resource is not to be passed over, however fresh what is known of it. */
  async wantLook(stack: string, resource: string): Promise<void> {
    await this.#run(
      "want",
      { stack: this.keys.stack(stack), resource: this.keys.resource(stack, resource) },
      { now: this.#clock() },
    );
  }

  async observe(stack: string, resource: string, observation: Observation): Promise<ObserveAnswer> {
    const { want } = observation;
    const [tag, why, ms] = await this.#run(
      "observe",
      {
        stack: this.keys.stack(stack),
        resource: this.keys.resource(stack, resource),
        pending: this.keys.pending(stack),
        operations: this.keys.operations(stack),
        index: this.keys.index(stack),
        outbox: this.keys.outbox(stack),
        lost: this.keys.lost(stack),
        losses: this.keys.losses(stack),
        budget: this.keys.budget(stack),
        incidents: this.keys.incidents(stack),
      },
      {
        now: this.#clock(),
        resource,
        traversal: observation.traversal,
        attempt: observation.attempt,
        type: observation.type,
        revision: observation.revision,
        stackRevision: observation.stackRevision,
        fields: JSON.stringify(Object.entries(observation.fields).flat()),
        indexEntry: observation.index,
        events: JSON.stringify(observation.events.flatMap(({ id, text }) => [id, text])),
        seenAt: observation.seenAtMs,
        finding: observation.finding,
        entered: observation.entered ? 1 : "",
        want: want?.how ?? "",
        look: observation.look,
        repairFields: JSON.stringify(Object.entries(want?.fields ?? {}).flat()),
        repairIndex: want?.index ?? "",
        callMs: want?.callMs ?? "",
        leaseMs: this.#limits.leaseMs,
        graceMs: this.#limits.graceMs,
        burst: want?.budget.burst ?? "",
        perMinute: want?.budget.perMinute ?? "",
        typeBurst: want?.typeBudget?.burst ?? "",
        typePerMinute: want?.typeBudget?.perMinute ?? "",
        lostLimit: want?.lost.limit ?? "",
        lostMs: want?.lost.withinMs ?? "",
        incident: want?.incident.id ?? "",
        incidentEvent: want?.incident.text ?? "",
      },
    );
    switch (tag) {
      case "changed":
      case "unhinted":
      case "busy":
      case "repairing":
      case "wished":
        return { tag };
      case "noted":
        return {
          tag,
          why: why as Extract<ObserveAnswer, { tag: "noted" }>["why"],
          ms: ms === "" ? undefined : Number(ms),
        };
      default:
        throw unexpected("observe", tag);
    }
  }

  /** Hints that this is to be looked at in `delayMs` at the latest. Must stand before what it points to. */
  async watch(pool: string, watched: Watched, delayMs: number): Promise<void> {
    const entry = writeWatched(watched);
    const shard = this.#watchShard(watched);
    await this.#hints.ask(`${shard}\nadd\n${pool}`, [entry, Math.ceil(delayMs)]);
    this.#soon(watchPlace(pool, shard), delayMs);
  }

  /** Sees to it that each of these is looked at in so many ms, unless it is to be looked at anyway. */
  async ensureWatched(
    pool: string,
    entries: readonly (readonly [watched: Watched, delayMs: number])[],
  ): Promise<void> {
    const byShard = new Map<number, (string | number)[]>();
    for (const [watched, delayMs] of entries) {
      const shard = this.#watchShard(watched);
      const flat = byShard.get(shard) ?? [];
      byShard.set(shard, flat);
      flat.push(writeWatched(watched), Math.ceil(delayMs));
    }
    await Promise.all([...byShard].map(([shard, flat]) => this.#watch(pool, shard, "ensure", flat)));
    for (const [watched, delayMs] of entries)
      this.#soon(watchPlace(pool, this.#watchShard(watched)), delayMs);
  }

  /** It is no more. Who does not come to say so leaves it to the next look. */
  async unwatch(pool: string, watched: Watched): Promise<void> {
    await this.#watch(pool, this.#watchShard(watched), "drop", [writeWatched(watched)]);
  }

  /** What is due in one shard; it is held for whoever took it. */
  async popWatched(
    pool: string,
    shard: number,
    limit: number,
  ): Promise<{ nowMs: number; entries: [entry: string, score: string][]; nextMs: number | undefined }> {
    return this.#watch(pool, shard, "pop", [], limit);
  }

  /** Gives entries back: to be looked at again in so many ms, or not any more. A newer hint stands. */
  async returnWatched(
    pool: string,
    shard: number,
    entries: readonly (readonly [entry: string, score: string, delayMs: number | undefined])[],
  ): Promise<void> {
    const flat = entries.flatMap(([entry, score, delayMs]) => [
      entry,
      score,
      delayMs === undefined ? "" : Math.ceil(delayMs),
    ]);
    if (flat.length > 0) await this.#hints.ask(`${shard}\nreturn\n${pool}`, flat);
  }

  /** Tells who waits for what is next in a shard that something is due in so many ms. */
  ringForWatched(pool: string, shard: number, ms: number): void {
    this.#soon(watchPlace(pool, shard), ms);
  }

  async #giveHints(place: string, entries: readonly (string | number)[][]): Promise<undefined[]> {
    const [shard, verb = "", ...pool] = place.split("\n");
    await this.#watch(pool.join("\n"), Number(shard), verb, entries.flat());
    return [];
  }

  /** Which resources a physical id may belong to; hints, to be verified. */
  async resourcesOf(
    pool: string,
    type: string,
    physicalId: string,
  ): Promise<{ stack: string; resource: string }[]> {
    const key = `${type}\n${physicalId}`;
    const shard = shardOf(key, this.hintShards);
    const known = await this.#owners.ask(`${shard}\n${pool}`, key);
    if (known === null) return [];
    return known.split("\t").map((one) => {
      const [stack = "", resource = ""] = one.split("\n");
      return { stack, resource };
    });
  }

  #readOwners(place: string, physical: string[]): Promise<(string | null)[]> {
    const [shard, ...pool] = place.split("\n");
    const key = this.keys.physical(pool.join("\n"), Number(shard));
    return typed(key, this.#redis.hmget(key, ...physical));
  }

  #watchShard({ stack, resource }: Watched): number {
    const key = resource === undefined ? stack : `${resource.type}\n${resource.physicalId}`;
    return shardOf(key, this.hintShards);
  }

  async #watch(
    pool: string,
    shard: number,
    verb: string,
    entries: readonly (string | number)[],
    limit = 0,
  ): Promise<{ nowMs: number; entries: [string, string][]; nextMs: number | undefined }> {
    const [, now, nextMs, popped] = await this.#run(
      "watch",
      {
        watch: this.keys.watch(pool, shard),
        physical: this.keys.physical(pool, shard),
        clock: this.keys.watchClock(pool, shard),
      },
      {
        now: this.#clock(),
        verb,
        entries: entries.length === 0 ? "" : JSON.stringify(entries),
        holdMs: this.#limits.holdMs,
        limit,
      },
    );
    return { nowMs: Number(now), entries: pairs(popped), nextMs: nextMs === "" ? undefined : Number(nextMs) };
  }

  /** Sources of events of these types were heard of just now. */
  async noteHeard(types: readonly string[]): Promise<void> {
    await this.#heard("note", types, 0);
  }

  /** Which of these types have sources that were heard of within `quietMs`. */
  async flowing(types: readonly string[], quietMs: number): Promise<Set<string>> {
    const [, flowing] = await this.#heard("flowing", types, quietMs);
    return new Set(flowing as string[]);
  }

  #heard(verb: string, types: readonly string[], quietMs: number): Promise<unknown[]> {
    return this.#run(
      "heard",
      { heard: this.keys.heard, clock: this.keys.heardClock },
      { now: this.#clock(), verb, types: JSON.stringify(types), quietMs },
    );
  }

  /**
   * Stores what a person says of a stack's observation. `announced`: an event, stored unless the same had been said before,
   * and the stack's revision from before it was hinted for; `stale` when it is another one now.
   */
  /** Id of this deployment; `candidate` if it had none. */
  async nameDeployment(candidate: string): Promise<string> {
    await this.#redis.set(this.keys.deployment, candidate, "NX");
    return (await this.deployment()) ?? candidate;
  }

  async deployment(): Promise<string | undefined> {
    return (await this.#redis.get(this.keys.deployment)) ?? undefined;
  }

  async orphans(): Promise<Map<string, Orphan>> {
    const key = this.keys.orphans;
    const stored = await typed(key, this.#redis.hgetall(key));
    return readOrphans(key, Object.entries(stored));
  }

  /** These were seen now; those that are kept, as they are stored. New ones only as long as there are fewer than `limit`. */
  noteOrphans(
    seen: ReadonlyMap<string, Partial<Orphan>>,
    limit: number,
  ): Promise<{ nowMs: number; orphans: Map<string, Orphan> }> {
    return this.#noteOrphans("note", seen, limit);
  }

  /** Of those that are there. */
  async changeOrphans(changes: ReadonlyMap<string, Partial<Orphan>>): Promise<Map<string, Orphan>> {
    return (await this.#noteOrphans("set", changes, 0)).orphans;
  }

  async forgetOrphans(ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await this.#redis.hdel(this.keys.orphans, ...ids);
  }

  /** Whether `taker` alone may remove it for `holdMs`; else in how many ms to ask again, never when it is not known any more. */
  async takeOrphan(
    [id, type]: readonly [id: string, type: string],
    taker: string,
    holdMs: number,
    perMinute: number,
  ): Promise<{ tag: "ok" | "gone" } | { tag: "busy" | "budget"; ms: number }> {
    const [tag, ms] = await this.#orphans("take", [id, type], {
      taker,
      holdMs: Math.ceil(holdMs),
      perMinute,
    });
    return tag === "busy" || tag === "budget" ? { tag, ms: Number(ms) } : { tag: tag as "ok" | "gone" };
  }

  async #noteOrphans(
    verb: string,
    orphans: ReadonlyMap<string, Partial<Orphan>>,
    limit: number,
  ): Promise<{ nowMs: number; orphans: Map<string, Orphan> }> {
    const entries = [...orphans].flatMap(([id, orphan]) => [id, JSON.stringify(orphan)]);
    const [, now, stored] = await this.#orphans(verb, entries, { limit });
    return { nowMs: Number(now), orphans: readOrphans(this.keys.orphans, pairs(stored)) };
  }

  #orphans(verb: string, entries: readonly string[], args: Record<string, Value>): Promise<unknown[]> {
    return this.#run(
      "orphans",
      { findings: this.keys.orphans, budgets: this.keys.orphanBudgets, clock: this.keys.orphansClock },
      {
        now: this.#clock(),
        verb,
        entries: JSON.stringify(entries),
        limit: 0,
        taker: "",
        holdMs: 0,
        perMinute: 0,
        ...args,
      },
    );
  }

  /** What the slow sweep remembers under a name; empty when nothing. */
  async sweepNote(name: string): Promise<string> {
    return (await this.#redis.hget(this.keys.orphanSweep, name)) ?? "";
  }

  async noteSweep(name: string, value: string): Promise<void> {
    await this.#redis.hset(this.keys.orphanSweep, name, value);
  }

  /** Must stand before the record of a thing that is left on purpose goes. */
  async noteRetained(retained: Record<string, string>): Promise<void> {
    if (Object.keys(retained).length > 0) await this.#redis.hset(this.keys.retained, retained);
  }

  /** Type, and after a line break when it was last seen (ms), by token. */
  retained(): Promise<Record<string, string>> {
    return this.#redis.hgetall(this.keys.retained);
  }

  async forgetRetained(tokens: readonly string[]): Promise<void> {
    if (tokens.length > 0) await this.#redis.hdel(this.keys.retained, ...tokens);
  }

  /** Stores what is said of a stack's observation; answers when, ms. */
  async attend(
    stack: string,
    field: "paused" | "policy" | "askedAt" | "awaited",
    value: string,
    announced?: { event: OutboxEvent; revision: string },
  ): Promise<{ tag: "ok"; atMs: number } | { tag: "stale" | "missing" }> {
    const [tag, at] = await this.#run(
      "attend",
      { stack: this.keys.stack(stack), outbox: this.keys.outbox(stack) },
      {
        now: this.#clock(),
        field,
        value,
        revision: announced?.revision ?? "",
        eventId: announced?.event.id ?? "",
        event: announced?.event.text ?? "",
      },
    );
    if (tag === "stale" || tag === "missing") return { tag };
    return { tag: "ok", atMs: Number(at) };
  }

  /** The traversal that a request began, undefined when it is not known. */
  async answered(stack: string, request: string): Promise<number | undefined> {
    const key = this.keys.requests(stack);
    const traversal = await typed(key, this.#redis.hget(key, request));
    return traversal === null ? undefined : Number(traversal);
  }

  /** How many things are missing under an open incident; 0 when there is none. */
  async heldMissing(stack: string): Promise<number> {
    const open = await this.#redis.hexists(this.keys.incidents(stack), "open");
    return open === 0 ? 0 : this.#redis.zcard(this.keys.lost(stack));
  }

  /** The incident that a stack has, and what is missing. */
  async incident(
    stack: string,
  ): Promise<{ id: string; openedAtMs: number; lost: [id: string, sinceMs: number][] } | undefined> {
    const [id, openedAt] = await this.#redis.hmget(this.keys.incidents(stack), "open", "openedAt");
    if (id === null || id === undefined) return undefined;
    const lost = pairs(await this.#redis.zrange(this.keys.lost(stack), "0", "-1", "WITHSCORES"));
    // All of it is back: the next loss closes it.
    if (lost.length === 0) return undefined;
    return {
      id,
      openedAtMs: Number(openedAt),
      lost: lost.map(([resource, since]) => [resource, Number(since)]),
    };
  }

  /**
   * Answers an incident; the ids of what was missing. `revision`: of the stack, from before it was hinted for; `stale` when
   * it is another one now.
   */
  async answerIncident(
    stack: string,
    incident: string,
    verdict: "approved" | "dismissed",
    { event, revision }: { event: OutboxEvent; revision: string },
  ): Promise<
    | { tag: "ok"; resources: string[] }
    | { tag: "answered"; verdict: string }
    | { tag: "stale" }
    | { tag: "missing" }
  > {
    const [tag, resources] = await this.#run(
      "incident",
      {
        stack: this.keys.stack(stack),
        lost: this.keys.lost(stack),
        losses: this.keys.losses(stack),
        incidents: this.keys.incidents(stack),
        outbox: this.keys.outbox(stack),
      },
      { now: this.#clock(), incident, verdict, revision, eventId: event.id, event: event.text },
    );
    if (tag === "ok") return { tag, resources: resources as string[] };
    if (tag === "answered") return { tag, verdict: String(resources) };
    return tag === "stale" ? { tag } : { tag: "missing" };
  }

  /** The stack's own record, undefined when there is none. */
  async stack(stack: string): Promise<Readonly<Record<string, string>> | undefined> {
    const key = this.keys.stack(stack);
    const record = await typed(key, this.#redis.hgetall(key));
    if (record.traversal === undefined) return undefined;
    if (!isTraversal(record.traversal)) throw damaged(key, record.traversal);
    if (Number(record.schema) > schemaVersion) throw newerSchema(stack, record.schema);
    return record;
  }

  /** Stores a goal's document ahead of its `begin`; one that nobody begins with expires. */
  async writeTemplate(stack: string, template: string, text: string): Promise<void> {
    await this.#redis.set(this.keys.template(stack, template), text, "PX", 3600_000, "NX");
  }

  async dropTemplate(stack: string, template: string): Promise<void> {
    await this.#redis.unlink(this.keys.template(stack, template));
  }

  async readTemplate(stack: string, template: string): Promise<string | undefined> {
    const key = this.keys.template(stack, template);
    return (await typed(key, this.#redis.get(key))) ?? undefined;
  }

  /** Some fields of several resources, in the order asked; missing ones are undefined. */
  async resources(
    stack: string,
    ids: readonly string[],
    fields: readonly string[],
  ): Promise<(ResourceRecord | undefined)[]> {
    const names = ["name", ...fields];
    const read = async (id: string): Promise<ResourceRecord | undefined> => {
      const key = this.keys.resource(stack, id);
      const values = await typed(key, this.#redis.hmget(key, ...names));
      if (values[0] === null) return undefined;
      return Object.fromEntries(names.map((name, i) => [name, values[i] ?? ""]));
    };
    return Promise.all(ids.map(read));
  }

  /** Every resource that exists, by id. */
  async index(stack: string): Promise<Map<string, IndexEntry>> {
    const entries = new Map<string, IndexEntry>();
    const key = this.keys.index(stack);
    let cursor = "0";
    do {
      const [next, fields] = await typed(key, this.#redis.hscan(key, cursor, "COUNT", 1000));
      for (const [id, text] of pairs(fields))
        entries.set(
          id,
          readStored(key, () => decodeEntry(text)),
        );
      cursor = next;
    } while (cursor !== "0");
    return entries;
  }

  /** Removes what only traversals that are over needed. */
  async reap(stack: string, overNow?: number): Promise<void> {
    const over = overNow ?? (await this.#redis.hget(this.keys.stack(stack), "over"));
    if (over === null) return;
    for (;;) {
      const suffixes = await this.#redis.zrangebyscore(
        this.keys.garbage(stack),
        "-inf",
        over,
        "LIMIT",
        0,
        500,
      );
      if (suffixes.length === 0) return;
      await this.#redis.unlink(...suffixes.map((suffix) => this.keys.of(stack, suffix)));
      await this.#redis.zrem(this.keys.garbage(stack), ...suffixes);
    }
  }

  async outbox(stack: string): Promise<OutboxEvent[]> {
    const key = this.keys.outbox(stack);
    const entries = await typed(key, this.#redis.hgetall(key));
    return Object.entries(entries).map(([id, text]) => ({ id, text }));
  }

  async clearOutbox(stack: string, ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await this.#redis.hdel(this.keys.outbox(stack), ...ids);
  }

  #traversalKeys(at: { stack: string; traversal: number | string; attempt: string }) {
    const { stack, traversal, attempt } = at;
    return {
      stack: this.keys.stack(stack),
      graph: this.keys.graph(stack, traversal, attempt),
      sync: this.keys.sync(stack, traversal),
    };
  }

  async #run(name: string, keys: KeysByName, args: Record<string, Value>): Promise<unknown[]> {
    try {
      return await this.#runner.run(name, keys, args);
    } catch (error) {
      throw isMisfit(error) ? await this.#misfit(keys, error) : error;
    }
  }

  /** Names the keys of another type than they should have; if it is not that, all that the script looks at. */
  async #misfit(keys: KeysByName, error: Error): Promise<HomeostatError> {
    const all = [...new Set(Object.values(keys).flat())];
    const types = await Promise.all(all.map((key) => this.#redis.type(key)));
    const wrong = all.filter((key, i) => !["none", typeOf(keys, key)].includes(types[i] ?? ""));
    const there = all.filter((_key, i) => types[i] !== "none");
    return damaged((wrong.length > 0 ? wrong : there).join(", "), error);
  }

  #clock(): Value {
    return this.#now() ?? "";
  }
}

function newerSchema(stack: string, schema: unknown): HomeostatError {
  return new HomeostatError(
    "newer_version",
    `stack ${stack} was stored with schema ${String(schema)}; this version knows ${schemaVersion}`,
  );
}

function readOrphans(key: string, stored: [string, string][]): Map<string, Orphan> {
  return new Map(readStored(key, () => stored.map(([id, text]) => [id, JSON.parse(text) as Orphan])));
}

const sortedSets: ReadonlySet<string> = new Set([
  "pending",
  "operations",
  "garbage",
  "queue",
  "due",
  "watch",
  "lost",
]);

/** What Redis calls the type of a script's key; it follows from what the script calls it. */
function typeOf(keys: KeysByName, key: string): string {
  const name = Object.keys(keys).find((each) => [keys[each]].flat().includes(key)) ?? "";
  if (sortedSets.has(name)) return "zset";
  return /template/i.test(name) ? "string" : "hash";
}

function isTraversal(text: unknown): text is string {
  return typeof text === "string" && /^[1-9]\d*$/.test(text);
}

/** A server that owes an answer and says nothing for so long is connected to anew; what was asked is asked again (R18). */
const silenceMs = 10_000;

/**
 * What got no reply is sent again; it may run twice (R18). Left to itself, ioredis gives up the rest of a batch that was
 * answered in part, and can send a batch again only as a whole.
 */
class ResendingRedis extends Redis {
  override sendCommand(command: Command, batch?: Parameters<Redis["sendCommand"]>[1]): unknown {
    const isFirst = command.pipelineIndex !== undefined;
    delete command.pipelineIndex;
    return super.sendCommand(command, isFirst ? batch : undefined);
  }
}

/** Connects and waits until the server answers. */
export function connectRedis(url: string): Redis {
  return new ResendingRedis(url, {
    maxRetriesPerRequest: null,
    enableAutoPipelining: true,
    socketTimeout: silenceMs,
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times, 6), 2_000),
  });
}
