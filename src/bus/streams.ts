/**
 * The streams, consumers and the bucket that a deployment needs on NATS. Made or brought up to date at start, and made
 * again when somebody deletes them; nothing in them is the only copy of anything (R11).
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  AckPolicy,
  type ConsumerConfig,
  DiscardPolicy,
  type JetStreamManager,
  NatsError,
  nanos,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "nats";
import { HomeostatError, messageOf } from "../errors.js";
import type { NatsLink } from "./connect.js";
import type { Subjects } from "./subjects.js";

/** Bounds of what is kept on NATS. The server sets aside what `…MaxBytes` say. */
export interface StreamLimits {
  eventMaxAgeMs: number;
  eventMaxBytes: number;
  /** Within it, a second copy of an event is dropped. */
  eventDuplicateMs: number;
  /** How long what was observed waits for an observer. */
  observedMaxAgeMs: number;
  /** What is dropped first is the oldest; the schedule of reads sees what it told of. */
  observedMaxBytes: number;
  /** Within it, a message with the `Nats-Msg-Id` of another one is dropped: a publish that is tried again. */
  observedDuplicateMs: number;
  /** Unacknowledged messages about what was observed, all observers together. */
  observedMaxAckPending: number;
  /** A notification that nobody took for so long is dropped; the timers ring again (R17). */
  convergeMaxAgeMs: number;
  /** How long a body that nobody removed is kept. */
  bodyMaxAgeMs: number;
  /** Unacknowledged notifications of one pool, all its workers together. */
  maxAckPending: number;
  /** Copies of each stream in a cluster. */
  replicas: number;
}

const dayMs = 24 * 3600_000;
const mebibyte = 1024 * 1024;

export const defaultStreamLimits: StreamLimits = {
  eventMaxAgeMs: 7 * dayMs,
  eventMaxBytes: 128 * mebibyte,
  eventDuplicateMs: 120_000,
  observedMaxAgeMs: dayMs,
  observedMaxBytes: 128 * mebibyte,
  // Short, because a producer may give two changes of one thing the same id, and the server remembers every id.
  observedDuplicateMs: 10_000,
  observedMaxAckPending: 20_000,
  convergeMaxAgeMs: dayMs,
  bodyMaxAgeMs: 10 * 60_000,
  maxAckPending: 5_000,
  replicas: 1,
};

/** Pause after which a stream that the server did not let one make is looked for again, about. */
const raceMs = 250;

/** Too short to swallow a second notification that is meant. */
const noDuplicateWindowMs = 100;

export class Streams {
  readonly #link: NatsLink;
  readonly #subjects: Subjects;
  readonly #limits: StreamLimits;
  readonly #ackWaitMs: number;

  constructor(link: NatsLink, subjects: Subjects, limits: StreamLimits, ackWaitMs: number) {
    this.#link = link;
    this.#subjects = subjects;
    this.#limits = limits;
    this.#ackWaitMs = ackWaitMs;
  }

  /** @throws HomeostatError `unavailable` when JetStream cannot be used. */
  async check(): Promise<void> {
    try {
      await (await this.#manager()).getAccountInfo();
    } catch (error) {
      const text = isMissing(error)
        ? `NATS at ${this.#link.where} has no JetStream; start nats-server with -js`
        : `JetStream of NATS at ${this.#link.where} cannot be used: ${messageOf(error)}`;
      throw new HomeostatError("unavailable", text, { cause: error });
    }
  }

  /** Answers whether one of them was missing. @throws HomeostatError `unavailable` */
  async ensure(): Promise<boolean> {
    const manager = await this.#manager();
    const made = await Promise.all(
      this.#streams().map((config) => this.#explaining(config.name, ensureStream(manager, config))),
    );
    return made.includes(true);
  }

  /**
   * The streams, and what the workers of a pool share. Answers whether something was missing.
   *
   * @throws HomeostatError `unavailable`
   */
  async ensurePool(pool: string): Promise<boolean> {
    const made = await this.ensure();
    return (await this.#ensureConsumer(this.#subjects.convergeStream, this.#consumer(pool))) || made;
  }

  /**
   * The streams, and what all observers share. Answers whether something was missing.
   *
   * @throws HomeostatError `unavailable`
   */
  async ensureObservers(): Promise<boolean> {
    const made = await this.ensure();
    return (await this.#ensureConsumer(this.#subjects.observedStream, this.#observers())) || made;
  }

  async #ensureConsumer(stream: string, config: Partial<ConsumerConfig>): Promise<boolean> {
    return this.#explaining(stream, ensureConsumer(await this.#manager(), stream, config));
  }

  async #explaining<T>(stream: string | undefined, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const text = `NATS at ${this.#link.where} does not give us the stream ${stream}: ${messageOf(error)}`;
      throw new HomeostatError("unavailable", text, { cause: error });
    }
  }

