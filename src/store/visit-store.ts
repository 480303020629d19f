/** The visit of one node: claimed, decided, called, passed on; and calls that are answered from elsewhere. */
import { damaged, newerSchema } from "./damage.js";
import { decodeMark, decodeRings, fieldsOf, pairs, unexpected } from "./decode.js";
import { eventArgs, hashText } from "./encode.js";
import { schemaVersion } from "./keys.js";
import { TraversalStore } from "./traversal-store.js";
import type { ClaimAnswer, Commit, CommitAnswer, Ring, Visit } from "./types.js";

export class VisitStore extends TraversalStore {
  async claim(visit: Visit, holder: string): Promise<ClaimAnswer> {
    const { stack, traversal, attempt, node, resource, pool } = visit;
    const answer = await this.run(
      "claim",
      {
        ...this.traversalKeys(visit),
        resource: this.keys.resource(stack, resource),
        operations: this.keys.operations(stack),
        index: this.keys.index(stack),
      },
      {
        now: this.clock(),
        traversal,
        attempt,
        node,
        resource,
        pool,
        holder,
        leaseMs: this.limits.leaseMs,
        graceMs: this.limits.graceMs,
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
    const answer = await this.run(
      "commit",
      {
        ...this.traversalKeys(visit),
        resource: this.keys.resource(stack, resource),
        next: this.keys.resource(stack, next?.resource ?? resource),
        operations: this.keys.operations(stack),
        index: this.keys.index(stack),
        required: this.keys.required(stack),
        garbage: this.keys.garbage(stack),
        queue: this.keys.queue(stack, traversal, attempt),
        outbox: this.keys.outbox(stack),
        lost: this.keys.lost(stack),
      },
      {
        now: this.clock(),
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
        fields: hashText(commit.fields),
        requires: commit.requires === undefined ? "=" : commit.requires.join("\n"),
        index: commit.index ?? "",
        nextResource: next?.resource ?? "",
        nextFields: hashText(next?.fields),
        nextIndex: next?.index ?? "",
        value: commit.value ?? "",
        handed: commit.handed ?? "",
        callMs: commit.callMs ?? 0,
        delayMs: Math.ceil(commit.delayMs ?? 0),
        reason: commit.reason ?? "",
        leaseMs: this.limits.leaseMs,
        graceMs: this.limits.graceMs,
        ringMs: this.limits.ringMs,
        window: this.limits.windowNodes,
        ...eventArgs(commit.event),
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
    const [tag, more, rings] = await this.run(
      "pass-on",
      {
        ...this.traversalKeys(visit),
        queue: this.keys.queue(stack, traversal, attempt),
      },
      {
        now: this.clock(),
        traversal,
        attempt,
        node,
        chunk,
        window: this.limits.windowNodes,
        ringMs: this.limits.ringMs,
      },
    );
    return { current: tag === "ok", more: more === "1", rings: decodeRings(rings, traversal, attempt) };
  }

  /** `events`: ids of outbox entries that were published. */
  async end(visit: Visit, events: readonly string[]): Promise<{ stuck: boolean; rings: Ring[] }> {
    const { stack, traversal, attempt, node } = visit;
    const [, stuck, rings] = await this.run(
      "end",
      {
        ...this.traversalKeys(visit),
        queue: this.keys.queue(stack, traversal, attempt),
        outbox: this.keys.outbox(stack),
      },
      {
        now: this.clock(),
        traversal,
        attempt,
        node,
        events: JSON.stringify(events),
        window: this.limits.windowNodes,
        ringMs: this.limits.ringMs,
      },
    );
    return { stuck: stuck === "1", rings: decodeRings(rings, traversal, attempt) };
  }

  /** False when somebody else holds the resource now. `callMs`: how far to move the deadline of the call in flight. */
  async renew(visit: Visit, holder: string, callMs: number | undefined): Promise<boolean> {
    const { stack, node, resource } = visit;
    const [tag] = await this.run(
      "renew",
      {
        stack: this.keys.stack(stack),
        resource: this.keys.resource(stack, resource),
        pending: this.keys.pending(stack),
        operations: this.keys.operations(stack),
      },
      {
        now: this.clock(),
        holder,
        resource,
        node,
        leaseMs: this.limits.leaseMs,
        callMs: callMs ?? "",
        graceMs: this.limits.graceMs,
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
    const [tag] = await this.run(
      "handover",
      {
        stack: this.keys.stack(stack),
        resource: this.keys.resource(stack, resource),
        stray: this.keys.resource(stack, stray.resource),
        operations: this.keys.operations(stack),
        index: this.keys.index(stack),
      },
      {
        now: this.clock(),
        resource,
        holder,
        strayResource: stray.resource,
        physical: thing.physical,
        thing: thing.text,
        strayFields: hashText(stray.fields),
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
    const [tag] = await this.run(
      "resolve",
      {
        stack: this.keys.stack(stack),
        resource: this.keys.resource(stack, resource),
        operations: this.keys.operations(stack),
      },
      { now: this.clock(), resource, ...said },
    );
    return tag === "ok";
  }
}
