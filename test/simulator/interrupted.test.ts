/**
 * Theory: whatever a stack is doing, a delete, a rollback or another update at any moment ends well. Each situation is
 * interrupted after every visit k = 0, 1, 2, … until nothing is left to visit; the invariants judge each run.
 */
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ScenarioRun } from "../../src/simulator/scenario-run.js";
import { ScriptedDriver } from "../../src/simulator/scripted.js";
import { allScenarios, relaxed, steps, untilLastGoal } from "../support/scenarios.js";
import { startRedis, type TestRedis } from "../support/servers.js";

/** Interrupting these at each of a thousand visits takes too long here; every so many is enough. */
const strides: Record<string, number> = { "fan-in": 167, "fan-out": 167 };

const other = `
  - update:
      stack: foo
      template:
        resources:
          A: {type: Sim::Resource, properties: {a: 9}}
          C: {type: Sim::Resource, properties: {"!a": {get_attr: [A, a]}}}
          N: {type: Sim::Resource, depends_on: C}`;

const interruptions: [name: string, text: string, after: string][] = [
  ["delete", "  - delete: {stack: foo}", "  - expect: {status: {foo: NOT_FOUND}, gone: foo}"],
  ["rollback", "  - rollback: {stack: foo}", ""],
  ["update", other, "  - expect: {status: {foo: COMPLETE}}"],
];

/** A stack that is gone cannot be asked for anything. */
const missing = /there is no stack/;

describe("interrupted after every visit", () => {
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

  for (const scenario of allScenarios()) {
    const head = untilLastGoal(scenario);
    if (head === undefined || scenario.name === "crash-unfindable") continue;
    for (const [name, interruption, after] of interruptions) {
      test(`${scenario.name} by ${name}`, async () => {
        const fails = head.some((step) => step.kind === "fail");
        const stride = strides[scenario.name] ?? 1;
        let runs = 0;
        for (let k = 0; ; k += stride) {
          const run = new ScenarioRun(
            {
              ...scenario,
              steps: [
                ...relaxed(head).filter(({ kind }) => kind !== "expect"),
                ...steps(
                  `  - visits: ${k}\n${interruption}\n  - settle: true\n${fails && name === "update" ? "" : after}`,
                ),
              ],
            },
            redis,
            (simulation) => new ScriptedDriver(simulation),
          );
          const result = await run.run();
          const message = result.failure?.message ?? "";
          if (missing.test(message)) break;
          expect(result.failure, `after ${k} visits`).toBeUndefined();
          runs += 1;
          if (run.exhausted) break;
        }
        console.log(`${scenario.name} by ${name}: ${runs} runs`);
      });
    }
  }
});
