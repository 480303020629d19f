/** Runs a scenario given as text, whole or against an engine or a world that a test has made wrong. */
import { Redis } from "ioredis";
import { afterAll, beforeAll } from "vitest";
import { parseScenario } from "../../src/simulator/scenario.js";
import { type RunResult, ScenarioRun } from "../../src/simulator/scenario-run.js";
import { ScriptedDriver } from "../../src/simulator/scripted.js";
import type { Simulation } from "../../src/simulator/simulation.js";
import { startRedis, type TestRedis } from "../support/servers.js";

/** What a test does to a run. */
export interface Tampering {
  /** Before the first step: plants a fault in a seam. */
  plant?: (simulation: Simulation, redis: Redis) => void;
  /** After each settling, before the checkers look. */
  settled?: (simulation: Simulation, redis: Redis) => Promise<void> | void;
}

export interface Scripts {
  redis(): Redis;
  run(text: string, tampering?: Tampering): Promise<RunResult & { simulation: Simulation }>;
}

class TamperingDriver extends ScriptedDriver {
  readonly #settled: () => Promise<void>;

  constructor(simulation: Simulation, settled: () => Promise<void>) {
    super(simulation);
    this.#settled = settled;
  }

  override async settle(whenIdle: () => Promise<void>): Promise<void> {
    await super.settle(whenIdle);
    await this.#settled();
  }
}

/** One redis-server for the tests of a file. */
export function withScripts(): Scripts {
  let server: TestRedis;
  let redis: Redis;
  beforeAll(async () => {
    server = await startRedis({ unixSocket: true });
    redis = new Redis(server.socketPath);
  });
  afterAll(async () => {
    redis.disconnect();
    await server.stop();
  });
  return {
    redis: () => redis,
    run: async (text, { plant, settled } = {}) => {
      const scenario = parseScenario(`steps:\n${text.replace(/^\n/, "")}`, "test.yaml");
      const run = new ScenarioRun(scenario, redis, (simulation) => {
        plant?.(simulation, redis);
        return new TamperingDriver(simulation, async () => settled?.(simulation, redis));
      });
      return { ...(await run.run()), simulation: run.simulation };
    },
  };
}

/** The newest stack's id by its name. */
export function stackNamed(simulation: Simulation, name: string): string {
  const found = [...simulation.stackNames].filter(([, other]) => other === name).at(-1);
  if (found === undefined) throw new Error(`no stack ${name}`);
  return found[0];
}
