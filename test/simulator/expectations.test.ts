/**
 * Theory: an expectation that always holds hides every bug. Each key is asked once for what is so and once for what is
 * not, and must say what it found instead; a name that could mean two things is the file's fault.
 */

import { describe, expect, test } from "vitest";
import { InvalidError } from "../../src/errors.js";
import { stackNamed, type Tampering, withScripts } from "./run-text.js";

const world = `
  - create:
      stack: foo
      template:
        resources:
          A: {type: Sim::Resource, properties: {a: 1, '!b': x}}
          B: {type: Sim::Resource, properties: {of: {get_resource: A}}}
  - settle: true
  - remember: {as: first, resource: A}
  - remember: {as: b, resource: B}
  - update:
      stack: foo
      template:
        resources:
          A: {type: Sim::Resource, properties: {a: 1, '!b': y}}
          B: {type: Sim::Resource, properties: {of: {get_resource: A}}}
  - settle: true`;

const resources = "A: {type: Sim::Resource, properties: {a: 1, '!b': y}}";
const b = "B: {type: Sim::Resource, properties: {of: {get_resource: A}}}";

const keys: [key: string, holds: string, fails: string, says: RegExp][] = [
  [
    "reality, a value",
    `{reality: {resources: {${resources}, ${b}}}}`,
    `{reality: {resources: {A: {type: Sim::Resource, properties: {a: 2, '!b': y}}, ${b}}}}`,
    /^A: property a is 1, not 2$/,
  ],
  [
    "reality, a function",
    `{reality: {resources: {${resources}, ${b}}}}`,
    `{reality: {resources: {${resources}, B: {type: Sim::Resource, properties: {of: {get_attr: [A, a]}}}}}}`,
    /^B: property of is "A-\d", not 1$/,
  ],
  [
    "reality, a thing too many",
    `{reality: {resources: {${resources}, ${b}}}}`,
    `{reality: {resources: {${resources}}}}`,
    /^B-\d exists, but no B is wanted$/,
  ],
  [
    "reality, a thing too few",
    `{reality: {resources: {${resources}, ${b}}}}`,
    `{reality: {resources: {${resources}, ${b}, C: {type: Sim::Resource}}}}`,
    /^there are 0 C, not 1$/,
  ],
  [
    "reality, a property too few",
    `{reality: {resources: {${resources}, ${b}}}}`,
    `{reality: {resources: {A: {type: Sim::Resource, properties: {a: 1}}, ${b}}}}`,
    /^A: property !b is "y", not absent$/,
  ],
  [
    "reality with parameters that the template declares",
    `{reality: {parameters: {v: {type: string, default: y}}, resources: {A: {type: Sim::Resource, properties: {a: 1, '!b': {get_param: v}}}, ${b}}}}`,
    `{reality: {parameters: {v: {type: string, default: z}}, resources: {A: {type: Sim::Resource, properties: {a: 1, '!b': {get_param: v}}}, ${b}}}}`,
    /^A: property !b is "y", not "z"$/,
  ],
  [
    "reality with values of parameters",
    `{reality: {parameters: {v: y}, resources: {A: {type: Sim::Resource, properties: {a: 1, '!b': {get_param: v}}}, ${b}}}}`,
    `{reality: {parameters: {v: z}, resources: {A: {type: Sim::Resource, properties: {a: 1, '!b': {get_param: v}}}, ${b}}}}`,
    /^A: property !b is "y", not "z"$/,
  ],
  [
    "physical",
    "{physical: {A: 1, B: 1, C: 0}}",
    "{physical: {B: 1, A: 2}}",
    /^there are 1 physical A, not 2$/,
  ],
  [
    "physical of a stack",
    "{physical: {foo/A: 1, bar/A: 0}}",
    "{physical: {bar/A: 1}}",
    /^there are 0 physical bar\/A, not 1$/,
  ],
  ["total", "{total: 2}", "{total: 3}", /^there are 2 physical things, not 3$/],
  [
    "status",
    "{status: {foo: COMPLETE}}",
    "{status: {foo: FAILED}}",
    /^the status of foo is COMPLETE, not FAILED$/,
  ],
  [
    "status of no stack",
    "{status: {bar: NOT_FOUND}}",
    "{status: {foo: NOT_FOUND}}",
    /^the status of foo is COMPLETE, not NOT_FOUND$/,
  ],
  ["state", "{state: {A: ready}}", "{state: {A: failed}}", /^the state of A is ready, not failed$/],
  [
    "state of no resource",
    "{state: {C: absent}}",
    "{state: {A: absent}}",
    /^the state of A is ready, not absent$/,
  ],
  [
    "calls",
    "{calls: {A: {create: 2, delete: 1, find: 0}, B: {update: 1}}}",
    "{calls: {A: {create: 2, delete: 2}}}",
    /^there were 1 delete calls of A, not 2$/,
  ],
  ["same", "{same: {B: b}}", "{same: {A: first}}", /^A is A-\d, not A-1 any more$/],
  ["differs", "{differs: {A: first}}", "{differs: {B: b}}", /^B is still B-2$/],
  ["same as what nobody remembered", "{same: {B: b}}", "{same: {B: c}}", /^nothing is remembered as c$/],
  ["gone of a stack that is there", "{gone: bar}", "{gone: foo}", /^the name foo is still taken$/],
];

