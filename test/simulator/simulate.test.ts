/**
 * Theory: SCENARIOS.md says one thing and a run does another. Sentence by sentence, each with the smallest scenario
 * that can tell; where a scenario must fail, the reason is checked too.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runSimulate } from "../../src/simulator/simulate.js";
import { allScenarios } from "../support/scenarios.js";
import { withScripts } from "./run-text.js";

const one = "create: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}";
const two =
  "create: {stack: foo, template: {resources: {A: {type: Sim::Resource}, B: {type: Sim::Resource, properties: {of: {get_resource: A}}}}}}";

describe("homeostat simulate", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "homeostat-simulate-"));
    writeFileSync(join(folder, "good.yaml"), `steps: [{${one}}, {settle: true}]`);
    writeFileSync(join(folder, "bad.yaml"), `steps:\n  - ${one}\n  - settle: true\n  - expect: {total: 2}`);
    writeFileSync(join(folder, "unusable.yaml"), "steps:\n  - settle: true\n  - nonsense: 1");
    writeFileSync(
      join(folder, "ambiguous.yaml"),
      `steps:\n  - ${one}\n  - ${one.replace("foo", "bar")}\n  - settle: true\n  - expect: {physical: {A: 2}}`,
    );
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const simulate = async (json: boolean, ...names: string[]) => {
    const lines: string[] = [];
    const files = names.map((name) => join(folder, `${name}.yaml`));
    const exit = await runSimulate(files, { json, out: (line) => lines.push(line) });
    return { exit, lines };
  };

  const exits: [exit: number, files: string[]][] = [
    [0, ["good"]],
    [1, ["bad"]],
    [1, ["good", "bad", "good"]],
    [2, ["unusable"]],
    [2, ["ambiguous"]],
    [2, ["nowhere"]],
    [2, ["unusable", "bad", "good"]],
  ];
  for (const [exit, files] of exits) {
    test(`exits with ${exit} after ${files.join(", ")}`, async () => {
      expect((await simulate(true, ...files)).exit).toBe(exit);
    });
  }

  test("the other files still run, one JSON object per scenario and line", async () => {
    const { lines } = await simulate(true, "unusable", "bad", "nowhere", "good");
    const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(told.map(({ name, ok, runs }) => [String(name).replace(/.*\//, ""), ok, runs])).toEqual([
      ["unusable.yaml", false, 0],
      ["bad", false, 1],
      ["nowhere.yaml", false, 0],
      ["good", true, 1],
    ]);
    expect(told[0]).toMatchObject({ problems: [{ line: 3, column: 5 }] });
    expect(told[1]).toMatchObject({
      failure: { step: expect.stringContaining("step 3"), message: "there are 1 physical things, not 2" },
    });
    const { failure } = told[1] as { failure: { trace: string[] } };
    expect(failure.trace.join("\n")).toMatch(/calls create of A/);
    expect(told[3]).toMatchObject({ visits: 1 });
    expect(told[3]).not.toHaveProperty("failure");
  });

  test("people are told the step, why, and how it came to it; or file, line and column", async () => {
    const { lines } = await simulate(false, "unusable", "bad", "good");
    expect(lines[0]).toMatch(/unusable\.yaml:3:5: unknown step nonsense/);
    expect(lines[1]).toBe("FAIL  bad: step 3 (expect, line 4): there are 1 physical things, not 2");
    expect(lines.at(-1)).toBe("ok    good (1 visits)");
    expect(lines.length).toBeGreaterThan(5);
  });
});

/** What must go well; and what must go wrong, with the reason. */
const sentences: [sentence: string, steps: string, fails?: RegExp][] = [
  // until
  [
    "until stops where it holds: right after an effect, whose outcome nobody knows yet",
    `
  - ${two}
  - until: {physical: {A: 1}}
  - expect: {state: {A: creating}, physical: {B: 0}}
  - settle: true
  - expect: {status: {foo: COMPLETE}}`,
  ],
  [
    "until stops where it holds: what comes next finds it so",
    `
  - ${one}
  - until: {physical: {A: 1}}
  - crash: {at: after-call, resource: A, op: create}
  - settle: true
  - expect: {physical: {A: 1}, calls: {A: {create: 1, find: 1}}}`,
  ],
  [
    "until stops where it holds: a goal comes while the call is in progress",
    `
  - ${two}
  - until: {physical: {A: 1}}
  - delete: {stack: foo}
  - expect: {state: {A: creating}}
  - settle: true
  - expect: {status: {foo: NOT_FOUND}, total: 0, gone: foo}`,
  ],
  [
    "until stops where it holds: between two visits",
    `
  - ${two}
  - until: {state: {A: ready}}
  - expect: {state: {A: ready, B: declared}, calls: {B: {create: 0}}}
  - settle: true`,
  ],
  [
    "until stops where it holds, also when time had to pass: not after everything that became possible then",
    `
  - fail: {resource: A, retryable: true}
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}, B: {type: Sim::Resource, depends_on: A}}}}
  - until: {state: {A: ready}}
  - expect: {state: {B: declared}}
  - settle: true`,
  ],
  ["until that holds already does nothing", `\n  - ${one}\n  - until: {total: 0}\n  - expect: {total: 0}`],
  [
    "until fails when everything is quiet first",
    `\n  - ${one}\n  - until: {physical: {A: 2}}`,
    /^everything is quiet, and it does not hold: there are 1 physical A, not 2/,
  ],
  // visits
  [
    "visits: so many visits, one node each",
    `
  - ${two}
  - visits: 1
  - expect: {state: {A: ready, B: declared}}
  - visits: 1
  - expect: {state: {B: ready}, status: {foo: COMPLETE}}`,
  ],
  ["visits: fewer if nothing is left", `\n  - ${two}\n  - visits: 50\n  - expect: {status: {foo: COMPLETE}}`],
  [
    "no visit happens in the API call",
    `\n  - ${two}\n  - expect: {calls: {A: {create: 0}}, state: {A: declared}}`,
  ],
  [
    "a duplicate is a visit",
    `
  - duplicate: 1
  - ${two}
  - visits: 2
  - expect: {state: {A: ready, B: declared}}
  - visits: 1
  - expect: {state: {B: ready}}`,
  ],
  [
    "a busy visit is a visit",
    `
  - hold: {resource: A}
  - ${one}
  - visits: 1
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1}}, B: {type: Sim::Resource}}}}
  - visits: 1
  - expect: {calls: {B: {create: 0}}}
  - visits: 1
  - expect: {calls: {B: {create: 1}}}
  - release: {resource: A}
  - settle: true
  - expect: {status: {foo: COMPLETE}, calls: {A: {create: 1, update: 1}}}`,
  ],
  [
    "a crashed visit is a visit; what it did not acknowledge comes behind what is queued",
    `
  - crash: {at: before-intent, resource: A}
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}, B: {type: Sim::Resource}}}}
  - visits: 1
  - expect: {total: 0}
  - visits: 1
  - expect: {physical: {A: 0, B: 1}}
  - settle: true
  - expect: {status: {foo: COMPLETE}, calls: {A: {create: 1}}}`,
  ],
  [
    "a stale delivery is no visit",
    `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}, B: {type: Sim::Resource}}}}
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource}, C: {type: Sim::Resource}}}}
  - visits: 1
  - expect: {physical: {A: 1, B: 0, C: 0}}
  - visits: 1
  - expect: {physical: {C: 1}, calls: {B: {create: 0}}}`,
  ],
  [
    "deciding a replacement and creating it is one visit",
    `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {'!a': 1}}}}}
  - settle: true
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {'!a': 2}}}}}
  - visits: 1
  - expect: {physical: {A: 2}, status: {foo: IN_SERVICE}}
  - visits: 1
  - expect: {physical: {A: 1}, status: {foo: COMPLETE}}`,
  ],
  // order
  [
    "nodes that become ready together go in the template's order",
    `
  - create: {stack: foo, template: {resources: {Z: {type: Sim::Resource}, M: {type: Sim::Resource}, A: {type: Sim::Resource}}}}
  - visits: 1
  - expect: {physical: {Z: 1, M: 0, A: 0}}
  - visits: 1
  - expect: {physical: {M: 1, A: 0}}`,
  ],
  [
    "first notified, first visited",
    `
  - create: {stack: foo, template: {resources: {D: {type: Sim::Resource, depends_on: A}, A: {type: Sim::Resource}, B: {type: Sim::Resource}}}}
  - visits: 2
  - expect: {physical: {A: 1, B: 1, D: 0}}
  - visits: 1
  - expect: {physical: {D: 1}}`,
  ],
  [
    "updates before cleanups",
    `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {'!a': 1}}, D: {type: Sim::Resource, properties: {d: {get_attr: [A, '!a']}}}}}}
  - settle: true
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {'!a': 2}}, D: {type: Sim::Resource, properties: {d: {get_attr: [A, '!a']}}}}}}
  - visits: 2
  - expect: {calls: {A: {create: 2, delete: 0}, D: {update: 1}}, status: {foo: IN_SERVICE}}
  - settle: true`,
  ],
  // time
  [
    "a retry comes after exactly 1 s, then 2 s",
    `
  - fail: {resource: A, times: 2, retryable: true}
  - ${one}
  - visits: 1
  - advance: 999ms
  - expect: {calls: {A: {create: 1}}, state: {A: retrying}}
  - advance: 1ms
  - expect: {calls: {A: {create: 2}}}
  - advance: 1999ms
  - expect: {calls: {A: {create: 2}}}
  - advance: 1ms
  - expect: {calls: {A: {create: 3}}, status: {foo: COMPLETE}}`,
  ],
  [
    "a lease stands for exactly 30 s",
    `
  - ${one}
  - crash: {at: after-call, resource: A}
  - visits: 1
  - advance: 29999ms
  - expect: {calls: {A: {find: 0}}}
  - advance: 1ms
  - expect: {calls: {A: {find: 1, create: 1}}, status: {foo: COMPLETE}}`,
  ],
  [
    "a call's deadline is exactly 60 s: only then is it not there",
    `
  - ${one}
  - crash: {at: before-call, resource: A}
  - visits: 1
  - advance: 59999ms
  - expect: {calls: {A: {create: 0}}, state: {A: uncertain}}
  - advance: 1ms
  - expect: {calls: {A: {create: 1}}, status: {foo: COMPLETE}}`,
  ],
  [
    "a stack's timeout is exact",
    `
  - hold: {resource: A}
  - create: {stack: foo, options: {timeout: 2m}, template: {resources: {A: {type: Sim::Resource}}}}
  - advance: 119999ms
  - expect: {status: {foo: CONVERGING}}
  - advance: 1ms
  - expect: {status: {foo: FAILED}}
  - release: {resource: A}
  - settle: true`,
  ],
  [
    "a notification that was lost comes again by a timer, not by redelivery",
    `\n  - lose: 1\n  - ${one}\n  - visits: 5\n  - expect: {total: 0}\n  - settle: true\n  - expect: {total: 1, status: {foo: COMPLETE}}`,
  ],
  [
    "settle: time jumps to whatever timer is next, also with a call held",
    `
  - hold: {resource: A}
  - create: {stack: foo, options: {timeout: 10m}, template: {resources: {A: {type: Sim::Resource}}}}
  - settle: true
  - expect: {status: {foo: FAILED}}
  - release: {resource: A}
  - settle: true`,
  ],
  // hold and release
  [
    "hold: the call starts, has no effect yet, and stays in progress while time passes",
    `
  - hold: {resource: A, op: create}
  - ${one}
  - settle: true
  - advance: 10m
  - expect: {calls: {A: {create: 1, find: 0}}, state: {A: creating}, total: 0, status: {foo: CONVERGING}}
  - release: {resource: A}
  - expect: {total: 1}
  - settle: true
  - expect: {status: {foo: COMPLETE}, calls: {A: {create: 1, find: 0}}}`,
  ],
  ["release of what is not held fails", `\n  - ${one}\n  - release: {resource: A}`, /^no such call is held$/],
  // crash, pause, fail that nobody reached
  ...(
    [
      ["crash", "crash: {at: after-call, resource: Nobody}"],
      ["crash during begin", "crash: {at: after-open, during: begin}"],
      ["pause", "pause: {at: after-call, op: delete, for: 1s}"],
      ["fail", "fail: {resource: A, op: update}"],
      ["hold", "hold: {resource: A, op: delete}"],
    ] as const
  ).flatMap(([what, step]): [string, string, RegExp?][] => [
    [
      `a ${what} that was never reached fails the scenario`,
      `\n  - ${one}\n  - settle: true\n  - ${step}\n  - settle: true`,
      new RegExp(`^the ${what.split(" ")[0]} of line 4 was never reached$`),
    ],
    [
      `a ${what} that was never reached, optional`,
      `\n  - ${one}\n  - settle: true\n  - ${step.replace("}", ", optional: true}")}\n  - settle: true`,
    ],
  ]),
  [
    "a fail of more times than there were calls was reached",
    `
  - fail: {resource: A, times: 10, retryable: true}
  - ${one}
  - settle: true
  - expect: {status: {foo: FAILED}, calls: {A: {create: 5}}}`,
  ],
  [
    "duplicate and lose may exceed what comes",
    `\n  - duplicate: 9\n  - lose: 1\n  - ${one}\n  - settle: true`,
  ],
  // fail
  [
    "fail: without an effect unless after is said",
    `
  - fail: {resource: A}
  - ${one}
  - settle: true
  - expect: {status: {foo: FAILED}, state: {A: failed}, physical: {A: 0}}`,
  ],
  [
    "fail after the effect: the thing is there, and is found rather than made again",
    `
  - fail: {resource: A, retryable: true, after: true}
  - ${one}
  - settle: true
  - expect: {status: {foo: COMPLETE}, physical: {A: 1}, calls: {A: {create: 1, find: 1}}}`,
  ],
  [
    "fail without an effect certainly changed nothing: there is nothing to look for",
    `
  - fail: {resource: A, retryable: true}
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {$findable: false}}}}}
  - settle: true
  - expect: {status: {foo: COMPLETE}, physical: {A: 1}, calls: {A: {create: 2, find: 0}}}`,
  ],
  [
    "a create that failed without an effect does not make the one before it undone",
    `
  - fail: {resource: A, retryable: true, after: true}
  - fail: {resource: A}
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {$idempotent: true, $findable: false}}}}}
  - settle: true
  - expect: {status: {foo: FAILED}, physical: {A: 1}, calls: {A: {create: 2}}}
  - delete: {stack: foo}
  - settle: true
  - expect: {status: {foo: NOT_FOUND}, total: 0}`,
  ],
  // crash and pause
  [
    "crash during begin: the step succeeds, and what was begun is taken up; its names are known",
    `
  - crash: {at: after-fence, during: begin}
  - ${one}
  - fail: {resource: foo/A, retryable: true}
  - settle: true
  - expect: {status: {foo: COMPLETE}, state: {A: ready}, physical: {foo/A: 1}, calls: {foo/A: {create: 2}}}`,
  ],
  [
    "pause during begin: others take it up, and the caller goes on without harm",
    `
  - pause: {at: after-fence, during: begin, for: 60s}
  - ${one}
  - settle: true
  - expect: {status: {foo: COMPLETE}, state: {A: ready}, physical: {foo/A: 1}}`,
  ],
  [
    "every point is passed by a visit that makes something",
    ["before-intent", "after-intent", "before-call", "after-call"]
      .concat(["before-commit", "after-commit", "before-publish", "after-publish", "before-ack"])
      .map((at, i) => `\n  - crash: {at: ${at}, resource: R${i}, op: create}`)
      .concat("\n  - create: {stack: foo, template: {resources: {")
      .concat(Array.from({ length: 9 }, (_, i) => `R${i}: {type: Sim::Resource}`).join(", "))
      .concat("}}}\n  - settle: true\n  - expect: {status: {foo: COMPLETE}, total: 9}")
      .join(""),
  ],
  [
    "op none: a visit that calls nothing",
    `
  - ${one}
  - settle: true
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, metadata: {m: 1}, depends_on: B}, B: {type: Sim::Resource}}}}
  - crash: {at: before-commit, resource: A, op: none}
  - settle: true
  - expect: {status: {foo: COMPLETE}, calls: {A: {create: 1, update: 0}}}`,
  ],
  // the simulated world
  [
    "a create with a token that was used before makes a second thing, unless idempotent",
    `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {$idempotent: true, $findable: false}}}}}
  - crash: {at: after-call, resource: A}
  - settle: true
  - expect: {physical: {A: 1}, calls: {A: {create: 2, find: 0}}, status: {foo: COMPLETE}}`,
  ],
  [
    "properties that start with $ are neither stored nor compared",
    `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1, $idempotent: true}}}}}
  - settle: true
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1, $idempotent: false}}}}}
  - settle: true
  - expect: {calls: {A: {create: 1, update: 0}}, reality: {resources: {A: {type: Sim::Resource, properties: {a: 1}}}}}`,
  ],
  ...(["changed: {'!a': 2}", "removed: {}", "added: {'!a': 1, '!b': 1}"] as const).map(
    (change): [string, string] => [
      `a property that starts with ! and is ${change.split(":")[0]} replaces`,
      `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {'!a': 1}}}}}
  - settle: true
  - remember: {as: a, resource: A}
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: ${change.replace(/^\w+: /, "")}}}}}
  - settle: true
  - expect: {differs: {A: a}, calls: {A: {create: 2, delete: 1, update: 0}}}`,
    ],
  ),
  // goals
  [
    "an error that was to come",
    `\n  - ${one}\n  - create: {stack: foo, template: {resources: {}}, error: conflict}`,
  ],
  [
    "an error that was to come and did not",
    `\n  - create: {stack: foo, template: {resources: {}}, error: conflict}`,
    /it succeeded, but was to fail with conflict/,
  ],
  ["another error than was to come", "\n  - delete: {stack: foo, error: conflict}", /there is no stack foo/],
  [
    "a rollback is not in service before its updates are done",
    `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1}}, B: {type: Sim::Resource, properties: {b: {get_attr: [A, a]}}}}}}
  - settle: true
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 2}}, B: {type: Sim::Resource, properties: {b: {get_attr: [A, a]}}}}}}
  - visits: 1
  - rollback: {stack: foo}
  - crash: {at: before-publish, resource: A}
  - visits: 2
  - expect: {status: {foo: CONVERGING}}
  - settle: true
  - expect: {status: {foo: COMPLETE}}`,
  ],
];

