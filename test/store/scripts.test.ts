/**
 * Theory: what the scripts promise together breaks at an edge: an arrival counts twice, a window overflows, a lease ends
 * a millisecond early, a clock that was set back stops everything, a hint is lost in a race.
 */
import { describe, expect, test } from "vitest";
import { type Node, withRedis } from "./stack.js";

const server = withRedis();

const names = (count: number, prefix = "N") =>
  Array.from({ length: count }, (_, i) => `${prefix}${String(i).padStart(4, "0")}`);

/** `count` nodes that nothing depends on. */
const flat = (count: number): Node[] =>
  names(count).map((name) => ({ node: `u:${name}`, resource: `r${name}` }));

/** One node, and `count` behind it. */
function fanOut(count: number): Node[] {
  const behind = names(count).map((name) => `u:${name}`);
  return [
    { node: "u:A", resource: "ra", successors: behind },
    ...behind.map((node) => ({ node, resource: `r${node.slice(2)}`, predecessors: ["u:A"] })),
  ];
}

describe("arrivals", () => {
  const diamond: Node[] = [
    { node: "u:A", resource: "ra", successors: ["u:C"] },
    { node: "u:B", resource: "rb", successors: ["u:C"] },
    { node: "u:C", resource: "rc", predecessors: ["u:A", "u:B"] },
  ];

  test("R11: arriving twice counts once; the last arrival makes the node ready and delivers all inputs", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open(diamond);
    await stack.claim("u:A", "ra", "h");
    const first = await stack.commit("u:A", "ra", { holder: "h", effect: "done", value: "ra@1" });
    expect(first).toMatchObject({ tag: "ok", rings: [] });
    for (let again = 0; again < 3; again += 1) {
      expect((await stack.store.passOn(stack.visit("u:A", "ra"), 0)).rings).toEqual([]);
    }
    expect((await stack.store.claim(stack.visit("u:C", "rc"), "x")).tag).toBe("notReady");
    await stack.claim("u:B", "rb", "h");
    const last = await stack.commit("u:B", "rb", { holder: "h", effect: "done", value: "rb@2" });
    expect(last).toMatchObject({ rings: [{ node: "u:C", resource: "rc" }] });
    const { arrivals } = await stack.claim("u:C", "rc", "h");
    expect([...arrivals]).toEqual([
      ["u:A", "ra@1"],
      ["u:B", "rb@2"],
    ]);
  });

  test("R8: an arrival of an older traversal changes nothing", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open(diamond);
    await stack.claim("u:A", "ra", "h");
    const old = stack.visit("u:A", "ra");
    await stack.ask("update");
    await stack.open(diamond);
    const late = { holder: "h", commit: "c", mode: "outcome", effect: "done", value: "ra@1" } as const;
    expect((await stack.store.commit(old, late)).tag).toBe("stale");
    const before = await stack.dump();
    expect(await stack.store.passOn(old, 0)).toEqual({ current: false, more: false, rings: [] });
    expect(await stack.dump()).toEqual(before);
    expect(await stack.field("updatesLeft")).toBe("3");
  });

  test("R8, R9: a decision of an older traversal writes nothing and lets go; an outcome is recorded and passes nothing on", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open(diamond);
    await stack.claim("u:A", "ra", "h");
    await stack.claim("u:B", "rb", "h");
    const [a, b] = [stack.visit("u:A", "ra"), stack.visit("u:B", "rb")];
    await stack.ask("update");
    await stack.open(diamond);
    const decided = { holder: "h", commit: "c", effect: "intent", operation: "create", callMs: 9 } as const;
    const fields = { intent: "create", snapshot: "new" };
    expect((await stack.store.commit(a, { ...decided, mode: "decision", fields })).tag).toBe("stale");
    const untouched = await stack.redis.hgetall(stack.key("r:ra"));
    expect([untouched.snapshot, untouched.intent, untouched.holder]).toEqual(["", undefined, ""]);
    expect(await stack.redis.exists(stack.key("o"))).toBe(0);
    const ended = { holder: "h", commit: "c", mode: "outcome", effect: "done", value: "v" } as const;
    expect((await stack.store.commit(b, { ...ended, fields: { snapshot: "made" } })).tag).toBe("stale");
    const recorded = await stack.redis.hgetall(stack.key("r:rb"));
    expect([recorded.snapshot, recorded.holder]).toEqual(["made", ""]);
    expect(await stack.redis.hget(stack.key("a:2"), "n:u:C")).toBeNull();
    expect(await stack.field("updatesLeft")).toBe("3");
  });

  test("R14: a fan-out goes in chunks, each of which may be cut off and repeated", async () => {
    const stack = server.stack({ windowNodes: 1000 });
    await stack.ask("create");
    await stack.open(fanOut(250));
    await stack.claim("u:A", "ra", "h");
    const done = await stack.commit("u:A", "ra", { holder: "h", effect: "done", value: "ra@1" });
    if (done.tag !== "ok") throw new Error(done.tag);
    expect([done.rings.length, done.more]).toEqual([100, true]);
    // The worker vanishes; another goes on where the cursor is.
    const passing = await stack.store.claim(stack.visit("u:A", "ra"), "other");
    expect(passing).toEqual({ tag: "passing", cursor: 0 });
    const rung = new Set(done.rings.map(({ node }) => node));
    for (let chunk = 0, more = true; more; chunk += 1) {
      const passed = await stack.store.passOn(stack.visit("u:A", "ra"), chunk);
      for (const { node } of passed.rings) rung.add(node);
      more = passed.more;
    }
    expect(rung.size).toBe(250);
    expect(await stack.redis.zcard(stack.key("p"))).toBe(251);
  });
});

