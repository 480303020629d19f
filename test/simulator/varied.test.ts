/**
 * Theories: each scenario holds as it is written; a call that outlives its worker, and somebody who stops in the middle
 * while others go on, do not bring a stack to a wrong end. Each situation loses each of its calls; each goal, and the
 * sweeper, stop before each call.
 */
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { allScenarios } from "../support/scenarios.js";
import { startRedis, type TestRedis } from "../support/servers.js";
import { landings, mayCrash, scripted, stopped } from "../support/variations.js";

describe("varied", () => {
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
    test(`${scenario.name}: as it is written`, async () => {
      const { result } = await scripted(scenario, redis);
      expect(result.failure ?? result.unusable).toBeUndefined();
    });
  }

  for (const scenario of allScenarios().filter(mayCrash)) {
    test(`${scenario.name}: each call outlives its worker`, async () => {
      for await (const { what, result } of landings(scenario, redis)) {
        expect(result.failure, what).toBeUndefined();
      }
    });
  }

  test("somebody stops in the middle", { timeout: 300_000 }, async () => {
    let runs = 0;
    for await (const { what, result } of stopped(redis)) {
      expect(result.failure, what).toBeUndefined();
      runs += 1;
    }
    console.log(`${runs} stops`);
  });
});
