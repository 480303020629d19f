/**
 * Theory: a scenario file that cannot be used is taken for one that can, or its author is sent to the wrong place.
 * In each file the wrong part is marked with ‸; the problem must point at the character behind it.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InvalidError } from "../../src/errors.js";
import { parseScenario, readScenario } from "../../src/simulator/scenario.js";

interface Place {
  line: number;
  column: number;
}

/** The text without its mark, and where that stood. */
function marked(text: string): { text: string; at: Place } {
  const before = text.slice(0, text.indexOf("‸"));
  const lines = before.split("\n");
  const at = { line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1 };
  return { text: text.replace("‸", ""), at };
}

function problemsOf(text: string): InvalidError["problems"] {
  try {
    parseScenario(text, "dir/some.yaml");
  } catch (error) {
    if (error instanceof InvalidError) return error.problems;
    throw error;
  }
  return [];
}

const wrong: [why: string, text: string, says: RegExp][] = [
  ["not YAML", "steps:\n  - settle: true\n  - ‸}", /./],
  ["far too deep", `${"[".repeat(100)}‸${"[".repeat(100_000)}`, /deeper than/],
  ["a key twice", "steps:\n  - expect: {total: 1, ‸total: 2}", /unique/i],
  ["an unknown field of the file", "‸stpes: []\nsteps: [{settle: true}]", /stpes/],
  ["no steps", "‸steps: []", /steps/],
  ["a name that is no text", "‸name: [a]\nsteps: [{settle: true}]", /name/],
  ["no workers", "‸workers: 0\nsteps: [{settle: true}]", /workers/],
  [
    "an unknown step",
    "steps:\n  - settle: true\n  - ‸setle: true",
    /unknown step setle; known are create, update/,
  ],
  ["two keys in a step", "steps:\n  - settle: true\n  - ‸settle: true\n    visits: 1", /exactly one key/],
  ["settle of something else", "steps:\n  - ‸settle: false", /true/],
  ["a number of visits below none", "steps:\n  - ‸visits: -1", /0/],
  ["half a visit", "steps:\n  - ‸visits: 1.5", /int/],
  ["a duration without a unit", 'steps:\n  - ‸advance: "30"', /a duration looks like 200ms, 30s, 5m or 1h/],
  ["a duration that is a number", "steps:\n  - ‸advance: 30", /string/],
  ["an unknown key of a goal", "steps:\n  - create: {stack: foo, template: {}, ‸paramters: {}}", /paramters/],
  ["a create without a template", "steps:\n  - ‸create: {stack: foo}", /template/],
  ["a goal without a stack", "steps:\n  - ‸delete: {}", /stack/],
  [
    "an unknown option",
    "steps:\n  - create: {stack: foo, template: {}, options: {‸rolback: true}}",
    /rolback/,
  ],
  ["an unknown error code", "steps:\n  - delete: {stack: foo, ‸error: gone}", /error/],
  [
    "a template that cannot be read",
    "steps:\n  - create: {stack: foo, ‸template: nowhere.yaml}",
    /nowhere.yaml/,
  ],
  ["a reality that cannot be read", "steps:\n  - expect: {‸reality: nowhere.yaml}", /nowhere.yaml/],
  ["an unknown expectation", "steps:\n  - expect: {‸statuses: {foo: COMPLETE}}", /statuses/],
  ["a count that is no number", "steps:\n  - expect: {physical: {‸A: one}}", /A/],
  ["an unknown operation", "steps:\n  - expect: {calls: {A: {‸make: 1}}}", /make/],
  ["until like expect", "steps:\n  - until:\n      physical:\n        ‸A: -1", /A/],
  ["remember without a name", "steps:\n  - ‸remember: {resource: A}", /as/],
  ["a failure of no operation", "steps:\n  - fail: {resource: A, ‸op: destroy}", /op/],
  ["no failures", "steps:\n  - fail: {resource: A, ‸times: 0}", /times/],
  ["a point that there is not", "steps:\n  - crash: {‸at: before-lunch}", /at/],
  ["a point of begin in a visit", "steps:\n  - crash: {‸at: after-fence, resource: A}", /at/],
  ["a point of a visit during begin", "steps:\n  - crash: {‸at: before-ack, during: begin}", /at/],
  ["a pause without end", "steps:\n  - ‸pause: {at: before-ack}", /for/],
  ["a drift without effect", "steps:\n  - ‸drift: {resource: A}", /./],
  ["a drift of two kinds", "steps:\n  - ‸drift: {resource: A, set: {a: 1}, missing: true}", /./],
  ["a notification of nothing", "steps:\n  - ‸notify: {}", /resource/],
  ["an observation of nothing", "steps:\n  - ‸observe: {resource: A}", /stack/],
  ["a policy that is none", "steps:\n  - policy: {stack: foo, ‸document: report}", /document/],
  ["a point of a visit during a look", "steps:\n  - crash: {‸at: before-intent, during: look}", /at/],
  ["a pause of a stack with an end", "steps:\n  - pause: {stack: foo, ‸for: 10s}", /for/],
];

