/**
 * Theory: some text makes the parser fail otherwise than by saying what is wrong and where, or take long, or is accepted
 * with a value that JSON cannot hold, or means something else as JSON than as YAML.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { InvalidError, type Problem } from "../../src/errors.js";
import { canonicalJson, type Json } from "../../src/json.js";
import { builtinTypes } from "../../src/providers/builtin.js";
import {
  checkAgainstTypes,
  parameterValues,
  parseTemplate,
  parseTemplateValue,
  resolveOutputs,
} from "../../src/template/template.js";
import type { Template } from "../../src/template/types.js";
import { allScenarios } from "../support/scenarios.js";
import {
  always,
  announce,
  cpuTime,
  expectPlaced,
  expectPlain,
  mangled,
  mutated,
  oddJson,
  oddText,
} from "./support.js";

announce("templates");

const root = resolve(import.meta.dirname, "../..");
const types = builtinTypes({ stateDir: "/nowhere", simWorld: "/nowhere" });
const files = { "server.js": "serve()", constructor: "c" };

/** Every template that this project shows: scenarios, README, demo. */
const realTemplates: string[] = [
  ...allScenarios()
    .flatMap(({ steps }) => steps)
    .flatMap(({ with: value }) => {
      const { template } = (value ?? {}) as { template?: unknown };
      return template !== null && typeof template === "object" ? [stringify(template)] : [];
    }),
  ...[...readFileSync(join(root, "README.md"), "utf8").matchAll(/```yaml\n(.*?)```/gs)].map(
    ([, text]) => text ?? "",
  ),
  ...readdirSync(join(root, "src/bootstrap/demo"))
    .filter((file) => file.endsWith(".yaml"))
    .map((file) => readFileSync(join(root, "src/bootstrap/demo", file), "utf8")),
];

const slowestMs = 1_000;

/** What the engine does with a template before it stores it, and what `show` does with it before anything is there. */
function use(template: Template): void {
  const problems = checkAgainstTypes(template, types);
  for (const { message } of problems) expectPlain(message);
  if (problems.length > 0) throw new InvalidError(problems);
  const parameters = parameterValues(template, {}, { stackName: "s", stackId: "id" });
  for (const output of Object.values(resolveOutputs(template, parameters, () => undefined))) {
    if (output.error !== undefined) expectPlain(output.error);
  }
}

type Judged = { template: Template } | { problems: readonly Problem[] };

/** Accepted, or refused with the problems. What takes long twice more takes long. */
function judge(text: string): Judged {
  for (let times = 1; ; times++) {
    const took = cpuTime();
    const judged = parsed(text);
    if ("template" in judged) expectUsable(judged.template, text);
    if (took() < slowestMs) return judged;
    expect(times, `slow: ${text}`).toBeLessThan(3);
  }
}

function parsed(text: string): Judged {
  try {
    return { template: parseTemplate({ text, name: "it.yaml", files }) };
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    expectPlaced(error.problems, text);
    return { problems: error.problems };
  }
}

function expectUsable(template: Template, text: string): void {
  try {
    use(template);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    expectPlaced(error.problems, text);
  }
}

function plain({ parameters, resources, outputs }: Template): Json {
  return JSON.parse(JSON.stringify([[...parameters], [...resources], [...outputs]]));
}

function expectStorable(template: Template): void {
  const numbers: number[] = [];
  JSON.stringify(
    [[...template.parameters], [...template.resources], [...template.outputs]],
    (_key, value) => {
      if (typeof value === "number") numbers.push(value);
      return value;
    },
  );
  expect(numbers.filter((number) => !Number.isFinite(number))).toEqual([]);
}

function judgeAll(text: string): void {
  const judged = judge(text);
  if ("template" in judged) expectStorable(judged.template);
}

/** As a text, a whole number that is too large may have lost digits; as a value it is what it is. */
function isExactInText(value: unknown): boolean {
  return !/\d{16}/.test(JSON.stringify(value));
}

const name = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("a", "b", "c", "d") },
  { weight: 1, arbitrary: oddText },
);

/** Calls of functions, mostly right. */
const expression: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    { weight: 3, arbitrary: fc.constantFrom(1, "text", true, null) },
    { weight: 1, arbitrary: oddJson },
    { weight: 2, arbitrary: name.map((each) => ({ get_resource: each })) },
    {
      weight: 2,
      arbitrary: fc.array(fc.oneof(name, tie("value")), { maxLength: 4 }).map((all) => ({ get_attr: all })),
    },
    {
      weight: 2,
      arbitrary: fc.oneof(name, fc.array(fc.oneof(name, tie("value")))).map((all) => ({ get_param: all })),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom("server.js", "constructor", "x").map((all) => ({ get_file: all })),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(tie("value"), fc.dictionary(oddText, tie("value"), { maxKeys: 3 }))
        .map(([template, params]) => ({ str_replace: { template, params } })),
    },
    { weight: 2, arbitrary: fc.array(tie("value"), { maxLength: 3 }).map((all) => ({ list_join: all })) },
    { weight: 1, arbitrary: fc.array(tie("value"), { maxLength: 3 }) },
    {
      weight: 1,
      arbitrary: fc.array(fc.tuple(name, tie("value")), { maxLength: 3 }).map(Object.fromEntries),
    },
  ),
})).value;

