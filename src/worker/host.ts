/**
 * A process that works: connects to the servers, answers the API, works on pools, sweeps. Its life is the machine in
 * machines/worker.ts; here is what each step of it does.
 */
import type { Redis } from "ioredis";
import { createActor, fromPromise, waitFor } from "xstate";
import { type WorkerEvent, workerMachine } from "../../machines/worker.js";
import { Observation } from "../api/observation.js";
import { ApiService } from "../api/service.js";
import { Stacks } from "../api/stacks.js";
import { Views } from "../api/views.js";
import { Bell } from "../bus/bell.js";
import { Bodies } from "../bus/bodies.js";
import { NatsBus } from "../bus/bus.js";
import { connectNats, type NatsLink, type NatsOptions, watchConnection } from "../bus/connect.js";
import { defaultStreamLimits, type StreamLimits, Streams } from "../bus/streams.js";
import { defaultPrefix, Subjects } from "../bus/subjects.js";
import { HomeostatError, messageOf } from "../errors.js";
import { ElectionNodes } from "../leadership/election-nodes.js";
import { type Leadership, RedlockLeadership } from "../leadership/leadership.js";
import { defaultLimits, type Limits } from "../limits.js";
import { Observing } from "../observer/observing.js";
import { defaultPolicy, type Policy } from "../observer/policy.js";
import type { ProviderLog, ResourceTypes } from "../providers/provider.js";
import { randomId } from "../random-id.js";
import { duePlace } from "../store/hints.js";
import { Sealing } from "../store/sealing.js";
import { Store } from "../store/store.js";
import type { Engine, Milestone, MilestoneContext } from "../traversal/engine.js";
import { realClock } from "./clock.js";
import { openRedis } from "./redis.js";
import { Sweeper } from "./sweeper.js";
import { defaultWorkerLimits, Worker, type WorkerLimits } from "./worker.js";

/** api: answers requests. worker: visits. sweeper: may be elected to look after the timers. observer: looks at reality. */
type Role = "api" | "worker" | "sweeper" | "observer";

/** How long closing one thing may take. */
const closeMs = 3_000;
/** How long visits are waited for while there is no Redis. */
const redisAwayMs = 10_000;
const lookMs = 250;

export interface HostOptions {
  redisUrl: string;
  /** URLs of independent Redis nodes that elect the sweeper. Default: the one of `redisUrl`. */
  redisNodesForElection?: readonly string[];
  nats: NatsOptions;
  /** Keeps deployments that share servers apart: subjects, streams, keys. Default: `homeostat`. */
  prefix?: string;
  /** Seals hidden values: 32 bytes in base64, the same for all. */
  key?: string;
  types: ResourceTypes;
  /** Default: `default` and the pools of the types. */
  pools?: readonly string[];
  /** Default: all. */
  roles?: readonly Role[];
  /** What is done about things that carry our marks and that no record knows, unless their stack says. Default: report. */
  orphans?: Policy["orphans"];
  limits?: Partial<Limits>;
  workerLimits?: Partial<WorkerLimits>;
  streamLimits?: Partial<StreamLimits>;
  log: ProviderLog;
}

export interface Host {
  /** initialised, running, draining, drained, stopped or failed. */
  status(): string;
  /** Takes nothing more, lets visits and calls in flight end, then closes everything. May be called again. */
  drain(): Promise<void>;
  /** Stops now, whatever runs. */
  kill(): void;
}

/** @throws HomeostatError `unavailable` when a server cannot be used, `invalid` for options that make no sense. */
export async function startHost(options: HostOptions): Promise<Host> {
  const host = new RunningHost(options);
  await host.start();
  return host;
}

class RunningHost implements Host {
  readonly #options: HostOptions;
  readonly #actor;
  readonly #workers: Worker[] = [];
  #redis: Redis | undefined;
  #link: NatsLink | undefined;
  #service: ApiService | undefined;
  #electionNodes: ElectionNodes | undefined;
  #leadership: Leadership | undefined;
  #sweeper: Sweeper | undefined;
  #observing: Observing | undefined;
  #calls = 0;