describe("a file that cannot be used", () => {
  for (const [why, text, says] of wrong) {
    test(why, () => {
      const { text: given, at } = marked(text);
      const [problem, ...others] = problemsOf(given);
      expect(problem?.message).toMatch(says);
      expect({ line: problem?.line, column: problem?.column }).toEqual(at);
      expect(problem?.file).toBe("dir/some.yaml");
      expect(others).toEqual([]);
    });
  }

  test("everything that is wrong is said at once", () => {
    const problems = problemsOf("steps:\n  - visits: -1\n  - notify: {}\n  - nothing: 1\n");
    expect(problems.map(({ line }) => line)).toEqual([2, 3, 4]);
  });
});

describe("a file that can be used", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "homeostat-scenario-"));
    writeFileSync(join(folder, "template.yaml"), "resources: {A: {type: Sim::Resource}}\n");
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test("has the name of its file unless it says otherwise", () => {
    expect(parseScenario("steps: [{settle: true}]", "dir/some.yaml").name).toBe("some");
    expect(parseScenario("name: other\nsteps: [{settle: true}]", "dir/some.yaml").name).toBe("other");
  });

  test("may be JSON", () => {
    expect(parseScenario('{"steps": [{"visits": 3}]}', "a.json").steps).toMatchObject([
      { kind: "visits", with: 3 },
    ]);
  });

  test("has the defaults that the documentation shows", () => {
    const { steps, workers } = parseScenario("steps: [{fail: {resource: C}}]", "a.yaml");
    expect(workers).toBe(1);
    expect(steps[0]?.with).toMatchObject({ op: "create", times: 1, retryable: false, after: false });
  });

  test("has durations in ms, s, m and h", () => {
    const text = "steps: [{advance: 200ms}, {advance: 30s}, {advance: 5m}, {advance: 1h}]";
    const { steps } = parseScenario(text, "a.yaml");
    expect(steps.map((step) => step.with)).toEqual([200, 30_000, 300_000, 3_600_000]);
  });

  test("finds a template relative to itself", () => {
    const file = join(folder, "s.yaml");
    writeFileSync(file, "steps: [{create: {stack: foo, template: template.yaml}}]");
    expect(readScenario(file).steps[0]?.with).toMatchObject({
      template: expect.stringContaining("Sim::Resource"),
    });
  });

  test("may repeat a template by an alias, and add to one by a merge key", () => {
    const text = `
steps:
  - create: {stack: foo, template: &t {resources: &r {A: {type: Sim::Resource}}}}
  - update: {stack: foo, template: *t}
  - update: {stack: foo, template: {resources: {<<: *r, B: {type: Sim::Resource}}}}`;
    const { steps } = parseScenario(text, "a.yaml");
    expect(steps[1]?.with).toMatchObject({ template: { resources: { A: {} } } });
    const last = steps[2]?.with as { template: { resources: object } };
    expect(Object.keys(last.template.resources)).toEqual(["A", "B"]);
  });
});
