/**
 * The notifications of one pool. Only as many are asked for as there is room to work on, so nothing waits here
 * unacknowledged; the rest is for the other workers.
 */
import { createInbox, type Msg, nanos, type Subscription } from "nats";
import { messageOf } from "../errors.js";
import type { ProviderLog } from "../providers/provider.js";
import type { Visit } from "../store/store.js";
import { readVisit } from "./bus.js";
import type { NatsLink } from "./connect.js";
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

/** How long one request for messages stands. */
const requestMs = 5_000;
/** How much longer than the server we wait before we give a request up. */
const patienceMs = 1_000;
/** While some are on their way, not worth asking for less. */
const smallestBatch = 16;
const mendFirstMs = 50;
const mendMaxMs = 5_000;
const refusedMs = 50;

interface PullRequest {
  subscription: Subscription;
  timer: NodeJS.Timeout;
  left: number;
}

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #requests = new Set<PullRequest>();
  #nextSubject = "";
  #mending: Promise<void> | undefined;
  #away = false;
  #connections = 1;
  #stopped = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** @throws Error when stream and consumer cannot be made. */
  async start(): Promise<void> {
    const { link, streams, subjects, pool } = this.#options;
    await streams.ensurePool(pool);
    const domain = link.jetstreamDomain === undefined ? {} : { domain: link.jetstreamDomain };
    const { apiPrefix } = link.connection.jetstream(domain);
    this.#nextSubject = `${apiPrefix}.CONSUMER.MSG.NEXT.${subjects.convergeStream}.${subjects.consumer(pool)}`;
    this.more();
  }

  /** To be called when there may be more room. */
  more(): void {
    if (this.#stopped || this.#away || this.#mending !== undefined) return;
    const coming = [...this.#requests].reduce((sum, request) => sum + request.left, 0);
    const batch = this.#options.room() - coming;
    if (batch <= 0 || (coming > 0 && batch < smallestBatch)) return;
    this.#ask(batch);
  }

  /** Takes nothing any more; what is on its way is given back. */
  stop(): void {
    this.#stopped = true;
  }

  close(): void {
    this.stop();
    this.#forgetRequests();
  }

  connectionLost(): void {
    this.#away = true;
    this.#forgetRequests();
  }

  /** What was asked over the connection before is not answered any more. */
  connectionBack(): void {
    this.#away = false;
    this.#connections += 1;
    this.#mending = undefined;
    void this.#mend();
  }

  #ask(batch: number): void {
    const { connection, inboxPrefix } = this.#options.link;
    const inbox = createInbox(inboxPrefix);
    const request: PullRequest = {
      left: batch,
      subscription: connection.subscribe(inbox, {
        callback: (error, message) => this.#receive(request, inbox, error, message),
      }),
      timer: setTimeout(() => this.#end(request), requestMs + patienceMs),
    };
    this.#requests.add(request);
    const ask = JSON.stringify({ batch, expires: nanos(requestMs) });
    connection.publish(this.#nextSubject, ask, { reply: inbox });
  }

  #receive(request: PullRequest, inbox: string, error: Error | null, message: Msg): void {
    if (error !== null) {
      this.#refused(request, error);
    } else if (message.subject === inbox) {
      this.#status(request, message.headers?.code ?? 0);
    } else {
      request.left -= 1;
      this.#deliver(message);
      if (request.left === 0) this.#end(request);
      else this.more();
    }
  }

  /** For want of permissions: asked again, but seldom. */
  #refused(request: PullRequest, error: Error): void {
    this.#options.log.warn({ error: messageOf(error) }, "cannot receive notifications");
    this.#forget(request);
    setTimeout(() => this.more(), mendMaxMs).unref();
  }

  #status(request: PullRequest, code: number): void {
    switch (code) {
      case 100:
        break;
      case 404:
      case 408:
        // Nothing came in time.
        this.#end(request);
        break;
      default:
        // The consumer, or the stream, may be gone.
        this.#forget(request);
        void this.#mend();
    }
  }

  #deliver(message: Msg): void {
    const visit = this.#stopped ? undefined : this.#read(message);
    if (this.#stopped) giveBack(message, refusedMs);
    else if (visit === undefined) message.respond("+TERM");
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

  #end(request: PullRequest): void {
    this.#forget(request);
    this.more();
  }

  #forget(request: PullRequest): void {
    clearTimeout(request.timer);
    request.subscription.unsubscribe();
    this.#requests.delete(request);
  }

  #forgetRequests(): void {
    for (const request of this.#requests) this.#forget(request);
  }

  #mend(): Promise<void> {
    const connection = this.#connections;
    this.#mending ??= this.#untilWhole(connection).finally(() => {
      if (connection !== this.#connections) return;
      this.#mending = undefined;
      this.more();
    });
    return this.#mending;
  }

  /** Until stream and consumer are there, or the connection is another one. */
  async #untilWhole(connection: number): Promise<void> {
    let waitMs = mendFirstMs;
    while (!this.#stopped && !this.#away && connection === this.#connections) {
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      if (await this.#isWhole(connection)) return;
      waitMs = Math.min(waitMs * 2, mendMaxMs);
    }
  }

  async #isWhole(connection: number): Promise<boolean> {
    const { streams, pool, log, onLoss } = this.#options;
    try {
      if (await streams.ensurePool(pool)) {
        log.warn(
          { pool },
          "a stream or consumer was missing on NATS; made again, the timers ring for what was in it",
        );
        onLoss();
      }
      return true;
    } catch (error) {
      if (connection === this.#connections) {
        log.warn({ pool, error: messageOf(error) }, "the stream for notifications cannot be used yet");
      }
      return false;
    }
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

/** Always with a delay: what is refused at once comes back at once. */
function giveBack(message: Msg, delayMs: number): void {
  const delay = nanos(Math.max(refusedMs, Math.ceil(delayMs)));
  message.respond(`-NAK ${JSON.stringify({ delay })}`);
}
