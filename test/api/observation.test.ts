/**
 * Theory: what a person says of observation is done once, at once and to what it names only; what another goal had left to
 * do is forgotten, or a pause is not kept to.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { connect } from "nats";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Client } from "../../src/api/client.js";
import type { Reply } from "../../src/api/schemas.js";
import { ProviderError, type ResourceType, ResourceTypes } from "../../src/providers/provider.js";
import type { LifecycleEvent } from "../../src/traversal/lifecycle-event.js";
import { RecordingLog, Site, thing, until } from "../worker/world.js";

let site: Site;
let client: Client;
beforeEach(async () => {
  site = await Site.open();
  await site.host({ limits: { firstLookMs: 100, lookAgainMs: 100, retryMs: 500 } });
  client = await site.client();
});
afterEach(() => site.close());

/** Looked at when somebody asks: the schedule is far away. */
const calm = { poll: "1h", grace: 0, fight: { repairs: 100 } };

function withPolicy(resources: Record<string, object>, policy: object = calm) {
  const parameters = { homeostat_policy: { type: "json", default: policy } };
  return { text: JSON.stringify({ parameters, resources }) };
}

async function created(resources: Record<string, object>, policy: object = calm): Promise<Reply<"show">> {
  await client.call("create", { name: "web", template: withPolicy(resources, policy) });
  return until(client, "web", "COMPLETE");
}

const show = () => client.call("show", { name: "web" });

/** Physical ids by name, of what stands for it. */
async function things(): Promise<Record<string, string | null>> {
  const { resources } = await show();
  const current = resources.filter((each) => each.current);
  return Object.fromEntries(current.map(({ name, physicalId }) => [name, physicalId]));
}

async function observed(resource?: string): Promise<Reply<"observe">> {
  const request = { name: "web", ...(resource === undefined ? {} : { resource }) };
  const { askedAt: asked } = await client.call("observe", request);
  return eventually("all was looked at", async () => {
    const reply = await client.call("observe", { ...request, asked });
    return reply.waiting === 0 ? reply : undefined;
  });
}

async function findings(resource?: string): Promise<Record<string, string>> {
  const { seen } = await observed(resource);
  return Object.fromEntries(seen.map(({ name, finding }) => [name, finding]));
}

async function eventually<T>(what: string, ask: () => Promise<T | undefined>, limitMs = 20_000): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > end) throw new Error(`it never came: ${what}; ${JSON.stringify(await show())}`);
    await sleep(30);
  }
}

function thingAt(physicalId: string | null | undefined) {
  const found = site.world.things.get(physicalId ?? "");
  if (found === undefined) throw new Error(`there is no ${physicalId}`);
  return found;
}

async function events(): Promise<LifecycleEvent[]> {
  const found: LifecycleEvent[] = [];
  const stream = client.events({ since: "all" });
  const reading = (async () => {
    for await (const event of stream) found.push(event);
  })();
  await stream.ready;
  await sleep(300);
  await stream.close();
  await reading;
  return found;
}

/** What was told of the stack itself. */
async function told(): Promise<string[]> {
  return (await events()).filter(({ resource }) => resource === undefined).map(({ what }) => what);
}

