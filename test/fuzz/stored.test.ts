/**
 * Theory: some content of a key that this version did not write, or that is damaged, ends a daemon, makes it spin, holds
 * up other stacks, is changed although it is a newer version's, or is reported without its key.
 */
import { createConnection } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import type { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { template, thing, until } from "../worker/world.js";
import { Daemon } from "./servers.js";
import { announce, expectPlain, runsInTurn } from "./support.js";

announce("stored");

let daemon: Daemon;
let release: () => void;
beforeEach(async () => {
  daemon = await Daemon.open({ limits: { windowNodes: 2 } });
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  daemon.site.world.pause = async (_operation, resource) => (resource.startsWith("held") ? held : undefined);
});
afterEach(async () => {
  release();
  await daemon.close();
});

/** One is made, one is being made, the others wait for their turn or for it. */
const underway = template({
  a: thing(),
  held1: thing({}, "a"),
  held2: thing({}, "a"),
  c: thing({}, "held1"),
  d: thing({}, "a"),
  e: thing({}, "a"),
});

/** Suffixes of a stack's keys; the resources by their names. */
const keys = ["s", "p", "o", "ix", "rq", "q", "x", "e", "r:a", "r:held1", "t:", "n:", "w:", "a:"];

type Damage = (redis: Redis, key: string) => Promise<unknown>;

const inFields =
  (change: (value: string, field: string) => string | undefined): Damage =>
  async (redis, key) => {
    const type = await redis.type(key);
    if (type === "string") await redis.set(key, change((await redis.get(key)) ?? "", "") ?? "");
    if (type === "zset") await redis.zadd(key, 1, "a\nb\0[{");
    if (type !== "hash") return;
    for (const [field, value] of Object.entries(await redis.hgetall(key))) {
      const changed = change(value, field);
      if (changed === undefined) await redis.hdel(key, field);
      else await redis.hset(key, field, changed);
    }
  };

const newer: Damage = async (redis, key) => {
  if ((await redis.type(key)) !== "hash") return;
  const { snapshot, schema } = await redis.hgetall(key);
  if (snapshot) await redis.hset(key, "snapshot", '{"v":99,"s":"quantum","c":{}}');
  if (schema !== undefined) await redis.hset(key, "schema", "99");
};

const damages: Record<string, Damage> = {
  missing: (redis, key) => redis.del(key),
  list: (redis, key) => redis.multi().del(key).rpush(key, "x").exec(),
  text: (redis, key) => redis.set(key, "x"),
  cut: inFields((value) => value.slice(0, value.length / 2)),
  other: inFields(() => '[{"x":1}]'),
  null: inFields(() => "null"),
  words: inFields(() => "no number, no JSON"),
  huge: inFields(() => "9".repeat(400)),
  lacking: inFields(() => undefined),
  newer,
};

/** Where a stack of the above has such a key; undefined when it has none. */
async function keyOf(stack: string, suffix: string): Promise<string | undefined> {
  const prefix = `hs:{${stack}}:`;
  if (suffix.startsWith("r:")) {
    const index = await daemon.redis.hgetall(`${prefix}ix`);
    const found = Object.entries(index).find(([, entry]) => JSON.parse(entry).name === suffix.slice(2));
    return found === undefined ? undefined : `${prefix}r:${found[0]}`;
  }
  return suffix.endsWith(":") ? (await daemon.redis.keys(`${prefix}${suffix}*`))[0] : prefix + suffix;
}

async function createUnderway(name: string): Promise<string> {
  const { stack } = await daemon.client.call("create", { name, template: underway });
  return stack;
}

async function untilHeld(count: number): Promise<void> {
  const end = performance.now() + 30_000;
  for (;;) {
    const operations = await daemon.redis.keys("*:o");
    const sizes = await Promise.all(operations.map((key) => daemon.redis.zcard(key)));
    if (sizes.filter((size) => size === 2).length === count) return;
    if (performance.now() > end) throw new Error("the stacks did not come to where they are held");
    await sleep(50);
  }
}

/** Commands per second of the stack with most of them, the scripts' own with them. */
async function busiest(ms: number): Promise<number> {
  const { hostname, port } = new URL(daemon.site.redis.url);
  const monitor = createConnection(Number(port), hostname).setEncoding("utf8");
  const counts = new Map<string, number>();
  createInterface(monitor).on("line", (line) => {
    const stack = /hs:\{([0-9a-f]+)\}/.exec(line)?.[1];
    if (stack !== undefined) counts.set(stack, (counts.get(stack) ?? 0) + 1);
  });
  monitor.write("MONITOR\r\n");
  await sleep(ms);
  monitor.destroy();
  return Math.max(0, ...counts.values()) / (ms / 1000);
}

/** The timers of these tests are some twenty times faster than the default: two calls that are held renew their leases with 420 commands a second. */
const spinning = 1_000;

async function survives(wounds: readonly (readonly [key: string, damage: string])[]): Promise<void> {
  const untouched = await daemon.settledStack("untouched");
  await daemon.rest();
  const before = await daemon.stored();
  const names = wounds.map(([key, damage], i) => `s${i}.${key.replace(":", "-")}.${damage}`);
  const stacks = await Promise.all(names.map(createUnderway));
  await untilHeld(names.length);
  for (const [i, [suffix, damage]] of wounds.entries()) {
    const key = await keyOf(stacks[i] ?? "", suffix);
    if (key !== undefined) await damages[damage]?.(daemon.redis, key);
  }
  expect(await busiest(2_000)).toBeLessThan(spinning);
  release();
  expect(await busiest(2_000)).toBeLessThan(spinning);
  for (const [i, name] of names.entries()) {
    for (const [verb, body] of [
      ["show", {}],
      ["update", { template: template({ a: thing({ size: 7 }) }) }],
    ] as const) {
      const answer = await daemon.ask(`homeostat.api.${verb}`, JSON.stringify({ name, ...body }));
      if ("code" in answer && answer.code === "internal") expect(answer.description).toContain(stacks[i]);
    }
  }
  const listed = await daemon.client.call("list", { limit: 1_000 });
  expect(listed.stacks.find(({ name }) => name === "untouched")).toMatchObject({ status: "COMPLETE" });
  expect(await busiest(2_000)).toBeLessThan(spinning);
  const after = await daemon.stored();
  const own = (all: object) => Object.entries(all).filter(([key]) => key.includes(`{${untouched}}`));
  expect(own(after)).toEqual(own(before));
  for (const line of daemon.site.log.lines) expectPlain(line);
  await daemon.works();
}

describe("what Redis holds of a stack", () => {
  const all = keys.flatMap((key) => Object.keys(damages).map((damage) => [key, damage] as const));

  it("may be damaged: other stacks go on, and it is said which key it is", async () => {
    await survives(all);
  });

  it("may be damaged in any few of its fields", async () => {
    const text = fc.oneof(
      fc.constantFrom("", "-1", "0", "1", "NaN", "1e999", "\n", "{}", "[]", '{"v":1,"s":"ready","c":{}}'),
      fc.string(),
    );
    const wound = fc.record({
      key: fc.constantFrom(...keys),
      fields: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
      text,
    });
    const { seed, numRuns } = runsInTurn(40);
    const drawn = fc.sample(wound, { seed, numRuns });
    for (const [i, { fields, text }] of drawn.entries()) {
      damages[`drawn${i}`] = async (redis, key) => {
        if ((await redis.type(key)) !== "hash") return;
        const names = (await redis.hkeys(key)).sort();
        for (const field of fields) await redis.hset(key, names[field % names.length] ?? "x", text);
      };
    }
    await survives(drawn.map(({ key }, i) => [key, `drawn${i}`] as const));
  });
});

describe("a newer version's", () => {
  it("resource is left to a newer worker: not changed, not held, seldom looked at", async () => {
    const stack = await daemon.settledStack("web");
    const key = (await keyOf(stack, "r:a")) ?? "";
    const snapshot = (await daemon.redis.hget(key, "snapshot")) ?? "";
    await newer(daemon.redis, key);
    const before = await daemon.redis.hgetall(key);
    await daemon.client.call("update", { name: "web", template: template({ a: thing({ size: 5 }) }) });
    expect(await busiest(3_000)).toBeLessThan(spinning / 4);
    const { fence, revision, at, until: end, commit, mark, ...kept } = await daemon.redis.hgetall(key);
    expect(before).toMatchObject(kept);
    expect(kept.holder).toBe("");
    expect(Number(fence)).toBeLessThan(Number(before.fence) + 10);
    expect(daemon.site.log.has("resource was stored by version 99")).toBe(true);
    await daemon.redis.hset(key, "snapshot", snapshot);
    await until(daemon.client, "web", "COMPLETE", 5_000);
  });

  it("stack is left to a newer worker: nothing in it is claimed", async () => {
    const stack = await createUnderway("web");
    await untilHeld(1);
    await daemon.redis.hset(`hs:{${stack}}:s`, "schema", "99");
    daemon.site.world.effects.length = 0;
    release();
    expect(await busiest(3_000)).toBeLessThan(spinning / 4);
    expect(daemon.site.world.effects.sort()).toEqual(["create held1", "create held2"]);
    expect(daemon.site.log.has("was stored with schema 99; this version knows 1")).toBe(true);
    expect((await daemon.client.call("list", {})).stacks).toMatchObject([
      { name: "web", reason: expect.stringMatching(/schema 99/) },
    ]);
    await daemon.redis.hset(`hs:{${stack}}:s`, "schema", "1");
    await until(daemon.client, "web", "COMPLETE");
  });
});

describe("what was found", () => {
  it("a stack whose record lacks its traversal is not swept for ever", async () => {
    const stack = await createUnderway("web");
    await untilHeld(1);
    await daemon.redis.hset(`hs:{${stack}}:s`, "traversal", "");
    expect(await busiest(2_000)).toBeLessThan(spinning / 4);
    await daemon.works();
  });

  it.each([
    ["snapshot", '{"v":'],
    ["cleanupsLeft", "{}"],
    ["updatesLeft", "1e999"],
    ["createdAt", "x"],
  ])("one record whose %s cannot be used does not keep the others from being listed", async (field, text) => {
    const stack = await daemon.settledStack("web");
    await daemon.settledStack("other");
    await daemon.redis.hset(`hs:{${stack}}:s`, field, text);
    const { stacks } = await daemon.client.call("list", {});
    expect(stacks.map(({ name, status }) => [name, status])).toEqual([
      ["other", "COMPLETE"],
      ["web", "FAILED"],
    ]);
    expect(stacks[1]?.reason).toBe(`what Redis holds under hs:{${stack}}:s cannot be used`);
  });
});
