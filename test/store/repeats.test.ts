/**
 * Theory: a client that lost a reply sends its script again (R18), and the second run does something, or answers
 * something else. Each script is run twice with the same arguments; Redis must be the same after both, and so must the
 * answer. And every result that a header documents comes about.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { writeWatched } from "../../src/store/hints.js";
import { loadScripts, ScriptRunner } from "../../src/store/script.js";
import type { Commit, Observation } from "../../src/store/store.js";
import { type Node, type TestStack, withRedis } from "./stack.js";

const server = withRedis();

const seen = new Map<string, Set<string>>();
beforeAll(() => {
  const { run } = ScriptRunner.prototype;
  vi.spyOn(ScriptRunner.prototype, "run").mockImplementation(async function (this: ScriptRunner, ...args) {
    const answer = await run.apply(this, args);
    const tags = seen.get(args[0]) ?? new Set();
    seen.set(args[0], tags.add(String(answer[0])));
    return answer;
  });
});
afterAll(() => {
  vi.restoreAllMocks();
});

/** B needs A; C is alone; A is cleaned up after its update. */
const graph: Node[] = [
  { node: "u:A", resource: "ra", successors: ["u:B", "k:ra"] },
  { node: "u:B", resource: "rb", predecessors: ["u:A"] },
  { node: "u:C", resource: "rc" },
  { node: "k:ra", resource: "ra", predecessors: ["u:A"], standing: "u:A" },
];

async function opened(stack: TestStack): Promise<void> {
  await stack.ask("create");
  await stack.open(graph);
}

async function claimed(stack: TestStack): Promise<void> {
  await opened(stack);
  await stack.claim("u:A", "ra", "h");
}

async function intended(stack: TestStack): Promise<void> {
  await claimed(stack);
  await stack.commit("u:A", "ra", {
    holder: "h",
    effect: "intent",
    operation: "create",
    fields: { intent: "create", snapshot: "creating" },
    callMs: 60_000,
    index: '{"name":"A","sequence":1}',
  });
}

function noteOrphan(stack: TestStack, id: string): Promise<unknown> {
  return stack.store.noteOrphans(new Map([[id, { type: "A::B", physicalId: "p" }]]), 9);
}

type Case = [
  what: string,
  prepare: (stack: TestStack) => Promise<unknown>,
  act: (stack: TestStack) => Promise<unknown>,
];

const commit =
  (commit: Partial<Commit> & Pick<Commit, "effect">, node = "u:A", resource = "ra") =>
  (stack: TestStack) =>
    stack.commit(node, resource, { holder: "h", ...commit });

const outcome = { mode: "outcome", fields: { intent: "", snapshot: "x" }, index: '{"name":"A"}' } as const;
const event = { id: "e1", text: "{}" };
const next = { resource: "ra2", fields: { name: "A" }, index: '{"name":"A","sequence":0}' };

const watched = { stack: "s1", resource: { id: "ra", type: "A::B", physicalId: "p" } };

const repair = {
  how: "repair" as const,
  fields: { intent: "update" },
  index: "{}",
  callMs: 9,
  budget: { burst: 9, perMinute: 9 },
  typeBudget: { burst: 9, perMinute: 9 },
  lost: { limit: 9, withinMs: 9 },
  incident: event,
};

async function rested(stack: TestStack): Promise<void> {
  await opened(stack);
  await stack.redis.hset(stack.key("r:ra"), { revision: "5", holder: "", until: "0" });
  await stack.redis.hset(stack.key("s"), "unsettled", "");
  await stack.redis.del(stack.key("p"));
}

function observe(stack: TestStack, more: Partial<Observation>, revision = "5") {
  return stack.store.observe(stack.id, "ra", {
    look: "l",
    traversal: 1,
    attempt: "a1",
    type: "A::B",
    revision,
    stackRevision: "1",
    fields: { snapshot: "x" },
    index: "{}",
    events: [event],
    finding: "drifted",
    entered: false,
    seenAtMs: 1,
    ...more,
  });
}

