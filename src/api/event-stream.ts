/**
 * Lifecycle events as they are stored, each once. Whenever something may have been missed (a lost connection, a gap, a
 * consumer that is gone) it asks again from the last event that it has seen.
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  AckPolicy,
  type ConsumerConfig,
  createInbox,
  DeliverPolicy,
  Events,
  type JetStreamManager,
  type Msg,
  NatsError,
  nanos,
  type Subscription,
} from "nats";
import { z } from "zod";
import type { NatsLink } from "../bus/connect.js";
import type { Subjects } from "../bus/subjects.js";
import type { LifecycleEvent } from "../traversal/lifecycle-event.js";

export interface EventStreamOptions {
  /** Id; all stacks when absent. */
  stack?: string | undefined;
  /** A number: that many milliseconds ago. */
  since: "now" | "all" | number;
}

/** Events that are on their way or wait to be taken. */
const batchEvents = 256;
const requestMs = 30_000;
/** A consumer that nobody asks is removed by the server after that. */
const inactiveMs = 120_000;
const againMs = 250;
const answerMs = 2_000;
/** Ids that are remembered to drop second copies. */
const rememberedIds = 10_000;

export class EventStream implements AsyncIterable<LifecycleEvent> {
  /** Resolves when no event from now on can be missed. */
  readonly ready: Promise<void>;
  readonly closed: Promise<void>;
  readonly #link: NatsLink;
  readonly #subjects: Subjects;
  readonly #options: EventStreamOptions;
  readonly #openedAt = Date.now();
  readonly #closing = new AbortController();
  readonly #seen = new Set<string>();
  #queue: LifecycleEvent[] = [];
  #wake: () => void = () => {};
  #setReady: () => void = () => {};
  #session: Session | undefined;
  /** Number of the last event that was looked at; undefined before the first look at the stream. */
  #position: number | undefined;
  #created = "";

