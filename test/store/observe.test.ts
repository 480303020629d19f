/** The scripts of observation, one by one: what each refuses, and what it takes together. */
import { describe, expect, test } from "vitest";
import type { Observation } from "../../src/store/store.js";
import { type TestStack, withRedis } from "./stack.js";

const server = withRedis();

const event = { id: "e1", text: "{}" };

/** A stack at rest, with a resource that was made. */
async function rested(stack: TestStack): Promise<void> {
  await stack.ask("create");
  await stack.open([{ node: "u:A", resource: "ra" }]);
  await stack.finish("u:A", "ra");
  const facts = await stack.store.facts(stack.id, 1, "a1");
  if (facts.tag !== "ok") throw new Error("there is no stack");
  const settle = { revision: facts.revision, snapshot: "", status: "COMPLETE", final: true };
  await stack.store.settle(stack.id, 1, settle);
}

async function seen(stack: TestStack, more: Partial<Observation> = {}): Promise<Observation> {
  const sight = await stack.store.sight(stack.id, "ra");
  if (sight === undefined) throw new Error("there is no resource");
  return {
    look: "l1",
    traversal: sight.traversal,
    attempt: sight.attempt,
    type: "Sim::Resource",
    revision: sight.record.revision ?? "",
    stackRevision: sight.stackRevision,
    fields: { snapshot: "drifted" },
    index: '{"name":"A","type":"T","state":"drifted"}',
    events: [],
    finding: "drifted",
    entered: false,
    seenAtMs: sight.nowMs,
    ...more,
  };
}

const lost = { limit: 5, withinMs: 60_000 };

function want(how: "repair" | "reconverge", more: Partial<NonNullable<Observation["want"]>> = {}) {
  return {
    how,
    fields: how === "repair" ? { intent: "update" } : {},
    index: '{"name":"A","type":"T","state":"updating"}',
    callMs: 60_000,
    budget: { burst: 20, perMinute: 60 },
    typeBudget: undefined,
    lost,
    incident: { id: "i1", text: "{}" },
    ...more,
  };
}

async function observe(stack: TestStack, more: Partial<Observation> = {}) {
  return stack.store.observe(stack.id, "ra", await seen(stack, more));
}

async function answer(stack: TestStack, incident: string, verdict: "approved" | "dismissed") {
  const revision = (await stack.field("revision")) ?? "";
  return stack.store.answerIncident(stack.id, incident, verdict, { event, revision });
}

describe("what a look finds", () => {
  test("is stored with its event, if nobody changed the record meanwhile", async () => {
    const stack = server.stack();
    await rested(stack);
    const finding = await seen(stack, { events: [event] });
    expect(await stack.store.observe(stack.id, "ra", finding)).toEqual({
      tag: "noted",
      why: "nothing",
      ms: undefined,
    });
    expect(await stack.redis.hgetall(stack.key("r:ra"))).toMatchObject({
      snapshot: "drifted",
      observedAt: String(stack.now),
    });
    expect(await stack.redis.hget(stack.key("ix"), "ra")).toContain("drifted");
    expect(await stack.redis.hget(stack.key("e"), "e1")).toBe("{}");
    const before = await stack.dump();
    expect((await stack.store.observe(stack.id, "ra", { ...finding, look: "l2" })).tag).toBe("changed");
    expect(await stack.dump()).toEqual(before);
    expect(await stack.store.fresh(stack.id, "ra", finding.revision, 1)).toBe(false);
    expect(await stack.dump()).toEqual(before);
  });

  test("counts for nothing while somebody holds the resource", async () => {
    const stack = server.stack();
    await rested(stack);
    await stack.redis.hset(stack.key("r:ra"), "holder", "h", "until", stack.now + 1);
    expect((await observe(stack)).tag).toBe("busy");
    stack.now += 1;
    expect((await observe(stack)).tag).toBe("noted");
    for (const field of ["intent", "handed"]) {
      await stack.redis.hset(stack.key("r:ra"), field, "x");
      expect((await observe(stack, { look: field })).tag).toBe("busy");
      await stack.redis.hset(stack.key("r:ra"), field, "");
    }
  });

  test("comes again when the hint that it relies on was dropped", async () => {
    const stack = server.stack();
    await rested(stack);
    const stale = { stackRevision: "0" };
    expect((await observe(stack, { ...stale, want: want("repair") })).tag).toBe("unhinted");
    expect((await observe(stack, { ...stale, events: [event] })).tag).toBe("unhinted");
    expect((await observe(stack, stale)).tag).toBe("noted");
  });

  test("of a resource that is gone, or a stack, is nothing", async () => {
    const stack = server.stack();
    expect(await stack.store.sight(stack.id, "ra")).toBeUndefined();
    await rested(stack);
    const finding = await seen(stack);
    await stack.redis.hset(stack.key("r:ra"), "tombstone", "1");
    expect((await stack.store.observe(stack.id, "ra", finding)).tag).toBe("changed");
  });
});

