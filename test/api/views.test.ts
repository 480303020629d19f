/**
 * Theory: whatever a resource or a stack waits for can be told from what is stored, and is told rightly: each kind of waiting
 * is brought about here, with real servers, and then asked for.
 */
import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import type { Client } from "../../src/api/client.js";
import { waitKinds } from "../../src/api/explain.js";
import type { Reply } from "../../src/api/schemas.js";
import { Stacks } from "../../src/api/stacks.js";
import { HomeostatError } from "../../src/errors.js";
import type { JsonObject } from "../../src/json.js";
import { defaultLimits, type Limits } from "../../src/limits.js";
import { look } from "../../src/observer/look.js";
import { reconverge } from "../../src/observer/reconverge.js";
import { defineResource, ProviderError, ResourceTypes } from "../../src/providers/provider.js";
import { randomId } from "../../src/random-id.js";
import { connectRedis } from "../../src/store/connection.js";
import { stackPool } from "../../src/store/hints.js";
import { Sealing } from "../../src/store/sealing.js";
import { Store } from "../../src/store/store.js";
import type { Engine } from "../../src/traversal/engine.js";
import { handOver } from "../../src/traversal/hand-over.js";
import type { LifecycleEvent } from "../../src/traversal/lifecycle-event.js";
import { VisitedResource } from "../../src/traversal/visited-resource.js";
import { realClock } from "../../src/worker/clock.js";
import type { Host, HostOptions } from "../../src/worker/host.js";
import { Site, thing, until } from "../worker/world.js";

type Why = Reply<"why">;
type Explained = Why["resources"][number];

/** A site whose observer is the test itself: nothing is looked at but when it says so. */
class Scene {
  readonly site: Site;
  readonly client: Client;
  readonly engine: Engine;
  /** Why reads fail. */
  blind = "";
  /** What the looks of the test told. */
  readonly events: LifecycleEvent[] = [];
  /** Why updates and creates fail, by resource. */
  readonly faults = new Map<string, ProviderError>();
  readonly #key: string | undefined;
  readonly #connections: ReturnType<typeof connectRedis>[] = [];
  release: () => void = () => undefined;

  private constructor(site: Site, client: Client, key?: string) {
    this.site = site;
    this.#key = key;
    this.client = client;
    this.engine = {
      store: this.store(this.limits),
      bus: {
        ring: async () => undefined,
        announce: async (events) => {
          this.events.push(...events.map(({ text }) => JSON.parse(text) as LifecycleEvent));
        },
      },
      clock: realClock,
      random: { id: randomId, fraction: Math.random },
      types: this.types,
      sealing: new Sealing(key),
      limits: this.limits,
      trace: { reach: () => undefined },
      log: site.log,
    };
  }

  static async open(key?: string): Promise<Scene> {
    const site = await Site.open();
    const scene = new Scene(site, await site.client(), key);
    await scene.host({ roles: ["api"] });
    return scene;
  }

  get limits(): Limits {
    return { ...defaultLimits, ...short, firstLookMs: 60_000, backoffMs: 20_000 };
  }

  get types(): ResourceTypes {
    const { world } = this.site;
    const things = {
      properties: z.object({
        size: z.number().default(1),
        text: z.string().default(""),
        labels: z.record(z.string(), z.string()).optional(),
      }) as unknown as z.ZodType<JsonObject>,
      updatable: ["size", "text", "labels"],
      deadlinesMs: { create: 30_000, update: 30_000, delete: 30_000 },
    } as const;
    const make = async (call: { resource: string; stack: string; token: string }, properties: object) => {
      await world.pause("create", call.resource);
      const fault = this.faults.get(call.resource);
      if (fault !== undefined) throw fault;
      const physicalId = `${call.resource}-${world.things.size}`;
      world.things.set(physicalId, {
        token: call.token,
        stack: call.stack,
        size: 1,
        text: "",
        ...properties,
      });
      return { physicalId, attributes: { id: physicalId } };
    };
    const read = async (physicalId: string) => {
      if (this.blind !== "") throw new ProviderError(this.blind);
      const found = world.things.get(physicalId);
      if (found === undefined) return undefined;
      const { token: _token, stack: _stack, ...properties } = found;
      return { physicalId, attributes: { id: physicalId }, properties };
    };
    const change = async (call: { resource: string }, physicalId: string, properties: object) => {
      await world.pause("update", call.resource);
      const fault = this.faults.get(call.resource);
      if (fault !== undefined) throw fault;
      Object.assign(world.things.get(physicalId) ?? {}, properties);
      return { physicalId, attributes: { id: physicalId } };
    };
    const seen = defineResource({
      ...things,
      type: "Test::Seen",
      idempotent: true,
      create: make,
      read: (_call, physicalId) => read(physicalId),
      update: change,
      delete: async (_call, physicalId) => void world.things.delete(physicalId),
      find: async () => undefined,
    });
    const blind = defineResource({
      ...things,
      type: "Test::Blind",
      deadlinesMs: { create: 1_000 },
      create: make,
      read: (_call, physicalId) => read(physicalId),
      update: change,
      delete: async (_call, physicalId) => void world.things.delete(physicalId),
    });
    return new ResourceTypes().add(seen).add(blind);
  }

