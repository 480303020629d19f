/** The notifications of one pool. */
import type { Msg } from "nats";
import { messageOf } from "../errors.js";
import type { ProviderLog } from "../providers/provider.js";
import type { Visit } from "../store/store.js";
import { readVisit } from "./bus.js";
import type { NatsLink } from "./connect.js";
import { giveBack, PullConsumer } from "./pull-consumer.js";
import type { Streams } from "./streams.js";
import type { Subjects } from "./subjects.js";
import { traceHeader } from "./trace-context.js";

/** One delivery. Exactly one of its methods is to be called, or none. */
export interface Delivery {
  visit: Visit;
  traceparent: string | undefined;
  acknowledge(): void;
  /** It comes again, here or elsewhere. */
  giveBack(delayMs: number): void;
}

export interface WorkQueueOptions {
  link: NatsLink;
  streams: Streams;
  subjects: Subjects;
  pool: string;
  log: ProviderLog;
  /** How many deliveries can be taken now, not counting what `take` was given before. */
  room(): number;
  take(delivery: Delivery): void;
  /** Something of ours was missing on NATS and was made again; what was in it is lost. */
  onLoss(): void;
}

/** Visits take far longer than asking for another one. */
const smallestBatch = 16;

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #consumer: PullConsumer;

  constructor(options: WorkQueueOptions) {
    const { link, streams, subjects, pool, log, room } = options;
    this.#options = options;
    this.#consumer = new PullConsumer({
      link,
      stream: subjects.convergeStream,
      consumer: subjects.consumer(pool),
      what: "notifications",
      about: { pool },
      log,
      smallestBatch,
      ensure: () => streams.ensurePool(pool),
      room,
      take: (message) => this.#take(message),
      onLoss: () => this.#lost(),
    });
  }

  /** @throws Error when stream and consumer cannot be made. */
  start(): Promise<void> {
    return this.#consumer.start();
  }

  /** To be called when there may be more room. */
  more(): void {
    this.#consumer.more();
  }

  /** Takes nothing any more; what is on its way is given back. */
  stop(): void {
    this.#consumer.stop();
  }

  close(): void {
    this.#consumer.close();
  }

  connectionLost(): void {
    this.#consumer.connectionLost();
  }

  connectionBack(): void {
    this.#consumer.connectionBack();
  }

  #take(message: Msg): void {
    const visit = this.#read(message);
    if (visit === undefined) message.respond("+TERM");
    else this.#options.take(deliveryOf(visit, message));
  }

  #read(message: Msg): Visit | undefined {
    try {
      return readVisit(message.data);
    } catch (error) {
      const { subject } = message;
      this.#options.log.warn(
        { subject, error: messageOf(error) },
        "dropped a notification that makes no sense",
      );
      return undefined;
    }
  }

  #lost(): void {
    const { pool, log, onLoss } = this.#options;
    log.warn(
      { pool },
      "a stream or consumer was missing on NATS; made again, the timers ring for what was in it",
    );
    onLoss();
  }
}

function deliveryOf(visit: Visit, message: Msg): Delivery {
  return {
    visit,
    traceparent: message.headers?.get(traceHeader),
    acknowledge: () => {
      message.respond("+ACK");
    },
    giveBack: (delayMs) => giveBack(message, delayMs),
  };
}