describe("a repair in place", () => {
  test("takes lease, intent, deadline and timer with the finding", async () => {
    const stack = server.stack();
    await rested(stack);
    expect((await observe(stack, { want: want("repair") })).tag).toBe("repairing");
    const record = await stack.redis.hgetall(stack.key("r:ra"));
    expect(record).toMatchObject({
      holder: "l1",
      caller: "l1",
      intent: "update",
      until: String(stack.now + 30_000),
      deadline: String(stack.now + 60_000),
    });
    expect(Number(await stack.redis.zscore(stack.key("o"), "ra"))).toBe(stack.now + 31_000);
    expect(await stack.redis.hget(stack.key("ix"), "ra")).toContain("updating");
  });

  test("ends like any outcome that no traversal knows of, and may leave the wish for one", async () => {
    const stack = server.stack();
    await rested(stack);
    await observe(stack, { want: want("repair") });
    const outcome = { holder: "l1", mode: "outcome", effect: "keep", fields: { intent: "" } } as const;
    expect((await stack.commit("", "ra", { ...outcome, changed: "visible" })).tag).toBe("stale");
    expect(await stack.redis.zscore(stack.key("o"), "ra")).toBeNull();
    expect(await stack.redis.hget(stack.key("r:ra"), "holder")).toBe("");
    expect(await stack.field("wish")).toBe(String(stack.now));
  });

  test.each([
    ["paused", "paused", { paused: "a reason" }],
    ["deleted", "over", { action: "delete" }],
    ["cancelled", "over", { status: "CANCELLED" }],
    ["converging", "traversal", { unsettled: "1" }],
    ["at another traversal", "traversal", { traversal: "2" }],
    ["about to be traversed", "traversal", { wish: "1" }],
  ])("does not begin in a stack that is %s", async (_what, why, fields) => {
    const stack = server.stack();
    await rested(stack);
    const finding = await seen(stack, { want: want("repair") });
    await stack.redis.hset(stack.key("s"), fields as Record<string, string>);
    expect(await stack.store.observe(stack.id, "ra", finding)).toMatchObject({ tag: "noted", why });
    expect(await stack.redis.hget(stack.key("r:ra"), "holder")).toBe("");
    expect(await stack.redis.hget(stack.key("r:ra"), "snapshot")).toBe("drifted");
    expect(await stack.redis.exists(stack.key("b"))).toBe(0);
  });

  test("does not begin while a node is pending", async () => {
    const stack = server.stack();
    await rested(stack);
    await stack.redis.zadd(stack.key("p"), 1, "u:B");
    expect(await observe(stack, { want: want("repair") })).toMatchObject({ why: "traversal" });
  });
});

