/**
 * Theory: a worker may vanish at any point of any visit, and the stack still gets where it was going. Each situation
 * loses its worker at each point, after every visit k = 0, 1, 2, … (every few visits unless HOMEOSTAT_EXHAUSTIVE=1).
 */
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { allScenarios } from "../support/scenarios.js";
import { startRedis, type TestRedis } from "../support/servers.js";
import { crashes, mayCrash } from "../support/variations.js";

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
    if (!mayCrash(scenario)) continue;
    test(scenario.name, async () => {
      let runs = 0;
      for await (const { what, result } of crashes(scenario, number, redis)) {
        expect(result.failure, what).toBeUndefined();
        runs += 1;
      }
      console.log(`${scenario.name}: ${runs} crashes`);
    }, 300_000);
  }
});
