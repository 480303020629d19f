/** The observer of a process: leads its share of the shards and looks after them, and takes what events tell. */

import { type Bell, earshotMs } from "../bus/bell.js";
import type { NatsLink } from "../bus/connect.js";
import { type Observed, readObservations } from "../bus/observation.js";
import { type ObservedMessage, ObservedQueue } from "../bus/observed-queue.js";
import type { Streams } from "../bus/streams.js";
import type { Subjects } from "../bus/subjects.js";
import { messageOf } from "../errors.js";
import type { ElectionNodes } from "../leadership/election-nodes.js";
import { ShardLeadership } from "../leadership/shards.js";
import { stackPool, watchPlace } from "../store/hints.js";
import type { Engine } from "../traversal/engine.js";
import { HintedLooks, observeShard } from "./observer.js";
import type { Policy } from "./policy.js";
import { sweepSlowly } from "./slow-sweep.js";

/** However much is due, there is a pause between two passes over a shard. */
const shortestPauseMs = 20;
/** Events that wait for their looks. */
const messagesAtOnce = 1_024;
const hearMs = 1_000;
/** Others add what this observer is not told of while NATS is away. */
const longestDeafPauseMs = 1_000;

export interface ObservingOptions {
  engine: Engine;
  link: NatsLink;
  streams: Streams;
  subjects: Subjects;
  nodes: ElectionNodes;
  bell: Bell;
  /** Whose things this process can read. */
  pools: ReadonlySet<string>;
  /** What is done about orphans, unless their stack says something else. */
  orphans: Policy["orphans"];
}

/** Who leads it also does what one observer of a pool is enough for. */
const firstShard = 0;

export class Observing {
  readonly #engine: Engine;
  readonly #leaderships: ShardLeadership[];
  readonly #hinted: HintedLooks;
  readonly #queue: ObservedQueue;
  readonly #messages = new Set<Promise<void>>();
  readonly #heard = new Map<string, number>();
  #unknown = 0;
  readonly #passing = new Set<Promise<unknown>>();
  #passes = 0;
  /** Of the shards that are led: what ends their pauses, by each place that is looked after in a pass. */
  readonly #pauses = new Map<string, Set<() => void>>();
  #longestPauseMs = earshotMs;
  #stopping = false;

