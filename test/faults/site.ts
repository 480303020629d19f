/** Real servers behind proxies, real daemons, and all that is needed to break them; `close` leaves nothing behind. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Redis } from "ioredis";
import { connect } from "nats";
import { Client } from "../../src/api/client.js";
import { Prng } from "../../src/simulator/prng.js";
import { type Running, Workplace } from "../cli/workplace.js";
import { until } from "../servers/command.js";
import { startNats, startRedis, type TestNats, type TestRedis } from "../support/servers.js";
import { TcpProxy } from "./tcp-proxy.js";

/** brisk: leases and deadlines of seconds. usual: as everybody has them. */
export type Pace = "brisk" | "usual";

export const leaseMs = { brisk: 2_500, usual: 30_000 } as const;
/** An interrupted update is taken up when its deadline has passed; with that begins what depends on it. */
export const recoveryMs = { brisk: 60_000, usual: 150_000 } as const;

/** On a machine that has much to do. */
const startMs = 60_000;
const unreachable = 7;

export interface SiteOptions {
  main: string;
  seed: number;
  pace?: Pace;
  redis?: Promise<TestRedis>;
  /** Lines for the configuration of nats-server. */
  natsConfig?: string;
  /** Further modules of providers. */
  providers?: readonly string[];
  /** Further arguments of a daemon. */
  args?: readonly string[];
}

export class Daemon {
  readonly running: Running;
  killed = false;
  stopped = false;

  constructor(running: Running) {
    this.running = running;
  }

  get isUp(): boolean {
    const { exitCode, signalCode } = this.running.child;
    return exitCode === null && signalCode === null;
  }

  get log(): string {
    return this.running.stderr;
  }

  get isReady(): boolean {
    return this.log.includes('"msg":"ready"');
  }

  async ready(): Promise<void> {
    await until(`the daemon is ready: ${this.log}`, async () => this.isReady || !this.isUp, startMs);
    if (!this.isReady) throw new Error(`the daemon ended: ${this.log}`);
  }

  async kill(): Promise<void> {
    this.killed = true;
    this.running.child.kill("SIGKILL");
    await this.running.ended;
  }

  /** Stands still. */
  stop(): void {
    this.stopped = true;
    this.running.child.kill("SIGSTOP");
  }

  goOn(): void {
    this.stopped = false;
    this.running.child.kill("SIGCONT");
  }
}

export class Site {
  readonly place: Workplace;
  readonly prng: Prng;
  readonly pace: Pace;
  readonly daemons: Daemon[] = [];
  /** What ended by itself and should not have. */
  readonly anomalies: string[] = [];
  natsKilled = false;
  readonly #clients: Client[] = [];
  readonly #options: SiteOptions;
  #closing = false;

  private constructor(
    options: SiteOptions,
    place: Workplace,
    readonly redis: TestRedis,
    readonly nats: TestNats,
    readonly redisProxy: TcpProxy,
    readonly natsProxy: TcpProxy,
  ) {
    this.#options = options;
    this.place = place;
    this.prng = new Prng(options.seed);
    this.pace = options.pace ?? "brisk";
  }

  static async open(options: SiteOptions): Promise<Site> {
    const place = await Workplace.open(options.main);
    const redis = await (options.redis ?? startRedis({ appendfsync: "always" }));
    const nats = await startNats({ args: ["-c", await writeConfig(place, options.natsConfig ?? "")] });
    const prng = new Prng(options.seed + 1);
    const proxies = [await TcpProxy.open(redis.port, prng), await TcpProxy.open(nats.port, prng)] as const;
    return new Site(options, place, redis, nats, ...proxies);
  }

  /** Type names begin with this in templates. */
  get families(): { sim: string; local: string } {
    return this.pace === "brisk" ? { sim: "Brisk", local: "Brisk" } : { sim: "Sim", local: "Local" };
  }

  get redisUrl(): string {
    return `redis://127.0.0.1:${this.redisProxy.port}`;
  }

  get natsUrl(): string {
    return `nats://127.0.0.1:${this.natsProxy.port}`;
  }