describe("the window", () => {
  test("so many nodes are pending at once, the others wait in order, and all get their turn", async () => {
    const stack = server.stack({ windowNodes: 3 });
    await stack.ask("create");
    const { rings } = await stack.open(flat(10));
    const waiting = rings.map(({ node }) => node);
    const order: string[] = [];
    for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) {
      expect(await stack.redis.zcard(stack.key("p"))).toBeLessThanOrEqual(3);
      order.push(node);
      const resource = `r${node.slice(2)}`;
      await stack.claim(node, resource, "h");
      await stack.commit(node, resource, { holder: "h", commit: node, effect: "done", value: "v" });
      const ended = await stack.store.end(stack.visit(node, resource), []);
      waiting.push(...ended.rings.map((ring) => ring.node));
    }
    expect(order).toEqual(flat(10).map(({ node }) => node));
    expect(await stack.field("updatesLeft")).toBe("0");
  });

  test("a failed node makes room as well", async () => {
    const stack = server.stack({ windowNodes: 1 });
    await stack.ask("create");
    await stack.open(flat(2));
    await stack.claim("u:N0000", "rN0000", "h");
    const failed = await stack.commit("u:N0000", "rN0000", {
      holder: "h",
      mode: "outcome",
      effect: "fail",
      reason: "no",
    });
    expect(failed).toMatchObject({ rings: [{ node: "u:N0001" }] });
    expect(await stack.field("why")).toBe("N0000: no");
  });

  test("what becomes ready behind a full window queues behind what waits already", async () => {
    const stack = server.stack({ windowNodes: 2 });
    await stack.ask("create");
    const nodes = [...fanOut(2), ...flat(6).map(({ node }) => ({ node: `${node}x`, resource: `${node}x` }))];
    await stack.open(nodes);
    await stack.finish("u:A", "ra");
    const queued = await stack.redis.zrange(stack.key(`w:1:${stack.attempt}`), "0", "-1");
    expect(queued.slice(-2)).toEqual(["u:N0000", "u:N0001"]);
  });
});

