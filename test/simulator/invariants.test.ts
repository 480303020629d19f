/**
 * Theory: a checker that never fires proves nothing. Each invariant is broken on purpose, by an engine with a planted
 * fault or by a world or Redis made wrong by hand, and must say so; the same run left alone must not.
 */
import type { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import type { Simulation } from "../../src/simulator/simulation.js";
import { stackNamed, type Tampering, withScripts } from "./run-text.js";

const pair = `
  - create:
      stack: foo
      template:
        resources:
          B: {type: Sim::Resource, depends_on: A}
          A: {type: Sim::Resource, properties: {a: 1}}`;

const made = `${pair}\n  - settle: true`;

/** Whoever claims finds every lease run out. */
const endLeases: Tampering["plant"] = (simulation, redis) => {
  const { store } = simulation;
  const claim = store.claim.bind(store);
  store.claim = async (visit, holder) => {
    const key = store.keys.resource(visit.stack, visit.resource);
    if ((await redis.exists(key)) === 1) await redis.hset(key, "until", 0);
    return claim(visit, holder);
  };
};

/** What a resource requires is never recorded. */
const forgetRequires: Tampering["plant"] = ({ store }) => {
  const commit = store.commit.bind(store);
  store.commit = (visit, given) =>
    commit(visit, {
      ...given,
      ...(given.requires === undefined ? {} : { requires: [] }),
      index: (given.index ?? "").replace(/"requires":\[[^\]]*\],?/, ""),
    });
};

/** From a traversal on, B is ready at once, whatever it depends on. */
const hurryB =
  (from: number): NonNullable<Tampering["plant"]> =>
  ({ store }) => {
    const writeGraph = store.writeGraph.bind(store);
    store.writeGraph = (stack, traversal, attempt, fields, ready) =>
      writeGraph(stack, traversal, attempt, fields, traversal < from ? ready : [0, "u:B", ...ready]);
  };

/** The provider cannot find what it made. */
const blind: Tampering["plant"] = ({ world }) => {
  world.findByToken = async () => undefined;
};

/** Nobody hears events of this kind. */
const unheard =
  (what: string): NonNullable<Tampering["plant"]> =>
  (simulation) => {
    const watch = simulation.watch.bind(simulation);
    simulation.watch = (watcher) => {
      const announced = watcher.announced.bind(watcher);
      watcher.announced = (event) => {
        if (event.what !== what) announced(event);
      };
      watch(watcher);
    };
  };

const twoDeliveries = `
  - hold: {resource: A, op: create}
  - duplicate: 1
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}
  - visits: 2
  - release: {resource: A}
  - settle: true`;

const longCall = `
  - hold: {resource: A, op: create}
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}
  - visits: 1
  - advance: 15s
  - release: {resource: A}
  - settle: true`;

const madeTwice = `
  - crash: {at: after-call, resource: A, op: create}
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}
  - settle: true`;

const leftover =
  (suffix: string): Tampering["settled"] =>
  async (simulation, redis) => {
    await redis.set(simulation.store.keys.of(stackNamed(simulation, "foo"), suffix), "x");
  };

const ofResourceA =
  (field: string, value: (simulation: Simulation) => string | number): Tampering["settled"] =>
  async (simulation, redis) => {
    const stack = stackNamed(simulation, "foo");
    for (const [id, entry] of await simulation.store.index(stack)) {
      if (entry.name === "A")
        await redis.hset(simulation.store.keys.resource(stack, id), field, value(simulation));
    }
  };

/** A stack in which A has failed for good; B does not depend on it. */
const failed = `
  - fail: {resource: A, op: update}
  - create:
      stack: foo
      template: {resources: {A: {type: Sim::Resource, properties: {a: 1}}, B: {type: Sim::Resource}}}
  - settle: true
  - update:
      stack: foo
      template: {resources: {A: {type: Sim::Resource, properties: {a: 2}}, B: {type: Sim::Resource}}}
  - settle: true`;