describe("observe", () => {
  it("says of each thing what is seen of it now, and mends what is to be mended", async () => {
    await created({ a: thing({ size: 1 }), b: thing(), c: thing({}, "a") });
    expect(await findings()).toEqual({ a: "inLine", b: "inLine", c: "inLine" });
    const ids = await things();
    thingAt(ids.a).size = 9;
    site.world.things.delete(ids.b ?? "");
    expect(await findings("c")).toEqual({ c: "inLine" });
    expect(thingAt(ids.a).size).toBe(9);
    expect(await findings()).toEqual({ a: "repaired", b: "repaired", c: "inLine" });
    expect(thingAt(ids.a).size).toBe(1);
    expect((await things()).b).not.toBe(ids.b);
    expect(await findings()).toEqual({ a: "inLine", b: "inLine", c: "inLine" });
  });

  it("looks as soon as a traversal is over that was under way", async () => {
    await created({ a: thing({ size: 1 }), b: thing({ size: 1 }) });
    let goOn = () => {};
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    site.world.pause = () => held;
    await client.call("update", {
      name: "web",
      template: withPolicy({ a: thing({ size: 1 }), b: thing({ size: 2 }) }),
    });
    thingAt((await things()).a).size = 9;
    const { askedAt: asked } = await client.call("observe", { name: "web", resource: "a" });
    await sleep(1_500);
    expect(await client.call("observe", { name: "web", resource: "a", asked })).toMatchObject({ waiting: 1 });
    goOn();
    const seen = await eventually("it was mended", async () => {
      const reply = await client.call("observe", { name: "web", resource: "a", asked });
      return reply.waiting === 0 ? reply.seen : undefined;
    });
    expect(seen).toMatchObject([{ finding: "repaired" }]);
  });

  it("names what differs and why nothing could be seen, where nothing is to be mended", async () => {
    await created({ a: thing({ size: 1 }), b: thing() }, { ...calm, policy: "report" });
    const ids = await things();
    Object.assign(thingAt(ids.a), { size: 9, text: "edited" });
    site.world.things.delete(ids.b ?? "");
    const { seen, ...rest } = await observed();
    expect(rest).toMatchObject({ name: "web", resources: 2, waiting: 0 });
    const byName = [...seen].sort((a, b) => (a.name < b.name ? -1 : 1));
    expect(byName).toEqual([
      expect.objectContaining({
        name: "a",
        finding: "drifted",
        paths: ["size", "text"],
        reason: "differs: size, text",
      }),
      expect.objectContaining({ name: "b", finding: "missing", reason: "it is not there" }),
    ]);
    expect(JSON.stringify(seen)).not.toContain("edited");
    expect(site.world.effects).toEqual(["create a", "create b"]);
  });

  it("refuses what there is not, and says what there is", async () => {
    await created({ page: thing() });
    await expect(client.call("observe", { name: "wbe" })).rejects.toMatchObject({ code: "not_found" });
    await expect(client.call("observe", { name: "web", resource: "pgae" })).rejects.toMatchObject({
      code: "not_found",
      message: 'stack web has no resource pgae (there are: page); did you mean "page"?',
    });
  });
});

