/**
 * Theory: how many threads explore can be seen in nothing but the time; and however an exploration ends, it says how,
 * and no server and no folder stays.
 */
import { mkdir, readdir, readFile } from "node:fs/promises";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { processesIn, until } from "../servers/command.js";
import { buildProgram, type Program } from "../support/build.js";
import { documents, type Running, Workplace } from "./workplace.js";

let program: Program;
let place: Workplace;

/** An uncertain A fails its goal: only where its update comes last, and its worker vanishes in the create. */
const rare = `
steps:
  - create: {stack: foo, template: {resources: {B: {type: Sim::Resource}}}}
  - settle: true
  - race:
      - update: {stack: foo, template: {resources: {B: {type: Sim::Resource}, A: {type: Sim::Resource, properties: {$findable: false}}}}}
      - update: {stack: foo, template: {resources: {B: {type: Sim::Resource, properties: {x: 1}}}}}
      - update: {stack: foo, template: {resources: {B: {type: Sim::Resource, properties: {x: 2}}}}}
  - settle: true
  - expect: {status: {foo: COMPLETE}}
`;

const unusable = `
steps:
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}
  - create: {stack: bar, template: {resources: {A: {type: Sim::Resource}}}}
  - settle: true
  - expect: {physical: {A: 2}}
`;

const good = `
steps:
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}
  - settle: true
`;

beforeAll(async () => {
  program = await buildProgram();
});
afterAll(() => program.remove());
beforeEach(async () => {
  place = await Workplace.open(program.main);
  await mkdir(place.path("tmp"));
  await place.write("rare.yaml", rare);
  await place.write("unusable.yaml", unusable);
  await place.write("good.yaml", good);
});
afterEach(() => place.close());

function start(...args: string[]): Running {
  return place.start(["simulate", ...args], { env: { TMPDIR: place.path("tmp") } });
}

async function nothingIsLeft(): Promise<void> {
  await until("the servers are gone", async () => (await processesIn(place.home)).length === 0);
  await until("their folders are gone", async () => (await readdir(place.path("tmp"))).length === 0);
}

async function redisServers(): Promise<number[]> {
  const pids: number[] = [];
  for (const pid of await processesIn(place.home)) {
    const name = await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "");
    if (name.trim() === "redis-server") pids.push(pid);
  }
  return pids;
}

/** Until each server has been used. */
async function underWay(jobs: number): Promise<void> {
  await until("all jobs explore", async () => {
    const folders = await readdir(place.path("tmp"));
    const sizes = await Promise.all(folders.map((folder) => sizeOf(place.path("tmp", folder, "redis.sock"))));
    return sizes.filter((size) => size > 0).length === jobs;
  });
}

async function sizeOf(socketPath: string): Promise<number> {
  const redis = new Redis(socketPath, { retryStrategy: () => null, lazyConnect: true });
  redis.on("error", () => undefined);
  try {
    return await redis.dbsize();
  } catch {
    return 0;
  } finally {
    redis.disconnect();
  }
}

describe("simulate with several jobs", () => {
  const explorations: [what: string, args: string[], status: number][] = [
    [
      "finds the same first seed, and shows it alike",
      ["rare.yaml", "--explore", "400", "--faults", "crash"],
      1,
    ],
    ["counts the same when all holds", ["good.yaml", "--explore", "40", "--faults", "crash,lose"], 0],
    ["makes up the same scenarios", ["--generate", "60"], 0],
    [
      "goes on with the other files alike",
      ["good.yaml", "unusable.yaml", "rare.yaml", "good.yaml", "--explore", "30", "--faults", "crash"],
      2,
    ],
  ];
  it.each(explorations)("%s", async (_what, args, status) => {
    const one = await start(...args, "--seed", "1", "--jobs", "1").ended;
    const three = await start(...args, "--seed", "1", "--jobs", "3").ended;
    expect(one.status).toBe(status);
    expect(three.stdout).toBe(one.stdout);
    expect(three.status).toBe(status);
    await nothingIsLeft();
  });

  it("counts the runs up to the one that failed, however many were under way", async () => {
    const ended = await start("rare.yaml", "--explore", "400", "--seed", "1", "--faults", "crash", "--json")
      .ended;
    const [told] = documents(ended.stdout) as [{ runs: number; failure: { seed: number } }];
    expect(told.runs).toBe(told.failure.seed);
  });

  for (const jobs of [1, 2]) {
    it(`ends with Ctrl-C, having said how far ${jobs} came`, async () => {
      const running = start("good.yaml", "--explore", "1000000", "--seed", "1", "--jobs", String(jobs));
      await underWay(jobs);
      expect(await running.interrupt()).toMatchObject({ status: 130, stdout: "" });
      expect(running.stderr).toMatch(/^\d+ of 1000000 runs/m);
      await nothingIsLeft();
    });

    it(`says that a server of ${jobs} is gone`, async () => {
      const running = start("good.yaml", "--explore", "1000000", "--seed", "1", "--jobs", String(jobs));
      await underWay(jobs);
      process.kill((await redisServers()).at(-1) ?? 0, "SIGKILL");
      expect(await running.ended).toMatchObject({ status: 7, stdout: "" });
      expect(running.stderr).toMatch(/the redis-server of the simulation has ended/);
      await nothingIsLeft();
    });
  }
});
