/**
 * The API as a NATS service (ADR-32): one endpoint per verb. A request is validated once, here; a goal is answered when
 * it is durable, and begun after that. Nothing that a request does ends the service.
 */
import { headers, type NatsConnection, type Service, type ServiceMsg } from "nats";
import type { z } from "zod";
import { type Bodies, bodyHeader } from "../bus/bodies.js";
import type { Subjects } from "../bus/subjects.js";
import { inTrace, traceHeader } from "../bus/trace-context.js";
import { errorCodes, HomeostatError, messageOf, type Problem } from "../errors.js";
import type { ProviderLog } from "../providers/provider.js";
import { randomId } from "../random-id.js";
import { version } from "../version.js";
import { describeApi, describeFailure, verbs } from "./describe.js";
import type { Observation } from "./observation.js";
import { type failure, type ParsedRequest, type Reply, requests, type Verb } from "./schemas.js";
import type { Stacks } from "./stacks.js";
import type { Views } from "./views.js";

export interface ApiServiceOptions {
  connection: NatsConnection;
  subjects: Subjects;
  stacks: Stacks;
  observation: Observation;
  views: Views;
  bodies: Bodies;
  /** Of this process; they are in the service's stats. */
  figures(): object;
  log: ProviderLog;
}

/** More are refused; who asks may ask again. */
const requestsAtOnce = 512;
/** When a service that NATS ended, for want of permissions for instance, is offered again. */
const offerAgainMs = 5_000;
/** Of a failure; it must fit into a message, even if each character takes six bytes. */
const maxHeaderLength = 200;
const maxDescriptionLength = 20_000;
const maxProblems = 200;
const maxProblemLength = 500;
const maxFileLength = 200;

type Handlers = { [V in Verb]: (request: ParsedRequest<V>) => Promise<Reply<V>> };

export class ApiService {
  readonly #options: ApiServiceOptions;
  readonly #handlers: Handlers;
  readonly #requests = new Set<Promise<void>>();
  readonly #begins = new Set<Promise<void>>();
  #service: Service | undefined;
  #over = false;
  #failures = 0;

