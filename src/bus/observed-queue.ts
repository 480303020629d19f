/**
 * What producers saw, in arrays. All observers of a deployment share one durable consumer, so each message goes to one
 * of them, and what came while there was none is waiting.
 */
import type { Msg } from "nats";
import type { ProviderLog } from "../providers/provider.js";
import type { NatsLink } from "./connect.js";
import type { Observation } from "./observation.js";
import { giveBack, PullConsumer } from "./pull-consumer.js";
import type { Streams } from "./streams.js";
import type { Subjects } from "./subjects.js";

/** A message that is not acknowledged comes again after the lease time, here or elsewhere. */
export interface ObservedMessage extends Observation {
  /** When NATS stored it, in ms since 1970 by the server's clock; what was waiting may be old. */
  readonly storedAt: number;
  acknowledge(): void;
}

export interface ObservedQueueOptions {
  link: NatsLink;
  streams: Streams;
  subjects: Subjects;
  log: ProviderLog;
  /** How many messages can be taken now, not counting what `take` was given before. Thousands, where many come. */
  room(): number;
  /** What arrived in one turn of the event loop, in order; at least one. */
  take(batch: ObservedMessage[]): void;
  /** The stream or its consumer was missing on NATS and was made again; what was in it is lost. */
  onLoss(): void;
}

/** A request costs both sides as much as several messages. */
const smallestBatch = 250;
/** The client takes time in the square of the number of headers to read them. */
const maxHeaderBytes = 8_192;

export class ObservedQueue {
  readonly #options: ObservedQueueOptions;
  readonly #consumer: PullConsumer;
  #arrived: Arrived[] = [];

  constructor(options: ObservedQueueOptions) {
    const { link, streams, subjects, log, room } = options;
    this.#options = options;
    this.#consumer = new PullConsumer({
      link,
      stream: subjects.observedStream,
      consumer: subjects.observers,
      what: "observations",
      about: {},
      log,
      smallestBatch,
      ensure: () => streams.ensureObservers(),
      room: () => room() - this.#arrived.length,
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

  /** Hands nothing over any more; what is on its way is given back. What was handed over can still be acknowledged. */
  stop(): void {
    this.#consumer.stop();
    for (const message of this.#arrived.splice(0)) message.giveBack();
  }

  close(): void {
    this.stop();
    this.#consumer.close();
  }

  connectionLost(): void {
    this.#consumer.connectionLost();
  }

  connectionBack(): void {
    this.#consumer.connectionBack();
  }

  #take(message: Msg): void {
    this.#arrived.push(new Arrived(message, this.#options.subjects.topicOf(message.subject)));
    if (this.#arrived.length === 1) setImmediate(() => this.#handOver());
  }

  #handOver(): void {
    const batch = this.#arrived;
    if (batch.length === 0) return;
    this.#arrived = [];
    this.#options.take(batch);
  }

  #lost(): void {
    const { log, onLoss } = this.#options;
    log.warn(
      {},
      "the stream of observations, or its consumer, was missing on NATS; made again, what was in it is lost",
    );
    onLoss();
  }
}

const noHeaders: ReadonlyMap<string, string> = new Map();
const acknowledgement = Buffer.from("+ACK");

/** Reads only what it is asked for. */
class Arrived implements ObservedMessage {
  readonly topic: string;
  readonly #message: Msg;

  constructor(message: Msg, topic: string) {
    this.#message = message;
    this.topic = topic;
  }

  get data(): Uint8Array {
    return this.#message.data;
  }

  /** @throws Error when there is too much of them. */
  get headers(): ReadonlyMap<string, string> {
    const message = this.#message;
    if (headerBytes(message) > maxHeaderBytes)
      throw new Error(`its headers are larger than ${maxHeaderBytes} bytes`);
    if (message.headers === undefined) return noHeaders;
    return new Map([...message.headers].map(([name, [value = ""]]) => [name.toLowerCase(), value]));
  }

  get storedAt(): number {
    return storedAtMs(this.#message.reply ?? "");
  }

  acknowledge(): void {
    this.#message.respond(acknowledgement);
  }

  giveBack(): void {
    giveBack(this.#message);
  }
}

/** The client knows the size of a message with its subjects, and does not declare it. */
function headerBytes(message: Msg & { size?(): number }): number {
  const { subject, reply = "", data } = message;
  return (message.size?.() ?? 0) - subject.length - reply.length - data.length;
}

/** `$JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.DELIVERIES.SEQUENCE.SEQUENCE.NANOSECONDS.PENDING[.…]` */
function storedAtMs(reply: string): number {
  const tokens = reply.split(".");
  return Number(tokens[tokens.length === 9 ? 7 : 9]) / 1e6;
}
