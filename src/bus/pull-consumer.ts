/**
 * Pulls the messages of one durable consumer. Only as many are asked for as there is room to work on, so nothing waits
 * here unacknowledged; the rest is for the others that share the consumer. What somebody deletes on NATS is made again.
 */
import { createInbox, type Msg, nanos, type Subscription } from "nats";
import { messageOf } from "../errors.js";
import type { ProviderLog } from "../providers/provider.js";
import type { NatsLink } from "./connect.js";

export interface PullOptions {
  link: NatsLink;
  stream: string;
  consumer: string;
  /** What comes, for people: "notifications". */
  what: string;
  /** Further fields of what is logged. */
  about: object;
  log: ProviderLog;
  /** While some are on their way, it is not worth asking for less. */
  smallestBatch: number;
  /** Makes stream and consumer; answers whether something was missing. */
  ensure(): Promise<boolean>;
  /** How many messages can be taken now, not counting what `take` was given before. */
  room(): number;
  /** To be answered with an acknowledgement, a refusal, or not at all. */
  take(message: Msg): void;
  /** Something was missing on NATS and was made again; what was in it is lost. */
  onLoss(): void;
}

/** How long one request for messages stands. */
const requestMs = 5_000;
/** How much longer than the server we wait: it says when a request has ended, so silence means that it has forgotten it. */
const patienceMs = 1_000;
const mendFirstMs = 50;
const mendMaxMs = 5_000;
const refusedMs = 50;

interface PullRequest {
  subscription: Subscription;
  timer: NodeJS.Timeout;
  left: number;
}

export class PullConsumer {
  readonly #options: PullOptions;
  readonly #requests = new Set<PullRequest>();
  /** What the requests have left, together. */
  #coming = 0;
  #nextSubject = "";
  #mending: Promise<void> | undefined;
  #away = false;
  #connections = 1;
  #stopped = false;

  constructor(options: PullOptions) {
    this.#options = options;
  }

  /** @throws Error when stream and consumer cannot be made. */
  async start(): Promise<void> {
    const { link, stream, consumer, ensure } = this.#options;
    await ensure();
    const domain = link.jetstreamDomain === undefined ? {} : { domain: link.jetstreamDomain };
    const { apiPrefix } = link.connection.jetstream(domain);
    this.#nextSubject = `${apiPrefix}.CONSUMER.MSG.NEXT.${stream}.${consumer}`;
    this.more();
  }

  /** To be called when there may be more room. */
  more(): void {
    if (this.#stopped || this.#away || this.#mending !== undefined) return;
    const batch = this.#options.room() - this.#coming;
    if (batch <= 0 || (this.#coming > 0 && batch < this.#options.smallestBatch)) return;
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
      timer: setTimeout(() => this.#suspect(request), requestMs + patienceMs),
    };
    this.#requests.add(request);
    this.#coming += batch;
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
      this.#coming -= 1;
      if (this.#stopped) giveBack(message, refusedMs);
      else this.#options.take(message);
      if (request.left === 0) this.#end(request);
      else this.more();
    }
  }

  /** For want of permissions: asked again, but seldom. */
  #refused(request: PullRequest, error: Error): void {
    const { log, what } = this.#options;
    log.warn({ error: messageOf(error) }, `cannot receive ${what}`);
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
        this.#suspect(request);
    }
  }

  /** The consumer, or the stream, may be gone. */
  #suspect(request: PullRequest): void {
    this.#forget(request);
    void this.#mend();
  }

  #end(request: PullRequest): void {
    this.#forget(request);
    this.more();
  }

  #forget(request: PullRequest): void {
    clearTimeout(request.timer);
    request.subscription.unsubscribe();
    if (this.#requests.delete(request)) this.#coming -= request.left;
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
    const { ensure, what, about, log, onLoss } = this.#options;
    try {
      if (await ensure()) onLoss();
      return true;
    } catch (error) {
      if (connection === this.#connections) {
        log.warn({ ...about, error: messageOf(error) }, `the stream for ${what} cannot be used yet`);
      }
      return false;
    }
  }
}

/** Always with a delay: what is refused at once comes back at once. */
export function giveBack(message: Msg, delayMs = refusedMs): void {
  const delay = nanos(Math.max(refusedMs, Math.ceil(delayMs)));
  message.respond(`-NAK ${JSON.stringify({ delay })}`);
}