  constructor(link: NatsLink, subjects: Subjects, options: EventStreamOptions) {
    this.#link = link;
    this.#subjects = subjects;
    this.#options = options;
    this.ready = new Promise((resolve) => {
      this.#setReady = resolve;
    });
    this.closed = this.#run();
    void this.#watch();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<LifecycleEvent> {
    try {
      while (!this.#closing.signal.aborted) {
        const event = this.#queue.shift();
        if (event !== undefined) yield event;
        else await this.#more();
      }
    } finally {
      await this.close();
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#wake();
    this.#session?.end();
    await this.closed;
  }

  /** Until there may be something in the queue. */
  #more(): Promise<void> {
    const more = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#session?.ask();
    return more;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        await this.#follow();
      } catch {
        // No stream yet, or NATS is away: looked at again below.
      }
      await sleep(againMs, undefined, { signal }).catch(() => {});
    }
    this.#setReady();
  }

  /** What was on its way when the connection broke is lost: the session ends. */
  async #watch(): Promise<void> {
    const statuses = this.#link.connection.status();
    const iterator = statuses[Symbol.asyncIterator]();
    const over = this.closed.then(() => undefined);
    for (;;) {
      const next = await Promise.race([iterator.next(), over]);
      if (next === undefined || next.done) return;
      if (next.value.type === Events.Disconnect) this.#session?.end();
    }
  }

  async #follow(): Promise<void> {
    const manager = await this.#manager();
    const stream = this.#subjects.eventStream;
    await this.#locate(manager, stream);
    const { name } = await manager.consumers.add(stream, this.#consumer());
    const session = new Session(this.#link, manager, stream, name, (message, sequence) =>
      this.#receive(message, sequence),
    );
    this.#session = session;
    if (this.#closing.signal.aborted) session.end();
    this.#setReady();
    if (this.#queue.length === 0) session.ask();
    await session.over;
    this.#session = undefined;
    await manager.consumers.delete(stream, name).catch(() => {});
  }

  #manager(): Promise<JetStreamManager> {
    const { connection, jetstreamDomain } = this.#link;
    return connection.jetstreamManager({
      checkAPI: false,
      timeout: answerMs,
      ...(jetstreamDomain === undefined ? {} : { domain: jetstreamDomain }),
    });
  }

  /** Where to go on. A stream that was made again starts from one. */
  async #locate(manager: JetStreamManager, stream: string): Promise<void> {
    try {
      const { created, state } = await manager.streams.info(stream);
      if (this.#position === undefined) {
        this.#position = this.#options.since === "now" ? state.last_seq : 0;
      } else if (created !== this.#created || state.last_seq < this.#position) {
        this.#position = 0;
      }
      this.#created = created;
    } catch (error) {
      if (error instanceof NatsError && error.api_error?.code === 404) {
        this.#position ??= 0;
        this.#setReady();
      }
      throw error;
    }
  }

  #consumer(): Partial<ConsumerConfig> {
    const { stack, since } = this.#options;
    return {
      ack_policy: AckPolicy.None,
      filter_subject: stack === undefined ? this.#subjects.allEvents : this.#subjects.eventsOf(stack),
      inactive_threshold: nanos(inactiveMs),
      mem_storage: true,
      num_replicas: 1,
      ...(typeof since === "number" && this.#position === 0
        ? {
            deliver_policy: DeliverPolicy.StartTime,
            opt_start_time: new Date(this.#openedAt - since).toISOString(),
          }
        : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: (this.#position ?? 0) + 1 }),
    };
  }

  #receive(message: Msg, sequence: number): void {
    this.#position = sequence;
    const event = readEvent(message);
    if (event === undefined || this.#seen.has(event.id)) {
      // The reader is not told of this one, so it does not ask for more.
      if (this.#queue.length === 0) this.#session?.ask();
      return;
    }
    this.#seen.add(event.id);
    if (this.#seen.size > rememberedIds) this.#seen.delete(this.#seen.values().next().value ?? "");
    this.#queue.push(event);
    this.#wake();
  }
}

/** One consumer, as long as nothing can have been missed. */
class Session {
  readonly over: Promise<void>;
  readonly #link: NatsLink;
  readonly #next: string;
  readonly #inbox: string;
  readonly #subscription: Subscription;
  readonly #receive: (message: Msg, sequence: number) => void;
  #end: () => void = () => {};
  #timer: NodeJS.Timeout | undefined;
  #delivered = 0;
  #left = 0;

  constructor(
    link: NatsLink,
    manager: JetStreamManager,
    stream: string,
    consumer: string,
    receive: (message: Msg, sequence: number) => void,
  ) {
    this.#link = link;
    const { apiPrefix } = manager.jetstream();
    this.#next = `${apiPrefix}.CONSUMER.MSG.NEXT.${stream}.${consumer}`;
    this.#inbox = createInbox(link.inboxPrefix);
    this.#receive = receive;
    this.over = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#subscription = link.connection.subscribe(this.#inbox, {
      callback: (error, message) => (error === null ? this.#take(message) : this.end()),
    });
  }

  /** For the next events, unless they are asked for already. */
  ask(): void {
    if (this.#left > 0 || this.#subscription.isClosed()) return;
    this.#left = batchEvents;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.end(), requestMs * 1.2);
    const request = JSON.stringify({ batch: batchEvents, expires: nanos(requestMs) });
    this.#link.connection.publish(this.#next, request, { reply: this.#inbox });
  }

  end(): void {
    clearTimeout(this.#timer);
    if (!this.#subscription.isClosed()) this.#subscription.unsubscribe();
    this.#end();
  }

  #take(message: Msg): void {
    const place = placeOf(message.reply ?? "");
    if (message.subject === this.#inbox) {
      this.#status(message.headers?.code ?? 0);
    } else if (place?.delivered === this.#delivered + 1) {
      this.#delivered = place.delivered;
      this.#left -= 1;
      this.#receive(message, place.stored);
    } else {
      this.end();
    }
  }

  #status(code: number): void {
    switch (code) {
      case 100:
        break;
      case 404:
      case 408:
        // Nothing came in time.
        this.#left = 0;
        this.ask();
        break;
      default:
        this.end();
    }
  }
}

/** From the reply subject: `$JS.ACK.[domain.account.]stream.consumer.deliveries.stored.delivered.time.pending[.random]`. */
function placeOf(reply: string): { stored: number; delivered: number } | undefined {
  const tokens = reply.split(".");
  const shift = tokens.length === 9 ? 5 : 7;
  const stored = Number(tokens[shift]);
  const delivered = Number(tokens[shift + 1]);
  return stored > 0 && delivered > 0 ? { stored, delivered } : undefined;
}

const text = z.string();
const eventSchema = z.object({
  ...{ type: text, id: text, time: text, stack: text, stackName: text, what: text, traversal: z.int() },
  ...{ resource: text.optional(), resourceId: text.optional() },
  ...{ action: text.optional(), reason: text.optional() },
});

/** Undefined for what is no event: anybody may publish there. */
function readEvent(message: Msg): LifecycleEvent | undefined {
  try {
    const event: unknown = message.json();
    return eventSchema.safeParse(event).success ? (event as LifecycleEvent) : undefined;
  } catch {
    return undefined;
  }
}
