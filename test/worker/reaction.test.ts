/** Theory: who looks after a schedule sleeps so deep that what others put there is seen late, or never gets to sleep. */
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, it } from "vitest";
import { defaultLimits } from "../../src/limits.js";
import { Site, template, thing, until } from "./world.js";

let site: Site;
beforeEach(async () => {
  site = await Site.open();
});
afterEach(async () => {
  await site.close();
});

const observed = {
  text: JSON.stringify({
    ...(JSON.parse(template({ a: thing() }).text) as object),
    parameters: { homeostat_policy: { type: "json", default: { poll: "1h", grace: "0s" } } },
  }),
};
const idleMs = 6_000;
const promptMs = 1_000;

it("an observer that has nothing to do asks Redis little, and mends at once what another host is asked to look at", async () => {
  await site.host({ roles: ["observer", "sweeper"], limits: defaultLimits });
  await site.host({ roles: ["api", "worker"], limits: defaultLimits });
  const client = await site.client();
  await client.call("create", {
    name: "web",
    template: observed,
  });
  await until(client, "web", "COMPLETE");
  // Its first look, and the elections.
  await sleep(idleMs);
  const redis = new Redis(site.redis.url);
  const scripts = async () =>
    Number(/^cmdstat_evalsha:calls=(\d+)/m.exec(await redis.info("commandstats"))?.[1]);
  const before = await scripts();
  await sleep(idleMs);
  expect(((await scripts()) - before) / (idleMs / 1_000)).toBeLessThan(10);
  redis.disconnect();

  for (let round = 0; round < 3; round += 1) {
    await sleep(700);
    const [made] = site.world.things.values();
    if (made === undefined) throw new Error("it was not made");
    made.size = 99;
    const asked = performance.now();
    await client.call("observe", { name: "web" });
    while (made.size === 99 && performance.now() - asked < 5_000) await sleep(5);
    expect(performance.now() - asked).toBeLessThan(promptMs);
  }
});

it("what took longer to mend than a pass takes is looked at again when its policy says so", async () => {
  await site.host({ limits: { ...defaultLimits, firstLookMs: 100 } });
  const client = await site.client();
  const homeostat = { poll: "300ms", grace: "0s", fight: { repairs: 100 } };
  await client.call("create", {
    name: "web",
    template: template({ a: { ...thing(), metadata: { homeostat } } }),
  });
  await until(client, "web", "COMPLETE");
  site.world.pause = async (operation) => {
    if (operation === "update") await sleep(1_500);
  };
  for (let round = 0; round < 3; round += 1) {
    const [made] = site.world.things.values();
    if (made === undefined) throw new Error("it was not made");
    made.size = 99;
    const drifted = performance.now();
    while (made.size === 99 && performance.now() - drifted < 20_000) await sleep(5);
    expect(performance.now() - drifted).toBeLessThan(5_000);
  }
});

it("what was just made is looked at no later than its template's policy says", async () => {
  await site.host({ limits: { ...defaultLimits, firstLookMs: 20_000 } });
  const client = await site.client();
  const homeostat = { poll: "500ms", grace: "0s" };
  await client.call("create", {
    name: "web",
    template: template({ a: { ...thing(), metadata: { homeostat } } }),
  });
  await until(client, "web", "COMPLETE");
  const [made] = site.world.things.values();
  if (made === undefined) throw new Error("it was not made");
  made.size = 99;
  const drifted = performance.now();
  while (made.size === 99 && performance.now() - drifted < 10_000) await sleep(5);
  expect(performance.now() - drifted).toBeLessThan(5_000);
});