describe("SCENARIOS.md, sentence by sentence", () => {
  const scripts = withScripts();
  for (const [sentence, steps, fails] of sentences) {
    test(sentence, { timeout: 15_000 }, async () => {
      const result = await scripts.run(steps);
      if (fails === undefined) expect(result.failure ?? result.unusable).toBeUndefined();
      else expect(result.failure?.message).toMatch(fails);
    });
  }

  test("a point is passed also where there is nothing to publish: by a busy visit", async () => {
    const { simulation, failure } = await scripts.run(`
  - hold: {resource: A}
  - ${one}
  - visits: 1
  - update: {stack: foo, template: {resources: {A: {type: Sim::Resource, properties: {a: 1}}}}}
  - crash: {at: before-ack, op: none}
  - visits: 1
  - release: {resource: A}
  - settle: true
  - expect: {status: {foo: COMPLETE}}`);
    expect(failure).toBeUndefined();
    const trace = simulation.trace.join("\n");
    expect(trace.slice(0, trace.indexOf("(release"))).toMatch(/crashes before-ack/);
  });

  test("until ends when only a call that is held is left", async () => {
    const text = `\n  - hold: {resource: A}\n  - ${one}\n  - until: {physical: {A: 1}}`;
    let looks = 0;
    const result = await scripts.run(text, {
      plant: (simulation) => {
        const nextDue = simulation.nextDue.bind(simulation);
        simulation.nextDue = () => {
          looks += 1;
          if (looks > 2_000) throw new Error("it goes on for ever");
          return nextDue();
        };
      },
    });
    expect(result.failure?.message).toMatch(/^everything is quiet, and it does not hold/);
  });

  test("repeated runs give identical traces", async () => {
    const texts = [
      `\n  - ${two}\n  - crash: {at: after-commit, resource: A}\n  - settle: true`,
      `\n  - duplicate: 3\n  - fail: {resource: B, times: 2, retryable: true}\n  - ${two}\n  - visits: 4\n  - delete: {stack: foo}\n  - settle: true`,
    ];
    for (const text of texts) {
      const [first, second] = [await scripts.run(text), await scripts.run(text)];
      expect(first.failure).toBeUndefined();
      expect(first.simulation.trace.length).toBeGreaterThan(10);
      expect(second.simulation.trace).toEqual(first.simulation.trace);
      expect(second.visits).toBe(first.visits);
    }
  });

  test("our own scenarios cover every kind of step and every point", () => {
    const steps = allScenarios().flatMap((scenario) => scenario.steps);
    for (const kind of ["create", "update", "delete", "rollback", "cancel", "hold", "pause", "crash"]) {
      expect(steps.map((step) => step.kind)).toContain(kind);
    }
  });
});
