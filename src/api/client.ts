/**
 * The API from the caller's side. A request that gets no answer is sent again with the same id, so it is the same goal
 * however often it arrives (R6).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, headers, type Msg, type MsgHdrs, NatsError } from "nats";
import { Bodies, bodyHeader } from "../bus/bodies.js";
import {
  type ConnectionLog,
  connectNats,
  type NatsLink,
  type NatsOptions,
  watchConnection,
} from "../bus/connect.js";
import { defaultStreamLimits } from "../bus/streams.js";
import { Subjects } from "../bus/subjects.js";
import { nextTraceparent, traceHeader } from "../bus/trace-context.js";
import {
  errorCodes,
  HomeostatError,
  type ErrorCode as HomeostatErrorCode,
  messageOf,
  type Problem,
} from "../errors.js";
import { randomId } from "../random-id.js";
import { EventStream, type EventStreamOptions } from "./event-stream.js";
import { failure, type Reply, type Request, replies, requests, type Verb } from "./schemas.js";

export type { EventStream, EventStreamOptions } from "./event-stream.js";

export interface ClientOptions {
  nats: NatsOptions;
  /** Of the deployment. Default: `homeostat`. */
  prefix?: string | undefined;
  /** Is told when the connection is lost (`warn`) and when it is back (`info`); it comes back by itself. */
  log?: ConnectionLog | undefined;
}

const silent: ConnectionLog = { info: () => undefined, warn: () => undefined };
const defaultTimeoutMs = 30_000;
/** How long one sending waits for its answer. */
const answerMs = 3_000;
const againMs = 250;
/** A daemon that answered that it cannot be asked now is asked this often. */
const unavailableReplies = 3;

export class Client {
  readonly #link: NatsLink;
  readonly #subjects: Subjects;
  readonly #bodies: Bodies;
  readonly #streams = new Set<EventStream>();
  readonly #waiting = new Set<() => void>();
  #connected = true;

  private constructor(link: NatsLink, subjects: Subjects, log: ConnectionLog) {
    this.#link = link;
    this.#subjects = subjects;
    this.#bodies = new Bodies(link, subjects.bodyBucket, defaultStreamLimits.bodyMaxAgeMs);
    const change = (connected: boolean) => this.#change(connected);
    void watchConnection(link, log, { lost: () => change(false), back: () => change(true) });
  }

  /** @throws HomeostatError `unavailable` when NATS cannot be used. */
  static async connect(options: ClientOptions): Promise<Client> {
    const subjects = new Subjects(options.prefix);
    return new Client(await connectNats(options.nats, "homeostat client"), subjects, options.log ?? silent);
  }

  get isConnected(): boolean {
    return this.#connected;
  }