describe("the budget", () => {
  async function repaired(stack: TestStack, look: string, more = {}) {
    const answer = await observe(stack, { look, want: want("repair", more) });
    if (answer.tag === "repairing") {
      await stack.commit("", "ra", {
        holder: look,
        commit: look,
        mode: "outcome",
        effect: "keep",
        fields: { intent: "" },
      });
    }
    return answer;
  }

  test("is spent by each repair, says when there is more, and never holds more than its burst", async () => {
    const stack = server.stack();
    await rested(stack);
    const budget = { burst: 2, perMinute: 6 };
    expect((await repaired(stack, "l1", { budget })).tag).toBe("repairing");
    expect((await repaired(stack, "l2", { budget })).tag).toBe("repairing");
    expect(await repaired(stack, "l3", { budget })).toEqual({ tag: "noted", why: "budget", ms: 10_000 });
    stack.now += 9_999;
    expect(await repaired(stack, "l4", { budget })).toEqual({ tag: "noted", why: "budget", ms: 1 });
    stack.now += 1;
    expect((await repaired(stack, "l5", { budget })).tag).toBe("repairing");
    stack.now += 3600_000;
    expect((await repaired(stack, "l6", { budget })).tag).toBe("repairing");
    expect((await repaired(stack, "l7", { budget })).tag).toBe("repairing");
    expect((await repaired(stack, "l8", { budget })).tag).toBe("noted");
  });

  test("of a type is spent too, and what it refuses costs the stack nothing", async () => {
    const stack = server.stack();
    await rested(stack);
    const typeBudget = { burst: 1, perMinute: 1 };
    expect((await repaired(stack, "l1", { typeBudget })).tag).toBe("repairing");
    const tokens = await stack.redis.hget(stack.key("b"), "stack");
    expect(await repaired(stack, "l2", { typeBudget })).toMatchObject({ why: "budget", ms: 60_000 });
    expect(await stack.redis.hget(stack.key("b"), "stack")).toBe(tokens);
  });
});

