/**
 * Looks for a violation with the budget of the tests: every phase makes the runs that a test file makes, and the first
 * run that fails ends the hunt. A process of its own, run from a tree with one fault planted: `hunt.js [SEED [PHASE,…]]`.
 * Prints one line of JSON per run.
 */
import { Redis } from "ioredis";
import type { FaultKind } from "../../src/simulator/explorer.js";
import type { Scenario } from "../../src/simulator/scenario.js";
import { allScenarios } from "../support/scenarios.js";
import { startRedis } from "../support/servers.js";
import {
  crashes,
  exploration,
  explored,
  exploredScenarios,
  generated,
  generation,
  interrupted,
  interruptions,
  landings,
  mayBeInterrupted,
  mayCrash,
  scripted,
  stopped,
  type Varied,
} from "../support/variations.js";

/** What the hunting process says of each run. */
export interface Sighting {
  phase: string;
  /** Which run of its phase, from 1 on. */
  run: number;
  what: string;
  /** The violation, when there is one. */
  message?: string;
}

type Phase = (redis: Redis, seed: number) => AsyncGenerator<Varied>;

/** The large ones last. */
const size = (scenario: Scenario) => JSON.stringify(scenario.steps).length;
const scenarios = allScenarios().sort((a, b) => size(a) - size(b));

/** Each seed in every scenario before the next seed, so that no scenario comes late. */
async function* seeds(redis: Redis, first: number, faults?: FaultKind[]): AsyncGenerator<Varied> {
  const chosen = scenarios.filter(({ name }) => exploredScenarios.includes(name));
  for (let seed = first; seed < first + exploration.runs; seed += 1) {
    for (const scenario of chosen) yield await explored(scenario, redis, seed, faults);
  }
}

/** By the test that makes the same runs; the quicker ones first. */
const phases: Readonly<Record<string, Phase>> = {
  async *scripted(redis) {
    for (const scenario of scenarios) yield await scripted(scenario, redis);
  },
  explored: (redis, seed) => seeds(redis, seed),
  faultless: (redis, seed) => seeds(redis, seed, []),
  async *landings(redis) {
    for (const scenario of scenarios.filter(mayCrash)) yield* landings(scenario, redis);
  },
  stopped,
  /** From a first seed that is as far from the test's as the given one is from that of its test. */
  async *generated(redis, seed) {
    const first = generation.seed + seed - exploration.seed;
    for (let i = 0; i < generation.runs; i += 1) yield await generated(redis, first + i);
  },
  async *crashed(redis) {
    for (const [number, scenario] of scenarios.entries()) {
      if (mayCrash(scenario)) yield* crashes(scenario, number, redis);
    }
  },
  async *interrupted(redis) {
    for (const scenario of scenarios.filter(mayBeInterrupted)) {
      for (const interruption of interruptions) yield* interrupted(scenario, interruption, redis);
    }
  },
};

function say(sighting: Sighting): void {
  process.stdout.write(`${JSON.stringify(sighting)}\n`);
}

async function hunt(redis: Redis, seed: number, names: readonly string[]): Promise<void> {
  for (const phase of names) {
    const runs = phases[phase];
    if (runs === undefined) throw new Error(`no phase ${phase}; there are ${Object.keys(phases).join(", ")}`);
    let run = 0;
    for await (const { what, result } of runs(redis, seed)) {
      run += 1;
      const { failure, unusable } = result;
      const message = failure === undefined ? unusable?.message : `${failure.step}: ${failure.message}`;
      say({ phase, run, what, ...(message === undefined ? {} : { message }) });
      if (message !== undefined) return;
    }
  }
}

const [seed, names] = process.argv.slice(2);
const server = await startRedis({ unixSocket: true });
const redis = new Redis(server.socketPath);
try {
  await hunt(redis, Number(seed || exploration.seed), names ? names.split(",") : Object.keys(phases));
} finally {
  redis.disconnect();
  await server.stop();
}
