/**
 * Theory: the slow sweep removes what is not an orphan, or is not ours to remove; it misses what leaked; or it removes
 * all there is when it is the records that are gone.
 */
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { defaultLimits } from "../../src/limits.js";
import { healHints } from "../../src/observer/hints.js";
import { actOnOrphans, certainAfterMs, findOrphans, uncertainMs } from "../../src/observer/orphans.js";
import { builtinTypes } from "../../src/providers/builtin.js";
import type { CallContext, Marked, ResourceType, Thing } from "../../src/providers/provider.js";
import { randomId } from "../../src/random-id.js";
import { stackPool } from "../../src/store/hints.js";
import { Sealing } from "../../src/store/sealing.js";
import { type Orphan, Store } from "../../src/store/store.js";
import type { Engine } from "../../src/traversal/engine.js";
import type { LifecycleEvent } from "../../src/traversal/lifecycle-event.js";
import { realClock } from "../../src/worker/clock.js";
import { callOf, tempFolder } from "../providers/harness.js";
import { startRedis, type TestRedis } from "../support/servers.js";

let server: TestRedis;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis({ appendfsync: "everysec" });
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

/** Simulated Redis clock. */
let nowMs = 1_700_000_000_000;
let folder: string;
let engine: Engine;
let events: LifecycleEvent[];
let made: { type: ResourceType; call: CallContext; thing: Thing }[];

beforeEach(async () => {
  await redis.flushall();
  folder = tempFolder();
  mkdirSync(join(folder, "world"));
  events = [];
  made = [];
  engine = await engineOf();
});
afterEach(async () => {
  for (const { type, call, thing } of made) await type.delete(call, thing.physicalId, {}).catch(() => {});
});

async function engineOf(): Promise<Engine> {
  const options = { stateDir: join(folder, "state"), baseDir: folder, simWorld: join(folder, "world") };
  const store = new Store(redis, defaultLimits, { now: () => nowMs });
  const silent = () => undefined;
  return {
    store,
    bus: {
      ring: async () => {},
      announce: async (given) => {
        events.push(...given.map(({ text }) => JSON.parse(text) as LifecycleEvent));
      },
    },
    clock: realClock,
    random: { id: randomId, fraction: Math.random },
    types: builtinTypes(options),
    sealing: new Sealing(undefined),
    limits: defaultLimits,
    deployment: await store.nameDeployment(randomId()),
    trace: { reach: silent },
    log: { debug: silent, info: silent, warn: silent },
  };
}

const kinds: readonly (readonly [type: string, properties: () => object])[] = [
  ["Local::File", () => ({ path: "file", content: "x", mode: "0644" })],
  ["Local::Directory", () => ({ path: "directory", mode: "0755", parents: false })],
  [
    "Local::Process",
    () => ({ command: "exec sleep 1000", env: {}, stopSignal: "SIGTERM", stopTimeout: "1s" }),
  ],
  ["Sim::Resource", () => ({ a: 1 })],
];

function typeOf(name: string): ResourceType {
  const type = engine.types.get(name);
  if (type === undefined) throw new Error(name);
  return type;
}

/** As a worker makes it that is killed before it can say so. */
async function leak(name: string, given: Partial<CallContext> = {}, properties?: object): Promise<Thing> {
  const type = typeOf(name);
  const call = callOf({ stack: "gone", token: randomId(), deployment: engine.deployment ?? "", ...given });
  const [, usual] = kinds.find(([kind]) => kind === name) ?? [];
  const thing = await type.create(call, (properties ?? usual?.()) as never);
  made.push({ type, call, thing });
  return thing;
}

async function isThere(name: string, physicalId: string): Promise<boolean> {
  const found = made.findLast(({ type, thing }) => type.type === name && thing.physicalId === physicalId);
  return (await typeOf(name).read(found?.call ?? callOf(), physicalId, {})) !== undefined;
}

function sims(): number {
  return readdirSync(join(folder, "world")).length;
}

async function found(): Promise<Orphan[]> {
  return [...(await engine.store.orphans()).values()];
}

/** A sweep, and so much later another one. */
async function sweepTwice(policy: "report" | "remove", afterMs = 3_600_000): Promise<number | undefined> {
  await findOrphans(engine, "default");
  await actOnOrphans(engine, "default", policy, "all");
  nowMs += afterMs;
  await findOrphans(engine, "default");
  return actOnOrphans(engine, "default", policy, "all");
}