describe("what is missing", () => {
  const missing = (more = {}) => ({ finding: "missing" as const, want: want("reconverge", more) });

  test("is wished for, once for a token, until the traversal begins", async () => {
    const stack = server.stack();
    await rested(stack);
    const budget = { burst: 1, perMinute: 1 };
    expect((await observe(stack, { ...missing({ budget }), look: "l1" })).tag).toBe("wished");
    expect((await observe(stack, { ...missing({ budget }), look: "l2" })).tag).toBe("wished");
    expect(await stack.redis.hget(stack.key("ix"), "ra")).toContain("updating");
    expect(
      (await stack.ask("observe", { idle: true, revision: (await stack.field("revision")) ?? "" })).tag,
    ).toBe("ok");
    expect(await stack.field("wish")).toBeNull();
  });

  test("too much at once is an incident: held, until somebody approves or it is back", async () => {
    const stack = server.stack();
    await rested(stack);
    const one = { ...missing({ lost: { limit: 1, withinMs: 60_000 } }), look: "l1" };
    expect(await observe(stack, one)).toMatchObject({ tag: "noted", why: "incident" });
    expect(await stack.redis.hget(stack.key("e"), "incident.i1")).toBe("{}");
    expect(await stack.store.incident(stack.id)).toEqual({
      id: "i1",
      openedAtMs: stack.now,
      lost: [["ra", stack.now]],
    });
    expect(await observe(stack, { ...one, look: "l2" })).toMatchObject({ why: "incident" });
    expect(await answer(stack, "other", "approved")).toEqual({ tag: "missing" });
    expect(await answer(stack, "i1", "approved")).toEqual({ tag: "ok", resources: ["ra"] });
    expect(await answer(stack, "i1", "approved")).toEqual({ tag: "ok", resources: ["ra"] });
    expect(await answer(stack, "i1", "dismissed")).toEqual({ tag: "answered", verdict: "approved" });
    expect(await stack.store.incident(stack.id)).toBeUndefined();
    expect((await observe(stack, { ...one, look: "l3" })).tag).toBe("wished");
  });

  test("what was made again meanwhile counts too: things that go one after the other", async () => {
    const stack = server.stack();
    await rested(stack);
    const two = { lost: { limit: 2, withinMs: 60_000 } };
    expect((await observe(stack, { ...missing(two), look: "l1" })).tag).toBe("wished");
    // Its record is gone with the traversal; another thing goes.
    await stack.redis.zrem(stack.key("l"), "ra");
    await stack.redis.zadd(stack.key("m"), stack.now, "rb");
    expect(await observe(stack, { ...missing(two), look: "l2" })).toMatchObject({ tag: "wished" });
    await stack.redis.hdel(stack.key("s"), "wish");
    await stack.redis.zrem(stack.key("l"), "ra");
    expect(await observe(stack, { ...missing(two), look: "l3" })).toMatchObject({ why: "incident" });
  });

  test("what was dismissed is left as it is until it was seen again", async () => {
    const stack = server.stack();
    await rested(stack);
    const one = missing({ lost: { limit: 1, withinMs: 60_000 } });
    await observe(stack, { ...one, look: "l1" });
    await answer(stack, "i1", "dismissed");
    expect(await observe(stack, { ...one, look: "l2" })).toMatchObject({ why: "dismissed" });
    await observe(stack, { look: "l3", finding: "inLine" });
    expect(await observe(stack, { ...one, look: "l4" })).toMatchObject({ why: "incident" });
  });

  test.each(["approved", "dismissed"] as const)(
    "what was %s stays so while it cannot be read",
    async (verdict) => {
      const stack = server.stack();
      await rested(stack);
      const one = missing({ lost: { limit: 1, withinMs: 60_000 } });
      await observe(stack, { ...one, look: "l1" });
      await answer(stack, "i1", verdict);
      await observe(stack, { look: "l2", finding: "unreadable" });
      const after = await observe(stack, { ...one, look: "l3" });
      expect(after).toMatchObject(verdict === "approved" ? { tag: "wished" } : { why: "dismissed" });
    },
  );

  test("is as lost as it was while it cannot be read", async () => {
    const stack = server.stack();
    await rested(stack);
    await observe(stack, { ...missing(), look: "l1" });
    await observe(stack, { look: "l2", finding: "unreadable" });
    expect(await stack.redis.zrange(stack.key("l"), "0", "-1")).toEqual(["ra"]);
    expect(await stack.redis.zrange(stack.key("m"), "0", "-1")).toEqual(["ra"]);
  });

  test("counts only for as long as the policy says", async () => {
    const stack = server.stack();
    await rested(stack);
    await stack.redis.zadd(stack.key("m"), stack.now - 60_001, "rb");
    const limit = { limit: 2, withinMs: 60_000 };
    expect((await observe(stack, { ...missing({ lost: limit }), look: "l1" })).tag).toBe("wished");
    // Another resource's may say another time.
    const longer = { limit: 2, withinMs: 60_001 };
    await stack.redis.hdel(stack.key("s"), "wish");
    expect(await observe(stack, { ...missing({ lost: longer }), look: "l2" })).toMatchObject({
      why: "incident",
    });
  });
});

describe("a traversal of the observer", () => {
  const idle = async (stack: TestStack) =>
    stack.ask("observe", { idle: true, revision: (await stack.field("revision")) ?? "" });

  test("waits for everything that is under way", async () => {
    const stack = server.stack();
    await rested(stack);
    await stack.redis.zadd(stack.key("o"), 1, "ra");
    expect((await idle(stack)).tag).toBe("busy");
    await stack.redis.del(stack.key("o"));
    await stack.redis.zadd(stack.key("p"), 1, "u:A");
    expect((await idle(stack)).tag).toBe("busy");
    await stack.redis.del(stack.key("p"));
    expect((await idle(stack)).tag).toBe("ok");
    expect((await idle(stack)).tag).toBe("busy");
  });

  test("counts the retries of a goal that failed; a goal of a person's ends the count", async () => {
    const stack = server.stack();
    await rested(stack);
    for (const retries of ["1", "2"]) {
      await stack.redis.hset(stack.key("s"), { status: "FAILED", unsettled: "" });
      await idle(stack);
      expect(await stack.field("retries")).toBe(retries);
    }
    await stack.ask("update", { revision: (await stack.field("revision")) ?? "" });
    expect(await stack.field("retries")).toBeNull();
  });
});

