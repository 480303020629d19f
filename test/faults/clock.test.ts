/**
 * Theory: leases and timers run on a clock that never steps back. When the one of redis-server is set back by an hour,
 * nothing waits for that hour. When it is set forward, leases and deadlines end early, as if a call took effect after its
 * deadline: who lives hands over what it made, and what the dead made is found by the slow sweep.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lookForBinaries } from "../../src/servers/binaries.js";
import { askRedis, host } from "../../src/servers/loopback.js";
import { startPrivateServer } from "../../src/servers/private-server.js";
import { until } from "../servers/command.js";
import { buildProgram, type Program } from "../support/build.js";
import type { TestRedis } from "../support/servers.js";
import { chooseSeed, recoveryMs, Site } from "./site.js";
import { describeWeather, type Fault, Storm } from "./storm.js";

const run = promisify(execFile);
const hasCompiler = await run("cc", ["--version"]).then(
  () => true,
  () => false,
);
if (!hasCompiler) console.log("skipped: setting the clock of a redis-server needs a C compiler (cc)");

const ms = 1_000 * Number(process.env.HOMEOSTAT_FAULT_SECONDS || 10);
const hour = 3_600;

let program: Program;
let folder: string;
beforeAll(async () => {
  program = await buildProgram();
  folder = await mkdtemp(join(tmpdir(), "homeostat-clock-"));
  if (!hasCompiler) return;
  const source = join(import.meta.dirname, "clock-shift.c");
  await run("cc", ["-shared", "-fPIC", "-O1", "-o", join(folder, "clock-shift.so"), source, "-ldl"]);
});
afterAll(async () => {
  await program.remove();
  await rm(folder, { recursive: true });
});

/** A redis-server whose clock can be set. */
class Clockwork {
  readonly #file: string;
  #shift = 0;

  constructor(name: string) {
    this.#file = join(folder, name);
  }

  async start(): Promise<TestRedis> {
    await this.move(0);
    const { found } = await lookForBinaries();
    const variables = [`LD_PRELOAD=${join(folder, "clock-shift.so")}`, `CLOCK_FILE=${this.#file}`];
    const options = "--dir . --save  --appendonly yes --appendfsync always".split(" ");
    const server = await startPrivateServer({
      name: "redis",
      program: "/usr/bin/env",
      args: (port) => [
        ...variables,
        found.redis ?? "redis-server",
        "--bind",
        host,
        "--port",
        String(port),
        ...options,
      ],
      ask: (port) => askRedis(port),
    });
    return Object.assign(server, { url: `redis://${host}:${server.port}`, socketPath: "" });
  }

  async move(seconds: number): Promise<void> {
    this.#shift += seconds;
    await writeFile(this.#file, String(this.#shift).padEnd(20));
  }
}

async function withClock(
  name: string,
  work: (site: Site, clock: Clockwork) => Promise<void>,
  args: readonly string[] = [],
): Promise<void> {
  const clock = new Clockwork(name);
  const site = await Site.open({
    main: program.main,
    seed: chooseSeed(`clock, ${name}`),
    redis: clock.start(),
    args,
  });
  try {
    await work(site, clock);
    expect(site.anomalies).toEqual([]);
  } finally {
    await site.close();
  }
}

const timeout = ms * 2 + recoveryMs.brisk * 2 + 60_000;

describe.skipIf(!hasCompiler)("a redis-server whose clock is set", { concurrent: true, timeout }, () => {
  it.each<[string, number[], Fault[], string[]]>([
    ["back, while daemons are killed", [-3_600, -60, -5], ["clock", "kill"], []],
    ["back and forth", [-3_600, -60, -5, 5, 3_600], ["clock"], []],
    [
      "back and forth, while daemons are killed and orphans removed",
      [-3_600, -60, -5, 5, 3_600],
      ["clock", "kill"],
      ["--orphans", "remove"],
    ],
  ])("%s, loses nothing and keeps nobody waiting", (name, seconds, faults, args) => {
    const weather = async (site: Site, clock: Clockwork) => {
      const storm = new Storm(site, {
        faults,
        ms,
        everyMs: 1_500,
        daemons: 2,
        stacks: ["one", "two"],
        clock: { move: (by) => clock.move(by), seconds },
      });
      await site.startDaemons(2);
      try {
        await storm.run();
        await storm.end();
      } finally {
        console.log(`clock ${name}: ${describeWeather(storm.weather)}`);
      }
    };
    return withClock(name, weather, args);
  });

  it("back by an hour at the moment when all daemons die has another sweeper within seconds", () =>
    withClock("sweeper", async (site, clock) => {
      const redis = new Redis(site.redis.url);
      try {
        await site.startDaemons(1);
        await until("there is a sweeper", async () => (await redis.exists("hs:leader:sweeper")) === 1);
        const client = await site.client();
        const text = JSON.stringify({
          resources: { slow: { type: "Brisk::Resource", properties: { $delay: { create: "2s" } } } },
        });
        await client.call("create", { name: "one", template: { text } });
        await sleep(500);
        const before = Number((await redis.time())[0]);
        site.daemons[0]?.stop();
        await clock.move(-hour);
        await site.daemons[0]?.kill();
        expect(Number((await redis.time())[0])).toBeLessThan(before - hour + 60);
        const began = performance.now();
        await site.startDaemons(1);
        const state = async () => (await client.call("show", { name: "one" })).stack.status;
        await until("it goes on", async () => (await state()) === "COMPLETE", recoveryMs.brisk);
        console.log(`clock, sweeper: ${Math.round(performance.now() - began)} ms`);
        expect(await site.place.things()).toHaveLength(1);
      } finally {
        redis.disconnect();
      }
    }));
});
