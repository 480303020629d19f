/** `homeostat simulate`: runs scenario files and says what failed, where and how it came to it. */
import { randomInt } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { Redis } from "ioredis";
import { stringify } from "yaml";
import { describeProblem, InvalidError, type Problem } from "../errors.js";
import { startPrivateRedis } from "../servers/private-redis.js";
import { Explorer, type FaultKind, faultKinds } from "./explorer.js";
import { ExploringDriver } from "./exploring.js";
import { generateScenario } from "./generate.js";
import { readScenario, type Scenario, scenarioOf } from "./scenario.js";
import { type RunResult, ScenarioRun } from "./scenario-run.js";
import { ScriptedDriver } from "./scripted.js";
import { shrinkScenario } from "./shrink.js";
import type { Simulation, SimulationOptions } from "./simulation.js";

export interface SimulateOptions {
  /** How many exploring runs; absent: one scripted run. */
  explore?: number;
  /** How many scenarios to make up and explore, once each. */
  generate?: number;
  /** Of the first exploring run; the others count up from it. */
  seed?: number;
  workers?: number;
  faults?: string[];
  json: boolean;
  out: (line: string) => void;
  /** Is told now and then how far a long exploration has come. */
  progress?: (text: string) => void;
}

interface Exploration {
  runs: number;
  seed: number;
  workers: number | undefined;
  faults: FaultKind[];
  progress: (text: string) => void;
}

/** Between two reports of progress. */
const progressMs = 10_000;

const silent = () => undefined;

interface Summary {
  runs: number;
  visits: number;
  seed?: number;
  result: RunResult;
}

/**
 * Exit status: 0 all held, 1 something failed, 2 a file cannot be used. A made-up scenario that fails is written to a
 * file in the working directory. @throws InvalidError for unknown faults.
 */
export async function runSimulate(files: readonly string[], options: SimulateOptions): Promise<number> {
  const exploration = explorationOf(options);
  const server = await startPrivateRedis({ unixSocket: true });
  const redis = new Redis(server.socketPath, { maxRetriesPerRequest: null });
  let status = 0;
  try {
    for (const file of files) status = Math.max(status, await runFile(file, redis, exploration, options));
    if (options.generate !== undefined) status = Math.max(status, await runGenerated(redis, options));
  } finally {
    redis.disconnect();
    await server.stop();
  }
  return status;
}

function explorationOf(options: SimulateOptions): Exploration | undefined {
  const unknown = (options.faults ?? []).filter((fault) => !faultKinds.includes(fault as FaultKind));
  if (unknown.length > 0) {
    throw new InvalidError([
      { message: `unknown fault ${unknown.join(", ")}; known are ${faultKinds.join(", ")}` },
    ]);
  }
  if (options.explore === undefined) return undefined;
  return {
    runs: options.explore,
    seed: options.seed ?? randomInt(2 ** 31),
    workers: options.workers,
    faults: (options.faults ?? []) as FaultKind[],
    progress: options.progress ?? silent,
  };
}

async function runFile(
  file: string,
  redis: Redis,
  exploration: Exploration | undefined,
  options: SimulateOptions,
): Promise<number> {
  let scenario: Scenario;
  try {
    scenario = readScenario(file);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    return refuse(file, error.problems, options);
  }
  const summary =
    exploration === undefined
      ? await script(scenario, redis)
      : await explore(() => scenario, redis, exploration);
  const { unusable } = summary.result;
  if (unusable !== undefined) {
    return refuse(
      scenario.name,
      [{ file, line: unusable.line, column: 1, message: unusable.message }],
      options,
    );
  }
  report(scenario, summary, options);
  return summary.result.ok ? 0 : 1;
}

function refuse(name: string, problems: readonly Problem[], { json, out }: SimulateOptions): 2 {
  const text = problems.map(describeProblem).join("\n");
  out(json ? JSON.stringify({ name, ok: false, runs: 0, visits: 0, problems }) : text);
  return 2;
}

function report(
  scenario: Scenario,
  summary: Summary,
  { json, out }: SimulateOptions,
  replayed?: string,
): void {
  const { name } = scenario;
  const { runs, visits, seed, result } = summary;
  const { ok, failure } = result;
  if (json) {
    const failed =
      failure === undefined ? {} : { failure: { ...(seed === undefined ? {} : { seed }), ...failure } };
    out(JSON.stringify({ name, ok, runs, visits, ...failed }));
    return;
  }
  if (failure === undefined) {
    out(`ok    ${name} (${runs === 1 ? "" : `${runs} runs, `}${visits} visits)`);
    return;
  }
  const replay =
    seed === undefined
      ? ""
      : ` [seed ${seed}: replay with ${replayed ?? `--seed ${seed} --explore 1 and the same faults and workers`}]`;
  out(`FAIL  ${name}: ${failure.step}: ${failure.message}${replay}`);
  for (const line of failure.trace) out(`      ${line}`);
}

async function script(scenario: Scenario, redis: Redis): Promise<Summary> {
  const result = await new ScenarioRun(scenario, redis, (simulation) => new ScriptedDriver(simulation)).run();
  return { runs: 1, visits: result.visits, result };
}