describe("the watch", () => {
  const thing = (id: string, physicalId = "p1") => ({
    stack: "s1",
    resource: { id, type: "Sim::Resource", physicalId },
  });

  test("knows whose a physical id is, also of several, until they are dropped", async () => {
    const { store } = server.stack();
    await store.watch("default", thing("ra"), 1000);
    await store.watch("default", thing("ra"), 500);
    await store.watch("default", thing("rb"), 500);
    const of = () => store.resourcesOf("default", "Sim::Resource", "p1");
    expect(await of()).toEqual([
      { stack: "s1", resource: "ra" },
      { stack: "s1", resource: "rb" },
    ]);
    expect(await store.resourcesOf("other", "Sim::Resource", "p1")).toEqual([]);
    const { entries } = await store.popWatched("default", 0, 10);
    expect(entries).toEqual([]);
  });

  test("holds what is due for one, and drops only what nobody asked for again", async () => {
    const stack = server.stack();
    const { store } = stack;
    await store.watch("default", thing("ra"), 0);
    const first = await store.popWatched("default", 0, 10);
    expect(first.nowMs).toBe(stack.now);
    expect(first.entries.map(([entry]) => entry)).toEqual(["s1\nra\nSim::Resource\np1"]);
    expect((await store.popWatched("default", 0, 10)).entries).toEqual([]);
    const [[entry, score] = ["", ""]] = first.entries;
    await store.watch("default", thing("ra"), 0);
    await store.returnWatched("default", 0, [[entry, score, undefined]]);
    const second = await store.popWatched("default", 0, 10);
    expect(second.entries.length).toBe(1);
    await store.returnWatched("default", 0, [[entry, second.entries[0]?.[1] ?? "", 700]]);
    expect((await store.popWatched("default", 0, 10)).nextMs).toBe(700);
    stack.now += 700;
    const third = await store.popWatched("default", 0, 10);
    await store.returnWatched("default", 0, [[entry, third.entries[0]?.[1] ?? "", undefined]]);
    expect(await store.resourcesOf("default", "Sim::Resource", "p1")).toEqual([]);
    expect((await store.popWatched("default", 0, 10)).nextMs).toBeUndefined();
  });

  test("a hint for later than the hold is not lost on what is in somebody's hand", async () => {
    const { store } = server.stack();
    for (const [ensure, again] of [
      [false, undefined],
      [false, 900_000],
      [true, undefined],
    ] as const) {
      await store.watch("default", thing("ra"), 0);
      const { entries } = await store.popWatched("default", 0, 10);
      const [[entry, score] = ["", ""]] = entries;
      const { nextMs: heldMs = 0 } = await store.popWatched("default", 0, 10);
      if (ensure) await store.ensureWatched("default", [[thing("ra"), heldMs + 5_000]]);
      else await store.watch("default", thing("ra"), heldMs + 5_000);
      await store.returnWatched("default", 0, [[entry, score, again]]);
      const { nextMs = 0 } = await store.popWatched("default", 0, 10);
      expect(nextMs).toBeGreaterThan(0);
      expect(nextMs).toBeLessThanOrEqual(heldMs);
      await store.unwatch("default", thing("ra"));
    }
  });

  test("sources that were heard of count as flowing for a while, also when the clock is set back", async () => {
    const stack = server.stack();
    await stack.store.noteHeard(["A::B"]);
    expect(await stack.store.flowing(["A::B", "C::D"], 1000)).toEqual(new Set(["A::B"]));
    stack.now -= 500;
    expect(await stack.store.flowing(["A::B"], 1000)).toEqual(new Set(["A::B"]));
    stack.now += 2_500;
    expect(await stack.store.flowing(["A::B"], 1000)).toEqual(new Set());
  });
});

test("what a person says of a stack is not said of one that is gone", async () => {
  const stack = server.stack();
  expect((await stack.store.attend(stack.id, "paused", "x")).tag).toBe("missing");
  expect(await stack.redis.exists(stack.key("s"))).toBe(0);
  await rested(stack);
  expect(await stack.store.attend(stack.id, "askedAt", "now")).toEqual({ tag: "ok", atMs: stack.now });
  expect(await stack.field("askedAt")).toBe(String(stack.now));
});