/** A record of a stack that is not under way. */
async function record(stack: string, id: string, fields: Record<string, string> = {}): Promise<void> {
  const { keys } = engine.store;
  await redis.hset(keys.stack(stack), { traversal: "1", name: stack, schema: "1", status: "COMPLETE" });
  const type = fields.type ?? "Sim::Resource";
  const whole = { name: "thing", type, pool: "default", snapshot: "", physical: "", holder: "", ...fields };
  await redis.hset(keys.resource(stack, id), whole);
  const entry = { name: "thing", type, state: "ready", sequence: 1, physical: whole.physical !== "" };
  await redis.hset(keys.index(stack), id, JSON.stringify(entry));
}

describe.each(kinds)("a leaked %s", (name) => {
  it("is listed with its marks, told of once, and stays as long as nobody wants it removed", async () => {
    const { physicalId } = await leak(name, { token: "t1" });
    const listed: Marked[] = [];
    const context = { signal: new AbortController().signal, log: engine.log };
    for await (const marked of typeOf(name).list?.(context) ?? []) listed.push(marked);
    expect(listed).toEqual([
      expect.objectContaining({
        physicalId,
        stack: "gone",
        resource: "thing",
        token: "t1",
        deployment: engine.deployment,
      }),
    ]);
    await sweepTwice("report");
    await sweepTwice("report");
    expect(await found()).toMatchObject([{ type: name, physicalId, why: "stack gone", told: true }]);
    expect(events.map(({ what, stack, resourceId }) => [what, stack, resourceId])).toEqual([
      ["orphan", "gone", "t1"],
    ]);
    expect(await isThere(name, physicalId)).toBe(true);
    const { call } = made[0] as { call: CallContext };
    await typeOf(name).delete(call, physicalId, {});
    await findOrphans(engine, "default");
    expect(await found()).toEqual([]);
  });

  it("is seen again as soon as that makes it certain", async () => {
    await leak(name);
    expect(await uncertainMs(engine, "default")).toBeUndefined();
    await findOrphans(engine, "default");
    const ms = certainAfterMs(engine, typeOf(name));
    expect(await uncertainMs(engine, "default")).toBe(ms);
    nowMs += ms - 1_000;
    await findOrphans(engine, "default");
    expect(await uncertainMs(engine, "default")).toBe(1_000);
    nowMs += 1_000;
    await findOrphans(engine, "default");
    expect(await uncertainMs(engine, "default")).toBeUndefined();
  });

  it("is removed where that is the policy, but not before it was seen for longer than any call lasts", async () => {
    const { physicalId } = await leak(name);
    await sweepTwice("remove", certainAfterMs(engine, typeOf(name)) - 1);
    expect(await isThere(name, physicalId)).toBe(true);
    expect(events).toEqual([]);
    await sweepTwice("remove", 1);
    expect(await isThere(name, physicalId)).toBe(false);
    expect(events.map(({ what }) => what)).toEqual(["orphan", "orphan-removed"]);
    expect(JSON.stringify(events)).not.toContain(physicalId);
    expect(await found()).toEqual([]);
  });

  it("of another deployment is none of ours, and one that does not say whose it is, is for a person", async () => {
    const other = await leak(name, { deployment: "other" });
    await sweepTwice("remove");
    expect(await found()).toEqual([]);
    expect(await isThere(name, other.physicalId)).toBe(true);
    await typeOf(name).delete((made[0] as { call: CallContext }).call, other.physicalId, {});
    const call = callOf({ stack: "gone", token: "old" });
    const old = await typeOf(name).create(
      call,
      (kinds.find(([kind]) => kind === name)?.[1]() ?? {}) as never,
    );
    made.push({ type: typeOf(name), call, thing: old });
    await sweepTwice("remove");
    expect(await found()).toMatchObject([{ deployment: "" }]);
    expect(await isThere(name, old.physicalId)).toBe(true);
    const [id = ""] = (await engine.store.orphans()).keys();
    await engine.store.changeOrphans(new Map([[id, { decided: true }]]));
    await actOnOrphans(engine, "default", "report", "decided");
    expect(await isThere(name, old.physicalId)).toBe(false);
  });
});

