/**
 * Theory: a worker may vanish at any point of any visit, and the stack still gets where it was going. Each situation
 * loses its worker at each point, after every visit k = 0, 1, 2, … (every few visits unless HOMEOSTAT_EXHAUSTIVE=1).
 */
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ScenarioRun } from "../../src/simulator/scenario-run.js";
import { ScriptedDriver } from "../../src/simulator/scripted.js";
import { allScenarios, outcomeOf, relaxed, steps, untilLastGoal } from "../support/scenarios.js";
import { startRedis, type TestRedis } from "../support/servers.js";

const points = [
  "before-intent",
  "after-intent",
  "before-call",
  "after-call",
  "before-commit",
  "after-commit",
  "before-publish",
  "after-publish",
  "before-ack",
];

const exhaustive = process.env.HOMEOSTAT_EXHAUSTIVE === "1";

/** A second fault would make another outcome right. */
const hasOwnFault = /^(crash|pause|fail|retry|timeout|failure|failed|rollback|replace-fails|fan|held|stream)/;

describe("a crash at every point", () => {
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

  for (const [number, scenario] of allScenarios().entries()) {
    const head = untilLastGoal(scenario);
    if (head === undefined || hasOwnFault.test(scenario.name)) continue;
    test(scenario.name, async () => {
      let runs = 0;
      for (const [i, point] of points.entries()) {
        const stride = exhaustive ? 1 : 4;
        for (let k = exhaustive ? 0 : (number + i) % stride; ; k += stride) {
          const run = new ScenarioRun(
            {
              ...scenario,
              steps: [
                ...relaxed(head).filter(({ kind }) => kind !== "expect"),
                ...steps(`  - visits: ${k}\n  - crash: {at: ${point}, optional: true}\n  - settle: true\n`),
                ...outcomeOf(scenario),
              ],
            },
            redis,
            (simulation) => new ScriptedDriver(simulation),
          );
          const result = await run.run();
          expect(result.failure, `${point} after ${k} visits`).toBeUndefined();
          runs += 1;
          if (run.exhausted) break;
        }
      }
      console.log(`${scenario.name}: ${runs} crashes`);
    }, 300_000);
  }
});