const cases: Case[] = [
  ["write-graph", (stack) => stack.ask("create"), (stack) => stack.write(graph, "a1")],
  [
    "write-graph that comes too late",
    opened,
    (stack) => stack.store.writeGraph(stack.id, 1, "other", ["i:x", "y"], []),
  ],
  [
    "open",
    async (stack) => {
      await stack.ask("create");
      await stack.write(graph, "a1");
    },
    (stack) => stack.store.open(stack.id, 1, "a1", { updates: 3, cleanups: 1, ready: 2 }),
  ],
  [
    "open of nothing to do",
    async (stack) => {
      await stack.ask("create");
      await stack.write([], "a1");
    },
    (stack) => stack.store.open(stack.id, 1, "a1", { updates: 0, cleanups: 0, ready: 0 }),
  ],
  [
    "open of another attempt",
    opened,
    (stack) => stack.store.open(stack.id, 1, "a2", { updates: 1, cleanups: 0, ready: 1 }),
  ],
  ["attend", opened, (stack) => stack.store.attend(stack.id, "paused", "why", { event, revision: "1" })],
  ["attend now", opened, (stack) => stack.store.attend(stack.id, "askedAt", "now")],
  [
    "incident",
    async (stack) => {
      await opened(stack);
      await stack.redis.zadd(stack.key("l"), 5, "ra", 6, "rb");
      await stack.redis.hset(stack.key("i"), "open", "i1", "openedAt", 6);
    },
    (stack) => stack.store.answerIncident(stack.id, "i1", "approved", { event, revision: "1" }),
  ],
  ["claim", opened, (stack) => stack.store.claim(stack.visit("u:A", "ra"), "h")],
  [
    "claim that finds it busy",
    async (stack) => {
      await claimed(stack);
      await stack.ask("update");
      await stack.open(graph);
    },
    (stack) => stack.store.claim(stack.visit("u:A", "ra"), "other"),
  ],
  [
    "claim in the stack of another version, a newer one",
    async (stack) => {
      await opened(stack);
      await stack.redis.hset(stack.key("s"), "schema", 99);
    },
    (stack) => stack.store.claim(stack.visit("u:A", "ra"), "h").catch(String),
  ],
  ["claim that finds itself", claimed, (stack) => stack.store.claim(stack.visit("u:A", "ra"), "other")],
  ["commit keep", claimed, commit({ effect: "keep", fields: { snapshot: "x" }, event })],
  ["commit hold", claimed, commit({ ...outcome, effect: "hold" })],
  [
    "commit intent",
    claimed,
    commit({
      effect: "intent",
      operation: "create",
      fields: { intent: "create" },
      callMs: 9,
      requires: ["rx"],
    }),
  ],
  ["commit done", claimed, commit({ effect: "done", value: "ra@1", requires: ["rx"], event })],
  ["commit done of an outcome", intended, commit({ ...outcome, effect: "done", value: "ra@1" })],
  ["commit fail", intended, commit({ ...outcome, effect: "fail", reason: "no" })],
  ["commit retry", intended, commit({ ...outcome, effect: "retry", delayMs: 1000 })],
  ["commit wait", intended, commit({ mode: "outcome", effect: "wait" })],
  ["commit release", intended, commit({ mode: "outcome", effect: "release" })],
  ["commit replace", claimed, commit({ effect: "replace", next })],
  [
    "commit adopt",
    async (stack) => {
      await opened(stack);
      await stack.claim("u:C", "rc", "c");
      await stack.commit("u:C", "rc", { holder: "c", effect: "done", value: "rc@" });
      await stack.claim("u:A", "ra", "h");
    },
    commit({ effect: "adopt", next: { resource: "rc", fields: {}, index: "" } }),
  ],
  ["commit gone", intended, commit({ ...outcome, effect: "gone", value: "", index: "", requires: [] })],
  [
    "commit of a delete that something still needs",
    async (stack) => {
      await claimed(stack);
      await stack.claim("u:C", "rc", "c");
      await stack.commit("u:C", "rc", { holder: "c", effect: "keep", requires: ["ra"] });
    },
    commit({ effect: "intent", operation: "delete", callMs: 9 }),
  ],
  [
    "commit of what a newer traversal made stale",
    async (stack) => {
      await intended(stack);
      const { traversal } = stack;
      await stack.ask("update");
      stack.traversal = traversal;
    },
    commit({ ...outcome, effect: "done", value: "ra@1" }),
  ],
  [
    "commit of a decision of an older traversal, which somebody waits for",
    async (stack) => {
      await claimed(stack);
      const { traversal, attempt } = stack;
      await stack.ask("update");
      await stack.open(graph);
      await stack.store.claim(stack.visit("u:A", "ra"), "x");
      Object.assign(stack, { traversal, attempt });
    },
    commit({ effect: "keep" }),
  ],
  [
    "pass-on",
    async (stack) => {
      await claimed(stack);
      await commit({ effect: "done", value: "ra@1" })(stack);
    },
    (stack) => stack.store.passOn(stack.visit("u:A", "ra"), 0),
  ],
  [
    "end",
    async (stack) => {
      await claimed(stack);
      await commit({ effect: "done", value: "ra@1", event })(stack);
    },
    (stack) => stack.store.end(stack.visit("u:A", "ra"), ["e1"]),
  ],
  ["renew", intended, (stack) => stack.store.renew(stack.visit("u:A", "ra"), "h", 60_000)],
  [
    "renew of a lease that is another's",
    intended,
    (stack) => stack.store.renew(stack.visit("u:A", "ra"), "x", 9),
  ],
  ...(["new", "of a tombstone"] as const).map(
    (what): Case => [
      `handover, ${what}`,
      async (stack) => {
        await intended(stack);
        if (what === "of a tombstone") await commit({ ...outcome, effect: "gone", value: "" })(stack);
      },
      (stack) =>
        stack.store.handOver(
          stack.id,
          "ra",
          "h",
          { physical: "A-1", text: '{"physicalId":"A-1"}' },
          { resource: "stray", fields: { name: "A", snapshot: "deleting" }, index: "{}" },
        ),
    ],
  ),
  [
    "resolve",
    async (stack) => {
      await intended(stack);
      await commit({ ...outcome, effect: "fail", reason: "?", fields: { intent: "" } })(stack);
    },
    (stack) => resolve(stack),
  ],
  ["resolve of what is busy", intended, (stack) => resolve(stack)],
  [
    "settle",
    opened,
    async (stack) => {
      const settle = { snapshot: "s", status: "COMPLETE", final: true, event };
      return stack.store.settle(stack.id, 1, { revision: "1", ...settle });
    },
  ],
  [
    "purge",
    async (stack) => {
      await stack.ask("create");
      await stack.ask("delete");
      await stack.open([]);
      await stack.store.reap(stack.id, 2);
    },
    async (stack) => stack.store.purge(stack.id, 2, "a2", { base: "t1", lastGood: "" }),
  ],
  ["name, claimed", async () => {}, (stack) => stack.store.moveName("foo", "", "s1")],
  [
    "name, freed",
    (stack) => stack.store.moveName("foo", "", "s1"),
    (stack) => stack.store.moveName("foo", "s1", ""),
  ],
  [
    "name, taken",
    (stack) => stack.store.moveName("foo", "", "s1"),
    (stack) => stack.store.moveName("foo", "", "s2"),
  ],
  ["void", async () => {}, (stack) => stack.store.void("s1")],
  ["void of what exists", (stack) => stack.ask("create"), (stack) => stack.store.void("s1")],
  ["due add", async () => {}, (stack) => stack.store.hint("s1", 1000)],
  ["sight", intended, (stack) => stack.store.sight(stack.id, "ra")],
  ["sight of what is not there", async () => {}, (stack) => stack.store.sight(stack.id, "ra")],
  ["fresh", claimed, (stack) => stack.store.fresh(stack.id, "ra", "0", 1)],
  ["fresh of what has changed", intended, (stack) => stack.store.fresh(stack.id, "ra", "0", 1)],
  ["observe that finds nothing to do", rested, (stack) => observe(stack, {})],
  ["observe that repairs", rested, (stack) => observe(stack, { want: repair })],
  [
    "observe that wishes for a traversal",
    rested,
    (stack) => observe(stack, { want: { ...repair, how: "reconverge", fields: {} } }),
  ],
  ["observe of what is still held", claimed, (stack) => observe(stack, {}, "0")],
  ["observe of what has changed", rested, (stack) => observe(stack, {}, "77")],
  ["observe whose hint has changed", rested, (stack) => observe(stack, { stackRevision: "0" })],
  [
    "attend still",
    async (stack) => {
      await stack.ask("create");
      await stack.store.attend(stack.id, "paused", "x");
    },
    (stack) => stack.store.attend(stack.id, "paused", "x"),
  ],
  ["view sight", intended, (stack) => stack.store.view(stack.id, "ra", ["u:A"])],
  ["view of what is not there", async () => {}, (stack) => stack.store.view(stack.id, "ra", ["u:A"])],
  ["want", intended, (stack) => stack.store.wantLook(stack.id, "ra")],
  ["want of what is not there", async () => {}, (stack) => stack.store.wantLook(stack.id, "ra")],
  ["attend what is not there", async () => {}, (stack) => stack.store.attend(stack.id, "paused", "x")],
  ["heard, noted", async () => {}, (stack) => stack.store.noteHeard(["A::B"])],
  [
    "heard, asked",
    (stack) => stack.store.noteHeard(["A::B"]),
    async (stack) => [...(await stack.store.flowing(["A::B"], 9))].join(),
  ],
  [
    "watch drop",
    (stack) => stack.store.watch("default", watched, 1000),
    (stack) => stack.store.unwatch("default", watched),
  ],
  ["watch add", async () => {}, (stack) => stack.store.watch("default", watched, 1000)],
  [
    "watch return",
    (stack) => stack.store.watch("default", watched, 0),
    async (stack) => {
      const score = stack.attempt || ((await stack.store.popWatched("default", 0, 9)).entries[0]?.[1] ?? "");
      stack.attempt = score;
      await stack.store.returnWatched("default", 0, [[writeWatched(watched), score, undefined]]);
    },
  ],
  ["orphans, noted", async () => {}, (stack) => noteOrphan(stack, "o1")],
  [
    "orphans, taken",
    (stack) => noteOrphan(stack, "o1"),
    (stack) => stack.store.takeOrphan(["o1", "A::B"], "t1", 1000, 1),
  ],
  ["orphans, not there", async () => {}, (stack) => stack.store.takeOrphan(["o1", "A::B"], "t1", 1000, 1)],
  [
    "orphans, which another has taken",
    async (stack) => {
      await noteOrphan(stack, "o1");
      await stack.store.takeOrphan(["o1", "A::B"], "t1", 1000, 1);
    },
    (stack) => stack.store.takeOrphan(["o1", "A::B"], "t2", 1000, 1),
  ],
  [
    "orphans, which must wait for the budget",
    async (stack) => {
      for (const id of ["o1", "o2"]) await noteOrphan(stack, id);
      await stack.store.takeOrphan(["o1", "A::B"], "t1", 1000, 1);
    },
    (stack) => stack.store.takeOrphan(["o2", "A::B"], "t2", 1000, 1),
  ],
  [
    "incident that nobody has",
    async () => {},
    (stack) => stack.store.answerIncident(stack.id, "i1", "approved", { event, revision: "1" }),
  ],
  [
    "begin of a traversal that must wait",
    opened,
    async (stack) => stack.ask("observe", { idle: true, revision: (await stack.field("revision")) ?? "" }),
  ],
  ["observers, one more", async () => {}, (stack) => stack.store.registerObserver("default", "o1", 3600_000)],
  [
    "observers, one less",
    async (stack) => void (await stack.store.registerObserver("default", "o1", 3600_000)),
    (stack) => stack.store.forgetObserver("default", "o1"),
  ],
  ...([500, undefined] as const).map(
    (ms): Case => [
      `due ${ms === undefined ? "drop" : "set"}`,
      (stack) => stack.store.hint("s1", 0),
      async (stack) => {
        const score = stack.attempt || ((await stack.store.popDue(0, 9)).stacks[0]?.[1] ?? "");
        // Popped once; returned twice.
        stack.attempt = score;
        await stack.store.returnDue("s1", score, ms);
      },
    ],
  ),
];

