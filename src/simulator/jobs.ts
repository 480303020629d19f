/**
 * The redis-servers of a simulation, and the threads that explore. One job is this thread itself; several are threads,
 * each with a server of its own.
 */
import { Worker } from "node:worker_threads";
import type { Redis } from "ioredis";
import { HomeostatError, messageOf } from "../errors.js";
import { type PrivateRedis, startPrivateRedis } from "../servers/private-redis.js";
import { connectSimulator } from "./redis.js";
import type { Scenario } from "./scenario.js";
import type { Explored, Seeds } from "./seeds.js";
import { type Exploration, exploreSeeds } from "./simulate.js";

/** What a thread is sent. */
export interface Task {
  /** Absent: each seed makes one up. */
  scenario: Scenario | undefined;
  exploration: Exploration;
  seeds: SharedArrayBuffer;
}

export class Jobs {
  /** For whatever one job does alone. */
  readonly redis: Redis;
  readonly #servers: readonly PrivateRedis[];
  #threads: readonly Thread[] = [];

  private constructor(redis: Redis, servers: readonly PrivateRedis[]) {
    this.redis = redis;
    this.#servers = servers;
  }

  static async start(count: number): Promise<Jobs> {
    const starting = Array.from({ length: count }, () => startPrivateRedis({ unixSocket: true }));
    const started = await Promise.allSettled(starting);
    const servers = started.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    try {
      await Promise.all(starting);
      return new Jobs(await connectSimulator(servers[0]?.socketPath ?? ""), servers);
    } catch (error) {
      await stopAll(servers);
      throw error;
    }
  }

  /** Resolves when no seed is left. @throws HomeostatError when a job ends before. */
  async explore(
    scenario: Scenario | undefined,
    exploration: Exploration,
    seeds: Seeds,
    explored: (explored: Explored) => void,
  ): Promise<void> {
    if (this.#servers.length === 1) return exploreSeeds(scenario, this.redis, exploration, seeds, explored);
    if (this.#threads.length === 0)
      this.#threads = this.#servers.map(({ socketPath }) => new Thread(socketPath));
    const task: Task = { scenario, exploration, seeds: seeds.buffer };
    await Promise.all(this.#threads.map((thread) => thread.explore(task, explored)));
  }

  async stop(): Promise<void> {
    this.redis.disconnect();
    await Promise.all(this.#threads.map((thread) => thread.stop()));
    await stopAll(this.#servers);
  }
}

/** What the runs under way keep for a moment fits, and is not taken for what stays. */
const youngMb = 192;

class Thread {
  readonly #worker: Worker;
  /** Rejects when the thread ends; nothing can be had from it then. */
  readonly #ended: Promise<never>;
  #onMessage: (message: Explored | "over") => void = () => undefined;

  constructor(socketPath: string) {
    this.#worker = new Worker(new URL("./job.js", import.meta.url), {
      workerData: socketPath,
      resourceLimits: { maxYoungGenerationSizeMb: youngMb },
    });
    this.#worker.on("message", (message: Explored | "over") => this.#onMessage(message));
    this.#ended = new Promise((_, reject) => {
      const end = (why: string, cause?: unknown) =>
        reject(new HomeostatError("unavailable", `an exploring job has ended: ${why}`, { cause }));
      this.#worker.on("error", (error) => end(messageOf(error), error));
      this.#worker.on("exit", (code) => end(`exit code ${code}`));
    });
    this.#ended.catch(() => undefined);
  }

  explore(task: Task, explored: (explored: Explored) => void): Promise<void> {
    const over = new Promise<void>((resolve) => {
      this.#onMessage = (message) => (message === "over" ? resolve() : explored(message));
    });
    this.#worker.postMessage(task);
    return Promise.race([over, this.#ended]);
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

async function stopAll(servers: readonly PrivateRedis[]): Promise<void> {
  await Promise.all(servers.map((server) => server.stop()));
}
