/**
 * The door to NATS: rings for ready nodes, publishes lifecycle events. Messages are doorbells (R11, R12): keys, never
 * truth, never property values.
 */
import {
  ErrorCode,
  headers,
  type JetStreamClient,
  type JetStreamPublishOptions,
  type MsgHdrs,
  NatsError,
} from "nats";
import { z } from "zod";
import { HomeostatError } from "../errors.js";
import type { ProviderLog } from "../providers/provider.js";
import type { OutboxEvent, Ring, Visit } from "../store/store.js";
import type { Bus } from "../traversal/engine.js";
import type { LifecycleEvent } from "../traversal/lifecycle-event.js";
import type { NatsLink } from "./connect.js";
import { isMissing, type Streams } from "./streams.js";
import type { Subjects } from "./subjects.js";
import { nextTraceparent, traceHeader } from "./trace-context.js";

/** Messages of one call that wait for their acknowledgement at once. */
const publishesAtOnce = 128;
/** How long one acknowledgement is awaited; a connection may break and come back meanwhile. */
const publishMs = 2_000;

const visitSchema: z.ZodType<Visit> = z.object({
  stack: z.string().min(1),
  traversal: z.int().min(0),
  attempt: z.string(),
  node: z.string(),
  resource: z.string(),
  pool: z.string().min(1),
});

/** @throws Error when the body is none that `ring` made. */
export function readVisit(body: Uint8Array): Visit {
  return visitSchema.parse(JSON.parse(Buffer.from(body).toString("utf8")));
}

export class NatsBus implements Bus {
  readonly #jetstream: JetStreamClient;
  readonly #streams: Streams;
  readonly #subjects: Subjects;
  readonly #log: ProviderLog;
  #mending: Promise<void> | undefined;
  #lostAt: number | undefined;

  constructor(link: NatsLink, streams: Streams, subjects: Subjects, log: ProviderLog) {
    const { connection, jetstreamDomain } = link;
    this.#jetstream = connection.jetstream({
      timeout: publishMs,
      ...(jetstreamDomain === undefined ? {} : { domain: jetstreamDomain }),
    });
    this.#streams = streams;
    this.#subjects = subjects;
    this.#log = log;
  }

  ring(stack: string, rings: readonly Ring[]): Promise<void> {
    return inTurns(rings, ({ traversal, attempt, node, resource, pool }) => {
      const visit: Visit = { stack, traversal, attempt, node, resource, pool };
      return this.#publish(this.#subjects.converge(visit, stack), JSON.stringify(visit));
    });
  }

  announce(events: readonly OutboxEvent[]): Promise<void> {
    return inTurns(events, async ({ id, text }) => this.#publish(this.#subjectOf(id, text), text, id));
  }

  /** What waits for a confirmation ends in time all the same. */
  connectionLost(): void {
    this.#lostAt ??= performance.now();
  }

  connectionBack(): void {
    this.#lostAt = undefined;
  }

  #subjectOf(id: string, text: string): string {
    try {
      return this.#subjects.event(JSON.parse(text) as LifecycleEvent);
    } catch (cause) {
      throw new HomeostatError("internal", `event ${id} in its stack's outbox cannot be used`, { cause });
    }
  }

  /** Twice at most: what got lost with a connection is sent again, a missing stream is made first. */
  async #publish(subject: string, body: string, id?: string): Promise<void> {
    const options = { headers: traced(), ...(id === undefined ? {} : { msgID: id }) };
    try {
      await this.#send(subject, body, options);
    } catch (error) {
      if (isMissing(error)) await this.#mend();
      else if (!isTimeout(error)) throw explained(error);
      await this.#send(subject, body, options).catch((again: unknown) => {
        throw explained(again);
      });
    }
  }

  async #send(subject: string, body: string, options: Partial<JetStreamPublishOptions>): Promise<void> {
    // A short break is over before anybody need know of it; in a long one nobody waits, and nothing piles up.
    if (this.#lostAt !== undefined && performance.now() - this.#lostAt > publishMs)
      throw new Error("NATS is away");
    await this.#jetstream.publish(subject, body, options);
  }

  /** Nobody listens: the stream was deleted, or JetStream is not back yet. One of many publishers sees to it. */
  #mend(): Promise<void> {
    this.#mending ??= this.#ensure().finally(() => {
      this.#mending = undefined;
    });
    return this.#mending;
  }

  async #ensure(): Promise<void> {
    if (!(await this.#streams.ensure())) return;
    this.#log.warn({}, "a stream was missing on NATS; made again, the timers ring for what was in it");
  }
}

function isTimeout(error: unknown): boolean {
  return error instanceof NatsError && error.code === ErrorCode.Timeout;
}

/** The errors of the NATS client have codes for messages. */
function explained(error: unknown): unknown {
  if (isTimeout(error)) return new Error("NATS did not confirm it in time");
  if (isMissing(error)) return new Error("no stream on NATS takes it");
  const refusal = error instanceof NatsError ? error.api_error?.description : undefined;
  return refusal === undefined ? error : new Error(`JetStream refuses it: ${refusal}`);
}

function traced(): MsgHdrs {
  const header = headers();
  header.set(traceHeader, nextTraceparent());
  return header;
}

/** A bounded number at once, in order; every one is tried. @throws the first error */
async function inTurns<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const errors: unknown[] = [];
  const left = items[Symbol.iterator]();
  const lane = async () => {
    for (const item of left) await work(item).catch((error: unknown) => errors.push(error));
  };
  await Promise.all(Array.from({ length: Math.min(publishesAtOnce, items.length) }, lane));
  if (errors.length > 0) throw errors[0];
}