describe("replace", () => {
  const chain = {
    db: thing({ size: 1 }),
    app: thing({ text: { get_resource: "db" } }),
    front: thing({ text: { get_resource: "app" } }),
    other: thing({ size: 3 }),
  };

  async function replaced(resource: string, status = "COMPLETE"): Promise<Reply<"show">> {
    await client.call("replace", { name: "web", resource });
    return until(client, "web", status);
  }

  it("makes another thing; what depends on it follows, all else stays", async () => {
    await created(chain);
    const before = await things();
    site.world.effects.length = 0;
    const shown = await replaced("db");
    expect(shown.stack).toMatchObject({ action: "replace", traversal: 2 });
    const after = await things();
    expect(after.db).not.toBe(before.db);
    expect(after).toEqual({ ...before, db: after.db });
    expect(site.world.effects).toEqual(["create db", "update app", "delete db"]);
    expect(thingAt(after.app).text).toBe(after.db);
    expect(shown.resources).toHaveLength(4);
    expect(await findings()).toEqual({ db: "inLine", app: "inLine", front: "inLine", other: "inLine" });
  });

  it("is done once per request, also when it is asked again much later", async () => {
    await created({ a: thing() });
    const request = { name: "web", resource: "a", request: "r1" };
    const answers = await Promise.all(Array.from({ length: 4 }, () => client.call("replace", request)));
    expect(answers.map(({ traversal }) => traversal)).toEqual([2, 2, 2, 2]);
    expect(answers.filter(({ begun }) => begun)).toHaveLength(1);
    await until(client, "web", "COMPLETE");
    await replaced("a");
    expect(await client.call("replace", request)).toMatchObject({ traversal: 2, begun: false });
    expect(site.world.effects).toEqual(["create a", "create a", "delete a", "create a", "delete a"]);
  });

  it("leaves alone what else differs, and what differs in the thing itself is gone", async () => {
    await created(
      { a: thing({ size: 1 }), b: thing({ size: 1 }), c: thing() },
      { ...calm, policy: "report" },
    );
    const ids = await things();
    thingAt(ids.a).size = 9;
    thingAt(ids.b).size = 9;
    expect(await findings()).toEqual({ a: "drifted", b: "drifted", c: "inLine" });
    await replaced("a");
    expect(await findings()).toEqual({ a: "inLine", b: "drifted", c: "inLine" });
    expect(thingAt(ids.b).size).toBe(9);
    site.world.things.delete(ids.c ?? "");
    expect(await findings("c")).toEqual({ c: "missing" });
    await replaced("c");
    expect(await findings("c")).toEqual({ c: "inLine" });
  });

  it("keeps what a goal under way has left to do, and how it was to be done", async () => {
    await created(
      { a: thing({ size: 1 }), b: thing({ size: 1 }), c: thing({ size: 1 }) },
      { ...calm, policy: "report" },
    );
    const ids = await things();
    thingAt(ids.c).size = 9;
    expect(await findings("c")).toEqual({ c: "drifted" });
    site.world.effects.length = 0;
    let go: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    site.world.pause = async (operation) => (operation === "update" ? held : undefined);
    const template = withPolicy(
      { a: thing({ size: 2 }), b: thing({ size: 2 }, "a"), c: thing({ size: 1 }, "b") },
      { ...calm, policy: "report" },
    );
    await client.call("update", { name: "web", template, options: { rollback_on_failure: true } });
    await eventually("a is updating", async () =>
      (await show()).resources.some(({ state }) => state === "updating") ? true : undefined,
    );
    await client.call("replace", { name: "web", resource: "b" });
    await client.call("replace", { name: "web", resource: "a" });
    go();
    const shown = await until(client, "web", "COMPLETE");
    expect(shown.stack).toMatchObject({ action: "replace", traversal: 4 });
    const after = await things();
    expect(after.a).not.toBe(ids.a);
    expect(after.b).not.toBe(ids.b);
    expect([thingAt(after.a).size, thingAt(after.b).size, thingAt(after.c).size]).toEqual([2, 2, 1]);
    expect(after.c).toBe(ids.c);
  });

  it("that fails keeps the old thing, is gone on with, and can be asked for again", async () => {
    await created({ a: thing(), b: thing({ text: { get_resource: "a" } }) }, { ...calm, retry: false });
    const before = await things();
    site.world.pause = async (operation) => {
      if (operation === "create") throw new ProviderError("out of stock", { effect: "none" });
    };
    const failed = await replaced("a", "FAILED");
    expect(failed.stack.reason).toMatch(/out of stock/);
    expect(site.world.things.has(before.a ?? "")).toBe(true);
    site.world.pause = async () => {};
    await replaced("a");
    const after = await things();
    expect(after.a).not.toBe(before.a);
    expect(after.b).toBe(before.b);
    expect(thingAt(after.b).text).toBe(after.a);
    expect(site.world.things.size).toBe(2);
  });

  it("that fails is tried again by itself, and does not end with the old thing", async () => {
    await created({ a: thing() });
    const before = await things();
    site.world.pause = async (operation) => {
      if (operation === "create") throw new ProviderError("out of stock", { effect: "none" });
    };
    await replaced("a", "FAILED");
    site.world.pause = async () => {};
    await until(client, "web", "COMPLETE");
    expect((await things()).a).not.toBe(before.a);
    expect(site.world.things.size).toBe(1);
  });

  it("replaces what has failed", async () => {
    await created({ a: thing({ size: 1 }) }, { ...calm, retry: false });
    const before = await things();
    site.world.pause = async (operation) => {
      if (operation === "update") throw new ProviderError("stuck", { effect: "none" });
    };
    const template = withPolicy({ a: thing({ size: 2 }) }, { ...calm, retry: false });
    await client.call("update", { name: "web", template });
    expect((await until(client, "web", "FAILED")).resources).toMatchObject([{ state: "failed" }]);
    expect(await findings()).toEqual({ a: "failed" });
    await replaced("a");
    const after = await things();
    expect(after.a).not.toBe(before.a);
    expect(thingAt(after.a).size).toBe(2);
  });

  it("refuses what it cannot do, and says why", async () => {
    site.world.pause = async (_operation, resource) => {
      if (resource === "b") throw new ProviderError("no", { effect: "none" });
    };
    const template = withPolicy({ a: thing(), b: thing({}, "a") }, { ...calm, retry: false });
    await client.call("create", { name: "web", template });
    await until(client, "web", "FAILED");
    const replace = (resource: string, more: object = {}) =>
      client.call("replace", { name: "web", resource, ...more });
    await expect(replace("c")).rejects.toMatchObject({
      code: "not_found",
      message: "stack web has no resource c (there are: a, b)",
    });
    await expect(replace("b")).rejects.toMatchObject({
      code: "invalid",
      message: expect.stringMatching(/no thing of b .*yet/),
    });
    await expect(replace("a", { expected: 7 })).rejects.toMatchObject({ code: "conflict" });
    await client.call("delete", { name: "web" });
    await expect(replace("a")).rejects.toMatchObject({ code: expect.stringMatching(/conflict|not_found/) });
  });
});

