/**
 * Theory: a checker of observation that never fires proves nothing. Each is broken on purpose, by an engine or a world
 * that a test has made wrong, and must say so; the same run left alone must not.
 */
import { describe, expect, test } from "vitest";
import type { Simulation } from "../../src/simulator/simulation.js";
import type { Observation } from "../../src/store/store.js";
import { stackNamed, type Tampering, withScripts } from "./run-text.js";

const template = (policy = "{}") => `
      template:
        parameters: {homeostat_policy: {type: json, default: ${policy}}}
        resources:
          A: {type: Sim::Resource, properties: {a: 1, "!b": 1}}
          B: {type: Sim::Resource, properties: {of: {get_resource: A}}}`;

const made = (policy?: string) => `
  - create:
      stack: foo${template(policy)}
  - settle: true
  - advance: 10s`;

const drifted = `
  - drift: {resource: A, set: {a: 9}}
  - notify: {resource: A}
  - settle: true`;

const lost = `
  - drift: {resource: A, missing: true}
  - notify: {resource: A}
  - settle: true`;

const reported = "\n  - notify: {resource: A}\n  - settle: true";

/** What a look says before it is stored. */
const lookSays =
  (change: (look: Observation) => Observation): NonNullable<Tampering["plant"]> =>
  ({ store }) => {
    const observe = store.observe.bind(store);
    store.observe = (stack, resource, look) => observe(stack, resource, change(look));
  };

/** Every read finds this. */
const reads =
  (found: (properties: object) => object | undefined): NonNullable<Tampering["plant"]> =>
  ({ world }) => {
    const get = world.get.bind(world);
    world.get = async (id) => {
      const thing = await get(id);
      return thing && (found(thing) as typeof thing | undefined);
    };
  };

/** Looks see their stack and its things under another policy than there is. */
const seesPolicy =
  (policy: string): NonNullable<Tampering["plant"]> =>
  ({ store }) => {
    const sight = store.sight.bind(store);
    store.sight = async (stack, resource) => {
      const seen = await sight(stack, resource);
      return seen && { ...seen, goalPolicy: "", policy, record: { ...seen.record, policy: "" } };
    };
  };

/** The store grants what it would not. */
const grants =
  (why: string): NonNullable<Tampering["plant"]> =>
  ({ store }) => {
    const observe = store.observe.bind(store);
    store.observe = async (stack, resource, look) => {
      const answer = await observe(stack, resource, look);
      return answer.tag === "noted" && answer.why === why ? { tag: "wished" } : answer;
    };
  };

const changeStack =
  (fields: (simulation: Simulation) => Record<string, string>): NonNullable<Tampering["plant"]> =>
  (simulation, redis) => {
    const { store } = simulation;
    const observe = store.observe.bind(store);
    store.observe = async (stack, resource, look) => {
      const answer = await observe(stack, resource, look);
      await redis.hset(store.keys.stack(stack), fields(simulation));
      return answer;
    };
  };

/** Nobody looks unless somebody asks. */
const neverPoll: Tampering["plant"] = ({ store }) => {
  store.popWatched = async () => ({ nowMs: 0, entries: [], nextMs: undefined });
  store.firstWatched = async () => undefined;
};

const fought = `${drifted}\n  - advance: 10s${drifted}\n  - advance: 10s${drifted}\n  - advance: 10s${drifted}`;

