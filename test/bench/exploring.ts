/** How fast interleavings are explored, next to what Redis and a client can do at all. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { startPrivateRedis } from "../../src/servers/private-redis.js";
import { faultKinds } from "../../src/simulator/explorer.js";
import { runSimulate } from "../../src/simulator/simulate.js";

const runs = 5_000;
const seed = 1;
const workers = 3;

/** Commands on their way at once, as many as there are runs under way in an exploration. */
const lanes = 8;
const commands = 50_000;

export interface Exploring {
  /** Explored runs of a stack of six that is created and then updated, with all faults; with one job and with all. */
  update: Speed[];
  generated: Speed[];
  /** A command that does nothing, µs. */
  bareUs: number;
}

export interface Speed {
  jobs: number;
  runsPerSecond: number;
  visits: number;
  /** µs of real time. */
  usPerVisit: number;
  /** Of this process with its threads; ms. */
  cpuMsPerRun: number;
}

export async function measureExploring(): Promise<Exploring> {
  const folder = await mkdtemp(join(tmpdir(), "homeostat-bench-"));
  try {
    const file = join(folder, "six.yaml");
    await writeFile(file, scenario);
    const [update, generated]: [Speed[], Speed[]] = [[], []];
    for (const jobs of new Set([1, availableParallelism()])) {
      update.push(await speed(jobs, [file], { explore: runs, workers, faults: [...faultKinds] }));
      generated.push(await speed(jobs, [], { generate: runs }));
    }
    return { update, generated, bareUs: await bare() };
  } finally {
    await rm(folder, { recursive: true });
  }
}

const definitions = (value: number) =>
  [
    `A: {type: Sim::Resource, properties: {"!size": ${value}}}`,
    "B: {type: Sim::Resource, properties: {a: {get_resource: A}}}",
    "C: {type: Sim::Resource, properties: {a: {get_resource: A}}}",
    "D: {type: Sim::Resource, properties: {b: {get_resource: B}, c: {get_attr: [C, a]}}}",
    "E: {type: Sim::Resource, properties: {d: {get_resource: D}}}",
    `F: {type: Sim::Resource, properties: {x: ${value}}}`,
  ].join(", ");

/** A is replaced, B and C follow in place, F changes by itself. */
const scenario = `
steps:
  - create: {stack: foo, template: {resources: {${definitions(1)}}}}
  - settle: true
  - update: {stack: foo, template: {resources: {${definitions(2)}}}}
  - settle: true
  - expect: {status: {foo: COMPLETE}, total: 6}
`;

async function speed(
  jobs: number,
  files: string[],
  options: { explore?: number; generate?: number; workers?: number; faults?: string[] },
): Promise<Speed> {
  const lines: string[] = [];
  const cpu = process.cpuUsage();
  const began = performance.now();
  const out = (line: string) => lines.push(line);
  const status = await runSimulate(files, { ...options, jobs, seed, json: true, out });
  const ms = performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  if (status !== 0) throw new Error(`an explored run failed: ${lines.join("\n")}`);
  const { visits } = JSON.parse(lines[0] ?? "") as { visits: number };
  return {
    jobs,
    runsPerSecond: (runs * 1000) / ms,
    visits,
    usPerVisit: (ms * 1000) / visits,
    cpuMsPerRun: (user + system) / 1000 / runs,
  };
}

async function bare(): Promise<number> {
  const server = await startPrivateRedis({ unixSocket: true });
  const redis = new Redis(server.socketPath);
  try {
    const began = performance.now();
    const lane = async () => {
      for (let i = 0; i < commands / lanes; i += 1) await redis.echo("x");
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    return ((performance.now() - began) * 1000) / commands;
  } finally {
    redis.disconnect();
    await server.stop();
  }
}