describe("pause and resume", () => {
  it("nothing is mended or tried again meanwhile, looks go on, goals of people work; then it is made up for", async () => {
    await created({ a: thing({ size: 1 }), b: thing() });
    const ids = await things();
    expect(await client.call("pause", { name: "web", reason: "moving house" })).toMatchObject({
      name: "web",
      paused: "moving house",
    });
    await client.call("pause", { name: "web", reason: "moving house" });
    thingAt(ids.a).size = 9;
    site.world.things.delete(ids.b ?? "");
    expect(await findings()).toEqual({ a: "drifted", b: "missing" });
    expect(site.world.effects).toEqual(["create a", "create b"]);
    const template = withPolicy({ a: thing({ size: 1 }), b: thing(), c: thing() });
    await client.call("update", { name: "web", template });
    await until(client, "web", "COMPLETE");
    expect(thingAt(ids.a).size).toBe(1);
    thingAt(ids.a).size = 9;
    expect(await findings("a")).toEqual({ a: "drifted" });
    await client.call("resume", { name: "web" });
    await client.call("resume", { name: "web" });
    await eventually("it is mended", async () => (thingAt(ids.a).size === 1 ? true : undefined));
    const said = await events();
    expect(said.filter(({ what }) => what === "paused" || what === "resumed")).toMatchObject([
      { what: "paused", reason: "moving house", stackName: "web" },
      { what: "resumed" },
    ]);
  });

  it("what FAILED waits for the end of the pause", async () => {
    site.world.pause = async () => {
      throw new ProviderError("no", { effect: "none" });
    };
    await client.call("create", { name: "web", template: withPolicy({ a: thing() }) });
    await until(client, "web", "FAILED");
    await client.call("pause", { name: "web" });
    site.world.pause = async () => {};
    await sleep(2_000);
    expect((await show()).stack).toMatchObject({ status: "FAILED" });
    await client.call("resume", { name: "web" });
    await until(client, "web", "COMPLETE");
  });
});