const cases: { title: string; says: RegExp; steps: string; wrong: Tampering }[] = [
  {
    title: "12 what is as it was made is mended",
    says: /^invariant 12: A is to be repaired, and was as it was made$/,
    steps: `${made()}${reported}`,
    wrong: {
      plant: (simulation) => {
        // The read tells the engine what it does not tell the checker.
        const { watchLooks } = simulation;
        simulation.watchLooks = (looker) => {
          const read = looker.read.bind(looker);
          looker.read = (call, found, life) =>
            read(call, found && !(found instanceof Error) ? { ...found, a: 1 } : found, life);
          watchLooks.call(simulation, looker);
        };
        reads((thing) => ({ ...thing, properties: { a: 7, "!b": 1 } }))(simulation, undefined as never);
      },
    },
  },
  {
    title: "12 what is as it was made is replaced",
    says: /^invariant 12: A is (to be repaired|replaced), and was as it was made$/,
    steps: `${made()}${reported}`,
    wrong: {
      plant: (simulation) => {
        const { watchLooks } = simulation;
        simulation.watchLooks = (looker) => {
          const read = looker.read.bind(looker);
          looker.read = (call, _found, life) => read(call, { a: 1, "!b": 1 }, life);
          watchLooks.call(simulation, looker);
        };
        reads((thing) => ({ ...thing, properties: { a: 1, "!b": 7 } }))(simulation, undefined as never);
      },
    },
  },
  {
    title: "12 a repair writes what is not compared",
    says: /^invariant 12: the repair of A changes c, which is not compared$/,
    steps: `${made("{ignore: [c]}")}
  - drift: {resource: A, set: {a: 9, c: 5}}${reported}`,
    wrong: {
      plant: ({ world }) => {
        const update = world.update.bind(world);
        world.update = (id, properties) => update(id, { ...properties, c: 6 });
      },
    },
  },
  {
    title: "13 more is mended than the budget allows",
    says: /^invariant 13: the budget of the stack is overdrawn$/,
    steps: `${made("{budget: {burst: 1, per_minute: 1}}")}${drifted}${drifted}`,
    wrong: {
      plant: lookSays((look) =>
        look.want === undefined
          ? look
          : { ...look, want: { ...look.want, budget: { burst: 100, perMinute: 100 } } },
      ),
    },
  },
  {
    title: "13 more of a type is mended than its budget allows",
    says: /^invariant 13: the budget of Sim::Resource is overdrawn$/,
    steps: `${made('{types: {"Sim::Resource": {budget: {burst: 1, per_minute: 1}}}}')}${drifted}${drifted}`,
    wrong: {
      plant: lookSays((look) =>
        look.want === undefined ? look : { ...look, want: { ...look.want, typeBudget: undefined } },
      ),
    },
  },
  {
    title: "14 mended under report",
    says: /^invariant 14: A is to be repaired under the policy report$/,
    steps: `${made("{policy: report}")}${drifted}`,
    wrong: { plant: seesPolicy("") },
  },
  {
    title: "14 mended while paused",
    says: /^invariant 14: A is to be repaired while its stack is paused$/,
    steps: `${made()}\n  - pause: {stack: foo}${lost}`,
    wrong: { plant: grants("paused") },
  },
  {
    title: "14 mended under an open incident",
    says: /^invariant 14: A is to be repaired under an open incident$/,
    steps: `${made("{incident: {missing: 1}}")}${lost}`,
    wrong: { plant: grants("incident") },
  },
  {
    title: "14 mended against a traversal under way",
    says: /^invariant 14: A is to be repaired against a traversal under way$/,
    steps: `${made()}${drifted}`,
    wrong: { plant: changeStack(() => ({ unsettled: "1" })) },
  },
  {
    title: "14 mended although its stack is deleted",
    says: /^invariant 14: A is to be repaired although nobody wants it$/,
    steps: `${made()}${drifted}`,
    wrong: { plant: changeStack(() => ({ action: "delete" })) },
  },
  {
    title: "15 a path is mended again and again",
    says: /^invariant 15: a of A is repaired 4 times within \d+s$/,
    steps: `${made()}${fought}`,
    wrong: {
      plant: (simulation) => {
        const { store } = simulation;
        const sight = store.sight.bind(store);
        store.sight = async (stack, resource) => {
          const seen = await sight(stack, resource);
          return seen && { ...seen, record: { ...seen.record, fights: "" } };
        };
      },
    },
  },
  {
    title: "16 drift is never mended",
    says: /^invariant 16: A differs for \d+s in a, and is not mended$/,
    steps: `${made()}\n  - drift: {resource: A, set: {a: 9}}\n  - advance: 10m`,
    wrong: { plant: neverPoll },
  },
  {
    title: "17 what cannot be read is replaced",
    says: /^invariant 17: A is to be repaired, although it could not be read$/,
    steps: `${made()}\n  - fail: {resource: A, op: read}${reported}`,
    wrong: {
      plant: (simulation) => {
        const { store } = simulation;
        const observe = store.observe.bind(store);
        store.observe = async (stack, resource, look) => {
          const answer = await observe(stack, resource, look);
          const isUnreadable = look.index.includes('"state":"unreadable"');
          return isUnreadable && answer.tag === "noted" ? { tag: "wished" } : answer;
        };
      },
    },
  },
  {
    title: "18 a thing is not looked at again",
    says: /^invariant 18: nobody will look at A again$/,
    steps: made().replace("\n  - advance: 10s", ""),
    wrong: {
      settled: async (simulation, redis) => {
        const key = simulation.store.keys.watch("default", 0);
        for (const entry of await redis.zrange(key, "0", "-1")) {
          if (entry.endsWith("\nA-1")) await redis.zrem(key, entry);
        }
      },
    },
  },
  {
    title: "18 nobody finds a thing by its id",
    says: /^invariant 18: A-1 is nobody's$/,
    steps: made().replace("\n  - advance: 10s", ""),
    wrong: {
      settled: async (simulation, redis) => {
        await redis.hdel(simulation.store.keys.physical("default", 0), "Sim::Resource\nA-1");
      },
    },
  },
  {
    title: "19 a dependent refers to what is gone",
    says: /^invariant 19: B is ready, but its of is not what the things are that it refers to$/,
    steps: `${made()}${lost}`,
    wrong: {
      plant: (simulation) => {
        const watchLooks = simulation.watchLooks.bind(simulation);
        const { world } = simulation;
        const update = world.update.bind(world);
        world.update = (id, properties) => update(id, "of" in properties ? { of: "A-1" } : properties);
        simulation.watchLooks = watchLooks;
      },
    },
  },
  {
    title: "5 a report is not acknowledged",
    says: /^invariant 5: there are reports that nobody acknowledged$/,
    steps: made(),
    wrong: {
      settled: (simulation) => {
        const hint = { type: "Sim::Resource", physicalId: `${stackNamed(simulation, "foo")}-x` };
        simulation.observers.queue.push({ hint, acknowledged: false });
      },
    },
  },
];

describe("invariants of observation", () => {
  const scripts = withScripts();

  for (const { title, says, steps, wrong } of cases) {
    test(title, async () => {
      const broken = await scripts.run(steps, wrong);
      const violations = broken.failure?.trace.filter((line) => line.includes(">>>")) ?? [];
      expect(violations.map((line) => line.replace(/^.*>>> /, ""))).toContainEqual(
        expect.stringMatching(says),
      );
      const whole = await scripts.run(steps);
      expect(whole.failure, "the same run left alone").toBeUndefined();
    });
  }
});

describe("observers leave nothing behind", () => {
  const scripts = withScripts();

  test("the schedule and the index of a stack that is gone are empty after the next poll", async () => {
    const { failure, simulation } = await scripts.run(
      `${made()}${lost}\n  - delete: {stack: foo}\n  - settle: true\n  - advance: 3m`,
    );
    expect(failure).toBeUndefined();
    const { keys } = simulation.store;
    const left = [keys.watch("default", 0), keys.watch("", 0), keys.physical("default", 0)];
    expect(await scripts.redis().exists(...left)).toBe(0);
  });
});