const section = <T>(entry: fc.Arbitrary<T>) =>
  fc.array(fc.tuple(name, entry), { maxLength: 5 }).map((entries) => Object.fromEntries(entries));

const almostValid = fc.record(
  {
    heat_template_version: fc.constantFrom("2021-04-16", 1, null),
    description: fc.oneof(fc.string(), oddJson),
    parameters: section(
      fc.record(
        {
          type: fc.constantFrom("string", "number", "boolean", "json", "comma_delimited_list"),
          default: fc.oneof(oddJson, fc.constantFrom("1", 1, true, "a,b", "{}")),
          hidden: fc.constantFrom(true, false, "true", 1),
          label: oddText,
        },
        { requiredKeys: ["type"] },
      ),
    ),
    resources: section(
      fc.record(
        {
          type: fc.constantFrom("Sim::Resource", "Local::File", "Local::Process", "Sim::Resourc"),
          properties: fc.oneof(
            section(expression),
            fc.record({ path: expression, content: expression }),
            expression,
          ),
          depends_on: fc.oneof(name, fc.array(name, { maxLength: 3 }), oddJson),
          deletion_policy: fc.constantFrom("Delete", "retain", "Snapshot", 1),
          metadata: expression,
        },
        { requiredKeys: ["type"] },
      ),
    ),
    outputs: section(fc.record({ value: expression, description: oddText })),
  },
  { requiredKeys: ["resources"] },
);

describe("a text is accepted, or refused plainly and with its place, and fast", () => {
  it("any text", async () => {
    await always(fc.oneof(oddText, fc.string({ unit: "binary", maxLength: 300 })), judgeAll, 600);
  });

  it("real templates with mangled text", async () => {
    await always(mangled(fc.constantFrom(...realTemplates)), judgeAll, 1_000);
  });

  it("real templates as JSON with mangled text", async () => {
    const json = realTemplates.map((text) => JSON.stringify(parse(text), null, 1));
    await always(mangled(fc.constantFrom(...json)), judgeAll, 600);
  });

  it("any document", async () => {
    await always(oddJson, (value) => judgeAll(JSON.stringify(value)), 1_000);
  });

  it("real templates with parts of other kinds", async () => {
    const documents = fc.constantFrom(...realTemplates.map((text): unknown => parse(text)));
    const write = fc.constantFrom(JSON.stringify, (value: unknown) => stringify(value));
    await always(fc.tuple(mutated(documents), write), ([value, text]) => judgeAll(text(value) ?? ""), 1_000);
  });

  it("templates that are almost valid", async () => {
    const write = fc.constantFrom(JSON.stringify, (value: unknown) => stringify(value));
    await always(fc.tuple(almostValid, write), ([value, text]) => judgeAll(text(value) ?? ""), 1_000);
  });
});

describe("a document", () => {
  it("means the same as JSON and as YAML", async () => {
    const documents = fc.oneof(
      almostValid,
      mutated(fc.constantFrom(...realTemplates.map((text): unknown => parse(text)))),
    );
    await always(
      documents,
      (value) => {
        const json = JSON.stringify(value);
        const [left, right] = [judge(json), judge(`# not by the fast way\n${json}`)];
        expect("template" in left).toBe("template" in right);
        if ("template" in left && "template" in right) {
          expect(canonicalJson(plain(left.template))).toBe(canonicalJson(plain(right.template)));
        }
      },
      1_000,
    );
  });

  it("as a value is accepted or refused like its text, with the path of each problem", async () => {
    await always(
      fc.oneof(almostValid, oddJson).filter(isExactInText),
      (value) => {
        const judged = judge(JSON.stringify(value));
        try {
          const template = parseTemplateValue(value, "built", files);
          expect(judged).toHaveProperty("template");
          expectStorable(template);
        } catch (error) {
          if (!(error instanceof InvalidError)) throw error;
          expect(judged).toHaveProperty("problems");
          for (const { message, file } of error.problems) {
            expectPlain(message);
            expect(file).toMatch(/^built/);
          }
        }
      },
      1_000,
    );
  });
});

