/**
 * Looks for a violation with the budget of the tests: every phase makes the runs that a test file makes, and the first
 * run that fails ends the hunt. A process of its own, run from a tree with one fault planted; its argument is a `Hunt` as
 * JSON. Prints one line of JSON per run.
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

/** A run that has found a mutant, by what stays the same when others are added before it. */
export interface Known {
  phase: string;
  what: string;
}

export interface Hunt {
  /** Of the first exploring run; by default the tests'. */
  seed?: number;
  /** By default all. */
  phases?: readonly string[];
  /** Begins with these runs and some that are like each. */
  known?: readonly Known[];
  /** How many seeds are like a known one, itself included: 200 by default. */
  nearSeeds?: number;
}

/** What the hunting process says of each run. */
export interface Sighting {
  phase: string;
  /** Which run of its phase, from 1 on; 0 for a known one, or one that is like it. */
  run: number;
  what: string;
  /** The violation, when there is one. */
  message?: string;
}

interface Phase {
  all(redis: Redis, seed: number): AsyncGenerator<Varied>;
  /** The run of which this is said, and those that are like it: of so many seeds, where seeds make the difference. */
  near(redis: Redis, what: string, seeds: number): AsyncGenerator<Varied>;
}

/** A seed is another run after any change of the program, but what finds a fault once in a scenario finds it there again. */
const usualNearSeeds = 200;

/** The large ones last. */
const size = (scenario: Scenario) => JSON.stringify(scenario.steps).length;
const scenarios = allScenarios().sort((a, b) => size(a) - size(b));

/** Of which scenario this is said. */
function* scenarioOf(what: string): Generator<Scenario> {
  const told = ({ name }: Scenario) => new RegExp(`^${name}( with |: | by |$)`).test(what);
  yield* scenarios.filter(told);
}

const seedIn = (what: string) => Number(/seed (\d+)$/.exec(what)?.[1]);

function exploring(faults?: FaultKind[]): Phase {
  return {
    /** Each seed in every scenario before the next seed, so that no scenario comes late. */
    async *all(redis, first) {
      const chosen = scenarios.filter(({ name }) => exploredScenarios.includes(name));
      for (let seed = first; seed < first + exploration.runs; seed += 1) {
        for (const scenario of chosen) yield await explored(scenario, redis, seed, faults);
      }
    },
    async *near(redis, what, seeds) {
      for (const scenario of scenarioOf(what)) {
        for (let i = 0; i < seeds; i += 1) {
          yield await explored(scenario, redis, seedIn(what) + i, faults);
        }
      }
    },
  };
}

/** Those that fit, in the order of their names, with the runs of each. */
function varying(
  fits: (scenario: Scenario) => boolean,
  runs: (scenario: Scenario, redis: Redis, number: number) => AsyncGenerator<Varied>,
): Phase {
  return {
    async *all(redis) {
      for (const [number, scenario] of scenarios.entries()) {
        if (fits(scenario)) yield* runs(scenario, redis, number);
      }
    },
    async *near(redis, what) {
      for (const scenario of scenarioOf(what)) yield* runs(scenario, redis, scenarios.indexOf(scenario));
    },
  };
}

/** By the test that makes the same runs; the quicker ones first. */
const phases: Readonly<Record<string, Phase>> = {
  scripted: varying(
    () => true,
    async function* (scenario, redis) {
      yield await scripted(scenario, redis);
    },
  ),
  explored: exploring(),
  faultless: exploring([]),
  landings: varying(mayCrash, landings),
  stopped: { all: (redis) => stopped(redis), near: stopped },
  generated: {
    /** From a first seed that is as far from the test's as the given one is from that of its test. */
    async *all(redis, seed) {
      const first = generation.seed + seed - exploration.seed;
      for (let i = 0; i < generation.runs; i += 1) yield await generated(redis, first + i);
    },
    async *near(redis, what, seeds) {
      for (let i = 0; i < seeds; i += 1) yield await generated(redis, seedIn(what) + i);
    },
  },
  crashed: varying(mayCrash, (scenario, redis, number) => crashes(scenario, number, redis)),
  interrupted: varying(mayBeInterrupted, async function* (scenario, redis) {
    for (const interruption of interruptions) yield* interrupted(scenario, interruption, redis);
  }),
};

function say(sighting: Sighting): void {
  process.stdout.write(`${JSON.stringify(sighting)}\n`);
}

/** Whether one of the runs has failed. */
async function failed(phase: string, runs: AsyncGenerator<Varied>, known: boolean): Promise<boolean> {
  let run = 0;
  for await (const { what, result } of runs) {
    if (!known) run += 1;
    const { failure, unusable } = result;
    const message = failure === undefined ? unusable?.message : `${failure.step}: ${failure.message}`;
    say({ phase, run, what, ...(message === undefined ? {} : { message }) });
    if (message !== undefined) return true;
  }
  return false;
}

async function hunt(
  redis: Redis,
  { seed = exploration.seed, phases: names, known = [], nearSeeds = usualNearSeeds }: Hunt,
): Promise<void> {
  for (const { phase, what } of known) {
    if (await failed(phase, phaseOf(phase).near(redis, what, nearSeeds), true)) return;
  }
  for (const name of names ?? Object.keys(phases)) {
    if (await failed(name, phaseOf(name).all(redis, seed), false)) return;
  }
}

function phaseOf(name: string): Phase {
  const phase = phases[name];
  if (phase === undefined) throw new Error(`no phase ${name}; there are ${Object.keys(phases).join(", ")}`);
  return phase;
}

const server = await startRedis({ unixSocket: true });
const redis = new Redis(server.socketPath);
try {
  await hunt(redis, JSON.parse(process.argv[2] ?? "{}") as Hunt);
} finally {
  redis.disconnect();
  await server.stop();
}