describe("incidents", () => {
  const cautious = { ...calm, incident: { missing: 3, within: "1h" } };
  const five = Object.fromEntries(["a", "b", "c", "d", "e"].map((name) => [name, thing()]));

  async function loseAll(): Promise<Reply<"incidents">["incidents"][number]> {
    await created(five, cautious);
    site.world.things.clear();
    expect(await client.call("incidents", {})).toEqual({ incidents: [] });
    // Two are made again before the third is found missing.
    expect(Object.values(await findings()).sort()).toEqual([
      "missing",
      "missing",
      "missing",
      "repaired",
      "repaired",
    ]);
    site.world.effects.length = 0;
    const [incident] = (await client.call("incidents", { name: "web" })).incidents;
    if (incident === undefined) throw new Error("there is no incident");
    return incident;
  }

  it("are listed with what is missing, and make it again once they are approved", async () => {
    const { id, since, ...incident } = await loseAll();
    expect(incident).toMatchObject({ name: "web", missing: 3 });
    expect(Object.keys(five)).toEqual(expect.arrayContaining(incident.resources));
    expect(Math.abs(Date.parse(since) - Date.now())).toBeLessThan(30_000);
    await expect(client.call("approve", { name: "web", incident: "another" })).rejects.toMatchObject({
      code: "not_found",
    });
    expect(await client.call("approve", { name: "web" })).toMatchObject({ incident: id });
    expect(await client.call("approve", { name: "web", incident: id })).toMatchObject({ incident: id });
    await expect(client.call("dismiss", { name: "web", incident: id })).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringMatching(/was approved before/),
    });
    await expect(client.call("approve", { name: "web" })).rejects.toMatchObject({ code: "not_found" });
    await eventually("all is there again", async () => (site.world.things.size === 5 ? true : undefined));
    expect((await told()).filter((what) => what.startsWith("incident"))).toEqual([
      "incident",
      "incident-approved",
    ]);
  });

  it("leave missing what is when they are dismissed; a goal makes it", async () => {
    await loseAll();
    expect(await client.call("dismiss", { name: "web" })).toMatchObject({ resources: 3 });
    expect(Object.values(await findings()).sort()).toEqual([
      "inLine",
      "inLine",
      "missing",
      "missing",
      "missing",
    ]);
    await sleep(500);
    expect(site.world.effects).toEqual([]);
    expect(await told()).toContain("incident-dismissed");
    await client.call("update", { name: "web", template: withPolicy(five, cautious) });
    await until(client, "web", "COMPLETE");
    expect(site.world.things.size).toBe(5);
  });
});

describe("policy", () => {
  it("shows what holds and changes it at once, without a traversal", async () => {
    await created(
      { a: thing({ size: 1 }), b: thing() },
      { ...calm, policy: "report", resources: { b: { poll: "5m" } } },
    );
    const ids = await things();
    const shown = await client.call("policy", { name: "web" });
    expect(shown).toMatchObject({
      template: { poll: "1h", policy: "report", resources: { b: { poll: "5m" } } },
      runtime: null,
      effective: { a: { policy: "report", poll_ms: 3_600_000, grace_ms: 0 }, b: { poll_ms: 300_000 } },
    });
    thingAt(ids.a).size = 9;
    expect(await findings("a")).toEqual({ a: "drifted" });
    const document = { types: { "Test::Thing": { policy: "repair" } } } as const;
    const set = await client.call("policy", { name: "web", document });
    expect(set).toMatchObject({ runtime: document, effective: { a: { policy: "repair" } } });
    await eventually("it is mended", async () => (thingAt(ids.a).size === 1 ? true : undefined));
    expect((await show()).stack).toMatchObject({ traversal: 1, status: "COMPLETE" });
    expect(await client.call("policy", { name: "web", document: null })).toEqual(shown);
  });

  it("looks as often as it says from then on", async () => {
    await created({ a: thing({ size: 1 }) });
    const ids = await things();
    expect(await findings()).toEqual({ a: "inLine" });
    await client.call("policy", { name: "web", document: { poll: "200ms" } });
    thingAt(ids.a).size = 9;
    await eventually("it is mended", async () => (thingAt(ids.a).size === 1 ? true : undefined), 5_000);
  });

  it("has nothing read that it ignores, whatever events tell of it", async () => {
    const own = { a: { policy: "ignore", poll: "200ms" } };
    await created({ a: thing(), b: thing() }, { ...calm, resources: own });
    const ids = await things();
    expect(await findings()).toEqual({ a: "inLine", b: "inLine" });
    const { things: made } = site.world;
    const read: string[] = [];
    const get = made.get.bind(made);
    made.get = (id) => {
      read.push(id);
      return get(id);
    };
    const nats = await connect({ servers: site.nats.url });
    try {
      for (const id of [ids.a, ids.b]) {
        nats.publish("homeostat.observed.Test.Thing", JSON.stringify({ physical_id: id }));
      }
      await eventually("what is not ignored is read", async () => (read.length > 0 ? true : undefined));
      await sleep(1_000);
      expect(read).toEqual([ids.b]);
    } finally {
      await nats.close();
    }
  });

  it("refuses what is wrong in it, each with its place, and keeps what there was", async () => {
    await created({ page: thing() });
    const document = { pol: 1, resources: { pgae: {} }, types: { "Test::Thing": { poll: "soon" } } };
    await expect(client.call("policy", { name: "web", document })).rejects.toMatchObject({
      code: "invalid",
      problems: expect.arrayContaining([
        expect.objectContaining({ message: expect.stringMatching(/unknown key "pol"/) }),
        expect.objectContaining({ message: expect.stringMatching(/types\..*poll: must be a duration/) }),
      ]),
    });
    await expect(
      client.call("policy", { name: "web", document: { resources: { pgae: {} } } }),
    ).rejects.toMatchObject({ message: expect.stringMatching(/did you mean "page"/) });
    expect((await client.call("policy", { name: "web" })).runtime).toBeNull();
  });
});