describe("leases", () => {
  const one: Node[] = [{ node: "u:A", resource: "ra" }];

  test("a lease stands to the millisecond, and its fence grows with every holder", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open(one);
    const { record } = await stack.claim("u:A", "ra", "h1");
    stack.now += 29_999;
    expect(await stack.store.claim(stack.visit("u:A", "ra"), "h2")).toEqual({ tag: "again", ms: 1 });
    stack.now += 1;
    const { record: second } = await stack.claim("u:A", "ra", "h2");
    expect(Number(second.fence)).toBe(Number(record.fence) + 1);
    expect((await stack.commit("u:A", "ra", { holder: "h1", effect: "keep" })).tag).toBe("fenced");
    expect(await stack.store.renew(stack.visit("u:A", "ra"), "h1", undefined)).toBe(false);
    expect((await stack.commit("u:A", "ra", { holder: "h2", effect: "keep" })).tag).toBe("ok");
  });

  test("R9: a lease that ran out is still valid until somebody takes it", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open(one);
    await stack.claim("u:A", "ra", "h");
    stack.now += 3600_000;
    expect((await stack.commit("u:A", "ra", { holder: "h", effect: "keep" })).tag).toBe("ok");
    expect(await stack.store.renew(stack.visit("u:A", "ra"), "h", undefined)).toBe(true);
    expect((await stack.store.claim(stack.visit("u:A", "ra"), "other")).tag).toBe("again");
  });

  test("R13: a newer visit leaves its mark; who lets go rings for it, a superseded mark is void", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open(one);
    await stack.claim("u:A", "ra", "h");
    const old = stack.visit("u:A", "ra");
    await stack.ask("update");
    await stack.open(one);
    expect((await stack.store.claim(stack.visit("u:A", "ra"), "x")).tag).toBe("busy");
    const release = { holder: "h", commit: "c", mode: "outcome", effect: "release" } as const;
    expect(await stack.store.commit(old, release)).toMatchObject({
      tag: "stale",
      rings: [{ traversal: 2, node: "u:A", resource: "ra" }],
    });
    await stack.claim("u:A", "ra", "y");
    expect(await stack.redis.hget(stack.key("r:ra"), "mark")).toBe("");
    await stack.redis.hset(stack.key("r:ra"), "mark", "1\na1\nu:A\ndefault");
    const second = { ...release, holder: "y" };
    expect(await stack.store.commit(stack.visit("u:A", "ra"), second)).toMatchObject({ rings: [] });
  });

  test("R10: a renewal moves lease and deadline together; the call's timer follows", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open(one);
    await stack.claim("u:A", "ra", "h");
    const intent = { intent: "create" };
    await stack.commit("u:A", "ra", { holder: "h", effect: "intent", fields: intent, callMs: 60_000 });
    stack.now += 10_000;
    await stack.store.renew(stack.visit("u:A", "ra"), "h", 60_000);
    const record = await stack.redis.hgetall(stack.key("r:ra"));
    expect([Number(record.until), Number(record.deadline)]).toEqual([stack.now + 30_000, stack.now + 60_000]);
    expect(await stack.redis.zscore(stack.key("o"), "ra")).toBe(String(stack.now + 31_000));
    stack.now += 30_000;
    expect((await stack.claim("u:A", "ra", "x")).late).toBe(false);
    stack.now += 30_000;
    expect((await stack.claim("u:A", "ra", "y")).late).toBe(true);
  });
});

describe("a clock that was set back", () => {
  test("the stack's clock does not step back, and goes on from where it was", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open([{ node: "u:A", resource: "ra" }]);
    await stack.claim("u:A", "ra", "h");
    stack.now -= 3600_000;
    const tries: (number | string)[] = [];
    for (let second = 0; second <= 31; second += 1) {
      const answer = await stack.store.claim(stack.visit("u:A", "ra"), `x${second}`);
      tries.push(answer.tag === "again" ? answer.ms : answer.tag);
      if (answer.tag === "claimed") break;
      stack.now += 1000;
    }
    expect(tries[0]).toBe(30_000);
    expect(tries[1]).toBe(29_000);
    expect(tries.at(-1)).toBe("claimed");
    expect(tries).toHaveLength(31);
  });

  test("and neither does the hints' clock", async () => {
    const stack = server.stack();
    await stack.store.hint("s1", 1000);
    stack.now -= 3600_000;
    expect((await stack.store.popDue(0, 0)).nextMs).toBe(1000);
    stack.now += 999;
    expect((await stack.store.popDue(0, 9)).stacks).toEqual([]);
    stack.now += 1;
    expect((await stack.store.popDue(0, 9)).stacks).toHaveLength(1);
  });

  test("set back again and again, by a little", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open([{ node: "u:A", resource: "ra" }]);
    await stack.claim("u:A", "ra", "h");
    for (let i = 0; i < 62; i += 1) {
      stack.now += 1000;
      await stack.store.claim(stack.visit("", "ra"), "x");
      stack.now -= 500;
      await stack.store.claim(stack.visit("", "ra"), "x");
    }
    // 500 ms have passed each time as far as anybody can tell; the lease must be over by now, and was not at once.
    expect((await stack.store.claim(stack.visit("u:A", "ra"), "y")).tag).toBe("claimed");
  });
});

