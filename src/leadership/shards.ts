/**
 * Shares shards out among the observers that live: each shard is led by one of them, none leads more than its share.
 *
 * An observer is known by its registration in Redis, which it renews; the share is the number of shards by the number of
 * observers, rounded up. Like every leadership it saves work and protects nothing.
 */
import { messageOf } from "../errors.js";
import type { ProviderLog } from "../providers/provider.js";
import type { Store } from "../store/store.js";
import type { Clock, Engine } from "../traversal/engine.js";
import type { ElectionNodes } from "./election-nodes.js";
import { defaultLeadershipTimes, type LeadershipTimes, RedlockLeadership } from "./leadership.js";

/** In ms. An observer that died is followed within the longer of lockMs + patienceMs, memberMs + registerMs + a second. */
export interface ShardTimes extends LeadershipTimes {
  registerMs: number;
  /** A registration without renewal. */
  memberMs: number;
}

const defaultShardTimes: ShardTimes = { ...defaultLeadershipTimes, registerMs: 1_500, memberMs: 5_000 };

export interface ShardLeadershipOptions {
  nodes: ElectionNodes;
  store: Pick<Store, "registerObserver" | "forgetObserver">;
  /** Whose things these shards hold. */
  pool: string;
  /** The lock of a shard is this and its number. */
  key: string;
  /** The same for all observers of a deployment. */
  shards: number;
  clock: Clock;
  random: Engine["random"];
  log: ProviderLog;
  times?: Partial<ShardTimes>;
}

interface Waiting {
  seated(): void;
  refused(error: Error): void;
}

export class ShardLeadership {
  readonly #options: ShardLeadershipOptions;
  readonly #times: ShardTimes;
  readonly #id: string;
  readonly #leaderships: RedlockLeadership[];
  readonly #stopping = new AbortController();
  /** In the order in which they were won. */
  readonly #led = new Set<number>();
  /** How many of the shards may be campaigned for or led now. */
  #share = 0;
  #seated = 0;
  #queue: Waiting[] = [];
  #yielding = false;

  constructor(options: ShardLeadershipOptions) {
    const { nodes, key, clock, random, log } = options;
    this.#options = options;
    this.#times = { ...defaultShardTimes, ...options.times };
    this.#id = random.id();
    const seats = { take: () => this.#takeSeat(), leave: () => this.#leaveSeat() };
    this.#leaderships = Array.from(
      { length: options.shards },
      (_, shard) =>
        new RedlockLeadership({
          nodes,
          key: `${key}${shard}`,
          clock,
          random,
          log,
          times: this.#times,
          seats,
        }),
    );
  }

  /** Runs the task for each shard that this observer leads; it must end soon after its signal aborts. */
  lead(task: (shard: number, signal: AbortSignal) => Promise<void>): void {
    for (const [shard, leadership] of this.#leaderships.entries()) {
      leadership.lead(async (signal) => {
        this.#led.add(shard);
        signal.addEventListener("abort", () => this.#led.delete(shard), { once: true });
        await task(shard, signal);
      });
    }
    void this.#keepRegistered();
  }

  /** The shards that this observer leads now, in ascending order. */
  shards(): number[] {
    return [...this.#led].sort((a, b) => a - b);
  }

  /** Ends all tasks, gives all shards up and resolves when that is done. */
  async stop(): Promise<void> {
    this.#end();
    const stops = this.#leaderships.map((leadership) => leadership.stop());
    // A registration that cannot be taken back runs out.
    await Promise.all([
      ...stops,
      this.#options.store.forgetObserver(this.#options.pool, this.#id).catch(() => {}),
    ]);
  }

  /** Leaves everything as it is, as a crash would. */
  abandon(): void {
    this.#end();
    for (const leadership of this.#leaderships) leadership.abandon();
  }

  #end(): void {
    this.#stopping.abort();
    for (const { refused } of this.#queue.splice(0)) refused(new Error("no more campaigns"));
  }

  async #keepRegistered(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#register().catch((error: unknown) =>
        log.debug({ error: messageOf(error) }, "could not register as an observer"),
      );
      await clock.sleep(this.#times.registerMs, signal);
    }
  }

  async #register(): Promise<void> {
    const { nodes, store, shards } = this.#options;
    // Who cannot win an election must not be counted: its share would be led by nobody.
    if (!(await nodes.mostAnswer()) || this.#stopping.signal.aborted) return;
    this.#share = Math.ceil(
      shards / (await store.registerObserver(this.#options.pool, this.#id, this.#times.memberMs)),
    );
    this.#admit();
    void this.#yieldSurplus();
  }

  #takeSeat(): Promise<void> {
    return new Promise((seated, refused) => {
      if (this.#stopping.signal.aborted) return refused(new Error("no more campaigns"));
      this.#queue.push({ seated, refused });
      this.#admit();
    });
  }

  #leaveSeat(): void {
    this.#seated -= 1;
    this.#admit();
  }

  /** In turn, so that every shard that is free is campaigned for by whoever has a seat left. */
  #admit(): void {
    while (this.#seated < this.#share) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      this.#seated += 1;
      next.seated();
    }
  }

  /** One by one, so that little stands still at a time; a task that is slow to end does not keep the others. */
  async #yieldSurplus(): Promise<void> {
    if (this.#yielding) return;
    this.#yielding = true;
    for (let shard = this.#surplus(); shard !== undefined; shard = this.#surplus()) {
      const resigned = new AbortController();
      const resigning = this.#leaderships[shard]?.resign().finally(() => resigned.abort());
      await Promise.race([resigning, this.#options.clock.sleep(this.#times.patienceMs, resigned.signal)]);
    }
    this.#yielding = false;
  }

  /** What was won first is kept. */
  #surplus(): number | undefined {
    return this.#led.size > this.#share ? [...this.#led].at(-1) : undefined;
  }
}