describe("what is no orphan", () => {
  it.each([
    ["known", { physical: "ID" }],
    ["about to be made", { intent: "create" }],
    ["handed over", { handed: "{}" }],
    ["held by a visit", { holder: "somebody" }],
  ])("%s", async (_what, fields) => {
    const { physicalId } = await leak("Sim::Resource", { stack: "s", token: "r1" });
    await record("s", "r1", { ...fields, ...("physical" in fields ? { physical: physicalId } : {}) });
    await sweepTwice("remove");
    expect(await found()).toEqual([]);
    expect(sims()).toBe(1);
  });

  it("a thing that has a record of its own because it is one too many, or that is known under its physical id", async () => {
    const stray = await leak("Sim::Resource", { stack: "s", token: "r1" });
    await record("s", "other", { token: "r1", physical: stray.physicalId });
    const known = await leak("Sim::Resource", { stack: "gone", token: "r2" });
    await record("s2", "r3", { physical: known.physicalId });
    const resource = { id: "r3", type: "Sim::Resource", physicalId: known.physicalId };
    await engine.store.watch("default", { stack: "s2", resource }, 0);
    await sweepTwice("remove");
    expect(sims()).toBe(2);
  });

  it("what was seen as one before, and is known by the time that it would be removed", async () => {
    const { physicalId } = await leak("Sim::Resource", { stack: "s", token: "r1" });
    await findOrphans(engine, "default");
    nowMs += 3_600_000;
    await findOrphans(engine, "default");
    await record("s", "r1", { physical: physicalId });
    await actOnOrphans(engine, "default", "remove", "all");
    expect(await found()).toEqual([]);
    expect(sims()).toBe(1);
  });

  it("what was left on purpose: it is shown, and goes only when a person wants it", async () => {
    await leak("Sim::Resource", { token: "kept" });
    await engine.store.noteRetained({ kept: "Sim::Resource" });
    await sweepTwice("remove");
    expect(await found()).toMatchObject([{ why: "retained" }]);
    expect([sims(), events]).toEqual([1, []]);
    const [id = ""] = (await engine.store.orphans()).keys();
    await engine.store.changeOrphans(new Map([[id, { decided: true }]]));
    await actOnOrphans(engine, "default", "report", "decided");
    expect([sims(), await engine.store.retained()]).toEqual([0, {}]);
  });

  it("anything, when the database is not the one that the process began with", async () => {
    await leak("Sim::Resource");
    await redis.flushall();
    await engine.store.nameDeployment("new");
    await sweepTwice("remove");
    expect([sims(), await found()]).toEqual([1, []]);
  });

  it("what a stack of a newer version has", async () => {
    await leak("Sim::Resource", { stack: "s", token: "r1" });
    await redis.hset(engine.store.keys.stack("s"), { traversal: "1", schema: "99" });
    await sweepTwice("remove");
    expect([sims(), await found()]).toEqual([1, []]);
  });
});

describe("a stack that is there", () => {
  const gone = async (policy: object, more: Record<string, string> = {}) => {
    await leak("Sim::Resource", { stack: "s", token: "r1" });
    await record("s", "r2");
    await redis.hset(engine.store.keys.stack("s"), { policy: JSON.stringify(policy), ...more });
  };

  it("says itself what is done, also by type", async () => {
    await gone({ orphans: "report" });
    await sweepTwice("remove");
    expect([sims(), await found()]).toMatchObject([1, [{ why: "resource gone" }]]);
    await gone({ types: { "Sim::Resource": { orphans: "remove" } } });
    await sweepTwice("report");
    expect(sims()).toBe(0);
  });

  it("is left alone while it is paused, or while a traversal is under way", async () => {
    await gone({ orphans: "remove" }, { paused: "for now" });
    await sweepTwice("report");
    expect(sims()).toBe(1);
    await gone({ orphans: "remove" }, { paused: "", unsettled: "1" });
    expect(await sweepTwice("report")).toBe(defaultLimits.sweepMs);
    expect(sims()).toBe(2);
  });

  it("loses the second thing of a resource, and not the one that its record has", async () => {
    const first = await leak("Sim::Resource", { stack: "s", token: "r1" });
    await leak("Sim::Resource", { stack: "s", token: "r1" });
    await record("s", "r1", { physical: first.physicalId });
    await sweepTwice("remove");
    expect(await isThere("Sim::Resource", first.physicalId)).toBe(true);
    expect(sims()).toBe(1);
  });

  it("keeps a process whose record has an earlier start of it", async () => {
    const { physicalId } = await leak("Local::Process", { stack: "s", token: "r1" });
    const properties = JSON.stringify({ command: "exec sleep 1000" });
    await record("s", "r1", { type: "Local::Process", physical: "999999-1", properties });
    await sweepTwice("remove");
    expect(await isThere("Local::Process", physicalId)).toBe(true);
    expect(await found()).toEqual([]);
  });

  it("is handed what its record has lost", async () => {
    const { physicalId } = await leak("Sim::Resource", { stack: "s", token: "r1" });
    await record("s", "r1");
    await sweepTwice("report");
    const [handed] = await engine.store.resources("s", ["r1"], ["handed"]);
    expect(JSON.parse(handed?.handed ?? "")).toMatchObject({ physicalId });
    expect(await redis.zscore(engine.store.keys.operations("s"), "r1")).not.toBeNull();
    expect(sims()).toBe(1);
  });
});