/** In `failed`, settled for the second time. */
const onceFailed =
  (wrong: (simulation: Simulation) => void): NonNullable<Tampering["settled"]> =>
  (simulation) => {
    if (simulation.world.calls.some(({ operation }) => operation === "update")) wrong(simulation);
  };

const without = (name: string) => onceFailed(({ world }) => dropped(world, name));

function dropped(world: Simulation["world"], name: string): void {
  for (const [id, thing] of world.things) if (thing.name === name) world.things.delete(id);
}

/** What is called A is never deleted, though the provider says so. */
const undying: NonNullable<Tampering["plant"]> = ({ world }) => {
  const remove = world.remove.bind(world);
  world.remove = async (id) => (world.things.get(id)?.name === "A" ? undefined : remove(id));
};

/** Tells the checkers of a traversal that did not begin. */
const asIfBegun = (request: string, kind: "update" | "rollback"): NonNullable<Tampering["plant"]> => {
  return (simulation) => {
    const watch = simulation.watch.bind(simulation);
    simulation.watch = (watcher) => {
      const begun = watcher.begun.bind(watcher);
      watcher.begun = async (begin, answer) => {
        await begun(begin, answer);
        if (answer.tag === "ok" && answer.traversal === 2) {
          await begun({ ...begin, request, kind }, { tag: "ok", traversal: 3, goal: "empty" });
        }
      };
      watch(watcher);
    };
  };
};

const updated = `${made}
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 3}}}}}
  - settle: true`;

/** One resource is retained, another has drifted: neither excuses the others. */
const excused = `
  - create:
      stack: foo
      template:
        resources:
          R: {type: Sim::Resource, deletion_policy: Retain}
          D: {type: Sim::Resource, properties: {a: 1, b: 1}}
          A: {type: Sim::Resource, properties: {a: 1}}
          B: {type: Sim::Resource, depends_on: A, properties: {b: 1}}
  - settle: true
  - drift: {resource: D, set: {a: 9}}
  - update:
      stack: foo
      template:
        resources:
          D: {type: Sim::Resource, properties: {a: 1, b: 1}}
          A: {type: Sim::Resource, properties: {a: 1}}
          B: {type: Sim::Resource, depends_on: A, properties: {b: 2}}
  - settle: true`;

const drifting = (then: string) => `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1, b: 1}}, B: {type: Sim::Resource, properties: {a: {get_attr: [A, a]}}}}}}
  - settle: true
  - drift: {resource: A, ${then}}`;

/** Stopped on the way to a second goal, in which both properties are others. */
const stopped = (how: string, options = "") => `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1, b: 1}}, B: {type: Sim::Resource}}}}
  - settle: true
  - hold: {resource: A, op: update}
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 2, b: 2}}, B: {type: Sim::Resource}, C: {type: Sim::Resource, depends_on: A}}}${options}}
  - visits: 1
  - ${how}
  - release: {resource: A}
  - settle: true`;

/** After the second settling. */
const onceStopped =
  (wrong: NonNullable<Tampering["settled"]>): NonNullable<Tampering["settled"]> =>
  (simulation, redis) =>
    simulation.world.calls.some(({ operation }) => operation === "update")
      ? wrong(simulation, redis)
      : undefined;

const setA = (properties: Record<string, number>) => (simulation: Simulation) => {
  for (const thing of simulation.world.things.values()) if (thing.name === "A") thing.properties = properties;
};

/** The checkers are not told of failed deletes. */
const silentDeletes: NonNullable<Tampering["plant"]> = (simulation) => {
  const watch = simulation.watch.bind(simulation);
  simulation.watch = (watcher) => {
    const callFails = watcher.callFails.bind(watcher);
    watcher.callFails = (call, operation, life, error) => {
      if (operation !== "delete") callFails(call, operation, life, error);
    };
    watch(watcher);
  };
};

/** The checkers hear of each decision to create twice, the second time for somebody else. */
const createdTwice: NonNullable<Tampering["plant"]> = (simulation) => {
  const watch = simulation.watch.bind(simulation);
  simulation.watch = (watcher) => {
    const committed = watcher.committed.bind(watcher);
    watcher.committed = (visit, commit, answer) => {
      committed(visit, commit, answer);
      committed({ ...visit, resource: "other" }, commit, answer);
    };
    watch(watcher);
  };
};