  /** Answers without asking the server. */
  #manager(): Promise<JetStreamManager> {
    const { connection, jetstreamDomain } = this.#link;
    return connection.jetstreamManager({
      checkAPI: false,
      ...(jetstreamDomain === undefined ? {} : { domain: jetstreamDomain }),
    });
  }

  #streams(): Partial<StreamConfig>[] {
    const limits = this.#limits;
    const subjects = this.#subjects;
    return [
      {
        ...this.#common(
          "Notifications that something is to be done; keys only. Deleting it costs time and nothing else.",
        ),
        name: subjects.convergeStream,
        subjects: [subjects.allConverge],
        retention: RetentionPolicy.Workqueue,
        // The newest of several notifications for one node says all; without it a pool without workers would fill up.
        max_msgs_per_subject: 1,
        max_age: nanos(limits.convergeMaxAgeMs),
        duplicate_window: nanos(noDuplicateWindowMs),
        ...this.#monitored({ "msgs-warn": "100000", "msgs-critical": "1000000" }),
      },
      {
        ...this.#common("Lifecycle events of stacks and resources; no property values."),
        name: subjects.eventStream,
        subjects: [subjects.allEvents],
        retention: RetentionPolicy.Limits,
        max_age: nanos(limits.eventMaxAgeMs),
        max_bytes: limits.eventMaxBytes,
        duplicate_window: nanos(limits.eventDuplicateMs),
        ...this.#monitored({}),
      },
      {
        ...this.#common(
          "What producers saw in the real world: hints to look. Deleting it costs time and nothing else.",
        ),
        name: subjects.observedStream,
        subjects: [subjects.allObserved],
        retention: RetentionPolicy.Limits,
        max_age: nanos(limits.observedMaxAgeMs),
        max_bytes: limits.observedMaxBytes,
        duplicate_window: nanos(limits.observedDuplicateMs),
        ...this.#monitored({}),
      },
    ];
  }

  #common(description: string): Partial<StreamConfig> {
    return {
      description,
      storage: StorageType.File,
      discard: DiscardPolicy.Old,
      num_replicas: this.#limits.replicas,
    };
  }

  #consumer(pool: string): Partial<ConsumerConfig> {
    return {
      durable_name: this.#subjects.consumer(pool),
      description: `Workers of the pool ${pool}.`,
      filter_subject: this.#subjects.convergeOf(pool),
      ...this.#shared(this.#limits.maxAckPending),
    };
  }

  #observers(): Partial<ConsumerConfig> {
    return {
      durable_name: this.#subjects.observers,
      description: "All observers.",
      filter_subject: this.#subjects.allObserved,
      ...this.#shared(this.#limits.observedMaxAckPending),
    };
  }

  /** Of those who take messages from each other until one acknowledges them. */
  #shared(maxAckPending: number): Partial<ConsumerConfig> {
    return {
      ack_policy: AckPolicy.Explicit,
      ack_wait: nanos(this.#ackWaitMs),
      max_deliver: -1,
      max_ack_pending: maxAckPending,
      ...this.#monitored({
        "outstanding-ack-critical": String(Math.floor(maxAckPending * 0.9)),
        "unprocessed-critical": "100000",
      }),
    };
  }

  /** What `nats server check` reads; servers know metadata since 2.10. */
  #monitored(thresholds: Record<string, string>): { metadata?: Record<string, string> } {
    const [major = 0, minor = 0] = (this.#link.connection.info?.version ?? "").split(".").map(Number);
    if (major < 2 || (major === 2 && minor < 10)) return {};
    const entries = Object.entries(thresholds).map(([name, value]) => [`io.nats.monitor.${name}`, value]);
    return { metadata: { "io.nats.monitor.enabled": "true", ...Object.fromEntries(entries) } };
  }
}

async function ensureStream(
  manager: JetStreamManager,
  config: Partial<StreamConfig>,
  attempts = 5,
): Promise<boolean> {
  const name = config.name ?? "";
  const existing = await unlessMissing(manager.streams.info(name));
  if (existing === undefined) {
    try {
      await manager.streams.add(config);
    } catch (error) {
      if (attempts === 1 || !(error instanceof NatsError && error.api_error !== undefined)) throw error;
      // The server may count what two make at once twice, and refuse one of them, or both.
      await sleep(raceMs * (0.5 + Math.random()));
      await ensureStream(manager, config, attempts - 1);
    }
    return true;
  }
  if (differs(existing.config, config)) await manager.streams.update(name, config);
  return false;
}

async function ensureConsumer(
  manager: JetStreamManager,
  stream: string,
  config: Partial<ConsumerConfig>,
): Promise<boolean> {
  const name = config.durable_name ?? "";
  const existing = await unlessMissing(manager.consumers.info(stream, name));
  if (existing === undefined) {
    await manager.consumers.add(stream, config);
    return true;
  }
  if (differs(existing.config, config)) await manager.consumers.update(stream, name, config);
  return false;
}

/** Whether what is wanted is not what is there; what the server adds by itself does not count. */
function differs(existing: object, wanted: object): boolean {
  const there = new Map(Object.entries(existing));
  return Object.entries(wanted).some(([field, value]) => !includes(there.get(field), value));
}

function includes(there: unknown, wanted: unknown): boolean {
  if (wanted === null || typeof wanted !== "object" || Array.isArray(wanted)) {
    return JSON.stringify(there) === JSON.stringify(wanted);
  }
  return there !== null && typeof there === "object" && !differs(there, wanted);
}

async function unlessMissing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof NatsError && error.api_error?.code === 404) return undefined;
    throw error;
  }
}

/** Nobody listens there: no stream for the subject, or no JetStream. A JetStream without room answers, with the same code. */
export function isMissing(error: unknown): boolean {
  return error instanceof NatsError && error.code === "503" && error.api_error === undefined;
}