describe("begin", () => {
  test("remembers the newest requests, and no more than some hundreds", async () => {
    const stack = server.stack();
    await stack.ask("create", { request: "first" });
    for (let i = 0; i < 600; i += 1) await stack.ask("update", { request: `u${i}`, template: "t" });
    const kept = await stack.redis.hlen(stack.key("q"));
    expect(kept).toBeLessThanOrEqual(501);
    expect(kept).toBeGreaterThanOrEqual(250);
    expect(await stack.ask("update", { request: "u599" })).toEqual({ tag: "repeated", traversal: 601 });
    expect(await stack.ask("update", { request: "u400" })).toEqual({ tag: "repeated", traversal: 402 });
  });

  test("remembers no more of those that found nothing to do", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open([]);
    for (let i = 0; i < 1200; i += 1) await stack.ask("rollback", { request: `n${i}` });
    expect(await stack.redis.hlen(stack.key("q"))).toBeLessThanOrEqual(1000);
  });

  test("R8: of many at once each gets a number of its own, and one of each number wins", async () => {
    const stack = server.stack();
    await stack.ask("create");
    const asked = await Promise.all(
      Array.from({ length: 20 }, (_, i) => stack.ask("update", { request: `p${i}`, revision: "1" })),
    );
    expect(asked.filter(({ tag }) => tag === "ok")).toHaveLength(1);
    expect(asked.filter(({ tag }) => tag === "stale")).toHaveLength(19);
    expect(await stack.field("traversal")).toBe("2");
  });

  test("R7: a rollback goes to the last goal in service, even if an older rollback was under way", async () => {
    const stack = server.stack();
    await stack.ask("create", { template: "good" });
    await stack.open([]);
    await stack.ask("update", { template: "bad" });
    await stack.open([{ node: "u:A", resource: "ra" }]);
    expect(await stack.ask("rollback")).toMatchObject({ tag: "ok", goal: "good" });
    await stack.ask("update", { template: "worse" });
    expect(await stack.ask("rollback")).toMatchObject({ tag: "ok", goal: "good" });
  });

  test("R7: a rollback without any goal in service goes to the empty one", async () => {
    const stack = server.stack();
    await stack.ask("create", { template: "bad" });
    await stack.open([{ node: "u:A", resource: "ra" }]);
    expect(await stack.ask("rollback")).toMatchObject({ tag: "ok", goal: "empty" });
  });
});

