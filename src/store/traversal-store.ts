/** A traversal as a whole, from its beginning to what is left of a stack that is purged. */
import { damaged, readStored, typed } from "./damage.js";
import { decodeOperation, decodeRings, decodeView, isTraversal, optional, unexpected } from "./decode.js";
import { eventArgs } from "./encode.js";
import { schemaVersion } from "./keys.js";
import { RecordStore } from "./record-store.js";
import type { Begin, BeginAnswer, Facts, OutboxEvent, Ring, SweepAnswer, View } from "./types.js";

/** Of those that a node waits for, so many are told. */
const namedPredecessors = 10;

/** How long an id that never came to be is barred, and how long the note of a purged stack may stand. */
const voidMs = 24 * 3600_000;
const purgeNoteMs = 3600_000;

export class TraversalStore extends RecordStore {
  async begin(begin: Begin): Promise<BeginAnswer> {
    const { stack } = begin;
    const [tag, first, goal] = await this.run(
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
        now: this.clock(),
        request: begin.request,
        kind: begin.kind,
        expected: begin.expected ?? "",
        revision: begin.revision,
        snapshot: begin.snapshot,
        status: begin.status,
        action: begin.action,
        template: begin.template,
        timeoutMs: begin.timeoutMs ?? "",
        beginMs: this.limits.beginMs,
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
    const [tag] = await this.run(
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
    const [tag, milestone, rings] = await this.run(
      "open",
      {
        ...this.traversalKeys({ stack, traversal, attempt }),
        queue: this.keys.queue(stack, traversal, attempt),
        garbage: this.keys.garbage(stack),
      },
      {
        now: this.clock(),
        traversal,
        attempt,
        ...counts,
        window: this.limits.windowNodes,
        ringMs: this.limits.ringMs,
        policy,
      },
    );
    return {
      opened: tag !== "stale",
      milestone: milestone === "1",
      rings: decodeRings(rings, traversal, attempt),
    };
  }

  async sweep(stack: string, traversal: number | "", attempt: string, limit: number): Promise<SweepAnswer> {
    // Who knows neither yet would only be told what they are.
    const known = traversal === "" ? await this.#opened(stack) : undefined;
    if (known !== undefined) return { tag: "moved", ...known };
    const answer = await this.run(
      "sweep",
      {
        ...this.traversalKeys({ stack, traversal, attempt }),
        operations: this.keys.operations(stack),
        queue: this.keys.queue(stack, traversal, attempt),
        outbox: this.keys.outbox(stack),
        index: this.keys.index(stack),
        garbage: this.keys.garbage(stack),
      },
      {
        now: this.clock(),
        traversal,
        attempt,
        limit,
        ringMs: this.limits.ringMs,
        beginMs: this.limits.beginMs,
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
      nextMs: optional(nextMs),
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
    const [traversal, open] = await typed(key, this.redis.hmget(key, "traversal", "open"));
    return traversal === null ? undefined : this.#readOpened(stack, traversal, open);
  }

  #readOpened(stack: string, traversal: unknown, open: unknown): { traversal: number; attempt: string } {
    if (!isTraversal(traversal)) throw damaged(this.keys.stack(stack), traversal);
    return { traversal: Number(traversal), attempt: String(open ?? "") };
  }

  async facts(stack: string, traversal: number, attempt: string): Promise<Facts> {
    const answer = await this.run(
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

  /** How a resource (empty: none) and nodes that could be in the open graph stand; undefined when the stack is gone. */
  async view(stack: string, resource: string, nodes: readonly string[]): Promise<View | undefined> {
    // The first answer tells what they are.
    let [traversal, attempt] = ["", ""];
    for (;;) {
      const [tag, first, record, ...more] = await this.run(
        "view",
        {
          ...this.traversalKeys({ stack, traversal, attempt }),
          resource: this.keys.resource(stack, resource),
          queue: this.keys.queue(stack, traversal, attempt),
          operations: this.keys.operations(stack),
          lost: this.keys.lost(stack),
          incidents: this.keys.incidents(stack),
        },
        {
          now: this.clock(),
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

  async settle(
    stack: string,
    traversal: number,
    settle: { revision: string; snapshot: string; status: string; final: boolean; event?: OutboxEvent },
  ): Promise<boolean> {
    const [tag] = await this.run(
      "settle",
      { stack: this.keys.stack(stack), outbox: this.keys.outbox(stack) },
      {
        now: this.clock(),
        traversal,
        revision: settle.revision,
        snapshot: settle.snapshot,
        status: settle.status,
        final: settle.final ? 1 : 0,
        ...eventArgs(settle.event),
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
    const [tag] = await this.run(
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
    if ((await this.redis.hexists(this.keys.stack(stack), "purged")) === 1) {
      await this.redis.del(this.keys.stack(stack));
    }
  }

  /** False when the stack exists after all. */
  async void(stack: string): Promise<boolean> {
    const [tag] = await this.run("void", { stack: this.keys.stack(stack) }, { ttlMs: voidMs });
    return tag === "ok";
  }
}
