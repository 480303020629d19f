/**
 * Theory: a shard is led by nobody for long, by two for more than a moment, or passes to and fro while nothing happens.
 * Several observers share shards on real redis-servers; what their tasks see is written down with its time.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ElectionNodes } from "../../src/leadership/election-nodes.js";
import { ShardLeadership, type ShardTimes } from "../../src/leadership/shards.js";
import { defaultLimits } from "../../src/limits.js";
import { randomId } from "../../src/random-id.js";
import { connectRedis } from "../../src/store/connection.js";
import { Store } from "../../src/store/store.js";
import { realClock } from "../../src/worker/clock.js";
import { buildProgram, type Program } from "../support/build.js";
import { startRedis, type TestRedis } from "../support/servers.js";

const shards = 16;
const all = Array.from({ length: shards }, (_, shard) => shard);
const key = "hs:leader:observer:";
const brisk: ShardTimes = {
  lockMs: 1_500,
  patienceMs: 300,
  extendMs: 300,
  registerMs: 300,
  memberMs: 1_200,
};
/** What a busy machine may take on top. */
const slackMs = 1_000;
const silent = () => {};

interface Reign {
  observer: string;
  shard: number;
  fromMs: number;
  toMs: number;
}

const reigns: Reign[] = [];

function begin(observer: string, shard: number): Reign {
  const reign = { observer, shard, fromMs: performance.now(), toMs: Number.POSITIVE_INFINITY };
  reigns.push(reign);
  return reign;
}

/** For how long, in ms, two led the same shard at most. */
function longestOverlap(): number {
  const pairs = reigns.flatMap((one, i) =>
    reigns.slice(i + 1).flatMap((other) => (one.shard === other.shard ? [[one, other] as const] : [])),
  );
  const overlaps = pairs.map(
    ([one, other]) => Math.min(one.toMs, other.toMs) - Math.max(one.fromMs, other.fromMs),
  );
  return Math.max(0, ...overlaps);
}

interface ObserverOptions {
  times?: Partial<ShardTimes>;
  nodes?: string[];
  /** How long a task takes to end. */
  endMs?: (shard: number) => number;
}

/** A process would have connections of its own, and so has this. */
class Observer {
  readonly name: string;
  readonly leadership: ShardLeadership;
  readonly #redis: Redis;
  readonly #nodes: ElectionNodes;
  readonly #endMs: (shard: number) => number;
  #ending = 0;
  /** How many of its tasks were ending at the same time at most. */
  endedAtOnce = 0;