/** A is replaced, and its old incarnation cannot be deleted; C, which has nothing to do with it, cannot be made. */
const undeletable = `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {"!a": 1}}}}}
  - settle: true
  - fail: {resource: A, op: delete}
  - fail: {resource: C, op: create}
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {"!a": 2}}, C: {type: Sim::Resource}}}}
  - settle: true`;

const cases: { title: string; says: RegExp; steps: string; wrong: Tampering }[] = [
  {
    title: "1 two operations on one resource overlap",
    says: /^invariant 1: find of A starts while create is in progress$/,
    steps: twoDeliveries,
    wrong: { plant: endLeases },
  },
  {
    title: "1 a call begins while one that was aborted may take effect",
    says: /^invariant 1: update of A starts while one that was aborted may take effect$/,
    steps: `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1, $timeout: 5s}}}}}
  - settle: true
  - hold: {resource: A, op: update}
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 2, $timeout: 5s}}}}}
  - settle: true`,
    wrong: {
      plant: ({ store }, redis) => {
        const claim = store.claim.bind(store);
        store.claim = async (visit, holder) => {
          const key = store.keys.resource(visit.stack, visit.resource);
          if ((await redis.exists(key)) === 1) await redis.hset(key, "deadline", "");
          return claim(visit, holder);
        };
      },
    },
  },
  {
    title: "2 what something still refers to is deleted",
    says: /^invariant 2: A-\d is deleted while B-\d, which refers to it, still exists$/,
    steps: `${made}\n  - delete: {stack: foo}\n  - settle: true`,
    wrong: {
      plant: (simulation, redis) => {
        forgetRequires(simulation, redis);
      },
    },
  },
  {
    title: "2 what is retained is deleted",
    says: /^invariant 2: A is deleted, though it is retained$/,
    steps: `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, deletion_policy: Retain}}}}
  - settle: true
  - delete: {stack: foo}
  - settle: true`,
    wrong: {
      plant: ({ store }) => {
        const claim = store.claim.bind(store);
        store.claim = async (visit, holder) => {
          const answer = await claim(visit, holder);
          return answer.tag === "claimed" ? { ...answer, record: { ...answer.record, retain: "" } } : answer;
        };
      },
    },
  },
  {
    title: "3 a create starts before what it requires",
    says: /^invariant 3: B is touched before A has reached the goal 1$/,
    steps: made,
    wrong: { plant: hurryB(1) },
  },
  {
    title: "4 a thing is leaked",
    says: /^invariant 4: stack foo is COMPLETE, but there are 2 A, not 1$/,
    steps: made,
    wrong: {
      settled: ({ world, ...simulation }) => {
        const stack = stackNamed({ world, ...simulation } as Simulation, "foo");
        const leak = { name: "A", properties: { a: 1 }, token: "?", stack, refersTo: new Set<string>() };
        world.things.set("leak", { id: "leak", ...leak });
      },
    },
  },
  {
    title: "4 a thing is lost",
    says: /^invariant 4: stack foo is COMPLETE, but there are 0 A, not 1$/,
    steps: made,
    wrong: { settled: ({ world }) => dropped(world, "A") },
  },
  {
    title: "4 a record without a thing is left",
    says: /^invariant 4: stack foo is COMPLETE, but of A there are records: .*other \(declared\)/,
    steps: made,
    wrong: {
      settled: async (simulation, redis) => {
        const { keys } = simulation.store;
        const stack = stackNamed(simulation, "foo");
        const index = await simulation.store.index(stack);
        const [id = "", entry] = [...index].find(([, { name }]) => name === "A") ?? [];
        await redis.copy(keys.resource(stack, id), keys.resource(stack, "other"));
        const snapshot = (await redis.hget(keys.resource(stack, id), "snapshot"))?.replace(
          "ready",
          "declared",
        );
        await redis.hset(keys.resource(stack, "other"), { physical: "", snapshot });
        await redis.hset(keys.index(stack), "other", JSON.stringify(entry));
      },
    },
  },
  {
    title: "4 a value is not the goal's",
    says: /^invariant 4: stack foo is COMPLETE, but A: property a is 2, not 1$/,
    steps: made,
    wrong: {
      settled: ({ world }) => {
        for (const thing of world.things.values()) if (thing.name === "A") thing.properties = { a: 2 };
      },
    },
  },
  {
    title: "4 a deleted stack leaves a thing",
    says: /^invariant 4: stack foo is NOT_FOUND, but .* exists, but no A is wanted$/,
    steps: `${made}\n  - delete: {stack: foo}\n  - settle: true`,
    wrong: { plant: undying },
  },
  ...(
    [
      ["a sync point", leftover("a:1"), /^invariant 5: left over in Redis: a:1$/],
      ["a graph", leftover("n:1:x"), /^invariant 5: left over in Redis: n:1:x$/],
      ["a tombstone", leftover("r:gone"), /^invariant 5: left over in Redis: r:gone$/],
      ["a pending node", leftover("p"), /^invariant 5: left over in Redis: p$/],
      ["an operation", leftover("o"), /^invariant 5: left over in Redis: o$/],
      ["an event that was not sent", leftover("e"), /^invariant 5: left over in Redis: e$/],
      ["an old template", leftover("t:old"), /^invariant 5: left over in Redis: t:old$/],
      ["a lease", ofResourceA("until", ({ now }) => now + 1), /^invariant 5: A is still leased$/],
      ["a mark", ofResourceA("mark", () => "1\nx\nu:A\ndefault"), /^invariant 5: A still has a mark$/],
      ["an intent", ofResourceA("intent", () => "create"), /^invariant 5: A still has a intent$/],
    ] as const
  ).map(([what, settled, says]) => ({
    title: `5 ${what} is left over`,
    says,
    steps: made,
    wrong: { settled: settled as NonNullable<Tampering["settled"]> },
  })),
  {
    title: "5 a name is taken by nobody",
    says: /^invariant 5: the name bar is taken, but there is no such stack$/,
    steps: made,
    wrong: {
      settled: async ({ store }) => {
        await store.moveName("bar", "", "nobody");
      },
    },
  },
  {
    title: "5 the status is not final",
    says: /^invariant 5: nothing is left to do, and stack foo is IN_SERVICE$/,
    steps: made,
    wrong: {
      settled: async (simulation, redis) => {
        const key = simulation.store.keys.stack(stackNamed(simulation, "foo"));
        await redis.hset(key, "status", "IN_SERVICE");
      },
    },
  },
  {
    title: "5 a message is not acknowledged",
    says: /^invariant 5: there are messages that nobody acknowledged$/,
    steps: made,
    wrong: {
      settled: (simulation) => {
        const visit = { stack: "s", traversal: 1, attempt: "x", node: "u:A", resource: "r", pool: "default" };
        simulation.queue.push({ visit, acknowledged: false });
      },
    },
  },
  {
    title: "6 visits are not bounded",
    says: /^invariant 6: 5000 visits for \d+ nodes and 0 faults$/,
    steps: made,
    wrong: {
      settled: (simulation) => {
        simulation.visits = 5000;
      },
    },
  },
  {
    title: "4 a stack has failed though nothing in it has",
    says: /^invariant 4: stack foo is FAILED, but nothing has failed$/,
    steps: made,
    wrong: {
      plant: ({ store }) => {
        const commit = store.commit.bind(store);
        store.commit = (visit, given) =>
          commit(visit, given.effect === "done" ? { ...given, effect: "fail", reason: "why not" } : given);
      },
    },
  },
  {
    title: "4 what does not depend on what failed is not there",
    says: /^invariant 4: stack foo is FAILED, but B, which does not depend on what failed, is not there$/,
    steps: failed,
    wrong: { settled: without("B") },
  },
  {
    title: "4 a failed stack leaks a thing",
    says: /^invariant 4: no record knows leak$/,
    steps: failed,
    wrong: {
      settled: onceFailed((simulation) => {
        const stack = stackNamed(simulation, "foo");
        const leak = { name: "C", properties: {}, token: "?", stack, refersTo: new Set<string>() };
        simulation.world.things.set("leak", { id: "leak", ...leak });
      }),
    },
  },
  {
    title: "4 a failed stack has lost a thing",
    says: /^invariant 4: A-\d is gone, but its record stands$/,
    steps: failed,
    wrong: { settled: without("A") },
  },
  {
    title: "8 a request begins two traversals",
    says: /^invariant 8: request-2 begins another traversal$/,
    steps: updated,
    wrong: { plant: asIfBegun("request-2", "update") },
  },
  {
    title: "8 a rollback goes back too far",
    says: /^invariant 8: the rollback 3 goes to empty$/,
    steps: updated,
    wrong: { plant: asIfBegun("request-3", "rollback") },
  },
  {
    title: "8 a goal is given up for a time that it was not given",
    says: /^invariant 8: the goal 2 is given up for its time, which is not over$/,
    steps: `${made}
  - hold: {resource: A, op: update}
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 3}}}}}
  - visits: 1
  - advance: 30s`,
    wrong: {
      plant: ({ store }) => {
        const begin = store.begin.bind(store);
        store.begin = (goal) => begin(goal.request === "request-2" ? { ...goal, timeoutMs: 20_000 } : goal);
      },
    },
  },
  {
    title: "9 nobody hears what became of a goal",
    says: /^invariant 9: stack foo is COMPLETE, and no event said so$/,
    steps: made,
    wrong: {
      plant: ({ store }) => {
        const settle = store.settle.bind(store);
        store.settle = (stack, traversal, { event: _, ...rest }) => settle(stack, traversal, rest);
      },
    },
  },
  {
    title: "9 nobody hears that what was missing cannot be read now",
    says: /^invariant 9: \w+ is unreadable, and its last event says missing$/,
    steps: `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, metadata: {homeostat: {policy: report}}}}}}
  - settle: true
  - advance: 10s
  - drift: {resource: A, missing: true}
  - notify: {resource: A}
  - settle: true
  - fail: {resource: A, op: read}
  - notify: {resource: A}
  - settle: true`,
    wrong: { plant: unheard("unreadable") },
  },
  {
    title: "9 an event is forgotten that the bus refused",
    says: /^invariant 9: \w+ is ready, and its last event says creating$/,
    steps: made,
    wrong: { plant: unheard("ready") },
  },
  {
    title: "5 a stack's name does not lead to it",
    says: /^invariant 5: the name foo does not lead to its stack$/,
    steps: made,
    wrong: {
      settled: async (simulation) => {
        await simulation.store.moveName("foo", stackNamed(simulation, "foo"), "");
      },
    },
  },
  {
    title: "10 somebody waits for a timer",
    says: /^invariant 10: stack foo waits for a timer, although nothing went wrong$/,
    steps: made,
    wrong: {
      plant: ({ store }) => {
        const commit = store.commit.bind(store);
        store.commit = async (visit, given) => {
          const answer = await commit(visit, given);
          return answer.tag === "ok" ? { ...answer, rings: [] } : answer;
        };
      },
    },
  },
  ...(
    [
      ["lease", { holder: "somebody" }, /^invariant 11: create of A is called without the lease$/],
      ["intent", { intent: "update" }, /^invariant 11: create of A is called with the intent update$/],
      ["time", { deadline: "1" }, /^invariant 11: create of A is called after its deadline$/],
    ] as const
  ).map(([what, fields, says]) => ({
    title: `11 a call without ${what}`,
    says,
    steps: made,
    wrong: {
      plant: ({ store }: Simulation, redis: Redis) => {
        const commit = store.commit.bind(store);
        store.commit = async (visit, given) => {
          const answer = await commit(visit, given);
          const key = store.keys.resource(visit.stack, visit.resource);
          if (given.effect === "intent") await redis.hset(key, fields);
          return answer;
        };
      },
    },
  })),
  {
    title: "11 a lease is renewed for another",
    says: /^invariant 11: a lease of somebody was renewed for \w+$/,
    steps: longCall,
    wrong: {
      plant: ({ store }) => {
        store.renew = async () => true;
        const resources = store.resources.bind(store);
        store.resources = async (stack, ids, fields) =>
          fields.join() === "holder" ? [{ holder: "somebody" }] : resources(stack, ids, fields);
      },
    },
  },
  // --- each excuse is for one thing alone
  ...(["A", "B"] as const).map((name) => ({
    title: `4 what somebody retains and what drifts do not excuse that ${name} is lost`,
    says: new RegExp(`^invariant 4: stack foo is COMPLETE, but there are 0 ${name}, not 1$`),
    steps: excused,
    wrong: { settled: onceStopped(({ world }) => dropped(world, name)) },
  })),
  {
    title: "4 somebody else is retained, and a thing is leaked",
    says: /^invariant 4: stack foo is COMPLETE, but A-\d exists, but no A is wanted$/,
    steps: `
  - create: {stack: foo, template: {resources: {R: {type: Sim::Resource, deletion_policy: Retain}, A: {type: Sim::Resource}}}}
  - settle: true
  - update: {stack: foo, template: {resources: {}}}
  - settle: true`,
    wrong: { plant: undying },
  },
  {
    title: "4 what was retained once, and is not any more, is leaked",
    says: /^invariant 4: stack foo is COMPLETE, but A-\d exists, but no A is wanted$/,
    steps: `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, deletion_policy: Retain}}}}
  - settle: true
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}
  - settle: true
  - update: {stack: foo, template: {resources: {}}}
  - settle: true`,
    wrong: { plant: undying },
  },
  {
    title: "2 what a retained thing refers to is deleted while it still has its record",
    says: /^invariant 2: A-\d is deleted while B-\d, which refers to it, still exists$/,
    steps: `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}, B: {type: Sim::Resource, depends_on: A, deletion_policy: Retain}}}}
  - settle: true
  - delete: {stack: foo}
  - settle: true`,
    wrong: { plant: forgetRequires },
  },
  {
    title: "2 somebody else has drifted, and what something still refers to is deleted",
    says: /^invariant 2: A-\d is deleted while B-\d, which refers to it, still exists$/,
    steps: `${pair.replace("A: {", "D: {type: Sim::Resource}\n          A: {")}
  - settle: true
  - drift: {resource: D, missing: true}
  - delete: {stack: foo}
  - settle: true`,
    wrong: { plant: forgetRequires },
  },
  {
    title: "3 somebody else has drifted, and an update comes before what it requires",
    says: /^invariant 3: B is touched before A has reached the goal 2$/,
    steps: `
  - create: {stack: foo, template: {resources: {B: {type: Sim::Resource, depends_on: A}, A: {type: Sim::Resource}, D: {type: Sim::Resource}}}}
  - settle: true
  - drift: {resource: D, set: {a: 9}}
  - update: {stack: foo, template: {resources: {B: {type: Sim::Resource, depends_on: A, properties: {b: 2}}, A: {type: Sim::Resource, properties: {a: 2}}, D: {type: Sim::Resource}}}}
  - settle: true`,
    wrong: { plant: hurryB(2) },
  },
  {
    title: "4 another property than the one that drifted is wrong",
    says: /^invariant 4: stack foo is COMPLETE, but A: property b is 7, not 1$/,
    steps: `${drifting("set: {a: 9}")}\n  - settle: true`,
    wrong: {
      settled: ({ world }) => {
        for (const thing of world.things.values())
          if (thing.properties.a === 9) thing.properties = { ...thing.properties, b: 7 };
      },
    },
  },
  {
    title: "4 what drifted was updated since, and is still so",
    says: /^invariant 4: stack foo is COMPLETE, but A: property a is 9, not 1$/,
    steps: `${drifting("set: {a: 9}")}
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1, b: 2}}, B: {type: Sim::Resource, properties: {a: {get_attr: [A, a]}}}}}}
  - settle: true`,
    wrong: { settled: onceStopped(setA({ a: 9, b: 2 })) },
  },
  {
    title: "4 somebody else was taken away, and B is lost",
    says: /^invariant 4: stack foo is COMPLETE, but there are 0 B, not 1$/,
    steps: `${drifting("missing: true")}\n  - settle: true`,
    wrong: {
      settled: ({ world }) => {
        if (world.named("A").length === 0) dropped(world, "B");
      },
    },
  },
  ...(
    [
      ["CANCELLED", stopped("cancel: {stack: foo}")],
      ["FAILED", stopped("advance: 60s", ", options: {timeout: 20s}")],
    ] as const
  ).flatMap(([status, steps]) => [
    {
      title: `4 ${status} on the way, a thing is leaked`,
      says: /^invariant 4: no record knows leak$/,
      steps,
      wrong: {
        settled: onceStopped((simulation) => {
          const stack = stackNamed(simulation, "foo");
          const leak = {
            name: "A",
            properties: { a: 1, b: 1 },
            token: "?",
            stack,
            refersTo: new Set<string>(),
          };
          simulation.world.things.set("leak", { id: "leak", ...leak });
        }),
      },
    },
    {
      title: `4 ${status} on the way, a thing is lost`,
      says: /^invariant 4: B-\d is gone, but its record stands$/,
      steps,
      wrong: { settled: onceStopped(({ world }) => dropped(world, "B")) },
    },
    {
      title: `4 ${status} on the way, a thing is partly of one goal and partly of another`,
      says: /^invariant 4: no goal wanted A-\d as it is$/,
      steps,
      wrong: {
        settled: onceStopped(async (simulation, redis) => {
          setA({ a: 1, b: 2 })(simulation);
          await ofResourceA("attributes", () => '{"a":1,"b":2}')?.(simulation, redis);
        }),
      },
    },
  ]),
  ...(
    [
      ["knows of no thing", "physical", "", /^invariant 4: A-\d is another thing than its record's$/],
      ["knows other values", "attributes", '{"a":7}', /^invariant 4: A-\d is not as its record says$/],
    ] as const
  ).map(([what, field, value, says]) => ({
    title: `4 a record ${what}`,
    says,
    steps: made,
    wrong: { settled: ofResourceA(field, () => value) as NonNullable<Tampering["settled"]> },
  })),
  {
    title: "4 a record is ready without a thing",
    says: /^invariant 4: A is ready without a thing$/,
    steps: stopped("cancel: {stack: foo}"),
    wrong: {
      settled: onceStopped(async (simulation, redis) => {
        dropped(simulation.world, "A");
        await ofResourceA("physical", () => "")?.(simulation, redis);
      }),
    },
  },
  {
    title: "4 a leftover is there that nothing which failed keeps",
    says: /^invariant 4: stack foo is FAILED, but A-1, whose end waits for nothing that failed, is there$/,
    steps: undeletable,
    wrong: { plant: silentDeletes },
  },
  {
    title: "4 what cannot be deleted does not excuse what is updated",
    says: /^invariant 4: stack foo is FAILED, but A, which does not depend on what failed, is not as wanted$/,
    steps: undeletable,
    wrong: {
      settled: ({ world }) => {
        for (const thing of world.things.values())
          if (thing.properties["!a"] === 2) thing.properties = { "!a": 3 };
      },
    },
  },
  {
    title: "4 nobody asks about a call that can be asked about only",
    says: /^invariant 4: stack foo is FAILED, but U, which does not depend on what failed, is not there$/,
    steps: `
  - fail: {resource: C, op: create}
  - create: {stack: foo, template: {resources: {U: {type: Sim::Resource, properties: {$findable: false}}, C: {type: Sim::Resource}}}}
  - settle: true`,
    wrong: { settled: ({ world }) => dropped(world, "U") },
  },
  {
    title: "7 a name is made twice under one goal",
    says: /^invariant 7: \w+ and other are both made for u:A of the goal 1$/,
    steps: made,
    wrong: { plant: createdTwice },
  },
  {
    title: "7 a token makes two things",
    says: /^invariant 7: the token \w+ has made 2 things$/,
    steps: madeTwice,
    wrong: { plant: blind },
  },
];

describe("invariants", () => {
  const scripts = withScripts();

  for (const { title, says, steps, wrong } of cases) {
    test(title, async () => {
      const broken = await scripts.run(steps, wrong);
      expect(broken.failure?.message).toMatch(says);
      expect(broken.ok).toBe(false);
      const whole = await scripts.run(steps);
      expect(whole.failure, "the same run left alone").toBeUndefined();
    });
  }
});

/** Theory: a checker may also cry wolf. Each of these runs is as it should be. */
describe("runs in which nothing is wrong", () => {
  const scripts = withScripts();

  const harmless: [title: string, steps: string][] = [
    [
      "2: what is left without its reference by an update that changes nothing else",
      `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}, B: {type: Sim::Resource, depends_on: A}}}}
  - settle: true
  - update: {stack: foo, template: {resources: {B: {type: Sim::Resource}}}}
  - settle: true
  - expect: {status: {foo: COMPLETE}, total: 1}`,
    ],
    [
      "3: what drifted unobserved is required by what is updated",
      `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1}}, B: {type: Sim::Resource, depends_on: A, properties: {b: 1}}}}}
  - settle: true
  - drift: {resource: A, set: {a: 9}}
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1}}, B: {type: Sim::Resource, depends_on: A, properties: {b: 2}}}}}
  - settle: true
  - expect: {status: {foo: COMPLETE}}`,
    ],
    [
      "2: what was brought in line with what drifted unheeded is left without its reference",
      `
  - create:
      stack: foo
      template:
        parameters: {homeostat_policy: {type: json, default: {ignore: [a]}}}
        resources:
          A: {type: Sim::Resource, properties: {a: 1}}
          B: {type: Sim::Resource, properties: {"!b": 1}}
          C: {type: Sim::Resource, properties: {"!c": {get_attr: [A, a]}}, depends_on: B}
  - settle: true
  - drift: {resource: A, set: {a: 9}}
  - observe: {stack: foo}
  - settle: true
  - update:
      stack: foo
      template:
        parameters: {homeostat_policy: {type: json, default: {ignore: [a]}}}
        resources:
          A: {type: Sim::Resource, properties: {a: 1}}
          B: {type: Sim::Resource, properties: {"!b": 2}}
          C: {type: Sim::Resource, properties: {"!c": {get_attr: [A, a]}}, depends_on: B}
  - settle: true
  - expect: {status: {foo: COMPLETE}, calls: {C: {create: 2}}}`,
    ],
    [
      "2: what is repaired before its update has no reference yet",
      `
  - create:
      stack: foo
      template:
        resources:
          A: {type: Sim::Resource, properties: {a: 1}}
          B: {type: Sim::Resource, properties: {b: 1}}
          C: {type: Sim::Resource, properties: {c: 1}}
  - settle: true
  - drift: {resource: A, missing: true}
  - drift: {resource: C, set: {c: 9}}
  - update:
      stack: foo
      template:
        resources:
          A: {type: Sim::Resource, properties: {a: 2}}
          B: {type: Sim::Resource, properties: {b: 1, "!ofA": {get_resource: A}}}
          C: {type: Sim::Resource, properties: {c: 1, "!ofB": {get_resource: B}}}
  - settle: true
  - notify: {resource: C}
  - settle: true
  - advance: 100s
  - settle: true
  - expect: {status: {foo: COMPLETE}, calls: {C: {update: 1, create: 2}}}`,
    ],
    [
      "4: the keys of a map in another order",
      `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {m: {a: 1, b: 2}}}}}}
  - settle: true
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {m: {b: 2, a: 1}}}}}}
  - settle: true
  - expect: {status: {foo: COMPLETE}, calls: {A: {create: 1, update: 0}}}`,
    ],
    [
      "1: a lease that runs out under a paused worker",
      `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}
  - pause: {at: after-call, resource: A, op: create, for: 200s}
  - settle: true
  - expect: {status: {foo: COMPLETE}, total: 1}`,
    ],
  ];
  for (const [title, steps] of harmless) {
    test(title, async () => {
      expect((await scripts.run(steps)).failure?.message).toBeUndefined();
    });
  }
});