describe("purge and revive", () => {
  async function deleted() {
    const stack = server.stack();
    await stack.ask("create");
    await stack.ask("delete");
    await stack.open([]);
    await stack.store.reap(stack.id, stack.traversal);
    return stack;
  }
  const purge = async (
    stack: Awaited<ReturnType<typeof deleted>>,
    record: Readonly<Record<string, string>>,
  ) => stack.store.purge(stack.id, stack.traversal, stack.attempt, record);

  test("a goal that comes first keeps the stack: the purge is stale", async () => {
    const stack = await deleted();
    const record = (await stack.store.stack(stack.id)) ?? {};
    const { traversal, attempt } = stack;
    expect((await stack.ask("update")).tag).toBe("ok");
    const before = await stack.dump();
    expect(await stack.store.purge(stack.id, traversal, attempt, record)).toBe("stale");
    expect(await stack.dump()).toEqual(before);
  });

  test("what ended after the last reaping keeps it until that is gone too", async () => {
    const stack = await deleted();
    await stack.redis.zadd(stack.key("x"), stack.traversal, "r:late");
    await stack.redis.hset(stack.key("r:late"), "tombstone", "1");
    const record = (await stack.store.stack(stack.id)) ?? {};
    expect(await purge(stack, record)).toBe("unfinished");
    await stack.store.reap(stack.id, stack.traversal);
    expect(await purge(stack, record)).toBe("ok");
    expect(await stack.redis.exists(stack.key("r:late"))).toBe(0);
  });

  test("a goal that comes second finds nothing, and brings nothing back", async () => {
    const stack = await deleted();
    const revision = (await stack.field("revision")) ?? "";
    expect(await purge(stack, (await stack.store.stack(stack.id)) ?? {})).toBe("ok");
    expect(["missing", "void"]).toContain((await stack.ask("update", { revision })).tag);
    expect(await stack.store.stack(stack.id)).toBeUndefined();
  });

  test("R17: an unfinished call keeps its entry", async () => {
    const stack = await deleted();
    await stack.redis.zadd(stack.key("o"), 1, "ra");
    expect(await purge(stack, (await stack.store.stack(stack.id)) ?? {})).toBe("unfinished");
    expect(await stack.store.stack(stack.id)).toBeDefined();
  });

  test("nothing but a note with an end is left", async () => {
    const stack = await deleted();
    await stack.store.reap(stack.id, stack.traversal);
    await purge(stack, (await stack.store.stack(stack.id)) ?? {});
    const left = await stack.redis.keys("*");
    expect(left).toEqual([stack.key("s")]);
    expect(await stack.redis.pttl(stack.key("s"))).toBeGreaterThan(0);
  });
});

describe("hints", () => {
  const pop = async (stack: ReturnType<typeof server.stack>) => (await stack.store.popDue(0, 9)).stacks;

  test("a hint that came while a sweeper was looking is not dropped", async () => {
    const stack = server.stack();
    await stack.store.hint("s1", 0);
    const [[, score] = ["", ""]] = await pop(stack);
    await stack.store.hint("s1", 5000);
    await stack.store.returnDue("s1", score, undefined);
    expect(await stack.store.hinted()).toEqual(["s1"]);
    stack.now += 5000;
    expect(await pop(stack)).toHaveLength(1);
  });

  test("nor put off", async () => {
    const stack = server.stack();
    await stack.store.hint("s1", 0);
    const [[, score] = ["", ""]] = await pop(stack);
    await stack.store.hint("s1", 1000);
    await stack.store.returnDue("s1", score, 5000);
    stack.now += 1000;
    expect(await pop(stack)).toHaveLength(1);
  });

  test("nor is one for the very millisecond at which the held one ends", async () => {
    const stack = server.stack({ holdMs: 1000, sweepMs: 1000 });
    await stack.store.hint("s1", 0);
    const [[, score] = ["", ""]] = await pop(stack);
    await stack.store.hint("s1", 1000);
    await stack.store.returnDue("s1", score, undefined);
    expect(await stack.store.hinted()).toEqual(["s1"]);
  });

  test("a hint never comes later than the one that stands", async () => {
    const stack = server.stack();
    await stack.store.hint("s1", 1000);
    await stack.store.hint("s1", 4000);
    stack.now += 1000;
    expect(await pop(stack)).toHaveLength(1);
  });

  test("what is popped is one sweeper's, until its time is over", async () => {
    const stack = server.stack();
    await stack.store.hint("s1", 0);
    expect(await pop(stack)).toHaveLength(1);
    expect(await pop(stack)).toEqual([]);
    stack.now += 30_001;
    expect(await pop(stack)).toHaveLength(1);
  });

  test("R17: a goal that counts on a hint that a sweeper is about to drop is asked to hint again", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open([]);
    const final = { snapshot: "", status: "COMPLETE", final: true };
    await stack.store.settle(stack.id, 1, { revision: "1", ...final });
    await stack.store.reap(stack.id);
    const revision = (await stack.field("revision")) ?? "";
    await stack.store.hint(stack.id, 0);
    const [[, score] = ["", ""]] = await pop(stack);
    const swept = await stack.store.sweep(stack.id, 1, "a1", 9);
    expect(swept).toMatchObject({ tag: "ok", nextMs: undefined });
    expect((await stack.ask("update", { revision })).tag).toBe("stale");
    await stack.store.returnDue(stack.id, score, undefined);
    expect(await stack.store.hinted()).toEqual([]);
  });
});
