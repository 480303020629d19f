/** Theory: several hosts drive stacks to their goals over real servers, whoever dies and whatever is deleted meanwhile. */
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { connect } from "nats";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Site, template, thing, until, untilGone } from "./world.js";

let site: Site;
beforeEach(async () => {
  site = await Site.open();
});
afterEach(async () => {
  await site.close();
});

/** Six in a row, and six beside them. */
const chain = Object.fromEntries(
  Array.from({ length: 6 }, (_, i) => [
    [`link${i}`, thing({ size: i }, ...(i === 0 ? [] : [`link${i - 1}`]))],
    [`side${i}`, thing()],
  ]).flat(),
);

async function waitFor(condition: () => boolean | Promise<boolean>, what: string, limitMs = 20_000) {
  const end = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`in vain: ${what}`);
    await sleep(20);
  }
}

describe("two hosts", () => {
  it("create, update, roll back and delete a stack", async () => {
    await site.host();
    await site.host();
    const client = await site.client();
    const first = { a: thing(), b: thing({ size: 2 }, "a"), c: thing({}, "a"), d: thing({}, "b", "c") };
    const goal = await client.call("create", { name: "web", template: template(first) });
    expect(goal).toMatchObject({ name: "web", traversal: 1, begun: true });
    const created = await until(client, "web", "COMPLETE");
    expect(created.resources.map(({ name, state }) => [name, state])).toEqual(
      ["a", "b", "c", "d"].map((name) => [name, "ready"]),
    );
    expect(site.world.effects[0]).toBe("create a");
    expect(site.world.effects.at(-1)).toBe("create d");

    await client.call("update", {
      name: "web",
      template: template({ ...first, b: thing({ size: 5 }, "a"), e: thing({}, "d") }),
    });
    await until(client, "web", "COMPLETE");
    expect(site.world.effects.slice(4)).toEqual(["update b", "create e"]);

    site.world.pause = () => sleep(200);
    await client.call("update", { name: "web", template: template({ a: thing({ fixed: "other" }) }) });
    const back = await client.call("rollback", { name: "web" });
    expect(back).toMatchObject({ begun: true, traversal: 4 });
    await until(client, "web", "COMPLETE");
    expect(site.world.things.size).toBe(5);

    await client.call("delete", { name: "web" });
    await untilGone(client, "web");
    expect(site.world.things.size).toBe(0);
  });

  it("finish what a host that was killed had begun", async () => {
    site.world.pause = () => sleep(100);
    const first = await site.host();
    const client = await site.client();
    await client.call("create", { name: "web", template: template(chain) });
    await waitFor(() => site.world.things.size >= 2, "first things");
    first.kill();
    expect(first.status()).toBe("stopped");
    await site.host();
    await until(client, "web", "COMPLETE");
    expect(site.world.things.size).toBe(12);
    const tokens = [...site.world.things.values()].map(({ token }) => token);
    expect(new Set(tokens).size).toBe(12);
  });

  it("elect one sweeper, and another when it dies", async () => {
    const redis = new Redis(site.redis.url);
    const leader = () => redis.get("hs:leader:sweeper");
    const first = await site.host();
    await waitFor(async () => (await leader()) !== null, "a leader");
    const before = await leader();
    await site.host();
    await sleep(2_500);
    expect(await leader()).toBe(before);
    first.kill();
    await waitFor(async () => ![before, null].includes(await leader()), "another leader", 10_000);
    redis.disconnect();
  });

  it("hand the leadership over at once when it is given up in order", async () => {
    const redis = new Redis(site.redis.url);
    const leader = () => redis.get("hs:leader:sweeper");
    const first = await site.host();
    await waitFor(async () => (await leader()) !== null, "a leader");
    await first.drain();
    expect(first.status()).toBe("stopped");
    expect(await leader()).toBeNull();
    redis.disconnect();
  });
});