describe("expect", () => {
  const scripts = withScripts();
  for (const [key, holds, fails, says] of keys) {
    test(key, async () => {
      const good = await scripts.run(`${world}\n  - expect: ${holds}`);
      expect(good.failure?.message).toBeUndefined();
      const bad = await scripts.run(`${world}\n  - expect: ${fails}`);
      expect(bad.failure?.message).toMatch(says);
      expect(bad.failure?.step).toBe("step 7 (expect, line 18)");
    });
  }

  test("all of the given expectations: the second of two keys counts too", async () => {
    const result = await scripts.run(`${world}\n  - expect: {status: {foo: COMPLETE}, total: 3}`);
    expect(result.failure?.message).toMatch(/not 3/);
  });

  const deleted = "\n  - delete: {stack: foo}\n  - settle: true\n  - expect: {gone: foo}";
  const leftovers: [what: string, leave: Tampering["settled"], says: RegExp][] = [
    [
      "a key",
      async (simulation, redis) => {
        const key = simulation.store.keys.template(stackNamed(simulation, "foo"), "t");
        // As the checkers of invariant 5 do not look into a running stack's own keys, only the end is spoilt.
        if ((await simulation.store.stackOfName("foo")) === undefined) await redis.set(key, "x");
      },
      /left (over in Redis: t:t|.*:t:t in Redis)/,
    ],
    [
      "a timer",
      async (simulation) => {
        if ((await simulation.store.stackOfName("foo")) === undefined)
          await simulation.store.hint(stackNamed(simulation, "foo"), 1000);
      },
      /^foo left a timer$/,
    ],
    [
      "a notification",
      async (simulation) => {
        const stack = stackNamed(simulation, "foo");
        const visit = { stack, traversal: 1, attempt: "x", node: "u:A", resource: "r", pool: "default" };
        if ((await simulation.store.stackOfName("foo")) === undefined)
          simulation.delayed.push({ at: simulation.now + 1, delivery: { visit, acknowledged: false } });
      },
      /^(foo left notifications|invariant 5: there are messages)/,
    ],
  ];
  for (const [what, settled, says] of leftovers) {
    test(`gone, but ${what} is left`, async () => {
      const bad = await scripts.run(`${world}${deleted}`, settled === undefined ? {} : { settled });
      expect(bad.failure?.message).toMatch(says);
      const good = await scripts.run(`${world}${deleted}`);
      expect(good.failure?.message).toBeUndefined();
    });
  }

  test("what a stack that nobody answered for left is not gone", async () => {
    const crashed = `
  - crash: {at: after-fence, during: begin}
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}
  - delete: {stack: foo}
  - expect: {gone: foo}`;
    expect((await scripts.run(crashed)).failure?.message).toMatch(/foo/);
  });
});

describe("a bare name that is ambiguous is an error of the file", () => {
  const scripts = withScripts();
  const two = `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1}}}}}
  - create: {stack: bar, template: {resources: {A: {type: Sim::Resource}}}}
  - settle: true`;
  const bare: [string, string][] = [
    ["physical", "expect: {physical: {A: 2}}"],
    ["state", "expect: {state: {A: ready}}"],
    ["calls", "expect: {calls: {A: {create: 2}}}"],
    ["until", "until: {physical: {A: 3}}"],
    ["same", "expect: {same: {A: x}}"],
    ["remember", "remember: {as: x, resource: A}"],
    ["drift", "drift: {resource: A, missing: true}"],
    ["fail", "fail: {resource: A, optional: true}"],
    ["hold", "hold: {resource: A, optional: true}"],
    ["crash", "crash: {at: before-ack, resource: A, optional: true}"],
    ["pause", "pause: {at: before-ack, resource: A, for: 1s, optional: true}"],
  ];
  /** Most are seen when the file is read, the others when the step is run. */
  async function refused(text: string): Promise<{ unusable?: { line?: number; message: string } }> {
    try {
      return await scripts.run(text);
    } catch (error) {
      const [problem] = error instanceof InvalidError ? error.problems : [];
      return problem === undefined ? {} : { unusable: problem };
    }
  }
  for (const [what, step] of bare) {
    test(what, async () => {
      const before = what === "same" ? "\n  - remember: {as: x, resource: foo/A}" : "";
      const result = await refused(`${two}${before}\n  - ${step}`);
      expect(result.unusable).toMatchObject({ line: what === "same" ? 6 : 5 });
      expect(result.unusable?.message).toMatch(/\bA\b.*foo.*bar|\bA\b.*stack\/A/);
    });
  }

  test("before anything is made", async () => {
    const unmade = two.replace(/\n *- settle: true/, "");
    const result = await refused(`${unmade}\n  - fail: {resource: A}\n  - settle: true`);
    expect(result.unusable).toBeDefined();
  });

  test("with its stack it is not", async () => {
    const said = `${two}
  - expect: {physical: {foo/A: 1, bar/A: 1}, state: {foo/A: ready}, calls: {bar/A: {create: 1}}}
  - remember: {as: x, resource: foo/A}
  - expect: {same: {foo/A: x}, differs: {bar/A: x}}
  - drift: {resource: bar/A, missing: true}
  - expect: {physical: {foo/A: 1, bar/A: 0}}
  - fail: {resource: foo/A, op: update}
  - update: {stack: bar, template: {resources: {A: {type: Sim::Resource, properties: {b: 1}}}}}
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 2}}}}}
  - settle: true
  - expect: {status: {foo: FAILED}}`;
    expect((await scripts.run(said)).failure?.message).toBeUndefined();
  });

  test("a name made again in a stack of the same name is not", async () => {
    const again = `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}
  - settle: true
  - delete: {stack: foo}
  - settle: true
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}
  - settle: true
  - expect: {physical: {A: 1, foo/A: 1}, state: {A: ready}, calls: {A: {create: 2}}}`;
    const result = await scripts.run(again);
    expect([result.unusable, result.failure?.message]).toEqual([undefined, undefined]);
  });
});