  constructor(options: HostOptions) {
    this.#options = options;
    const machine = workerMachine.provide({
      actors: {
        open: fromPromise(() => this.#open()),
        drain: fromPromise(() => this.#drain()),
        close: fromPromise(() => this.#close()),
      },
      actions: { cutOff: () => this.#cutOff() },
    });
    this.#actor = createActor(machine);
  }

  async start(): Promise<void> {
    this.#actor.start();
    const settled = await waitFor(this.#actor, (snapshot) => !snapshot.matches("initialised"));
    if (settled.matches("failed")) throw settled.context.error;
  }

  status(): string {
    return this.#actor.getSnapshot().value;
  }

  async drain(): Promise<void> {
    this.#send({ type: "drain" });
    const last = await waitFor(this.#actor, (snapshot) => snapshot.status === "done");
    if (last.matches("failed")) throw last.context.error;
  }

  kill(): void {
    this.#send({ type: "kill" });
  }

  /** What is over stays over. */
  #send(event: WorkerEvent): void {
    if (this.#actor.getSnapshot().status === "active") this.#actor.send(event);
  }

  async #open(): Promise<void> {
    const { log, roles = ["api", "worker", "sweeper", "observer"], nats } = this.#options;
    const subjects = new Subjects(this.#options.prefix);
    const limits = { ...defaultLimits, ...this.#options.limits };
    const streamLimits = { ...defaultStreamLimits, ...this.#options.streamLimits };
    const sealing = new Sealing(this.#options.key);
    this.#redis = await openRedis(this.#options.redisUrl, log);
    const link = await connectNats(nats, "homeostat");
    this.#link = link;
    const streams = new Streams(link, subjects, streamLimits, limits.leaseMs);
    await streams.check();
    await streams.ensure();
    const bell = new Bell(link, subjects);
    const store = new Store(this.#redis, limits, {
      prefix: keyPrefix(subjects.prefix),
      soon: (place, ms) => bell.ring(place, ms),
    });
    const bus = new NatsBus(link, streams, subjects, log);
    const engine: Engine = {
      store,
      bus,
      clock: realClock,
      random: { id: randomId, fraction: Math.random },
      types: this.#options.types,
      sealing,
      limits,
      deployment: await store.nameDeployment(randomId()),
      trace: { reach: (milestone, context) => this.#reached(milestone, context) },
      log,
    };
    if (roles.includes("sweeper")) this.#startSweeper(engine, bell);
    if (roles.includes("worker")) await this.#startWorkers(engine, link, streams, subjects);
    if (roles.includes("observer")) await this.#startObserving(engine, bell, link, streams, subjects);
    if (roles.includes("api")) await this.#startService(engine, link, subjects, streamLimits);
    void watchConnection(link, log, {
      lost: () => {
        bus.connectionLost();
        for (const worker of this.#workers) worker.connectionLost();
        this.#observing?.connectionLost();
        this.#sweeper?.connectionLost();
      },
      back: () => {
        bus.connectionBack();
        for (const worker of this.#workers) worker.connectionBack();
        this.#observing?.connectionBack();
        this.#sweeper?.connectionBack();
      },
    });
  }

  #connectElectionNodes(): ElectionNodes {
    const { redisNodesForElection, redisUrl } = this.#options;
    this.#electionNodes ??= new ElectionNodes(redisNodesForElection ?? [redisUrl]);
    return this.#electionNodes;
  }

  #startSweeper(engine: Engine, bell: Bell): void {
    const sweeper = new Sweeper(engine);
    bell.listen((place) => place === duePlace && sweeper.poke());
    this.#sweeper = sweeper;
    this.#leadership = new RedlockLeadership({
      nodes: this.#connectElectionNodes(),
      key: `${engine.store.keys.prefix}leader:sweeper`,
      clock: engine.clock,
      random: engine.random,
      log: engine.log,
    });
    this.#leadership.lead((signal) => sweeper.run(signal));
  }

  async #startObserving(
    engine: Engine,
    bell: Bell,
    link: NatsLink,
    streams: Streams,
    subjects: Subjects,
  ): Promise<void> {
    const nodes = this.#connectElectionNodes();
    const { orphans = defaultPolicy.orphans } = this.#options;
    this.#observing = new Observing({
      engine,
      link,
      streams,
      subjects,
      nodes,
      bell,
      pools: this.#pools(),
      orphans,
    });
    await this.#observing.start();
  }

  async #startWorkers(engine: Engine, link: NatsLink, streams: Streams, subjects: Subjects): Promise<void> {
    const limits = { ...defaultWorkerLimits, ...this.#options.workerLimits };
    for (const pool of this.#pools()) {
      const queue = { link, streams, subjects, pool, onLoss: () => this.#sweeper?.poke() };
      const worker = new Worker(engine, queue, limits);
      this.#workers.push(worker);
      await worker.start();
    }
  }

  #pools(): Set<string> {
    const { pools, types } = this.#options;
    return new Set(pools ?? ["default", ...types.names().map((name) => types.get(name)?.pool ?? "default")]);
  }

  async #startService(
    engine: Engine,
    link: NatsLink,
    subjects: Subjects,
    { bodyMaxAgeMs }: StreamLimits,
  ): Promise<void> {
    this.#service = new ApiService({
      connection: link.connection,
      subjects,
      stacks: new Stacks(engine),
      observation: new Observation(engine),
      views: new Views(engine),
      bodies: new Bodies(link, subjects.bodyBucket, bodyMaxAgeMs),
      figures: () => this.#figures(),
      log: engine.log,
    });
    await this.#service.start().catch((cause: unknown) => {
      throw new HomeostatError(
        "unavailable",
        `cannot answer requests over NATS at ${link.where}: ${messageOf(cause)}`,
        { cause },
      );
    });
  }

  #reached(milestone: Milestone, context: MilestoneContext): undefined {
    if (milestone === "before-call") this.#calls += 1;
    this.#options.log.debug(context, milestone);
  }

  #figures() {
    const sum = (figure: (worker: Worker) => number) =>
      this.#workers.reduce((total, worker) => total + figure(worker), 0);
    return {
      visits: sum((worker) => worker.visited),
      in_flight: sum((worker) => worker.inFlight),
      calls: this.#calls,
      sweeps: this.#sweeper?.passes ?? 0,
      ...(this.#observing === undefined ? {} : { observer: this.#observing.figures() }),
    };
  }

  async #drain(): Promise<void> {
    const visits = Promise.all([...this.#workers.map((worker) => worker.drain()), this.#observing?.stop()]);
    const over = new AbortController();
    await Promise.race([visits, this.#withoutRedis(over.signal)]);
    over.abort();
    await within(closeMs, this.#service?.drain());
    if (await within(closeMs, this.#leadership?.stop())) this.#leadership = undefined;
  }

  /** Resolves when Redis has been away for long: no visit can end then. */
  async #withoutRedis(signal: AbortSignal): Promise<void> {
    for (let awayMs = 0; awayMs < redisAwayMs && !signal.aborted; ) {
      await realClock.sleep(lookMs, signal);
      awayMs = this.#redis?.status === "ready" ? 0 : awayMs + lookMs;
    }
  }

  async #close(): Promise<void> {
    if (await within(closeMs, this.#link?.connection.drain())) this.#link = undefined;
    if (await within(closeMs, this.#redis?.quit())) this.#redis = undefined;
  }

  #cutOff(): void {
    for (const worker of this.#workers) worker.abandon();
    this.#service?.abandon();
    this.#leadership?.abandon();
    this.#observing?.abandon();
    this.#electionNodes?.close();
    this.#redis?.disconnect();
    void this.#link?.connection
      .close()
      .catch((error: unknown) =>
        this.#options.log.debug({ error: messageOf(error) }, "the connection to NATS did not close"),
      );
  }
}

/** Whether it was done in time; a server that is away must not keep a process from ending. */
async function within(limitMs: number, work: Promise<unknown> | undefined): Promise<boolean> {
  const over = new AbortController();
  const done = Promise.resolve(work).then(
    () => true,
    () => false,
  );
  const late = realClock.sleep(limitMs, over.signal).then(() => false);
  return Promise.race([done, late]).finally(() => over.abort());
}

function keyPrefix(prefix: string): string {
  return prefix === defaultPrefix ? "hs:" : `hs:${prefix}:`;
}