  store(limits: Limits, kind: typeof Store = Store): Store {
    const redis = connectRedis(this.site.redis.url);
    this.#connections.push(redis);
    return new kind(redis, limits);
  }

  host(options: Partial<HostOptions> = {}): Promise<Host> {
    const { types, limits } = this;
    return this.site.host({
      types,
      roles: ["api", "worker", "sweeper"],
      ...(this.#key === undefined ? {} : { key: this.#key }),
      ...options,
      limits: { ...limits, ...options.limits },
    });
  }

  async goal(resources: Record<string, object>, verb: "create" | "update" = "create"): Promise<string> {
    const goal = { name: "web", template: { text: JSON.stringify({ resources }) } };
    return (await this.client.call(verb, goal)).stack;
  }

  /** Calls for this resource do not end until the scene does. */
  hold(operation: string, name: string): void {
    const held = new Promise<void>((resolve) => {
      this.release = resolve;
    });
    this.site.world.pause = async (what, resource) => {
      if (what === operation && resource === name) await held;
    };
  }

  /** Changes the thing of a resource behind the engine's back; undefined: removes it. */
  async spoil(name: string, change: object | undefined): Promise<void> {
    const { resources } = await this.client.call("show", { name: "web" });
    const physicalId = resources.find((resource) => resource.name === name)?.physicalId ?? "";
    const { things } = this.site.world;
    if (change === undefined) things.delete(physicalId);
    else Object.assign(things.get(physicalId) ?? {}, change);
  }

  async look(name: string, engine = this.engine): Promise<string> {
    const { stack, resources } = await this.client.call("show", { name: "web" });
    const resource = resources.find((each) => each.name === name && each.current)?.id ?? "";
    return (await look(engine, { stack: stack.id, resource }, "event")).outcome;
  }

  why(resource?: string): Promise<Why> {
    return this.client.call("why", { name: "web", ...(resource === undefined ? {} : { resource }) });
  }

  async drift(resource?: string): Promise<Reply<"drift">["resources"]> {
    return (await this.client.call("drift", { name: "web", ...(resource === undefined ? {} : { resource }) }))
      .resources;
  }

  /** Until the first thing that the resource waits for is of this kind. */
  async waits(resource: string, kind: string): Promise<Explained> {
    for (const end = performance.now() + 20_000; ; ) {
      const [explained] = (await this.why(resource)).resources;
      if (explained?.waits[0]?.kind === kind) {
        told.add(kind);
        return explained;
      }
      if (performance.now() > end)
        throw new Error(`it is not ${kind}: ${JSON.stringify(explained, null, 1)}`);
      await realClock.sleep(30);
    }
  }

  async close(): Promise<void> {
    this.release();
    for (const redis of this.#connections) redis.disconnect();
    await this.site.close();
  }
}

/** Its process ends before a goal is set. */
class DyingStore extends Store {
  override begin(): Promise<never> {
    return Promise.reject(new HomeostatError("unavailable", "the process ends here"));
  }
}

const short: Partial<Limits> = { leaseMs: 1_500, renewMs: 300, graceMs: 100, ringMs: 1_000, beginMs: 60_000 };

const seen = (properties: object = {}, ...dependsOn: string[]) => ({
  ...thing(properties, ...dependsOn),
  type: "Test::Seen",
  metadata: { homeostat: { grace: 0 } },
});

const under = (policy: object, properties: object = {}) => ({
  ...seen(properties),
  metadata: { homeostat: { grace: 0, ...policy } },
});

/** The kinds of waiting that these tests have brought about. */
const told = new Set<string>();
let scene: Scene;
afterEach(() => scene.close());

describe("why, while a goal is under way:", () => {
  it("nobody has computed its graph", async () => {
    scene = await Scene.open();
    const request = {
      name: "web",
      template: { text: JSON.stringify({ resources: { a: seen() } }), name: "t", files: {} },
    };
    await new Stacks(scene.engine).create({ ...request, parameters: {}, options: {} });
    const { waits, text } = await scene.waits("a", "preparation");
    expect(waits[0]?.until).toBeDefined();
    expect(text).toMatch(/^a is declared for .*: its goal was set|a is declared for .*\. its goal was set/i);
    expect((await scene.why()).waits[0]?.kind).toBe("preparation");
  });

  it("no worker of its pool takes it", async () => {
    scene = await Scene.open();
    await scene.goal({ a: seen() });
    const { waits } = await scene.waits("a", "worker");
    expect(waits[0]?.text).toMatch(/ready for a worker of the pool default/);
  });

  it("a call is in flight, then whoever made it is lost, then what comes before it waits", async () => {
    scene = await Scene.open();
    const host = await scene.host();
    scene.hold("create", "a");
    await scene.goal({ a: seen(), b: seen({}, "a"), c: seen({}, "a", "b") });
    const flying = await scene.waits("a", "call");
    expect(flying.lastCall).toMatchObject({ operation: "create", inFlight: true });
    expect(flying.text).toMatch(/^a is creating for [\d.]+s\. A visit has called create [\d.]+s ago/);
    const waiting = await scene.waits("c", "predecessors");
    expect(waiting.waits[0]).toMatchObject({ on: ["a", "b"] });
    expect((await scene.why()).resources.map(({ name }) => name)).toEqual(["a", "b", "c"]);
    host.kill();
    const lost = await scene.waits("a", "lease");
    expect(lost.text).toMatch(/Whoever called create is not heard of: the lease ran out [\d.]+s ago/);
  });

  it("somebody holds it", async () => {
    scene = await Scene.open();
    const stack = await scene.goal({ a: seen() });
    await scene.waits("a", "worker");
    const view = await scene.engine.store.view(stack, "", ["u:a"]);
    const { traversal = "", open: attempt = "" } = view?.stack ?? {};
    const resource = view?.nodes[0]?.resource ?? "";
    const visit = { stack, traversal: Number(traversal), attempt, node: "u:a", resource, pool: "default" };
    expect((await scene.engine.store.claim(visit, "somebody")).tag).toBe("claimed");
    const held = await scene.waits("a", "lease");
    expect(held.waits[0]?.text).toMatch(/^a visit \(somebody\) holds it; its lease ends in /);
  });

  it("there is no room for it", async () => {
    scene = await Scene.open();
    await scene.host({ roles: ["worker"], limits: { windowNodes: 1 } });
    const goal = {
      name: "web",
      template: { text: JSON.stringify({ resources: { a: seen(), b: seen() } }), name: "t", files: {} },
    };
    scene.hold("create", "a");
    const limits = { ...scene.limits, windowNodes: 1 };
    const stacks = new Stacks({ ...scene.engine, limits, store: scene.store(limits) });
    await stacks.begin(await stacks.create({ ...goal, parameters: {}, options: {} }));
    const { waits } = await scene.waits("b", "queue");
    expect(waits[0]?.text).toMatch(/number 1 of those that wait for room/);
  });

  it("an interrupted call may still land", async () => {
    scene = await Scene.open();
    const host = await scene.host();
    await scene.goal({ a: seen() });
    await until(scene.client, "web", "COMPLETE");
    scene.hold("update", "a");
    await scene.goal({ a: seen({ size: 2 }) }, "update");
    await scene.waits("a", "call");
    host.kill();
    await scene.host();
    const { waits } = await scene.waits("a", "deadline");
    expect(waits[0]?.text).toMatch(/interrupted and may still take effect until its deadline, in \d+s/);
  });

  it("it is tried again after a pause", async () => {
    scene = await Scene.open();
    await scene.host();
    scene.faults.set("a", new ProviderError("no room", { retryable: true }));
    await scene.goal({ a: seen() });
    const { waits, failures, lastCall, text } = await scene.waits("a", "backoff");
    expect({ failures, operation: lastCall?.operation, inFlight: lastCall?.inFlight }).toEqual({
      failures: 1,
      operation: "create",
      inFlight: false,
    });
    expect(waits[0]?.until).toBeDefined();
    expect(text).toMatch(
      /^a is retrying for .*: create: no room\. Its last call was create, begun .* ago; 1 of at most 5 in a row failed/,
    );
    expect(text).toMatch(/It is tried again in 1\ds, as attempt 2 of 5\.$/);
  });

  it("what a worker without a lease made is to be taken up", async () => {
    scene = await Scene.open();
    const host = await scene.host();
    scene.hold("create", "a");
    const stack = await scene.goal({ a: seen() });
    const { id } = await scene.waits("a", "call");
    const sight = await scene.engine.store.sight(stack, id);
    host.kill();
    const visit = {
      stack,
      traversal: 1,
      attempt: sight?.attempt ?? "",
      node: "u:a",
      resource: id,
      pool: "default",
    };
    await handOver(
      scene.engine,
      visit,
      sight?.record.holder ?? "",
      new VisitedResource(sight?.record ?? {}),
      {
        physicalId: "p",
        attributes: {},
      },
    );
    const { waits } = await scene.waits("a", "handover");
    expect(waits[0]?.text).toMatch(/handed over what it made/);
  });

  it("it has failed, and others still move", async () => {
    scene = await Scene.open();
    await scene.host();
    scene.faults.set("a", new ProviderError("never", { retryable: false }));
    scene.hold("create", "b");
    await scene.goal({ a: seen(), b: seen() });
    const { waits, reason } = await scene.waits("a", "others");
    expect(reason).toBe("create: never");
    expect(waits[0]?.text).toMatch(/the stack is FAILED when nothing else of it can move/);
  });

  it("nothing is looked at before its end, and what was asked for at once then", async () => {
    scene = await Scene.open();
    await scene.host();
    const id = await scene.goal({ a: seen(), b: seen({ size: 1 }) });
    const { resources } = await until(scene.client, "web", "COMPLETE");
    const [a] = resources;
    const { store } = scene.engine;
    const thing = { id: a?.id ?? "", type: "Test::Seen", physicalId: a?.physicalId ?? "" };
    const next = () => store.nextLook("default", { stack: id, resource: thing });
    const laterMs = (await next()) ?? 0;
    scene.hold("update", "b");
    await scene.goal({ a: seen(), b: seen({ size: 2 }) }, "update");
    await scene.waits("b", "call");
    const lookAt = () => look(scene.engine, { stack: id, resource: thing.id }, "poll");
    expect(await lookAt()).toEqual({ outcome: "traversal", nextMs: 6_000 });
    expect(await store.nextLook(stackPool, { stack: id })).toBeUndefined();
    await store.attend(id, "askedAt", "now");
    expect(await lookAt()).toEqual({ outcome: "traversal", nextMs: 6_000 });
    expect(await store.nextLook(stackPool, { stack: id })).toBeLessThan(laterMs);
    expect(await reconverge(scene.engine, id, laterMs)).toBe(1_000);
    expect(await next()).toBe(laterMs);
    scene.release();
    await until(scene.client, "web", "COMPLETE");
    expect(await reconverge(scene.engine, id, laterMs)).toBeUndefined();
    expect(await next()).toBeLessThan(laterMs - 30_000);
    await scene.look("a");
    expect((await store.stack(id))?.awaited).toBe("");
  });

  it("what was seen to differ is left alone meanwhile", async () => {
    scene = await Scene.open();
    await scene.host();
    const stack = await scene.goal({ a: seen(), b: seen() });
    await until(scene.client, "web", "COMPLETE");
    await scene.engine.store.attend(stack, "paused", "now");
    await scene.spoil("a", { size: 7 });
    await scene.spoil("b", undefined);
    expect([await scene.look("a"), await scene.look("b")]).toEqual(["paused", "paused"]);
    await scene.engine.store.attend(stack, "paused", "");
    scene.hold("create", "b");
    expect(await scene.look("b")).toBe("traversal wished for");
    await scene.waits("b", "call");
    const { waits } = await scene.waits("a", "traversal");
    expect(waits[0]?.text).toMatch(/nothing is repaired while a traversal is under way/);
  });
});

describe("why, when nothing is under way:", () => {
  async function complete(resources: Record<string, object>): Promise<string> {
    scene = await Scene.open();
    await scene.host();
    const stack = await scene.goal(resources);
    await until(scene.client, "web", "COMPLETE");
    return stack;
  }

  it("it is at its goal", async () => {
    await complete({ a: seen() });
    expect(await scene.look("a")).toBe("nothing new");
    const { atGoal, text, resources, stack } = await scene.why("a");
    expect({ atGoal, status: stack.status }).toEqual({ atGoal: true, status: "COMPLETE" });
    expect(text).toMatch(
      /^web is COMPLETE and at its goal \(create 1\) for [\d.]+s\. 1 of 1 resources are at their goal\.$/,
    );
    expect(resources).toMatchObject([{ atGoal: true, state: "ready", waits: [], reason: "" }]);
    expect(resources[0]?.text).toMatch(
      /^a is ready and at its goal for .*\. Its last call was create, .*\. Last looked at .* ago, next in /,
    );
    expect((await scene.why()).resources).toEqual([]);
  });

  it("the goal has failed and is tried again, or not", async () => {
    scene = await Scene.open();
    await scene.host();
    scene.faults.set("a", new ProviderError("never", { retryable: false }));
    await scene.goal({ a: seen(), b: seen({}, "a") });
    await until(scene.client, "web", "FAILED");
    const { waits, text } = await scene.waits("a", "retry");
    expect(waits[0]?.text).toMatch(/^the goal is tried again in (29|30)s, for the 1st time$/);
    expect(text).toMatch(/^a is failed for .*: never\. Its last call was create/);
    const after = await scene.waits("b", "predecessors");
    expect(after.waits.map(({ kind, on }) => [kind, on])).toEqual([
      ["predecessors", ["a (failed)"]],
      ["retry", undefined],
    ]);
    const stack = (await scene.why()).stack.id;
    await scene.engine.store.attend(stack, "policy", '{"retry":false}');
    const left = await scene.waits("a", "goal");
    expect(left.waits[0]?.text).toBe(
      "the goal is not tried again, because the policy says retry: false; set one anew",
    );
  });

  it("its goal was cancelled", async () => {
    scene = await Scene.open();
    await scene.goal({ a: seen() });
    await scene.client.call("cancel", { name: "web" });
    await until(scene.client, "web", "CANCELLED");
    const { waits } = await scene.waits("a", "goal");
    expect(waits[0]?.text).toMatch(/was cancelled/);
  });

  it("only a person can tell what became of a call", async () => {
    scene = await Scene.open();
    const host = await scene.host();
    scene.hold("create", "a");
    await scene.goal({ a: { type: "Test::Blind" } });
    await scene.waits("a", "call");
    host.kill();
    await scene.host();
    await until(scene.client, "web", "FAILED");
    const { text, state } = await scene.waits("a", "answer");
    expect(state).toBe("uncertain");
    expect(text).toMatch(/Only a person can tell what became of its last call/);
    expect(text).toMatch(/homeostat resolve web a" and --made ID or --not-made/);
  });

  describe("a person says what became of a call:", () => {
    const resolve = (made: string | null, resource = "a") =>
      scene.client.call("resolve", { name: "web", resource, made });
    const stateOf = async () => (await scene.client.call("show", { name: "web" })).resources[0]?.state;
    const goal = { a: { type: "Test::Blind", properties: { size: 3 } }, b: seen({}, "a") };

    async function asked(): Promise<void> {
      scene = await Scene.open();
      const host = await scene.host();
      scene.hold("create", "a");
      await scene.goal(goal);
      await scene.waits("a", "call");
      host.kill();
      await scene.host();
      await until(scene.client, "web", "FAILED");
      scene.site.world.pause = async () => {};
    }

    it("it made this", async () => {
      await asked();
      await expect(resolve("a-7")).rejects.toMatchObject({
        code: "invalid",
        message: expect.stringMatching(/no a-7 of type/),
      });
      await expect(resolve("a-7", "c")).rejects.toMatchObject({
        code: "not_found",
        message: expect.stringMatching(/there are: a/),
      });
      scene.site.world.things.set("a-7", { token: "?", stack: "?", size: 3, text: "" });
      expect(await resolve("a-7")).toMatchObject({ resource: "a", made: "a-7" });
      await expect.poll(stateOf, { timeout: 20_000 }).toBe("ready");
      await expect(resolve("a-7")).rejects.toMatchObject({ code: "conflict" });
      await scene.goal(goal, "update");
      const { resources } = await until(scene.client, "web", "COMPLETE");
      expect(resources[0]).toMatchObject({ physicalId: "a-7", attributes: { id: "a-7" } });
      await scene.client.call("delete", { name: "web" });
      await expect.poll(() => scene.site.world.things.size, { timeout: 20_000 }).toBe(0);
    });

    it("it made nothing: another is made", async () => {
      await asked();
      expect(await resolve(null)).toMatchObject({ resource: "a", made: null });
      await expect.poll(stateOf, { timeout: 20_000 }).toBe("declared");
      await scene.goal(goal, "update");
      await until(scene.client, "web", "COMPLETE");
      expect(scene.site.world.things.size).toBe(2);
    });

    it("it made nothing: its stack can be deleted", async () => {
      await asked();
      await scene.client.call("delete", { name: "web" });
      await until(scene.client, "web", "FAILED");
      await resolve(null);
      await expect.poll(stateOf, { timeout: 20_000 }).toBe("declared");
      await scene.client.call("delete", { name: "web" });
      await expect.poll(async () => (await scene.client.call("list", {})).total, { timeout: 20_000 }).toBe(0);
    });

    it("not what another resource has", async () => {
      await asked();
      const other = {
        name: "other",
        template: { text: JSON.stringify({ resources: { x: { type: "Test::Blind" } } }) },
      };
      await scene.client.call("create", other);
      const { resources } = await until(scene.client, "other", "COMPLETE");
      await expect(resolve(resources[0]?.physicalId ?? "")).rejects.toMatchObject({
        code: "conflict",
        message: expect.stringMatching(/is the thing of x already/),
      });
    });
  });

  it("it is paused", async () => {
    const stack = await complete({ a: seen() });
    await scene.engine.store.attend(stack, "paused", "the disk is moved");
    await scene.spoil("a", { size: 7 });
    expect(await scene.look("a")).toBe("paused");
    const { waits, reason } = await scene.waits("a", "pause");
    await expect(scene.why("b")).rejects.toThrow("stack web has no resource b (there are: a)");
    await expect(scene.drift("b")).rejects.toThrow("stack web has no resource b (there are: a)");
    expect(reason).toBe("differs: size");
    expect(waits[0]?.since).toBeDefined();
    expect(waits[0]?.text).toMatch(
      /^the stack has been paused for .* \(the disk is moved\): nothing is mended/,
    );
    expect(await scene.why()).toMatchObject({ paused: true, notAtGoal: 1, states: { drifted: 1 } });
    await scene.client.call("pause", { name: "web" });
    expect((await scene.why()).text).toMatch(/has been paused for [^()]*: nothing is mended/);
  });

  it("the policy does not want it mended", async () => {
    await complete({ a: under({ policy: "report" }) });
    await scene.spoil("a", { size: 7 });
    await scene.look("a");
    const { waits } = await scene.waits("a", "policy");
    expect(waits[0]?.text).toBe("the policy says report: it is told and not mended");
  });

  it("an incident is held, and then dismissed", async () => {
    const policy = { incident: { missing: 1, within: "60s" } };
    const stack = await complete({ a: under(policy), b: seen() });
    await scene.spoil("a", undefined);
    expect(await scene.look("a")).toBe("incident");
    const { waits } = await scene.waits("a", "incident");
    expect(waits[0]?.text).toMatch(/^1 thing is missing; this incident \(\w+\) has been held for/);
    const { incident, waits: ofStack } = await scene.why();
    expect(ofStack.map(({ kind }) => kind)).toEqual(["incident"]);
    expect((await scene.client.call("list", {})).stacks).toMatchObject([{ heldMissing: 1 }]);
    expect((await scene.client.call("show", { name: "web" })).stack.heldMissing).toBe(1);
    await scene.engine.store.answerIncident(stack, incident, "dismissed", {
      event: { id: "e", text: "{}" },
      revision: (await scene.engine.store.stack(stack))?.revision ?? "",
    });
    await scene.waits("a", "dismissed");
    expect((await scene.client.call("list", {})).stacks[0]).not.toHaveProperty("heldMissing");
  });

  it("the budget is used up", async () => {
    await complete({ a: seen(), b: seen() });
    const { id } = (await scene.why()).stack;
    await scene.engine.store.attend(id, "policy", '{"budget":{"burst":1,"per_minute":1}}');
    await scene.spoil("a", { size: 7 });
    await scene.spoil("b", { size: 7 });
    expect([await scene.look("a"), await scene.look("b")]).toEqual(["repaired", "budget"]);
    const { waits } = await scene.waits("b", "budget");
    expect(waits[0]?.text).toMatch(/the next one is allowed in 5\ds/);
  });

  it("something else keeps changing it", async () => {
    await complete({ a: under({ fight: { repairs: 1, within: "10m" } }) });
    await scene.spoil("a", { size: 7 });
    expect(await scene.look("a")).toBe("repaired");
    await scene.spoil("a", { size: 8 });
    await scene.look("a");
    const { waits, state } = await scene.waits("a", "contested");
    expect({ state, on: waits[0]?.on }).toEqual({ state: "contested", on: ["size"] });
    expect(waits[0]?.text).toMatch(
      /left alone until it was quiet for as long, in (9m5\ds|10m00s) at the earliest/,
    );
    expect(await scene.drift()).toMatchObject([{ state: "contested", contested: ["size"] }]);
  });

  it("it cannot be read", async () => {
    await complete({ a: seen() });
    scene.blind = "the network is down";
    await scene.look("a");
    const { waits, reason } = await scene.waits("a", "look");
    expect(reason).toBe("read: the network is down");
    expect(waits[0]?.until).toBeDefined();
  });

  it("it cannot be read any more, after it was missing", async () => {
    await complete({ a: under({ policy: "report" }) });
    await scene.spoil("a", undefined);
    await scene.look("a");
    scene.blind = "the network is down";
    await scene.look("a");
    await scene.look("a");
    expect(scene.events.map(({ what, reason }) => [what, reason])).toEqual([
      ["missing", "it is not there"],
      ["unreadable", "it was missing; read: the network is down"],
    ]);
    const { state, text } = await scene.waits("a", "look");
    expect(state).toBe("unreadable");
    expect(text).toMatch(/^a is unreadable for .*: it was missing; read: the network is down\./);
    expect(await scene.why()).toMatchObject({ states: { unreadable: 1 } });
    expect(await scene.drift()).toMatchObject([{ state: "unreadable" }]);
    const { resources } = await scene.client.call("show", { name: "web" });
    expect(resources).toMatchObject([{ state: "unreadable" }]);
    const { seen: found } = await scene.client.call("observe", { name: "web", asked: 1 });
    expect(found).toMatchObject([{ finding: "unreadable" }]);
    scene.blind = "";
    await scene.look("a");
    expect(scene.events.at(-1)).toMatchObject({ what: "missing", reason: "it is not there" });
    expect(await scene.drift()).toMatchObject([{ state: "missing" }]);
  });

  it("its repair has failed", async () => {
    await complete({ a: seen() });
    await scene.spoil("a", { size: 7 });
    scene.faults.set("a", new ProviderError("locked", { retryable: true }));
    await scene.look("a");
    const { text, failures } = await scene.waits("a", "backoff");
    expect(failures).toBe(1);
    expect(text).toMatch(
      /^a is drifted for .*: locked\. Its last call was update.*Its repair is tried again in /,
    );
  });

  it("a traversal was asked for that has not begun", async () => {
    await complete({ a: seen() });
    await scene.spoil("a", undefined);
    const lost = scene.store(scene.limits, DyingStore);
    await expect(scene.look("a", { ...scene.engine, store: lost })).rejects.toThrow("ends here");
    const { waits } = await scene.waits("a", "traversal");
    expect(waits[0]?.text).toMatch(/^a traversal that mends it was asked for .* ago/);
  });
});

describe("drift", () => {
  it("shows what is desired, applied and observed with their ages, hides and cuts", async () => {
    scene = await Scene.open();
    await scene.host();
    await scene.goal({ a: seen({ size: 2 }), b: seen({ text: { get_attr: ["a", "id"] } }) });
    await until(scene.client, "web", "COMPLETE");
    expect(await scene.drift()).toEqual([]);
    const [fresh] = await scene.drift("a");
    expect(fresh).toMatchObject({
      state: "ready",
      differs: false,
      policy: "repair",
      properties: [],
      problem: "",
    });
    expect(fresh?.observedAt).toBeUndefined();
    await scene.engine.store.attend(fresh?.stack ?? "", "paused", "now");
    await scene.spoil("b", { size: 9, text: "x".repeat(5_000) });
    await scene.look("b");
    const [drift, ...others] = await scene.drift();
    expect(others).toEqual([]);
    expect(drift).toMatchObject({
      ...{
        stackName: "web",
        resource: "b",
        state: "drifted",
        reason: "differs: size, text",
        paused: true,
        differs: true,
      },
      properties: [
        { path: "size", desired: 1, applied: 1, observed: 9, differs: true, ignored: false },
        {
          path: "text",
          desired: "a-0",
          applied: "a-0",
          observed: expect.stringMatching(/^x{2000}… \(5000 characters\)$/),
        },
      ],
    });
    const times = [drift?.desiredAt, drift?.appliedAt, drift?.observedAt].map((time) =>
      Date.parse(time ?? ""),
    );
    expect(times).toEqual([...times].sort((a, b) => a - b));
    const everywhere = await scene.client.call("drift", {});
    expect(everywhere.resources.map(({ resource }) => resource)).toEqual(["b"]);
    expect(everywhere.next).toBe("");
  });

  it("tells apart what the goal changed from what reality did, and what is ignored", async () => {
    scene = await Scene.open();
    const host = await scene.host();
    await scene.goal({ a: under({ ignore: ["text"], policy: "report" }, { size: 2 }) });
    await until(scene.client, "web", "COMPLETE");
    await scene.spoil("a", { size: 9, text: "else" });
    await scene.look("a");
    const all = await scene.client.call("drift", { name: "web", all: true });
    expect(all.resources[0]?.properties).toEqual([
      { path: "size", desired: 2, applied: 2, observed: 9, differs: true, ignored: false },
      { path: "text", desired: "", applied: "", observed: "else", differs: false, ignored: true },
    ]);
    host.kill();
    await scene.goal(
      { a: under({ ignore: ["text"], policy: "report" }, { size: 3, text: "new" }) },
      "update",
    );
    expect((await scene.drift("a"))[0]?.properties).toMatchObject([
      { path: "size", desired: 3, applied: 2, observed: 9 },
      { path: "text", desired: "new", applied: "", observed: "else", differs: true },
    ]);
  });

  it("never tells a hidden value", async () => {
    scene = await Scene.open(Buffer.alloc(32, 7).toString("base64"));
    await scene.host();
    const parameters = { secret: { type: "string", hidden: true, default: "swordfish" } };
    const resources = { a: seen({ text: { get_param: "secret" } }) };
    const template = { text: JSON.stringify({ parameters, resources }) };
    await scene.client.call("create", { name: "web", template });
    await until(scene.client, "web", "COMPLETE");
    await scene.engine.store.attend((await scene.why()).stack.id, "paused", "now");
    await scene.spoil("a", { text: "herring" });
    await scene.look("a");
    const reply = JSON.stringify([await scene.drift(), await scene.why()]);
    expect(reply).not.toMatch(/swordfish|herring/);
    const hidden = { desired: "(hidden)", applied: "(hidden)", observed: "(hidden)" };
    expect((await scene.drift())[0]?.properties).toMatchObject([{ path: "text", ...hidden, differs: true }]);
  });

  it("never tells what a hidden value consists of, nor what a provider may say of it", async () => {
    scene = await Scene.open(Buffer.alloc(32, 7).toString("base64"));
    await scene.host();
    const parameters = { labels: { type: "json", hidden: true, default: { carp: "swordfish" } } };
    const resources = { a: seen({ labels: { get_param: "labels" } }) };
    await scene.client.call("create", {
      name: "web",
      template: { text: JSON.stringify({ parameters, resources }) },
    });
    await until(scene.client, "web", "COMPLETE");
    const { stack } = await scene.client.call("show", { name: "web" });
    const told: unknown[] = [];
    const reasons = async () => {
      const [explained] = (await scene.why("a")).resources;
      told.push(
        explained,
        await scene.drift(),
        await scene.client.call("observe", { name: "web", asked: 1 }),
      );
      return explained?.reason;
    };
    scene.faults.set("a", new ProviderError("cannot put swordfish where herring is"));
    await scene.spoil("a", { labels: { tench: "herring" } });
    await scene.look("a");
    expect(await reasons()).toBe("update: cannot put (hidden) where (hidden) is");
    await scene.engine.store.attend(stack.id, "paused", "now");
    await scene.spoil("a", { labels: { tench: "trout" } });
    await scene.look("a");
    expect(await reasons()).toBe("differs: labels");
    scene.blind = "tench is pike";
    await scene.look("a");
    expect(await reasons()).toMatch(/^it was drifted; read: what its provider says is not told.*\(labels\)$/);
    const [record] = await scene.engine.store.resources(
      stack.id,
      [...(await scene.engine.store.index(stack.id)).keys()],
      [],
    );
    told.push(record, scene.events, scene.site.log.lines);
    expect(JSON.stringify(told)).not.toMatch(/swordfish|herring|trout|pike|carp|tench/);
    expect(scene.events.map(({ reason }) => reason)).toContain("differs: labels");
    const wrong = { labels: { carp: ["perch"] } };
    const update = {
      name: "web",
      template: { text: JSON.stringify({ parameters, resources }) },
      parameters: wrong,
    };
    await scene.client.call("update", update);
    const failed = await until(scene.client, "web", "FAILED");
    expect(failed.stack.reason).toMatch(/property "labels": its hidden value is not one that the type takes/);
    expect(JSON.stringify(failed)).not.toMatch(/perch|carp/);
  });

  it("says when what is desired cannot be told yet", async () => {
    scene = await Scene.open();
    await scene.goal({ a: seen(), b: seen({ text: { get_attr: ["a", "id"] } }) });
    await scene.waits("a", "worker");
    const [a, b] = await scene.drift();
    expect(a).toMatchObject({
      state: "declared",
      problem: "",
      properties: [{ path: "size", desired: 1, differs: true }, {}],
    });
    expect(b?.problem).toMatch(/^what is desired cannot be told: /);
    await expect(scene.drift("nobody")).rejects.toMatchObject({ code: "not_found" });
  });

  it("comes in pages", async () => {
    scene = await Scene.open();
    await scene.goal(Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`r${i}`, seen()])));
    const names: string[] = [];
    let after = "";
    do {
      const page = await scene.client.call("drift", { name: "web", after, limit: 3 });
      expect(page.resources.length).toBeLessThanOrEqual(3);
      names.push(...page.resources.map(({ resource }) => resource));
      after = page.next;
    } while (after !== "");
    expect(names).toEqual(["r0", "r1", "r2", "r3", "r4", "r5", "r6"]);
  });
});

it("every kind of waiting was brought about", () => {
  expect(waitKinds.filter((kind) => !told.has(kind))).toEqual([]);
});