  constructor(name: string, url: string, options: ObserverOptions = {}) {
    this.name = name;
    this.#redis = connectRedis(url);
    this.#redis.on("error", silent);
    this.#nodes = new ElectionNodes(options.nodes ?? [url]);
    this.#endMs = options.endMs ?? (() => 0);
    this.leadership = new ShardLeadership({
      nodes: this.#nodes,
      store: new Store(this.#redis, defaultLimits),
      key,
      pool: "default",
      shards,
      clock: realClock,
      random: { id: randomId, fraction: Math.random },
      log: { debug: silent, info: silent, warn: silent },
      times: { ...brisk, ...options.times },
    });
    this.leadership.lead((shard, signal) => this.#task(shard, signal));
  }

  get led(): number[] {
    return this.leadership.shards();
  }

  async stop(): Promise<void> {
    await this.leadership.stop();
    this.abandon();
  }

  abandon(): void {
    this.leadership.abandon();
    this.#nodes.close();
    this.#redis.disconnect();
  }

  async #task(shard: number, signal: AbortSignal): Promise<void> {
    const reign = begin(this.name, shard);
    await new Promise((ended) => signal.addEventListener("abort", ended));
    this.#ending += 1;
    this.endedAtOnce = Math.max(this.endedAtOnce, this.#ending);
    await sleep(this.#endMs(shard));
    this.#ending -= 1;
    reign.toMs = performance.now();
  }
}

let server: TestRedis;
let redis: Redis;
const observers: Observer[] = [];

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});
afterEach(async () => {
  for (const observer of observers.splice(0)) observer.abandon();
  reigns.length = 0;
  await redis.flushall();
});

function observe(name: string, options?: ObserverOptions): Observer {
  const observer = new Observer(name, server.url, options);
  observers.push(observer);
  return observer;
}

/** How long it took, in ms. */
async function within(limitMs: number, what: string, holds: () => boolean): Promise<number> {
  const began = performance.now();
  while (!holds()) {
    if (performance.now() - began > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await sleep(5);
  }
  return performance.now() - began;
}

function ledBy(some: readonly Observer[]): number[] {
  return some.flatMap(({ led }) => led).sort((a, b) => a - b);
}

/** All shards are led, each once, and nobody leads more than the fair share. */
function shared(some: readonly Observer[]): boolean {
  const share = Math.ceil(shards / some.length);
  return String(ledBy(some)) === String(all) && some.every(({ led }) => led.length <= share);
}

describe("observers", () => {
  test("one alone leads all at once, and leaves nothing behind", async () => {
    const alone = observe("alone");
    await within(slackMs, "all are led", () => shared([alone]));
    const listed = String(await redis.client("LIST"))
      .trim()
      .split("\n");
    expect(listed, "one connection for all locks, one for the store, and ours").toHaveLength(3);
    await alone.stop();
    expect(alone.led).toEqual([]);
    expect(reigns.filter(({ toMs }) => toMs === Number.POSITIVE_INFINITY)).toEqual([]);
    expect(await redis.keys("*")).toEqual([]);
  });

  test("three that start together share out all, and nothing moves in ten quiet seconds", async () => {
    const three = [observe("a"), observe("b"), observe("c")];
    await within(5_000, "all are shared out", () => shared(three));
    // One more registration of each, and all know of all.
    await sleep(2 * brisk.registerMs);
    expect(shared(three)).toBe(true);
    const before = reigns.map((reign) => ({ ...reign }));
    await sleep(10_000);
    expect(reigns).toEqual(before);
    expect(longestOverlap()).toBe(0);
  });

  test("one that comes gets its share, one shard after the other", async () => {
    const first = observe("first", { endMs: () => 40 });
    await within(slackMs, "all are led", () => shared([first]));
    const second = observe("second");
    await within(brisk.registerMs + 8 * 40 + brisk.patienceMs + slackMs, "halves", () =>
      shared([first, second]),
    );
    expect(first.endedAtOnce).toBe(1);
    expect(reigns, "only what moves is disturbed").toHaveLength(16 + 8);
    const third = observe("third");
    await within(brisk.registerMs + 2 * 40 + brisk.patienceMs + slackMs, "thirds", () =>
      shared([first, second, third]),
    );
    expect(third.led).toHaveLength(4);
    expect(longestOverlap()).toBe(0);
  });

  test("a task that is slow to end does not keep the other shards", async () => {
    const first = observe("first", { endMs: () => (first.endedAtOnce <= 1 ? 4_000 : 0) });
    await within(slackMs, "all are led", () => shared([first]));
    const second = observe("second");
    await within(3_000, "seven", () => second.led.length >= 7);
    await within(brisk.lockMs + brisk.patienceMs + slackMs, "the eighth, whose lock runs out", () =>
      shared([first, second]),
    );
  });

  test("what one gives up when it stops is taken at once", async () => {
    // Locks so long that only giving them up makes them free.
    const times = { lockMs: 60_000, memberMs: 60_000 };
    const three = [observe("a", { times }), observe("b", { times }), observe("c", { times })] as const;
    await within(5_000, "all are shared out", () => shared(three));
    await three[0].stop();
    await within(brisk.registerMs + brisk.patienceMs + slackMs, "all are led", () => shared(three.slice(1)));
    expect(longestOverlap()).toBe(0);
    for (const one of three.slice(1)) await one.stop();
    expect(await redis.keys("*")).toEqual([]);
  });

  test("what a dead one led is led again in less than ten seconds, with the times as they are", async () => {
    const leaderships = { lockMs: 6_000, patienceMs: 1_500, extendMs: 1_500 };
    const times = { ...leaderships, registerMs: 1_500, memberMs: 5_000 };
    const three = [observe("a", { times }), observe("b", { times }), observe("c", { times })] as const;
    await within(8_000, "all are shared out", () => shared(three));
    const kept = ledBy(three.slice(1));
    const theirs = three[0].led;
    const before = reigns.length;
    // Its connections stay, so that it could release its locks.
    three[0].leadership.abandon();
    await sleep(500);
    expect(await redis.exists(theirs.map((shard) => `${key}${shard}`))).toBe(theirs.length);
    await within(9_500, "all are led", () => shared(three.slice(1)));
    expect(ledBy(three.slice(1))).toEqual(expect.arrayContaining(kept));
    expect(reigns, "nobody took more than its share").toHaveLength(before + theirs.length);
    expect(longestOverlap()).toBe(0);
  });

  test("one that dies while the clock of Redis is set back is followed all the same", async () => {
    const two = [observe("a"), observe("b")] as const;
    await within(5_000, "halves", () => shared(two));
    const theirs = two[0].led;
    two[0].abandon();
    // To Redis, ends that lie an hour ahead are just what a clock set back by an hour makes of them.
    for (const shard of theirs) await redis.pexpire(`${key}${shard}`, 3_600_000);
    for (const member of await redis.zrange("hs:observers", "0", "-1")) {
      await redis.zincrby("hs:observers", "3600000", member);
    }
    const overlong = brisk.memberMs + 2 * brisk.registerMs + brisk.lockMs + 2 * brisk.patienceMs;
    await within(overlong + slackMs, "all are led", () => shared([two[1]]));
  });
});

describe("of three nodes", () => {
  let nodes: TestRedis[];
  let urls: string[];
  beforeAll(async () => {
    nodes = await Promise.all([startRedis(), startRedis(), startRedis()]);
    urls = nodes.map(({ url }) => url);
  });
  afterAll(async () => {
    for (const node of nodes) await node.stop();
  });

  test("two are enough, and one is not; nobody waits for who cannot win", async () => {
    const two = [observe("a", { nodes: urls }), observe("b", { nodes: urls })];
    await within(5_000, "halves", () => shared(two));
    const before = reigns.length;
    await nodes[0]?.kill();
    await sleep(2 * brisk.lockMs);
    expect(shared(two)).toBe(true);
    expect(reigns).toHaveLength(before);

    // It reaches Redis, and one node of three: its share would be led by nobody.
    const gone = nodes.slice(0, 1).map(({ url }) => url);
    const lame = observe("lame", { nodes: [...gone, ...gone, urls[2] ?? ""] });
    await sleep(brisk.memberMs + 2 * brisk.registerMs);
    expect(lame.led).toEqual([]);
    expect(shared(two)).toBe(true);
    expect(reigns).toHaveLength(before);

    await nodes[1]?.kill();
    await within(brisk.lockMs + slackMs, "nobody leads", () => ledBy(two).length === 0);
    await nodes[1]?.restart();
    await within(8_000, "halves again", () => shared(two));
    expect(longestOverlap()).toBe(0);
  });
});

describe("a process", () => {
  let program: Program;
  beforeAll(async () => {
    program = await buildProgram();
  });
  afterAll(() => program.remove());

  class ProcessObserver {
    readonly #child: ChildProcess;
    readonly led = new Set<number>();

    constructor() {
      const script = join(import.meta.dirname, "observer-process.mjs");
      const dist = resolve(dirname(program.main), "../..");
      this.#child = spawn(process.execPath, [script, dist, server.url, JSON.stringify(brisk)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const open = new Map<number, Reign>();
      if (this.#child.stdout === null) throw new Error("no stdout");
      createInterface(this.#child.stdout).on("line", (line) => {
        const [what, shard] = [line.split(" ")[0], Number(line.split(" ")[1])];
        if (what === "begin") {
          this.led.add(shard);
          open.set(shard, begin("process", shard));
        } else {
          this.led.delete(shard);
          const reign = open.get(shard);
          if (reign !== undefined) reign.toMs = performance.now();
        }
      });
    }

    signal(signal: NodeJS.Signals): void {
      this.#child.kill(signal);
    }

    async end(): Promise<void> {
      const ended = new Promise((done) => this.#child.once("exit", done));
      this.#child.kill("SIGKILL");
      await ended;
    }
  }

  test("that stands still past its locks sees at once that it has lost them, and shares again", async () => {
    const here = observe("here");
    const there = new ProcessObserver();
    try {
      await within(8_000, "halves", () => here.led.length === 8 && there.led.size === 8);
      const before = [...there.led];
      there.signal("SIGSTOP");
      const tookMs = await within(
        Math.max(brisk.lockMs + brisk.patienceMs, brisk.memberMs + brisk.registerMs) + slackMs,
        "what it led is led",
        () => shared([here]),
      );
      expect(tookMs).toBeGreaterThan(brisk.lockMs - brisk.extendMs - slackMs);
      await sleep(500);
      const resumedMs = performance.now();
      there.signal("SIGCONT");
      await within(slackMs, "it has let go", () => there.led.size === 0);
      const late = reigns.filter(
        ({ observer, shard, toMs }) => observer === "process" && before.includes(shard) && toMs >= resumedMs,
      );
      expect(late).toHaveLength(8);
      await within(8_000, "halves again", () => here.led.length === 8 && there.led.size === 8);
      expect([...here.led, ...there.led].sort((a, b) => a - b)).toEqual(all);
    } finally {
      await there.end();
    }
  });
});
