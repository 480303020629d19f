/** Looks at reality: what is known before one, what it found, and what people say about it. */
import { fieldsOf, optional, pairs, unexpected } from "./decode.js";
import { eventArgs, hashText } from "./encode.js";
import { Gathered } from "./gathered.js";
import type { Observation, ObserveAnswer, OutboxEvent, Sight } from "./types.js";
import { VisitStore } from "./visit-store.js";

/** A look that found nothing new. */
interface Seen {
  resource: string;
  revision: string;
  seenAtMs: number;
}

export class LookStore extends VisitStore {
  readonly #sights = new Gathered<string, Sight | undefined>((stack, resources) =>
    this.#readSights(stack, resources),
  );
  readonly #fresh = new Gathered<Seen, boolean>((stack, seen) => this.#noteFresh(stack, seen));

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
    ] = await this.run("sight", { stack: this.keys.stack(stack), resources: keys }, { now: this.clock() });
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

  /** Notes that a look that began then saw nothing new. False when the record has changed since. */
  fresh(stack: string, resource: string, revision: string, seenAtMs: number): Promise<boolean> {
    return this.#fresh.ask(stack, { resource, revision, seenAtMs });
  }

  async #noteFresh(stack: string, seen: readonly Seen[]): Promise<boolean[]> {
    const [, known] = await this.run(
      "fresh",
      { resources: seen.map(({ resource }) => this.keys.resource(stack, resource)) },
      { seen: JSON.stringify(seen.flatMap(({ revision, seenAtMs }) => [revision, String(seenAtMs)])) },
    );
    return (known as string[]).map((one) => one === "1");
  }

  /** Notes that the next look at a resource is not to be passed over, however fresh what is known of it. */
  async wantLook(stack: string, resource: string): Promise<void> {
    await this.run(
      "want",
      { stack: this.keys.stack(stack), resource: this.keys.resource(stack, resource) },
      { now: this.clock() },
    );
  }

  async observe(stack: string, resource: string, observation: Observation): Promise<ObserveAnswer> {
    const { want } = observation;
    const [tag, why, ms] = await this.run(
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
        now: this.clock(),
        resource,
        traversal: observation.traversal,
        attempt: observation.attempt,
        type: observation.type,
        revision: observation.revision,
        stackRevision: observation.stackRevision,
        fields: hashText(observation.fields),
        indexEntry: observation.index,
        events: JSON.stringify(observation.events.flatMap(({ id, text }) => [id, text])),
        seenAt: observation.seenAtMs,
        finding: observation.finding,
        entered: observation.entered ? 1 : "",
        want: want?.how ?? "",
        look: observation.look,
        repairFields: hashText(want?.fields),
        repairIndex: want?.index ?? "",
        callMs: want?.callMs ?? "",
        leaseMs: this.limits.leaseMs,
        graceMs: this.limits.graceMs,
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
          ms: optional(ms),
        };
      default:
        throw unexpected("observe", tag);
    }
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
    return this.run(
      "heard",
      { heard: this.keys.heard, clock: this.keys.heardClock },
      { now: this.clock(), verb, types: JSON.stringify(types), quietMs },
    );
  }

  /**
   * Stores what a person says of a stack's observation; answers when, ms. `announced`: an event, stored unless the same had been said before,
   * and the stack's revision from before it was hinted for; `stale` when it is another one now.
   */
  async attend(
    stack: string,
    field: "paused" | "policy" | "askedAt" | "awaited",
    value: string,
    announced?: { event: OutboxEvent; revision: string },
  ): Promise<{ tag: "ok"; atMs: number } | { tag: "stale" | "missing" }> {
    const [tag, at] = await this.run(
      "attend",
      { stack: this.keys.stack(stack), outbox: this.keys.outbox(stack) },
      {
        now: this.clock(),
        field,
        value,
        revision: announced?.revision ?? "",
        ...eventArgs(announced?.event),
      },
    );
    if (tag === "stale" || tag === "missing") return { tag };
    return { tag: "ok", atMs: Number(at) };
  }

  /** How many things are missing under an open incident; 0 when there is none. */
  async heldMissing(stack: string): Promise<number> {
    const open = await this.redis.hexists(this.keys.incidents(stack), "open");
    return open === 0 ? 0 : this.redis.zcard(this.keys.lost(stack));
  }

  /** The incident that a stack has, and what is missing. */
  async incident(
    stack: string,
  ): Promise<{ id: string; openedAtMs: number; lost: [id: string, sinceMs: number][] } | undefined> {
    const [id, openedAt] = await this.redis.hmget(this.keys.incidents(stack), "open", "openedAt");
    if (id === null || id === undefined) return undefined;
    const lost = pairs(await this.redis.zrange(this.keys.lost(stack), "0", "-1", "WITHSCORES"));
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
    const [tag, resources] = await this.run(
      "incident",
      {
        stack: this.keys.stack(stack),
        lost: this.keys.lost(stack),
        losses: this.keys.losses(stack),
        incidents: this.keys.incidents(stack),
        outbox: this.keys.outbox(stack),
      },
      { now: this.clock(), incident, verdict, revision, ...eventArgs(event) },
    );
    if (tag === "ok") return { tag, resources: resources as string[] };
    if (tag === "answered") return { tag, verdict: String(resources) };
    return tag === "stale" ? { tag } : { tag: "missing" };
  }
}
