/** `homeostat simulate`: runs scenario files and says what failed, where and how it came to it. */
import { randomInt } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import type { Redis } from "ioredis";
import { stringify } from "yaml";
import { describeProblem, InvalidError, type Problem } from "../errors.js";
import { Explorer, type FaultKind, faultKinds } from "./explorer.js";
import { ExploringDriver } from "./exploring.js";
import { generateScenario } from "./generate.js";
import { Jobs } from "./jobs.js";
import { requireConnection } from "./redis.js";
import { readScenario, type Scenario, scenarioOf } from "./scenario.js";
import { type RunResult, ScenarioRun } from "./scenario-run.js";
import { ScriptedDriver } from "./scripted.js";
import { type Explored, Seeds, Tally } from "./seeds.js";
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
  /** Threads that explore, each with a redis-server; absent: this one alone. What is found is the same. */
  jobs?: number;
  json: boolean;
  out: (line: string) => void;
  /** Is told now and then how far a long exploration has come. */
  progress?: (text: string) => void;
  /** Ends an exploration before it is over. */
  signal?: AbortSignal;
}

export interface Exploration {
  runs: number;
  seed: number;
  workers: number | undefined;
  faults: FaultKind[];
}

/** Between two reports of progress. */
const progressMs = 10_000;

/** In the time that a job takes to start, one that runs explores about so many seeds. */
const runsPerJob = 50;

/** How many jobs are worth their start. */
export function usefulJobs(files: number, { explore = 0, generate = 0 }: Partial<SimulateOptions>): number {
  const runs = files * explore + generate;
  return Math.max(1, Math.min(availableParallelism(), Math.floor(runs / runsPerJob)));
}

interface Summary {
  runs: number;
  visits: number;
  seed?: number;
  result: RunResult;
}

/**
 * Exit status: 0 all held, 1 something failed, 2 a file cannot be used. A made-up scenario that fails is written to a
 * file in the working directory. @throws InvalidError for unknown faults, HomeostatError when a job or a redis-server
 * ends, the signal's reason when that is aborted.
 */
export async function runSimulate(files: readonly string[], options: SimulateOptions): Promise<number> {
  const exploration = explorationOf(options);
  const most = Math.max(1, options.explore ?? 0, options.generate ?? 0);
  const jobs = await Jobs.start(Math.min(options.jobs ?? 1, most));
  let status = 0;
  try {
    for (const file of files) {
      options.signal?.throwIfAborted();
      status = Math.max(status, await runFile(file, jobs, exploration, options));
    }
    if (options.generate !== undefined) status = Math.max(status, await runGenerated(jobs, options));
  } finally {
    await jobs.stop();
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
  };
}

async function runFile(
  file: string,
  jobs: Jobs,
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
      ? await script(scenario, jobs.redis)
      : await explore(scenario, jobs, exploration, options);
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
  requireConnection(redis);
  return { runs: 1, visits: result.visits, result };
}