  async daemon(): Promise<Daemon> {
    const { main, providers = [], args = [] } = this.#options;
    const brisk = join(import.meta.dirname, "brisk.mjs");
    const modules = [...(this.pace === "brisk" ? [brisk] : []), ...providers];
    const world = this.place.path("world");
    const state = this.place.path("state");
    const urls = ["--redis-url", this.redisUrl, "--nats-url", this.natsUrl];
    const folders = ["--sim-world", world, "--state-dir", state];
    const given = modules.flatMap((path) => ["--providers", path]);
    const short = {
      NODE_OPTIONS: `--import ${pathToFileURL(brisk).href}`,
      FAULT_DIST: new URL("..", pathToFileURL(main)).href,
      FAULT_WORLD: world,
      FAULT_STATE: state,
    };
    const running = this.place.start(["daemon", ...urls, ...folders, ...given, ...args], {
      env: this.pace === "brisk" ? short : {},
    });
    const daemon = new Daemon(running);
    this.daemons.push(daemon);
    void running.ended.then(({ status }) => this.#ended(daemon, status));
    return daemon;
  }

  /** Starts as many as are missing. */
  async ensureDaemons(count: number): Promise<void> {
    while (this.daemons.length < count) await this.daemon();
  }

  /** Resolves when so many are ready. */
  async startDaemons(count: number): Promise<void> {
    await this.ensureDaemons(count);
    await Promise.all(this.daemons.map((daemon) => daemon.ready()));
  }

  async client(url = this.nats.url): Promise<Client> {
    const client = await Client.connect({ nats: { url } });
    this.#clients.push(client);
    return client;
  }

  /**
   * Keys of stacks in Redis, and notifications that nobody has acknowledged. A nats-server that was killed is not asked:
   * it may have forgotten acknowledgements, and keep a message that no worker gets until it is too old.
   */
  async leftovers(): Promise<{ keys: string[]; expiring: string[]; notifications: number }> {
    const redis = new Redis(this.redis.url);
    try {
      const all = (await redis.keys("*")).filter(
        (key) =>
          !/\{(due:\d+|watch:.*|heard|orphans)\}:clock$|\{orphans\}:s$|leader:|observers:|:deployment$/.test(
            key,
          ),
      );
      const ttls = await Promise.all(all.map((key) => redis.pttl(key)));
      return {
        keys: all.filter((_key, i) => ttls[i] === -1).sort(),
        expiring: all.filter((_key, i) => (ttls[i] ?? -1) >= 0).sort(),
        notifications: this.natsKilled ? 0 : await this.#notifications(),
      };
    } finally {
      redis.disconnect();
    }
  }

  async #notifications(): Promise<number> {
    const nats = await connect({ servers: this.nats.url });
    try {
      const manager = await nats.jetstreamManager();
      return (await manager.streams.info("HOMEOSTAT_CONVERGE")).state.messages;
    } finally {
      await nats.close();
    }
  }

  /** What the daemons said last. */
  lastWords(): string {
    return this.daemons
      .map(({ log, running }) => `daemon ${running.child.pid}:\n${log.slice(-2_000)}`)
      .join("\n");
  }

  async close(): Promise<void> {
    this.#closing = true;
    await Promise.all(this.#clients.map((client) => client.close()));
    await this.place.close();
    await Promise.all([this.redisProxy.close(), this.natsProxy.close()]);
    await Promise.all([this.redis.stop(), this.nats.stop()]);
  }

  /** A daemon may end when it was told to, or at its start when a server is away. */
  #ended(daemon: Daemon, status: number | null): void {
    const index = this.daemons.indexOf(daemon);
    if (index >= 0) this.daemons.splice(index, 1);
    const excused = status === unreachable && !daemon.isReady;
    if (this.#closing || daemon.killed || excused) return;
    this.anomalies.push(`a daemon ended by itself with ${status}:\n${daemon.log.slice(-2000)}`);
  }
}

/** Until a server sees that a connection is half-open, it keeps sending requests there; by default for minutes. */
async function writeConfig(place: Workplace, more: string): Promise<string> {
  await place.write("nats.conf", `ping_interval: "2s"\nping_max: 2\n${more}\n`);
  return place.path("nats.conf");
}

/** Prints and answers the seed of this run. */
export function chooseSeed(name: string): number {
  const given = Number(process.env.HOMEOSTAT_FAULT_SEED || Number.NaN);
  const seed = Number.isInteger(given) ? given : Math.floor(Math.random() * 2 ** 31);
  console.log(`${name}: HOMEOSTAT_FAULT_SEED=${seed}`);
  return seed;
}
