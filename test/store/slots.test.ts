/**
 * Theory: somewhere a script touches two slots, or a key that it was not given. Whole scenarios run on a redis-server in
 * cluster mode, which refuses the first, while MONITOR shows every command of every script, which tells the second.
 */
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../src/servers/loopback.js";
import { ScenarioRun } from "../../src/simulator/scenario-run.js";
import { ScriptedDriver } from "../../src/simulator/scripted.js";
import { allScenarios } from "../support/scenarios.js";
import { startRedis, type TestRedis } from "../support/servers.js";

/** Where a command's keys are among its arguments; all that scripts use take one key, the first, except these. */
const manyKeys = new Set(["unlink", "del", "exists"]);

describe("in cluster mode", () => {
  let server: TestRedis;
  let redis: Redis;
  let monitor: Redis;
  /** The keys that the running script declared. */
  let declared: string[] = [];
  let scripts = 0;
  const problems: string[] = [];

  beforeAll(async () => {
    const args = ["--cluster-enabled", "yes", "--cluster-port", String(await freePort())];
    server = await startRedis({ unixSocket: true, args });
    redis = new Redis(server.socketPath);
    await redis.call("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
    while (!String(await redis.call("CLUSTER", "INFO")).includes("cluster_state:ok")) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    monitor = await new Redis(server.socketPath).monitor();
    monitor.on("monitor", (_time: string, args: string[], source: string) => see(args, source));
  });
  afterAll(async () => {
    monitor.disconnect();
    redis.disconnect();
    await server.stop();
  });

  function see([command = "", ...rest]: string[], source: string): void {
    const name = command.toLowerCase();
    if (source === "lua") {
      const keys = manyKeys.has(name) ? rest : name === "time" ? [] : rest.slice(0, 1);
      for (const key of keys)
        if (!declared.includes(key)) problems.push(`${name} of ${key}, declared are ${declared.join(" ")}`);
    } else if (name === "evalsha" || name === "eval") {
      scripts += 1;
      declared = rest.slice(2, 2 + Number(rest[1]));
      const slots = new Set(declared.map((key) => /\{(.+?)\}/.exec(key)?.[1] ?? key));
      if (slots.size !== 1) problems.push(`several slots: ${declared.join(" ")}`);
    }
  }

  const skipped = /^fan-/;
  for (const scenario of allScenarios().filter(({ name }) => !skipped.test(name))) {
    test(scenario.name, async () => {
      const before = scripts;
      const run = new ScenarioRun(scenario, redis, (simulation) => new ScriptedDriver(simulation));
      const result = await run.run();
      expect(result.failure).toBeUndefined();
      // MONITOR comes on a connection of its own; a command that it must have seen says that all was seen.
      await redis.set("{done}", "1");
      await expect.poll(() => scripts).toBeGreaterThan(before);
      expect(problems).toEqual([]);
    });
  }

  test("MONITOR would have told", async () => {
    await redis.eval("return redis.call('GET', 'hs:{a}:undeclared')", 1, "hs:{a}:s");
    await expect.poll(() => problems.length).toBe(1);
    await expect(redis.eval("return redis.call('GET', KEYS[2])", 2, "hs:{a}:s", "hs:{b}:s")).rejects.toThrow(
      /slot/i,
    );
  });
});