it("an observer that is to stop ends the looks that it has begun, and begins no other", async () => {
  const names = Array.from({ length: 96 }, (_, i) => `t${i}`);
  await created(Object.fromEntries(names.map((name) => [name, thing()])));
  for (const host of site.hosts) host.kill();
  let [begun, ended] = [0, 0];
  const { type } = site.world;
  const slow: ResourceType = {
    ...type,
    read: async (...call) => {
      begun += 1;
      await sleep(500);
      ended += 1;
      return type.read(...call);
    },
  };
  const limits = { looksAtOnce: 1, lookAgainMs: 100 };
  const log = new RecordingLog();
  const host = await site.host({ types: new ResourceTypes().add(slow), limits, log });
  await client.call("observe", { name: "web" });
  await eventually("looks have begun", async () => (begun > 16 ? true : undefined));
  const before = begun;
  await host.drain();
  expect(ended).toBe(begun);
  // One look of each shard may just have begun.
  expect(begun - before).toBeLessThanOrEqual(16);
  expect(begun).toBeLessThan(names.length);
  expect(log.has("could not look")).toBe(false);
});

describe("watched", () => {
  it("lists every thing once over the pages, by type and pool", async () => {
    const names = Array.from({ length: 7 }, (_, i) => `t${i}`);
    for (const name of ["web", "api"]) {
      const template = withPolicy(Object.fromEntries(names.map((each) => [each, thing()])));
      await client.call("create", { name, template });
      await until(client, name, "COMPLETE");
    }
    const found: Reply<"watched">["watched"] = [];
    for (let offset = 0; offset < 14; offset += 4) {
      const page = await client.call("watched", { type: "Test::Thing", offset, limit: 4 });
      expect(page).toMatchObject({ total: 14, offset, limit: 4 });
      found.push(...page.watched);
    }
    expect(found.map(({ physical_id }) => physical_id).sort()).toEqual([...site.world.things.keys()].sort());
    expect(found.map(({ stack_name }) => stack_name)).toEqual([
      ...Array(7).fill("api"),
      ...Array(7).fill("web"),
    ]);
    expect(found[0]).toMatchObject({ type: "Test::Thing", pool: "default" });
    expect(await client.call("watched", { type: "Other::Thing" })).toMatchObject({ total: 0, watched: [] });
    expect(await client.call("watched", { pool: "gpu" })).toMatchObject({ total: 0, watched: [] });
  });
});

it("does not take a heartbeat that waited for a new one", async () => {
  const type = "Test::Thing";
  const quietMs = 2_000;
  const [before] = site.hosts;
  await before?.kill();
  const nats = await connect({ servers: site.nats.url });
  const redis = new Redis(site.redis.url);
  try {
    const publish = () => nats.jetstream().publish("homeostat.observed.Test.Thing.heartbeat");
    await publish();
    await sleep(quietMs);
    await site.host({ limits: { quietMs } });
    const manager = await nats.jetstreamManager();
    await eventually("it was taken", async () => {
      const { num_pending, num_ack_pending } = await manager.consumers.info(
        "HOMEOSTAT_OBSERVED",
        "observers",
      );
      return num_pending + num_ack_pending === 0 ? true : undefined;
    });
    await sleep(200);
    expect(await redis.hkeys("hs:{heard}:h")).toEqual([]);
    await publish();
    const heard = () => redis.hexists("hs:{heard}:h", type);
    await eventually("a new one is", async () => ((await heard()) === 1 ? true : undefined));
  } finally {
    redis.disconnect();
    await nats.close();
  }
});
