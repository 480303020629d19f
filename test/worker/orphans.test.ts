/** Theory: hosts that sweep slowly remove what is in use, or do not find what was leaked, or what a record has lost. */
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Limits } from "../../src/limits.js";
import { builtinTypes } from "../../src/providers/builtin.js";
import { ResourceTypes } from "../../src/providers/provider.js";
import type { LifecycleEvent } from "../../src/traversal/lifecycle-event.js";
import type { HostOptions } from "../../src/worker/host.js";
import { tempFolder } from "../providers/harness.js";
import { Site, template, until } from "./world.js";

let site: Site;
let redis: Redis;
let folder: string;
beforeEach(async () => {
  site = await Site.open();
  redis = new Redis(site.redis.url);
  folder = tempFolder();
  mkdirSync(join(folder, "world"));
});
afterEach(async () => {
  redis.disconnect();
  await site.close();
});

const limits: Partial<Limits> = {
  leaseMs: 1_000,
  renewMs: 300,
  abortGraceMs: 200,
  firstSlowSweepMs: 200,
  slowSweepMs: 500,
};

/** `hang`: what was made is never said. */
function types({ hang = false } = {}): ResourceTypes {
  const all = builtinTypes({
    stateDir: join(folder, "state"),
    baseDir: folder,
    simWorld: join(folder, "world"),
  });
  const shorter = all.names().map((name) => {
    const type = all.get(name);
    if (type === undefined) throw new Error(name);
    const create: typeof type.create = async (...call) => {
      const thing = await type.create(...call);
      return hang ? new Promise(() => {}) : thing;
    };
    return { ...type, deadlineMs: () => 2_000, create };
  });
  return new ResourceTypes().add(...shorter);
}

const host = (options: Partial<HostOptions> = {}) => site.host({ types: types(), limits, ...options });

function sim(properties: object = {}) {
  return { type: "Sim::Resource", properties };
}

function things(): string[] {
  return readdirSync(join(folder, "world")).sort();
}

async function waitFor(condition: () => boolean | Promise<boolean>, what: string, limitMs = 40_000) {
  const end = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`in vain: ${what}`);
    await sleep(50);
  }
}

/** All that is stored of a stack, and its name. */
async function lose(stack: string): Promise<void> {
  const keys = await redis.keys(`hs:{${stack}}:*`);
  await redis.unlink(...keys);
  for (const key of await redis.keys("hs:{names:*}")) {
    for (const [name, id] of Object.entries(await redis.hgetall(key)))
      if (id === stack) await redis.hdel(key, name);
  }
}

const few = Object.fromEntries(["a", "b", "c", "d"].map((name) => [name, sim()]));

describe("a host that is told to remove orphans", () => {
  it("removes those of a stack whose records are gone, and leaves everything else", async () => {
    await host({ orphans: "remove" });
    await host({ orphans: "remove" });
    const client = await site.client();
    const kept = await client.call("create", { name: "kept", template: template(few) });
    const file = { type: "Local::File", properties: { path: join(folder, "file") } };
    const lost = await client.call("create", { name: "lost", template: template({ one: sim(), file }) });
    await until(client, "kept", "COMPLETE");
    await until(client, "lost", "COMPLETE");
    expect(things().length).toBe(5);
    const events: LifecycleEvent[] = [];
    const stream = client.events({ stack: lost.stack, since: "now" });
    await stream.ready;
    void (async () => {
      for await (const event of stream) events.push(event);
    })();
    await lose(lost.stack);
    await waitFor(() => events.filter(({ what }) => what === "orphan-removed").length === 2, "two removals");
    expect(things().length).toBe(4);
    expect(readdirSync(folder)).not.toContain("file");
    expect(events.filter(({ what }) => what === "orphan").length).toBe(2);
    expect(await client.call("orphans", {})).toEqual({ orphans: [], held: [] });
    const view = await client.call("show", { name: "kept" });
    expect(view).toMatchObject({ stack: { id: kept.stack, status: "COMPLETE" } });
    expect(view.resources.map(({ state }) => state)).toEqual(["ready", "ready", "ready", "ready"]);
  });

  it("removes nothing that a worker which died was about to make", async () => {
    const first = await host({ orphans: "remove", types: types({ hang: true }) });
    const client = await site.client();
    await client.call("create", { name: "web", template: template(few) });
    await waitFor(() => things().length === 4, "four things");
    const before = things();
    await sleep(1_500);
    first.kill();
    await host({ orphans: "remove" });
    await until(client, "web", "COMPLETE");
    await sleep(5_000);
    expect(things()).toEqual(before);
    expect(await client.call("orphans", {})).toEqual({ orphans: [], held: [] });
  });

  it("removes nothing of what a template retains", async () => {
    await host({ orphans: "remove" });
    const client = await site.client();
    const resources = { a: { ...sim(), deletion_policy: "Retain" } };
    await client.call("create", { name: "web", template: template(resources) });
    await until(client, "web", "COMPLETE");
    await client.call("delete", { name: "web" });
    await waitFor(
      async () => (await client.call("orphans", {})).orphans[0]?.certain === true,
      "it is certain",
    );
    await sleep(2_000);
    expect(things().length).toBe(1);
    expect((await client.call("orphans", {})).orphans).toMatchObject([{ why: "it was left on purpose" }]);
  });
});