async function resolve(stack: TestStack): Promise<boolean> {
  const revision = (await stack.redis.hget(stack.key("r:ra"), "revision")) ?? "";
  return stack.store.resolve(stack.id, "ra", { revision, physical: "", answer: "nothing" });
}

/** Who asks again is told so: the same number under another tag. */
describe("a request is one goal", () => {
  for (const kind of ["create", "update", "rollback", "delete", "cancel"] as const) {
    test(kind, async () => {
      const stack = server.stack();
      if (kind !== "create") await stack.ask("create");
      const revision = kind === "create" ? "" : "1";
      const first = await stack.ask(kind, { request: "same", revision, template: "t9" });
      const after = await stack.dump();
      const second = await stack.ask(kind, { request: "same", revision, template: "t9" });
      expect(first).toMatchObject({ tag: "ok" });
      expect(second).toEqual({ tag: "repeated", traversal: (first as { traversal: number }).traversal });
      const again = await stack.dump();
      // The template of a repeated request is written ahead, as ever.
      expect(again).toEqual(after);
    });
  }

  test("a request that found nothing to do finds nothing again, even when there would be something", async () => {
    const stack = server.stack();
    await stack.ask("create");
    await stack.open([]);
    expect(await stack.ask("rollback", { request: "same" })).toEqual({ tag: "nothing", traversal: 1 });
    await stack.ask("update");
    expect(await stack.ask("rollback", { request: "same" })).toEqual({ tag: "repeated", traversal: 1 });
  });
});