describe("a host", () => {
  it("lets calls in flight end when it drains, and takes nothing new", async () => {
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    site.world.pause = () => held;
    const host = await site.host();
    const client = await site.client();
    await client.call("create", { name: "web", template: template({ a: thing(), b: thing({}, "a") }) });
    await sleep(1_000);
    const drained = host.drain();
    await sleep(300);
    expect(host.status()).toBe("draining");
    release();
    await drained;
    await host.drain();
    expect(host.status()).toBe("stopped");
    expect(site.world.effects).toEqual(["create a"]);
    await site.host();
    await until(client, "web", "COMPLETE");
    expect(site.world.effects).toEqual(["create a", "create b"]);
  });

  it("goes on while many calls take long, because their messages are acknowledged early", async () => {
    site.world.pause = (_operation, resource) => (resource.startsWith("slow") ? sleep(2_500) : sleep(0));
    await site.host({ workerLimits: { visitsAtOnce: 2 } });
    const client = await site.client();
    const slow = Array.from({ length: 8 }, (_, i) => [`slow${i}`, thing()]);
    await client.call("create", { name: "slow", template: template(Object.fromEntries(slow)) });
    await waitFor(async () => {
      const { resources } = await client.call("show", { name: "slow" });
      return resources.filter(({ state }) => state === "creating").length === 8;
    }, "eight calls at once with room for two visits");
    await client.call("create", { name: "quick", template: template({ a: thing() }) });
    await until(client, "quick", "COMPLETE", 1_500);
    await until(client, "slow", "COMPLETE");
    expect(site.world.effects.filter((effect) => effect.startsWith("create slow"))).toHaveLength(8);
  });

  it("survives that the converge stream is deleted midway", async () => {
    site.world.pause = () => sleep(50);
    await site.host();
    const client = await site.client();
    await client.call("create", { name: "web", template: template(chain) });
    await waitFor(() => site.world.things.size >= 2, "first things");
    const nats = await connect({ servers: site.nats.url });
    const manager = await nats.jetstreamManager();
    expect(await manager.streams.delete("HOMEOSTAT_CONVERGE")).toBe(true);
    await until(client, "web", "COMPLETE");
    expect(site.world.effects).toHaveLength(12);
    expect(site.log.has("made again, the timers ring")).toBe(true);
    const { config } = await manager.consumers.info("HOMEOSTAT_CONVERGE", "default");
    expect(config).toMatchObject({ max_deliver: -1, ack_policy: "explicit" });
    await nats.close();
  });

  it("survives that its consumer is deleted while it waits", async () => {
    await site.host();
    const client = await site.client();
    const nats = await connect({ servers: site.nats.url });
    const manager = await nats.jetstreamManager();
    await manager.consumers.delete("HOMEOSTAT_CONVERGE", "default");
    await client.call("create", { name: "web", template: template(chain) });
    await until(client, "web", "COMPLETE");
    await nats.close();
  });

  it("drops a notification that makes no sense", async () => {
    await site.host();
    const client = await site.client();
    const nats = await connect({ servers: site.nats.url });
    const jetstream = nats.jetstream();
    for (const body of ["", "{", "[]", '{"stack":"x"}', "null"]) {
      await jetstream.publish(`homeostat.converge.default.s.n${body.length}.1`, body);
    }
    await client.call("create", { name: "web", template: template({ a: thing() }) });
    await until(client, "web", "COMPLETE");
    const manager = await nats.jetstreamManager();
    await waitFor(async () => {
      const { state } = await manager.streams.info("HOMEOSTAT_CONVERGE");
      return state.messages === 0;
    }, "an empty stream");
    expect(site.log.has("makes no sense")).toBe(true);
    await nats.close();
  });

  it("survives a restart of nats-server", async () => {
    site.world.pause = () => sleep(100);
    const host = await site.host();
    const client = await site.client();
    await client.call("create", { name: "web", template: template(chain) });
    await waitFor(() => site.world.things.size >= 2, "first things");
    await site.nats.restart();
    await until(client, "web", "COMPLETE");
    expect(site.world.effects).toHaveLength(12);
    expect(host.status()).toBe("running");
    expect(site.log.has("lost the connection to NATS")).toBe(true);
    expect(site.log.has("NATS is back")).toBe(true);
  });

  it("survives a restart of redis-server", async () => {
    site.world.pause = () => sleep(100);
    const host = await site.host();
    const client = await site.client();
    await client.call("create", { name: "web", template: template(chain) });
    await waitFor(() => site.world.things.size >= 2, "first things");
    await site.redis.restart();
    await until(client, "web", "COMPLETE");
    expect(host.status()).toBe("running");
    expect(site.log.has("lost the connection to Redis")).toBe(true);
    expect(site.log.has("Redis is back")).toBe(true);
    expect(site.world.effects).toHaveLength(12);
  });

  it("survives that redis-server is away for longer than a lease", async () => {
    site.world.pause = () => sleep(100);
    await site.host();
    const client = await site.client();
    await client.call("create", { name: "web", template: template(chain) });
    await waitFor(() => site.world.things.size >= 2, "first things");
    await site.redis.kill();
    await sleep(3_000);
    await site.redis.restart();
    await until(client, "web", "COMPLETE");
    expect(new Set([...site.world.things.values()].map(({ token }) => token)).size).toBe(12);
    expect(site.world.things.size).toBe(12);
  });

  it("ends when it is told to, also while no server is there", async () => {
    site.world.pause = () => sleep(200);
    const host = await site.host();
    const client = await site.client();
    await client.call("create", { name: "web", template: template(chain) });
    await waitFor(() => site.world.things.size >= 1, "a first thing");
    await Promise.all([site.redis.kill(), site.nats.kill()]);
    const began = performance.now();
    await host.drain();
    expect(host.status()).toBe("stopped");
    expect(performance.now() - began).toBeLessThan(20_000);
  });

  it("of one deployment does not see what another one does on the same servers", async () => {
    await site.host();
    await site.host({ prefix: "acme.prod" });
    const ours = await site.client();
    const theirs = await site.client({ prefix: "acme.prod" });
    await theirs.call("create", { name: "web", template: template({ a: thing() }) });
    await until(theirs, "web", "COMPLETE");
    expect(await ours.call("list", {})).toMatchObject({ total: 0 });
    await ours.call("create", { name: "web", template: template({ a: thing() }) });
    await until(ours, "web", "COMPLETE");
    expect(site.world.things.size).toBe(2);
  });
});