describe("a host that is told nothing", () => {
  it("tells of orphans, and removes what a person names", async () => {
    await host();
    const client = await site.client();
    const goal = await client.call("create", { name: "web", template: template({ a: sim(), b: sim() }) });
    await until(client, "web", "COMPLETE");
    await lose(goal.stack);
    const certain = async () => {
      const { orphans } = await client.call("orphans", {});
      return orphans.length === 2 && orphans.every((orphan) => orphan.certain);
    };
    await waitFor(certain, "two orphans");
    await sleep(1_500);
    expect(things().length).toBe(2);
    const { orphans } = await client.call("orphans", {});
    const [one] = orphans;
    expect(one).toMatchObject({ stack: goal.stack, stackName: "", ours: true, why: "its stack is gone" });
    await expect(client.call("orphans", { remove: ["nothing"] })).rejects.toThrow("no orphan nothing");
    await client.call("orphans", { remove: [one?.id ?? ""] });
    await waitFor(() => things().length === 1, "its removal");
    expect(things()).toEqual([`${orphans[1]?.physicalId}.json`]);
  });

  it("gives a resource back what its record has lost", async () => {
    await host();
    const client = await site.client();
    const { stack } = await client.call("create", { name: "web", template: template({ a: sim({ x: 1 }) }) });
    const { resources } = await until(client, "web", "COMPLETE");
    const [{ id, physicalId }] = resources as [(typeof resources)[number]];
    await redis.hset(`hs:{${stack}}:r:${id}`, { physical: "", attributes: "", snapshot: "" });
    const isBack = async () =>
      (await client.call("show", { name: "web" })).resources[0]?.physicalId === physicalId;
    await waitFor(isBack, "it has its thing again");
    await client.call("update", { name: "web", template: template({ a: sim({ x: 2 }) }) });
    await until(client, "web", "COMPLETE");
    expect(things()).toEqual([`${physicalId}.json`]);
  });

  it("makes hints again that were lost", async () => {
    await host();
    const client = await site.client();
    const resources = { a: sim() };
    await client.call("create", { name: "web", template: template(resources) });
    const view = await until(client, "web", "COMPLETE");
    const watched = async () => {
      const keys = (await redis.keys("hs:{watch:default:*}:z")) ?? [];
      return (await Promise.all(keys.map((key) => redis.zrange(key, "0", "-1")))).flat();
    };
    await waitFor(async () => (await watched()).length > 0, "a hint");
    await redis.unlink(...(await redis.keys("hs:{watch:*}:[zp]")));
    await waitFor(async () => (await watched()).length > 0, "the hint again");
    expect((await watched())[0]).toContain(view.resources[0]?.physicalId ?? "");
  });
});