/** Makes up scenarios until one fails. */
async function runGenerated(redis: Redis, options: SimulateOptions): Promise<number> {
  const faults = (options.faults ?? faultKinds) as FaultKind[];
  const exploration = {
    runs: options.generate ?? 0,
    seed: options.seed ?? randomInt(2 ** 31),
    workers: options.workers,
    faults: [...faults],
    progress: options.progress ?? silent,
  };
  const summary = await explore(generatedScenario, redis, exploration);
  const { seed, result } = summary;
  if (seed === undefined) {
    const { json, out } = options;
    const { runs, visits } = summary;
    const name = "generated";
    out(
      json
        ? JSON.stringify({ name, ok: true, runs, visits })
        : `ok    ${runs} generated scenarios from seed ${exploration.seed} (${visits} visits)`,
    );
    return 0;
  }
  const found = { document: generateScenario(seed), seed };
  const kind = kindOf(result);
  const smallest = await shrinkScenario(found, async ({ document, seed }) => {
    const tried = await exploreOnce(scenarioOf(document, document.name), redis, exploration, seed, {
      traced: false,
    });
    return kindOf(tried.result) === kind;
  });
  const { document } = smallest;
  const file = `${document.name}.yaml`;
  const workers = exploration.workers ?? document.workers;
  const replay = `--explore 1 --seed ${smallest.seed} --workers ${workers} --faults ${faults.join(",")}`;
  const description = `homeostat simulate ${file} ${replay}`;
  await writeFile(file, stringify({ description, ...document }));
  const scenario = scenarioOf(document, file);
  const shrunk = await shrink(scenario, redis, exploration, smallest.seed);
  report(scenario, { ...summary, seed: smallest.seed, result: shrunk }, options, description);
  return 1;
}

function generatedScenario(seed: number): Scenario {
  const document = generateScenario(seed);
  return scenarioOf(document, document.name);
}

/** What failed, without the details, so that a smaller scenario fails in the same way. */
function kindOf({ failure }: RunResult): string | undefined {
  return failure && /^invariant \d+|^\w+ \w+/.exec(failure.message)?.[0];
}

/** Runs under way at once: while one waits for Redis another goes on. */
const lanes = 8;

/** Stops at the first seed that fails, and tries to show it with fewer faults. */
async function explore(
  scenarioOf: (seed: number) => Scenario,
  redis: Redis,
  exploration: Exploration,
): Promise<Summary> {
  let [next, runs, visits] = [0, 0, 0];
  const failed: number[] = [];
  const began = performance.now();
  let reportAt = began + progressMs;
  const report = () => {
    const now = performance.now();
    if (now < reportAt) return;
    reportAt = now + progressMs;
    const perSecond = ((runs * 1000) / (now - began)).toFixed(0);
    exploration.progress(`${runs} of ${exploration.runs} runs, ${perSecond} a second`);
  };
  const lane = async (_: unknown, index: number) => {
    while (next < exploration.runs && failed.length === 0) {
      const seed = exploration.seed + next++;
      const options = { prefix: `lane${index}:`, traced: false };
      const { result } = await exploreOnce(scenarioOf(seed), redis, exploration, seed, options);
      runs += 1;
      visits += result.visits;
      report();
      if (!result.ok) failed.push(seed);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  if (failed.length === 0) return { runs, visits, result: { ok: true, visits } };
  const seed = Math.min(...failed);
  return { runs, visits, seed, result: await shrink(scenarioOf(seed), redis, exploration, seed) };
}

export interface Explored {
  result: RunResult;
  struck: number;
}

/** With every fourth seed even a small graph queues for the wire, and each fan-out has a rest that can be cut off. */
const isNarrow = (seed: number) => seed % 4 === 3;

/** One seed. */
export async function exploreOnce(
  scenario: Scenario,
  redis: Redis,
  { workers, faults }: Pick<Exploration, "workers" | "faults">,
  seed: number,
  options: { spared?: ReadonlySet<number> } & SimulationOptions = {},
): Promise<Explored> {
  const { spared = new Set(), ...simulated } = options;
  let explorer: Explorer | undefined;
  const driverOf = (simulation: Simulation) => {
    explorer = new Explorer(simulation, { seed, workers: workers ?? scenario.workers, faults, spared });
    return new ExploringDriver(simulation, explorer);
  };
  const limits = isNarrow(seed) ? { windowNodes: 2, chunkNodes: 1 } : {};
  const run = new ScenarioRun(scenario, redis, driverOf, { ...simulated, limits });
  const result = await run.run();
  return { result, struck: explorer?.struck ?? 0 };
}

/** Leaves out every fault that the failure does not need. Runs it again first, for the trace. */
async function shrink(
  scenario: Scenario,
  redis: Redis,
  exploration: Exploration,
  seed: number,
): Promise<RunResult> {
  let best = await exploreOnce(scenario, redis, exploration, seed);
  if (best.result.ok) throw new Error(`${scenario.name} failed with seed ${seed}, but not again`);
  const spared = new Set<number>();
  for (let fault = 1; fault <= best.struck + spared.size; fault += 1) {
    const without = new Set([...spared, fault]);
    const tried = await exploreOnce(scenario, redis, exploration, seed, { spared: without });
    if (tried.result.ok || tried.result.failure === undefined) continue;
    spared.add(fault);
    best = tried;
  }
  if (spared.size === 0) return best.result;
  best.result.failure?.trace.unshift(
    `(shown without the faults ${[...spared].join(", ")}, which it does not need)`,
  );
  return best.result;
}
