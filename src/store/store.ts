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
import { decodeEntry, decodeMark, decodeOperation, decodeRings, pairs, unexpected } from "./decode.js";
import { Keys, schemaVersion, shardOf } from "./keys.js";
import { ScriptRunner, type Value } from "./script.js";
import type {
  Begin,
  BeginAnswer,
  ClaimAnswer,
  Commit,
  CommitAnswer,
  Facts,
  IndexEntry,
  OutboxEvent,
  ResourceRecord,
  Ring,
  SweepAnswer,
  Visit,
} from "./types.js";

export type * from "./types.js";

const defaultHintShards = 16;

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

/** How long an id that never came to be is barred, and how long the note of a purged stack may stand. */
const voidMs = 24 * 3600_000;
const purgeNoteMs = 3600_000;

export class Store {
  readonly keys: Keys;
  readonly #redis: Redis;
  readonly #runner: ScriptRunner;
  readonly #limits: Limits;
  readonly #now: () => number | undefined;
  /** How many shards each kind of hint is spread over; the same for all processes of a deployment. */
  readonly hintShards: number;

  /** `now`: a simulated Redis clock in ms; by default scripts read Redis's own. */
  constructor(
    redis: Redis,
    limits: Limits,
    options: { prefix?: string; now?: () => number; hintShards?: number } = {},
  ) {
    this.keys = new Keys(options.prefix);
    this.#redis = redis;
    this.#runner = ScriptRunner.of(redis);
    this.#limits = limits;
    this.hintShards = options.hintShards ?? defaultHintShards;
    this.#now = options.now ?? (() => undefined);
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
          record: Object.fromEntries(pairs(answer[7])),
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
          record: Object.fromEntries(pairs(answer[5])),
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

  async sweep(stack: string, traversal: number | "", attempt: string, limit: number): Promise<SweepAnswer> {
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
    if (answer[0] === "moved") {
      if (!isTraversal(answer[1])) throw damaged(this.keys.stack(stack), answer[1]);
      return { tag: "moved", traversal: Number(answer[1]), attempt: String(answer[2] ?? "") };
    }
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
    await this.#due(this.#shardOf(stack), "add", { stack, delayMs: Math.min(delayMs, this.#limits.sweepMs) });
  }

  /** Hints that a stack of this id is about to come to be; must stand before its name is claimed. */
  async hintBirth(stack: string, name: string): Promise<void> {
    const delayMs = this.#limits.sweepMs;
    await this.#due(this.#shardOf(stack), "add", { stack: birthHint(stack, name), delayMs });
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

  /** Gives a popped stack back: to be looked at in `delayMs`, or not any more. A newer hint stands. */
  async returnDue(stack: string, score: string, delayMs: number | undefined): Promise<void> {
    const verb = delayMs === undefined ? "drop" : "set";
    await this.#due(this.#shardOf(readHint(stack).stack), verb, {
      stack,
      score,
      delayMs: Math.min(delayMs ?? 0, this.#limits.sweepMs),
    });
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

  async #run(name: string, keys: Record<string, string>, args: Record<string, Value>): Promise<unknown[]> {
    try {
      return await this.#runner.run(name, keys, args);
    } catch (error) {
      throw isMisfit(error) ? await this.#misfit(keys, error) : error;
    }
  }

  /** Names the keys of another type than they should have; if it is not that, all that the script looks at. */
  async #misfit(keys: Record<string, string>, error: Error): Promise<HomeostatError> {
    const all = [...new Set(Object.values(keys))];
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

const sortedSets: ReadonlySet<string> = new Set(["pending", "operations", "garbage", "queue", "due"]);

/** What Redis calls the type of a script's key; it follows from what the script calls it. */
function typeOf(keys: Record<string, string>, key: string): string {
  const name = Object.keys(keys).find((each) => keys[each] === key) ?? "";
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