/** Some of this size ended the process, took minutes, or were refused in words of the language. */
describe("a large text", () => {
  const repeated = (unit: string, length: number) =>
    unit.repeat(Math.ceil(length / unit.length)).slice(0, length);
  const long = 100_000;
  const all: [string, string, RegExp | undefined][] = [
    ["brackets", repeated("[", long), /nested deeper than 100 levels/],
    ["braces", repeated("{", long), /nested deeper than 100 levels/],
    [
      "brackets in JSON",
      `{"resources":${"[".repeat(long)}${"]".repeat(long)}}`,
      /nested deeper than 100 levels/,
    ],
    ["lists in lists", repeated("- ", long), /nested deeper than 100 levels/],
    ["keys of keys", repeated("? ", long), /nested deeper than 100 levels/],
    ["values of values", repeated("a: ", long), /nested deeper than 100 levels/],
    [
      "braces behind a good part",
      `resources: {}\ndescription: ${"{".repeat(long)}`,
      /it\.yaml:2:\d+: nested deeper/,
    ],
    ["anchors", repeated("&a ", long), /./],
    ["aliases", repeated("*a ", long), /./],
    ["quotes", repeated('"', long), /./],
    ["backslashes", `"${repeated("\\", long)}`, /./],
    ["tags", repeated("!!binary ", long), /./],
    ["documents", repeated("---\n", long), /second one/],
    ["directives", repeated("%YAML 1.2\n", long), /./],
    ["NULs", repeated("\0", long), /must be a map/],
    ["lone surrogates", repeated("\ud800", long), /must be a map/],
    ["one key again and again", `resources:\n${repeated("  a: {}\n", long)}`, /"a" is there twice/],
    ["a key", `resources: { ? "${repeated("k", long)}" : {} }`, /longer than 255/],
    ["a number", `resources: {}\ndescription: ${"1".repeat(long)}`, /not a number that JSON can hold/],
    ["a comment", `resources: []\n#${"x".repeat(4_000_000)}`, /^it\.yaml:1:12: resources must be a map/],
    [
      "a list too long for YAML",
      `resources: [${"a,".repeat(4_000_000)}]`,
      /more than 8000000 words and signs/,
    ],
    [
      "aliases of aliases",
      `a0: &a0 [x]\n${Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}]`).join("\n")}`,
      /aliases expand to more than 1000000 values/,
    ],
    [
      "JSON with a mistake and too many parts to be read with their positions",
      `{"resources":{"a":{"type":"T","typ":1,"properties":{"x":[1${",1".repeat(4_000_000)}]}}}}`,
      /^it\.yaml: resources\.a\.typ: unknown key "typ"/,
    ],
    [
      "a large JSON with a mistake",
      JSON.stringify({ resources: { a: { type: "T", properties: { x: "x".repeat(5_000_000) }, typ: 1 } } }),
      /^it\.yaml:1:\d+: unknown key "typ"/,
    ],
    [
      "10,000 resources",
      `resources:\n${Array.from({ length: 10_000 }, (_, i) => `  r${i}: { type: T, properties: { p: { get_attr: [r${i + 1}, x] } } }\n`).join("")}  r10000: { type: T }\n`,
      undefined,
    ],
  ];

  it.each(all)("%s", (_what, text, message) => {
    const took = cpuTime();
    const parsed = () => parseTemplate({ text, name: "it.yaml", files: {} });
    if (message === undefined) expect(parsed().resources.size).toBe(10_001);
    else expect(parsed).toThrow(message);
    expect(took()).toBeLessThan(10_000);
  });
});

describe("what was found", () => {
  const number = (text: string) => `{"resources":{"a":{"type":"Sim::Resource","properties":{"n":${text}}}}}`;

  it.each(["1e999", "-1e999", "[0,1e400]"])(
    "%s is no number that JSON can hold, in JSON as in YAML",
    (text) => {
      expect(() => parseTemplate({ text: number(text), name: "t", files: {} })).toThrow(
        /^t:1:\d+: .* not a number that JSON can hold/,
      );
    },
  );

  it("what an output may not show is not in the reason why it cannot be told either", () => {
    const text = `
parameters: { secret: { type: string, hidden: true }, map: { type: json, default: { a: 1 } } }
resources: {}
outputs: { o: { value: { get_param: [map, { get_param: secret }] } } }`;
    const template = parseTemplate({ text, name: "t", files: {} });
    const parameters = parameterValues(template, { secret: "hunter2" }, { stackName: "s", stackId: "i" });
    const { o } = resolveOutputs(template, parameters, () => undefined);
    expect(o?.error).toMatch(/parameter "map" has no value/);
    expect(JSON.stringify(o)).not.toContain("hunter2");
  });
});