describe("many at once", () => {
  it("are told of, and not removed until nothing of it is left", async () => {
    for (let i = 0; i < 6; i++) await leak("Sim::Resource", { token: `t${i}` });
    for (let i = 0; i < 6; i++) {
      const { physicalId } = await leak("Sim::Resource", { stack: "s", token: `r${i}` });
      await record("s", `r${i}`, { physical: physicalId });
    }
    await sweepTwice("remove");
    expect(sims()).toBe(12);
    expect(events.filter(({ what }) => what === "incident")).toMatchObject([
      { stack: "", resource: "Sim::Resource" },
    ]);
    const [first = "", second = ""] = (await engine.store.orphans()).keys();
    const decided = { decided: true };
    await engine.store.changeOrphans(new Map([first, second].map((id) => [id, decided])));
    await sweepTwice("remove");
    expect(sims()).toBe(10);
    expect(events.filter(({ what }) => what === "incident").length).toBe(1);
  });

  it("are found beside what its provider lists without saying what it is", async () => {
    const { physicalId } = await leak("Sim::Resource");
    const type = typeOf("Sim::Resource");
    const list = type.list?.bind(type);
    type.list = async function* (context) {
      yield { physicalId: "x" } as Marked;
      yield undefined as unknown as Marked;
      yield* list?.(context) ?? [];
    };
    await findOrphans(engine, "default");
    expect(await found()).toMatchObject([{ physicalId }]);
  });

  it("are removed at the pace of the budget, each by one of two observers", async () => {
    for (let i = 0; i < 60; i++) {
      const { physicalId } = await leak("Sim::Resource", { stack: "s", token: `r${i}` });
      if (i >= 22) await record("s", `r${i}`, { physical: physicalId });
    }
    // More than a third would be held.
    for (let i = 0; i < 10; i++) {
      const { physicalId } = await leak("Sim::Resource", { stack: "s", token: `m${i}` });
      await record("s", `m${i}`, { physical: physicalId });
    }
    await findOrphans(engine, "default");
    nowMs += 3_600_000;
    const both = [engine, await engineOf()];
    const deletes: string[] = [];
    for (const each of both) {
      const type = each.types.get("Sim::Resource") as ResourceType;
      const { delete: remove } = type;
      type.delete = (call, physicalId, properties) => {
        deletes.push(physicalId);
        return remove(call, physicalId, properties);
      };
    }
    await Promise.all(both.map((each) => findOrphans(each, "default")));
    const act = () => Promise.all(both.map((each) => actOnOrphans(each, "default", "remove", "all")));
    const later = (await act()).find((ms) => ms !== undefined);
    expect(sims()).toBe(50);
    expect(later).toBe(3_000);
    nowMs += 3_000;
    await act();
    expect(sims()).toBe(49);
    nowMs += 60_000;
    await act();
    expect([sims(), deletes.length, new Set(deletes).size]).toEqual([48, 22, 22]);
    expect(events.filter(({ what }) => what === "orphan-removed").length).toBe(22);
  });
});

it("what cannot be removed says why, and is tried again", async () => {
  const { physicalId } = await leak("Local::Directory");
  mkdirSync(join(physicalId, "inner"));
  await sweepTwice("remove");
  expect(await found()).toMatchObject([{ failure: expect.stringContaining("not empty") }]);
  expect(existsSync(physicalId)).toBe(true);
});

describe("hints", () => {
  it("that are lost are made again, and those that are there stay as they are", async () => {
    const { store } = engine;
    const watched = (id: string) => ({
      stack: "s",
      resource: { id, type: "Sim::Resource", physicalId: `p-${id}` },
    });
    for (const id of ["r1", "r2"]) await record("s", id, { physical: `p-${id}` });
    await redis.hset(store.keys.stack("s"), { status: "FAILED" });
    for (let shard = 0; shard < store.hintShards; shard++)
      await redis.hset(store.keys.names(shard), { [`n${shard}`]: "s" });
    await store.watch("default", watched("r1"), 7_000_000);
    await healHints(engine, "default");
    expect(await store.resourcesOf("default", "Sim::Resource", "p-r2")).toEqual([
      { stack: "s", resource: "r2" },
    ]);
    const scores = async (pool: string) => {
      const all = Array.from({ length: store.hintShards }, (_, shard) =>
        redis.zrange(store.keys.watch(pool, shard), "0", "-1", "WITHSCORES"),
      );
      return Object.fromEntries(
        (await Promise.all(all)).flatMap((flat) =>
          flat.flatMap((entry, i) => (i % 2 ? [] : [[entry, Number(flat[i + 1]) - nowMs]])),
        ),
      );
    };
    const entries = await scores("default");
    expect(entries["s\nr1\nSim::Resource\np-r1"]).toBe(7_000_000);
    expect(entries["s\nr2\nSim::Resource\np-r2"]).toBeLessThanOrEqual(60_000);
    expect(await scores(stackPool)).toEqual({ s: defaultLimits.lookAgainMs });
  });
});
