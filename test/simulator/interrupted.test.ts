/**
 * Theory: whatever a stack is doing, a delete, a rollback or another update at any moment ends well. Each situation is
 * interrupted after every visit k = 0, 1, 2, … until nothing is left to visit; the invariants judge each run.
 */
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { allScenarios } from "../support/scenarios.js";
import { startRedis, type TestRedis } from "../support/servers.js";
import { interrupted, interruptions, mayBeInterrupted } from "../support/variations.js";

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
    if (!mayBeInterrupted(scenario)) continue;
    for (const interruption of interruptions) {
      test(`${scenario.name} by ${interruption.name}`, async () => {
        let runs = 0;
        for await (const { what, result } of interrupted(scenario, interruption, redis)) {
          expect(result.failure, what).toBeUndefined();
          runs += 1;
        }
        console.log(`${scenario.name} by ${interruption.name}: ${runs} runs`);
      });
    }
  }
});
