/** How fast interleavings are explored, next to what Redis and a client can do at all. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { startPrivateRedis } from "../../src/servers/private-redis.js";
import { faultKinds } from "../../src/simulator/explorer.js";
import { runSimulate } from "../../src/simulator/simulate.js";

const runs = 1_000;
const seed = 1;
const workers = 3;

/** Commands on their way at once, as many as there are runs under way in an exploration. */
const lanes = 8;
const commands = 50_000;

export interface Exploring {
  /** Explored runs of a stack of six that is created and then updated, with all faults. */
  update: Speed;
  generated: Speed;
  /** A command that does nothing, µs. */
  bareUs: number;
}

interface Speed {
  runsPerSecond: number;
  visits: number;
  /** µs of real time. */
  usPerVisit: number;
  /** Of this process; ms. */
  cpuMsPerRun: number;
}

export async function measureExploring(): Promise<Exploring> {
  const folder = await mkdtemp(join(tmpdir(), "homeostat-bench-"));
  try {
    const file = join(folder, "six.yaml");
    await writeFile(file, scenario);
    const update = await speed([file], { explore: runs, workers, faults: [...faultKinds] });
    const generated = await speed([], { generate: runs });
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
  files: string[],
  options: { explore?: number; generate?: number; workers?: number; faults?: string[] },
): Promise<Speed> {
  const lines: string[] = [];
  const cpu = process.cpuUsage();
  const began = performance.now();
  const status = await runSimulate(files, { ...options, seed, json: true, out: (line) => lines.push(line) });
  const ms = performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  if (status !== 0) throw new Error(`an explored run failed: ${lines.join("\n")}`);
  const { visits } = JSON.parse(lines[0] ?? "") as { visits: number };
  return {
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