  constructor(options: ApiServiceOptions) {
    this.#options = options;
    const { stacks, observation, views } = options;
    this.#handlers = {
      create: async (request) => this.#begin(await stacks.create(request)),
      update: async (request) => this.#begin(await stacks.update(request)),
      delete: async (request) => this.#begin(await stacks.delete(request)),
      rollback: async (request) => this.#begin(await stacks.rollback(request)),
      cancel: async (request) => this.#begin(await stacks.cancel(request)),
      list: (request) => stacks.list(request),
      show: (request) => stacks.show(request),
      observe: (request) => observation.observe(request),
      replace: async (request) => this.#begin(await stacks.replace(request)),
      pause: (request) => observation.pause(request),
      resume: (request) => observation.resume(request),
      incidents: (request) => observation.incidents(request),
      approve: (request) => observation.answer(request, "approved"),
      dismiss: (request) => observation.answer(request, "dismissed"),
      resolve: (request) => stacks.resolve(request),
      policy: (request) => observation.policy(request),
      watched: (request) => observation.watched(request),
      drift: (request) => views.drift(request),
      why: (request) => views.why(request),
      orphans: (request) => stacks.orphans(request),
    };
  }

  async start(): Promise<void> {
    const { connection, subjects, figures } = this.#options;
    const service = await connection.services.add({
      name: "homeostat",
      version,
      description: "Drives stacks of resources to their goals.",
      metadata: { prefix: subjects.prefix, failure: JSON.stringify(describeFailure()) },
      statsHandler: async () => ({ ...figures(), failures: this.#failures }),
    });
    this.#service = service;
    const api = describeApi(subjects);
    for (const verb of verbs) {
      const { subject, description, request, reply } = api[verb];
      service.addEndpoint(verb, {
        subject,
        metadata: { description, request: JSON.stringify(request), reply: JSON.stringify(reply) },
        handler: (error, message) => {
          if (error === null) this.#take(verb, message);
        },
      });
    }
    void service.stopped.then((error) => this.#offerAgain(error));
    await connection.flush();
  }

  /** Takes nothing more; resolves when all requests are answered and their goals begun. */
  async drain(): Promise<void> {
    this.#over = true;
    await this.#service?.stop();
    await Promise.all(this.#requests);
    await Promise.all(this.#begins);
    await this.#options.observation.hinted();
  }

  abandon(): void {
    this.#over = true;
  }

  #offerAgain(error: Error | null): void {
    const { connection, log } = this.#options;
    if (this.#over || connection.isClosed() || connection.isDraining()) return;
    log.warn({ error: messageOf(error) }, "the API service ended; offering it again");
    setTimeout(() => {
      if (!this.#over) this.start().catch((failed: unknown) => this.#offerAgain(failed as Error));
    }, offerAgainMs).unref();
  }

  #take(verb: Verb, message: ServiceMsg): void {
    const traceparent = message.headers?.get(traceHeader);
    const request = inTrace(traceparent, () => this.#serve(verb, message)).catch((error: unknown) =>
      this.#options.log.warn({ verb, error: messageOf(error) }, "could not reply"),
    );
    this.#requests.add(request);
    void request.finally(() => this.#requests.delete(request));
  }

  async #serve(verb: Verb, message: ServiceMsg): Promise<void> {
    try {
      if (this.#requests.size > requestsAtOnce) {
        throw new HomeostatError("unavailable", "too many requests at once; try again");
      }
      const reply = await this.#answer(verb, await this.#read(message));
      await this.#reply(message, reply);
    } catch (error) {
      if (this.#over && !(error instanceof HomeostatError)) return;
      this.#fail(verb, message, error);
    }
  }

  async #read(message: ServiceMsg): Promise<unknown> {
    const name = message.headers?.get(bodyHeader) ?? "";
    const body = name === "" ? message.data : await this.#options.bodies.get(name);
    const text = decode(body).trim();
    try {
      return text === "" ? {} : JSON.parse(text);
    } catch (error) {
      throw new HomeostatError("invalid", `the request is not JSON: ${messageOf(error)}`);
    }
  }

  async #answer<V extends Verb>(verb: V, body: unknown): Promise<Reply<V>> {
    const parsed = requests[verb].safeParse(body);
    if (!parsed.success) throw invalidRequest(parsed.error);
    return this.#handlers[verb](parsed.data as ParsedRequest<V>);
  }

  async #reply(message: ServiceMsg, reply: object): Promise<void> {
    const { bodies } = this.#options;
    const body = Buffer.from(JSON.stringify(reply));
    if (bodies.fitsMessage(body)) {
      message.respond(body);
      return;
    }
    const name = randomId();
    await bodies.put(name, body);
    const header = headers();
    header.set(bodyHeader, name);
    message.respond(undefined, { headers: header });
  }

  /** The goal is durable: whoever asked is answered first; should this process die, the sweeper begins. */
  #begin(goal: Reply<"create">): Reply<"create"> {
    if (!goal.begun) return goal;
    const begin = new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => this.#options.stacks.begin(goal))
      .catch((error: unknown) =>
        this.#options.log.warn(
          { stack: goal.stack, error: messageOf(error) },
          "could not begin a goal; the timers will",
        ),
      );
    this.#begins.add(begin);
    void begin.finally(() => this.#begins.delete(begin));
    return goal;
  }

  #fail(verb: Verb, message: ServiceMsg, error: unknown): void {
    this.#failures += 1;
    const known = error instanceof HomeostatError ? error : new HomeostatError("internal", messageOf(error));
    if (known.code === "internal") this.#options.log.warn({ verb, error: known.message }, "a request failed");
    const { status } = errorCodes[known.code];
    const body: z.input<typeof failure> = {
      error: {
        code: status,
        err_code: known.code,
        description: known.message.slice(0, maxDescriptionLength),
        problems: known.problems.slice(0, maxProblems).map(shortened),
      },
    };
    message.respondError(status, headerText(known.message), Buffer.from(JSON.stringify(body)));
  }
}

function decode(body: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    throw new HomeostatError("invalid", "the request is not JSON: it is not text in UTF-8");
  }
}

function shortened({ message, file, ...place }: Problem): Problem {
  const where = file === undefined ? {} : { file: file.slice(0, maxFileLength) };
  return { message: message.slice(0, maxProblemLength), ...where, ...place };
}

function invalidRequest(error: z.ZodError): HomeostatError {
  const problems: Problem[] = error.issues.map((issue) => ({
    message: issue.path.length === 0 ? issue.message : `${issue.path.join(".")}: ${issue.message}`,
  }));
  const text = problems.map((problem) => problem.message).join("; ");
  return new HomeostatError("invalid", `the request is not valid: ${text}`, { problems });
}

/** A header is one line of printable ASCII. */
function headerText(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, " ").slice(0, maxHeaderLength);
}