  constructor({ engine, nodes, bell, pools, orphans, ...nats }: ObservingOptions) {
    const { store, clock, random, log } = engine;
    this.#engine = engine;
    this.#hinted = new HintedLooks(engine, pools);
    this.#queue = new ObservedQueue({
      ...nats,
      log,
      room: () => messagesAtOnce - this.#messages.size,
      take: (batch) => this.#take(batch),
      onLoss: () => {},
    });
    bell.listen((place) => this.#wake(place));
    this.#leaderships = [...pools].map((pool) => {
      const key = `${store.keys.prefix}leader:observer:${pool}:`;
      const options = { nodes, store, pool, key, shards: store.hintShards, clock, random, log };
      const leadership = new ShardLeadership(options);
      leadership.lead(async (shard, signal) => {
        const sweeping = shard === firstShard ? sweepSlowly(engine, pool, orphans, signal) : undefined;
        await Promise.all([this.#run(pool, shard, signal), sweeping]);
      });
      return leadership;
    });
  }

  /** @throws Error when stream and consumer of the events cannot be made. */
  start(): Promise<void> {
    return this.#queue.start();
  }

  figures() {
    return {
      shards: this.#leaderships.reduce((sum, leadership) => sum + leadership.shards().length, 0),
      passes: this.#passes,
      looks_by_event: this.#hinted.looked,
      events_coalesced: this.#hinted.coalesced,
      events_unknown: this.#unknown + this.#hinted.unknown,
    };
  }

  connectionLost(): void {
    this.#queue.connectionLost();
    this.#longestPauseMs = longestDeafPauseMs;
    for (const place of this.#pauses.keys()) this.#wake(place);
  }

  connectionBack(): void {
    this.#queue.connectionBack();
    this.#longestPauseMs = earshotMs;
    for (const place of this.#pauses.keys()) this.#wake(place);
  }

  /** Resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.#queue.stop();
    this.#stopping = true;
    this.#hinted.stop();
    await Promise.all(this.#leaderships.map((leadership) => leadership.stop()));
    await Promise.all([...this.#passing, ...this.#messages]);
    this.#queue.close();
  }

  abandon(): void {
    this.#queue.close();
    for (const leadership of this.#leaderships) leadership.abandon();
  }

  #take(batch: readonly ObservedMessage[]): void {
    for (const message of batch) {
      const taken = this.#read(message)
        .then(() => message.acknowledge())
        .catch((error: unknown) => {
          // What was not begun comes again, to another observer.
          if (this.#stopping) return;
          this.#engine.log.warn(
            { error: messageOf(error) },
            "could not look at what an event told; it comes again",
          );
        });
      this.#messages.add(taken);
      void taken.finally(() => {
        this.#messages.delete(taken);
        this.#queue.more();
      });
    }
  }

  async #read(message: ObservedMessage): Promise<void> {
    const observed = readObservations(message, this.#engine.types);
    const { clock, limits } = this.#engine;
    // What has waited says nothing of whether its source is still there.
    const isNew = Date.parse(clock.timestamp()) - message.storedAt < limits.quietMs;
    await Promise.all(observed.map((one) => this.#heed(one, isNew)));
  }

  async #heed(observed: Observed, isNew: boolean): Promise<void> {
    if (observed.kind === "unknown") {
      this.#unknown += 1;
      this.#engine.log.debug({ why: observed.why }, "an event tells of nothing that is known here");
      return;
    }
    // A hint of what nobody has says nothing about the source of those that somebody has.
    const isHeard = observed.kind === "heartbeat" || (await this.#hinted.take(observed));
    if (isHeard && isNew) this.#hear(observed.type);
  }

  /** Once a second is enough to know that a source is there. */
  #hear(type: string): void {
    const now = this.#engine.clock.monotonicMs();
    if (now - (this.#heard.get(type) ?? Number.NEGATIVE_INFINITY) < hearMs) return;
    this.#heard.set(type, now);
    this.#engine.store.noteHeard([type]).catch((error: unknown) => {
      this.#heard.delete(type);
      this.#engine.log.debug({ error: messageOf(error) }, "could not note a source of events");
    });
  }

  /** Until the signal aborts. Stacks are looked after with the things of any pool. */
  async #run(pool: string, shard: number, signal: AbortSignal): Promise<void> {
    const run = this.#passUntil(pool, shard, signal);
    this.#passing.add(run);
    await run.finally(() => this.#passing.delete(run));
  }

  async #passUntil(pool: string, shard: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#engine;
    const [things, stacks] = [new Set<Promise<void>>(), new Set<Promise<void>>()];
    const places = [watchPlace(pool, shard), watchPlace(stackPool, shard)];
    // What came during a pass counts for the pause after it.
    let pause = new AbortController();
    const wake = () => pause.abort("due");
    signal.addEventListener("abort", wake, { once: true });
    for (const place of places) this.#pauses.set(place, (this.#pauses.get(place) ?? new Set()).add(wake));
    while (!signal.aborted) {
      const pauses = await Promise.all([
        this.#pass(pool, shard, things, signal),
        this.#pass(stackPool, shard, stacks, signal),
      ]);
      const pauseMs = Math.min(this.#longestPauseMs, ...pauses);
      await clock.sleep(shortestPauseMs, signal);
      await clock.sleep(pauseMs - shortestPauseMs, pause.signal);
      if (!signal.aborted) pause = new AbortController();
    }
    for (const place of places) this.#pauses.get(place)?.delete(wake);
    await Promise.all([...things, ...stacks]);
  }

  #wake(place: string): void {
    for (const wake of this.#pauses.get(place) ?? []) wake();
  }

  async #pass(pool: string, shard: number, under: Set<Promise<void>>, signal: AbortSignal): Promise<number> {
    this.#passes += 1;
    try {
      return (await observeShard(this.#engine, pool, shard, under, signal)) ?? earshotMs;
    } catch (error) {
      this.#engine.log.warn({ shard, error: messageOf(error) }, "could not look after a shard");
      return longestDeafPauseMs;
    }
  }
}