/** Makes up scenarios until one fails. */
async function runGenerated(jobs: Jobs, options: SimulateOptions): Promise<number> {
  const faults = (options.faults ?? faultKinds) as FaultKind[];
  const exploration = {
    runs: options.generate ?? 0,
    seed: options.seed ?? randomInt(2 ** 31),
    workers: options.workers,
    faults: [...faults],
  };
  const summary = await explore(undefined, jobs, exploration, options);
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
    options.signal?.throwIfAborted();
    const tried = await exploreOnce(scenarioOf(document, document.name), jobs.redis, exploration, seed, {
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
  const shrunk = await shrink(scenario, jobs.redis, exploration, smallest.seed, options.signal);
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

/** Stops at the first seed that fails, and tries to show it with fewer faults. */
async function explore(
  scenario: Scenario | undefined,
  jobs: Jobs,
  exploration: Exploration,
  { progress, signal }: SimulateOptions,
): Promise<Summary> {
  signal?.throwIfAborted();
  const seeds = Seeds.of(exploration.runs);
  const tally = new Tally();
  const began = performance.now();
  let reportAt = began + progressMs;
  const report = (now: number) => {
    const perSecond = ((tally.runs * 1000) / (now - began)).toFixed(0);
    progress?.(`${tally.runs} of ${exploration.runs} runs, ${perSecond} a second`);
  };
  const stop = () => seeds.end(0);
  signal?.addEventListener("abort", stop);
  try {
    await jobs.explore(scenario, exploration, seeds, (explored) => {
      tally.add(explored);
      if (!explored.ok) seeds.end(explored.index);
      const now = performance.now();
      if (now < reportAt) return;
      reportAt = now + progressMs;
      report(now);
    });
  } finally {
    signal?.removeEventListener("abort", stop);
  }
  const { runs, visits, failed } = tally;
  if (signal?.aborted) report(performance.now());
  signal?.throwIfAborted();
  if (failed === undefined) return { runs, visits, result: { ok: true, visits } };
  const seed = exploration.seed + failed;
  const result = await shrink(scenario ?? generatedScenario(seed), jobs.redis, exploration, seed, signal);
  return { runs, visits, seed, result };
}

/** Runs under way at once: while one waits for Redis others go on, and what they ask is sent together. */
const lanes = 32;

/** What one job does. `scenario`: absent when each seed makes one up. */
export async function exploreSeeds(
  scenario: Scenario | undefined,
  redis: Redis,
  exploration: Exploration,
  seeds: Seeds,
  explored: (explored: Explored) => void,
): Promise<void> {
  const lane = async (_: unknown, number: number) => {
    for (let index = seeds.take(); index !== undefined; index = seeds.take()) {
      const seed = exploration.seed + index;
      const options = { prefix: `lane${number}:`, traced: false };
      const explores = scenario ?? generatedScenario(seed);
      const { result } = await exploreOnce(explores, redis, exploration, seed, options);
      explored({ index, visits: result.visits, ok: result.ok });
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

interface Outcome {
  result: RunResult;
  struck: number;
}

/** With every fourth seed even a small graph queues for the wire, and each fan-out has a rest that can be cut off. */
const isNarrow = (seed: number) => seed % 4 === 3;

/** Somebody dies in it, or is not told what took effect: with what comes too late besides, a thing too many may stay. */
function isLossy({ steps }: Scenario): boolean {
  return steps.some((step) => step.kind === "crash" || (step.kind === "fail" && step.with.after));
}

/** Some runs have nothing but what makes calls come too late: it would hardly ever strike among all others. */
const isForLate = (seed: number) => seed % 8 === 1;

function faultsOf(scenario: Scenario, faults: readonly FaultKind[], seed: number): readonly FaultKind[] {
  if (!faults.includes("late")) return faults;
  if (isLossy(scenario)) return faults.filter((fault) => fault !== "late");
  return isForLate(seed) ? faults.filter((fault) => fault === "pause" || fault === "late") : faults;
}

/** One seed. */
export async function exploreOnce(
  scenario: Scenario,
  redis: Redis,
  { workers, faults }: Pick<Exploration, "workers" | "faults">,
  seed: number,
  options: { spared?: ReadonlySet<number> } & SimulationOptions = {},
): Promise<Outcome> {
  const { spared = new Set(), ...simulated } = options;
  let explorer: Explorer | undefined;
  const driverOf = (simulation: Simulation) => {
    explorer = new Explorer(simulation, {
      seed,
      workers: workers ?? scenario.workers,
      faults: faultsOf(scenario, faults, seed),
      spared,
    });
    return new ExploringDriver(simulation, explorer);
  };
  const limits = isNarrow(seed) ? { windowNodes: 2, chunkNodes: 1 } : {};
  const run = new ScenarioRun(scenario, redis, driverOf, { ...simulated, limits });
  const result = await run.run();
  requireConnection(redis);
  return { result, struck: explorer?.struck ?? 0 };
}

/** Leaves out every fault that the failure does not need. Runs it again first, for the trace. */
async function shrink(
  scenario: Scenario,
  redis: Redis,
  exploration: Exploration,
  seed: number,
  signal: AbortSignal | undefined,
): Promise<RunResult> {
  let best = await exploreOnce(scenario, redis, exploration, seed);
  if (best.result.ok) throw new Error(`${scenario.name} failed with seed ${seed}, but not again`);
  const spared = new Set<number>();
  for (let fault = 1; fault <= best.struck + spared.size; fault += 1) {
    signal?.throwIfAborted();
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