  /**
   * A delete that had to be sent again and then finds no stack is done; its reply has no stack id, and traversal 0.
   *
   * @throws HomeostatError as the daemon answered, or `unavailable` when none answers in time (default 30 s).
   */
  async call<V extends Verb>(
    verb: V,
    request: Request<V>,
    options: { timeoutMs?: number | undefined } = {},
  ): Promise<Reply<V>> {
    const deadline = performance.now() + (options.timeoutMs ?? defaultTimeoutMs);
    const body = Buffer.from(JSON.stringify(identified(verb, request)));
    const header = headers();
    header.set(traceHeader, nextTraceparent());
    if (this.#bodies.fitsMessage(body)) return this.#send(verb, request, body, header, deadline);
    const name = randomId();
    header.set(bodyHeader, name);
    await this.#bodies.put(name, body);
    try {
      return await this.#send(verb, request, new Uint8Array(), header, deadline);
    } finally {
      await this.#bodies.remove(name).catch(() => {});
    }
  }

  /**
   * Lifecycle events, each once, in the order of their storage, over every reconnect. `stack` is an id; `since` is a
   * number of milliseconds ago, or one of two words.
   */
  events(options: EventStreamOptions): EventStream {
    const stream = new EventStream(this.#link, this.#subjects, options);
    this.#streams.add(stream);
    void stream.closed.then(() => this.#streams.delete(stream));
    return stream;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#streams].map((stream) => stream.close()));
    await this.#link.connection.close();
  }

  async #send<V extends Verb>(
    verb: V,
    request: Request<V>,
    body: Uint8Array,
    header: MsgHdrs,
    deadline: number,
  ): Promise<Reply<V>> {
    let refusals = 0;
    for (let sending = 1; ; sending += 1) {
      const message = await this.#ask(verb, body, header, deadline);
      if (message !== undefined) {
        try {
          return await this.#read(verb, message);
        } catch (error) {
          if (!(error instanceof HomeostatError)) throw error;
          if (verb === "delete" && sending > 1 && error.code === "not_found")
            return gone(request) as Reply<V>;
          if (error.code !== "unavailable" || ++refusals >= unavailableReplies) throw error;
        }
      }
      const leftMs = deadline - performance.now();
      if (leftMs <= 0)
        throw this.#connected ? noAnswer(this.#link.where, verb) : noConnection(this.#link.where);
      await sleep(Math.min(againMs, leftMs));
    }
  }

  /** What was asked over a connection that is lost, or before it was back, may not be answered any more. */
  #change(connected: boolean): void {
    this.#connected = connected;
    for (const giveUp of this.#waiting) giveUp();
  }

  /** Undefined when nobody answered. */
  async #ask(verb: Verb, body: Uint8Array, header: MsgHdrs, deadline: number): Promise<Msg | undefined> {
    const timeout = Math.max(1, Math.min(answerMs, Math.ceil(deadline - performance.now())));
    let giveUp: () => void = () => {};
    const lost = new Promise<undefined>((resolve) => {
      giveUp = () => resolve(undefined);
    });
    this.#waiting.add(giveUp);
    try {
      const subject = this.#subjects.api(verb);
      const answer = this.#link.connection.request(subject, body, { timeout, headers: header });
      return await Promise.race([answer.catch(unlessUnanswered), lost]);
    } catch (error) {
      throw new HomeostatError("unavailable", `NATS at ${this.#link.where}: ${messageOf(error)}`, {
        cause: error,
      });
    } finally {
      this.#waiting.delete(giveUp);
    }
  }

  async #read<V extends Verb>(verb: V, message: Msg): Promise<Reply<V>> {
    const body: unknown = JSON.parse(Buffer.from(await this.#bodyOf(message)).toString("utf8"));
    if (message.headers?.has("Nats-Service-Error-Code")) throw errorOf(body);
    return replies[verb].parse(body) as Reply<V>;
  }

  async #bodyOf(message: Msg): Promise<Uint8Array> {
    const name = message.headers?.get(bodyHeader) ?? "";
    if (name === "") return message.data;
    const body = await this.#bodies.get(name);
    await this.#bodies.remove(name).catch(() => {});
    return body;
  }
}

/** Undefined instead of an error that says that nobody answered. */
function unlessUnanswered(error: unknown): undefined {
  const codes: string[] = [ErrorCode.Timeout, ErrorCode.NoResponders];
  if (error instanceof NatsError && codes.includes(error.code)) return undefined;
  throw error;
}

/** Goals have an id, so that asking again is not asking for more. */
function identified<V extends Verb>(verb: V, request: Request<V>): object {
  return "request" in requests[verb].shape ? { request: randomId(), ...request } : request;
}

function gone(request: object): Reply<"delete"> {
  return { stack: "", name: (request as Request<"delete">).name, traversal: 0, begun: false };
}

function noAnswer(where: string, verb: Verb): HomeostatError {
  return new HomeostatError(
    "unavailable",
    `no daemon answers "${verb}" on NATS at ${where}; start one (homeostat daemon), or see whether its prefix is another`,
  );
}

function noConnection(where: string): HomeostatError {
  return new HomeostatError("unavailable", `the connection to NATS at ${where} is lost, and not back yet`);
}

function errorOf(body: unknown): HomeostatError {
  const { error } = failure.parse(body);
  const code = (error.err_code in errorCodes ? error.err_code : "internal") as HomeostatErrorCode;
  return new HomeostatError(code, error.description, { problems: error.problems as Problem[] });
}