describe("the same script twice", () => {
  for (const [what, prepare, act] of cases) {
    test(what, async () => {
      const stack = server.stack();
      await prepare(stack);
      const before = await stack.dump();
      const first = await act(stack);
      const after = await stack.dump();
      const second = await act(stack);
      expect(await stack.dump(), "its effect").toEqual(after);
      // Who waits has left its mark by then, and is rung for once more.
      const marked = what === "commit wait" ? { rings: expect.anything() } : {};
      expect(second, "its answer").toEqual(typeof first === "object" ? { ...first, ...marked } : first);
      if (
        !/busy|finds itself|late|another|still|sight|not there|has changed|asked|nobody|must wait|taken|exists|retry|pass-on|renew/.test(
          what,
        )
      )
        expect(after, "it did something").not.toEqual(before);
    });
  }
});

describe("results that take some doing", () => {
  test("attend and incident: stale, missing, answered", async () => {
    const stack = server.stack();
    const announced = { event, revision: "7" };
    expect((await stack.store.attend(stack.id, "paused", "x", announced)).tag).toBe("missing");
    await opened(stack);
    expect((await stack.store.attend(stack.id, "paused", "x", announced)).tag).toBe("stale");
    const answer = (incident: string, verdict: "approved" | "dismissed", revision: string) =>
      stack.store.answerIncident(stack.id, incident, verdict, { event, revision });
    expect((await answer("i1", "approved", "1")).tag).toBe("missing");
    await stack.redis.hset(stack.key("i"), "open", "i1", "openedAt", 1);
    expect((await answer("i1", "approved", "7")).tag).toBe("stale");
    expect(await answer("i1", "approved", "1")).toEqual({ tag: "ok", resources: [] });
    expect(await answer("i1", "dismissed", "1")).toEqual({ tag: "answered", verdict: "approved" });
  });

  test("settle: stale, for another traversal or revision", async () => {
    const stack = server.stack();
    await opened(stack);
    const settle = { snapshot: "s", status: "COMPLETE", final: true };
    expect(await stack.store.settle(stack.id, 7, { revision: "1", ...settle })).toBe(false);
    expect(await stack.store.settle(stack.id, 1, { revision: "7", ...settle })).toBe(false);
  });

  test("claim: gone, ended, notReady, moved, waiting, stale, passing", async () => {
    const stack = server.stack();
    await opened(stack);
    const tag = async (node: string, resource: string) =>
      (await stack.store.claim(stack.visit(node, resource), "x")).tag;
    expect(await tag("u:Z", "rz")).toBe("gone");
    expect(await tag("", "rz")).toBe("gone");
    expect(await tag("u:B", "rb")).toBe("notReady");
    expect(await tag("u:A", "old")).toBe("moved");
    await stack.claim("u:A", "ra", "h");
    await stack.commit("u:A", "ra", { holder: "h", effect: "done", value: "ra@1" });
    expect(await tag("u:A", "ra")).toBe("passing");
    await stack.store.end(stack.visit("u:A", "ra"), []);
    expect(await tag("u:A", "ra")).toBe("ended");
    await stack.claim("u:B", "rb", "h");
    await stack.commit("u:B", "rb", {
      holder: "h",
      effect: "intent",
      operation: "create",
      fields: { intent: "create" },
      callMs: 60_000,
    });
    await stack.commit("u:B", "rb", { holder: "h", mode: "outcome", effect: "wait" });
    expect(await tag("u:B", "rb")).toBe("waiting");
    expect(await tag("", "ra")).toBe("stale");
  });

  test("commit: fenced, busy, handed", async () => {
    const stack = server.stack();
    await claimed(stack);
    await stack.claim("u:C", "rc", "c");
    expect((await stack.commit("u:A", "ra", { holder: "x", effect: "keep" })).tag).toBe("fenced");
    const adopt = { resource: "rc", fields: {}, index: "" };
    expect((await stack.commit("u:A", "ra", { holder: "h", effect: "adopt", next: adopt })).tag).toBe("busy");
    await stack.redis.hset(stack.key("r:rc"), "handed", "thing");
    expect(await stack.commit("u:C", "rc", { holder: "c", effect: "gone" })).toEqual({
      tag: "handed",
      thing: "thing",
      late: true,
    });
  });

  test("begin: stale, conflict, missing, exists, void", async () => {
    const stack = server.stack();
    expect((await stack.ask("update")).tag).toBe("missing");
    await stack.store.void(stack.id);
    expect((await stack.ask("create")).tag).toBe("void");
    await stack.redis.flushall();
    await stack.ask("create");
    expect((await stack.ask("create")).tag).toBe("exists");
    expect((await stack.ask("update", { revision: "7" })).tag).toBe("stale");
    expect(await stack.ask("update", { expected: 7 })).toEqual({ tag: "conflict", traversal: 1 });
  });

  test("who counts on a hint that was dropped must hint again", async () => {
    const stack = server.stack();
    await rested(stack);
    const announced = { event, revision: "0" };
    expect((await stack.store.attend(stack.id, "paused", "x", announced)).tag).toBe("stale");
    const lost = { limit: 1, withinMs: 9 };
    await observe(stack, {
      finding: "missing",
      want: { ...repair, lost, incident: { id: "i1", text: "{}" } },
    });
    expect((await stack.store.answerIncident(stack.id, "i1", "approved", announced)).tag).toBe("stale");
  });

  test("an incident is answered once", async () => {
    const stack = server.stack();
    await rested(stack);
    await observe(stack, {
      finding: "missing",
      want: { ...repair, lost: { limit: 1, withinMs: 9 }, incident: { id: "i1", text: "{}" } },
    });
    const answer = () => stack.store.answerIncident(stack.id, "i1", "approved", { event, revision: "1" });
    expect(await answer()).toEqual({ tag: "ok", resources: ["ra"] });
    const before = await stack.dump();
    expect(await answer()).toEqual({ tag: "ok", resources: ["ra"] });
    expect(await stack.store.answerIncident(stack.id, "i1", "dismissed", { event, revision: "1" })).toEqual({
      tag: "answered",
      verdict: "approved",
    });
    expect(await stack.dump()).toEqual(before);
  });

  test("end and pass-on of what is over, handover of what is known, purge of what is unfinished", async () => {
    const stack = server.stack();
    await intended(stack);
    const old = stack.visit("u:A", "ra");
    expect(await stack.store.purge(stack.id, 1, "a1", { base: "t1", lastGood: "" })).toBe("unfinished");
    expect(await stack.store.purge(stack.id, 7, "a1", { base: "t1", lastGood: "" })).toBe("stale");
    await stack.redis.hset(stack.key("r:ra"), "physical", "A-1");
    const stray = { resource: "stray", fields: { name: "A" }, index: "{}" };
    expect(await stack.store.handOver(stack.id, "ra", "h", { physical: "A-1", text: "t" }, stray)).toBe(
      "known",
    );
    await stack.ask("update");
    expect((await stack.store.passOn(old, 0)).current).toBe(false);
    await stack.store.end(old, []);
  });

  test("handover: of the call's own maker, or of another while the call may still take effect", async () => {
    const stack = server.stack();
    await intended(stack);
    const handOver = (holder: string, text: string) => {
      const stray = { resource: "stray", fields: { name: "A" }, index: "{}" };
      return stack.store.handOver(stack.id, "ra", holder, { physical: "A-1", text }, stray);
    };
    const times = async () => [
      Number(await stack.redis.hget(stack.key("r:ra"), "deadline")),
      Number(await stack.redis.zscore(stack.key("o"), "ra")),
    ];
    const deadline = stack.now + 60_000;
    stack.now += 1_000;
    expect(await handOver("x", "one")).toBe("handed");
    expect(await times()).toEqual([deadline, deadline]);
    expect(await handOver("h", "the same, told otherwise")).toBe("handed");
    expect(await times()).toEqual([stack.now, stack.now]);
    expect(await stack.redis.exists(stack.key("r:stray"))).toBe(0);
  });

  test("sweep and facts: missing, moved, purged, ok", async () => {
    const stack = server.stack();
    const sweep = (traversal: number | "", attempt: string) =>
      stack.store.sweep(stack.id, traversal, attempt, 9);
    expect((await sweep("", "")).tag).toBe("missing");
    expect((await stack.store.facts(stack.id, 1, "")).tag).toBe("missing");
    await opened(stack);
    expect((await sweep("", "")).tag).toBe("moved");
    expect((await sweep(1, "a0")).tag).toBe("moved");
    expect((await sweep(1, "a1")).tag).toBe("ok");
    expect((await stack.store.facts(stack.id, 1, "a1")).tag).toBe("ok");
    await stack.redis.flushall();
    await stack.ask("create");
    await stack.ask("delete");
    await stack.open([]);
    await stack.store.reap(stack.id, stack.traversal);
    expect(await stack.store.purge(stack.id, stack.traversal, stack.attempt, { base: "t1" })).toBeDefined();
    const record = (await stack.store.stack(stack.id)) ?? {};
    if (record.traversal !== undefined)
      await stack.store.purge(stack.id, stack.traversal, stack.attempt, record);
    expect((await sweep("", "")).tag).toBe("purged");
  });

  test("view: gone, moved, ok", async () => {
    const stack = await server.stack();
    expect(await stack.store.view(stack.id, "", [])).toBeUndefined();
    await opened(stack);
    const view = await stack.store.view(stack.id, "ra", ["u:A", "u:B", "u:none"]);
    expect(view?.nodes).toMatchObject([
      { node: "u:A", resource: "ra", predecessors: 0, done: false, failed: false, missing: [] },
      { node: "u:B", resource: "rb", predecessors: 1, arrived: 0, ringAtMs: undefined, place: undefined },
    ]);
    expect([...(seen.get("view") ?? [])].sort()).toEqual(["gone", "moved", "ok"]);
  });

  test("every documented result has come about by now", () => {
    for (const [name, { results }] of loadScripts()) {
      expect([...(seen.get(name) ?? [])].sort(), `${name}.lua`).toEqual([...new Set(results)].sort());
    }
  });
});
