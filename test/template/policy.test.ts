/**
 * Theory: a policy in a template that is none is refused at its place when the goal is set; what a template says of a
 * resource is part of that resource's goal, and of no other's; a template that says nothing has the goals it always had.
 */
import { describe, expect, it, test } from "vitest";
import type { Json, JsonObject } from "../../src/json.js";
import { builtinTypes } from "../../src/providers/builtin.js";
import { stackTemplate } from "../../src/template/builder.js";
import {
  bindDefinition,
  checkAgainstTypes,
  definitionText,
  parameterValues,
  parseTemplateValue,
  type Template,
  templatePolicy,
} from "../../src/template/template.js";
import { problemsOf, template } from "./refusals.js";

const types = builtinTypes({ stateDir: "/nowhere" });
const context = { stackName: "s", stackId: "i" };

function faults(parsed: Template): string[] {
  return checkAgainstTypes(parsed, types).map(
    ({ file, line, column, message }) => `${line === undefined ? file : `${line}:${column}`} ${message}`,
  );
}

const web = "resources:\n  web:\n    type: Local::Directory\n    properties: {path: /srv}\n";

describe("a template", () => {
  test.each<[string, string, string[]]>([
    ["nothing of it", web, []],
    ["other metadata", `${web}    metadata: {owner: me}`, []],
    ["a part", `${web}    metadata: {homeostat: {policy: report, ignore: [mode], poll: 1m}}`, []],
    [
      "a part that is none",
      `${web}    metadata:\n      homeostat:\n        pol: 1s\n        poll: 1\n        fight:\n          within: x`,
      [
        '7:9 unknown key "pol" (there are: policy, ignore, poll, grace, incident, fight, orphans); did you mean "poll"?',
        "10:19 fight.within: must be a duration such as 200ms, 30s, 5m or 1h",
      ],
    ],
    [
      "a part of what a resource has no say in",
      `${web}    metadata:\n      homeostat:\n        retry: false\n        budget: {burst: 1}`,
      [
        "7:9 retry counts for a whole stack only: say it there (homeostat_policy, homeostat policy)",
        "8:9 budget counts for a whole stack or a type only: say it there (homeostat_policy, homeostat policy)",
      ],
    ],
    ["no map", `${web}    metadata: {homeostat: repair}`, ["5:27 a policy must be a map"]],
    ["an empty part", `${web}    metadata:\n      homeostat:\n`, ["6:7 a policy must be a map"]],
    [
      "a document",
      `parameters:\n  homeostat_policy: {type: json, default: {retry: false, types: {"Local::Directory": {}}, resources: {web: {}}}}\n${web}`,
      [],
    ],
    [
      "a document that is none",
      `parameters:\n  homeostat_policy:\n    type: json\n    default:\n      resources:\n        wbe: {}\n      types:\n        Local::File: {}\n${web}`,
      [
        '6:9 resources: the template has no resource "wbe"; did you mean "web"?',
        '8:9 types: no resource in the template is of type "Local::File"',
      ],
    ],
    [
      "a document that is none, deep",
      `parameters:\n  homeostat_policy:\n    type: json\n    default: {types: {"Local::Directory": {policy: reprot}}}\n${web}`,
      ['4:52 types.Local::Directory.policy: must be one of repair, report, ignore; did you mean "report"?'],
    ],
    [
      "a document as JSON text",
      `parameters: {homeostat_policy: {type: json, default: '{"retry": 1}'}}\n${web}`,
      ["1:54 retry: Invalid input: expected boolean, received number"],
    ],
    [
      "a parameter of another type",
      `parameters: {homeostat_policy: {type: string, default: x}}\n${web}`,
      ["1:39 homeostat_policy must be of type json"],
    ],
    [
      "a hidden parameter",
      `parameters: {homeostat_policy: {type: json, hidden: true}}\n${web}`,
      ["1:53 homeostat_policy cannot be hidden"],
    ],
  ])("that says %s", (_what, text, problems) => {
    expect(faults(template(text))).toEqual(problems);
  });

  it("that was built in code has its faults by their paths", () => {
    const document = {
      resources: {
        a: { type: "Local::Directory", properties: { path: "/" }, metadata: { homeostat: { poll: 0 } } },
      },
    };
    expect(faults(parseTemplateValue(document, "v"))).toEqual([
      "v: resources.a.metadata.homeostat.poll poll: must be from 100ms to 8760h",
    ]);
  });
});

describe("a policy given with a goal", () => {
  const parsed = template(`parameters:\n  homeostat_policy: {type: json, default: {policy: report}}\n${web}`);
  const values = (given: Json, previous?: Json) => {
    const before =
      previous === undefined
        ? undefined
        : { values: { homeostat_policy: previous }, hidden: [], given: ["homeostat_policy"] };
    return parameterValues(parsed, given as JsonObject, context, before);
  };

  it("takes the place of the default", () => {
    expect(templatePolicy(values({}))).toEqual({ policy: "report" });
    expect(templatePolicy(values({ homeostat_policy: { poll: "1m" } }))).toEqual({ poll: "1m" });
    expect(templatePolicy(values({ homeostat_policy: '{"resources": {"web": {}}}' }))).toEqual({
      resources: { web: {} },
    });
    expect(templatePolicy(values({}, { poll: 1 }))).toEqual({ poll: 1 });
  });

  it("is refused when it is none, now or since the template changed", () => {
    const refused = 'parameter "homeostat_policy": resources: the template has no resource "db"';
    expect(problemsOf(() => values({ homeostat_policy: { resources: { db: {} } } }))).toEqual([
      `2:3 ${refused}`,
    ]);
    expect(problemsOf(() => values({}, { resources: { db: {} } }))).toEqual([`2:3 ${refused}`]);
    expect(problemsOf(() => values({ homeostat_policy: "[]" }))).toEqual([
      '2:3 parameter "homeostat_policy": a policy must be a map',
    ]);
  });
});

/** The text of every resource's goal, by its name, and what it says of policy. */
function goals(document: JsonObject, given: JsonObject = {}) {
  const parsed = parseTemplateValue(document, "v");
  const parameters = parameterValues(parsed, given, context);
  const bound = [...parsed.resources.values()].map((each) =>
    bindDefinition(each, parameters, templatePolicy(parameters)),
  );
  return {
    texts: Object.fromEntries(bound.map((each) => [each.definition.name, definitionText(each)])),
    policies: Object.fromEntries(bound.map((each) => [each.definition.name, each.policy])),
  };
}

describe("the goal of a resource", () => {
  const resources = {
    a: { type: "A", properties: { x: 1 }, metadata: { homeostat: { poll: "4s", ignore: ["w"] } } },
    b: { type: "A" },
    c: { type: "C" },
  };
  const withPolicy = (policy: Json) => ({
    parameters: { homeostat_policy: { type: "json", default: policy } },
    resources,
  });

  it("has what the stack, the type, the resource and its metadata say, the later going over the earlier", () => {
    const { policies } = goals(
      withPolicy({
        poll: "1s",
        ignore: ["x"],
        types: { A: { poll: "2s", grace: "2s", ignore: ["y"] } },
        resources: { a: { poll: "3s", grace: "3s", ignore: ["z"] }, c: { retry: false } },
      }),
    );
    expect(policies).toEqual({
      a: { poll: "4s", grace: "3s", ignore: ["x", "y", "z", "w"] },
      b: { poll: "2s", grace: "2s", ignore: ["x", "y"] },
      c: { poll: "1s", ignore: ["x"], retry: false },
    });
  });

  it("changes with its policy alone", () => {
    const before = goals(withPolicy({ resources: { b: { poll: 1 } } })).texts;
    const after = goals(withPolicy({ resources: { b: { poll: 2 } } })).texts;
    expect(Object.keys(before).filter((name) => before[name] !== after[name])).toEqual(["b"]);
    const typed = goals(withPolicy({ resources: { b: { poll: 1 } }, types: { C: { retry: false } } })).texts;
    expect(Object.keys(before).filter((name) => before[name] !== typed[name])).toEqual(["c"]);
  });

  it.each([
    ["there is no policy", { resources: { b: { type: "A" } } }, {}],
    [
      "it is empty",
      { ...withPolicy({ budget: {}, ignore: [], types: { A: {} } }), resources: { b: { type: "A" } } },
      {},
    ],
    [
      "what stands there is no policy, from before there were any",
      { parameters: { homeostat_policy: { type: "json" } }, resources: { b: { type: "A" } } },
      { homeostat_policy: 5 },
    ],
  ])("is what it always was where %s", (_what, document, values) => {
    const parsed = parseTemplateValue(document, "v");
    const definition = parsed.resources.get("b");
    if (definition === undefined) throw new Error("b is there");
    const parameters = { values, hidden: [], given: [] };
    const bound = bindDefinition(definition, parameters, templatePolicy(parameters));
    expect(bound).not.toHaveProperty("policy");
    expect(definitionText(bound)).toBe(
      '{"deletionPolicy":"Delete","dependsOn":[],"metadata":{},"parameters":{},"properties":{},"type":"A"}',
    );
  });

  it("takes metadata that is no policy, from before there were any, as metadata alone", () => {
    const { policies } = goals({
      resources: { a: { type: "A", metadata: { homeostat: { poll: "soon" } } } },
    });
    expect(policies).toEqual({ a: undefined });
  });
});

describe("a template built in code", () => {
  it("is the same as the one in text", () => {
    const document = stackTemplate()
      .resource(
        "web",
        "Local::Directory",
        { path: "/srv" },
        { metadata: { owner: "me" }, policy: { poll: "1m" } },
      )
      .policy({
        policy: "report",
        types: { "Local::Directory": { budget: { burst: 1 } } },
        resources: { web: { grace: 1 } },
      })
      .build();
    const text = `parameters:
  homeostat_policy:
    type: json
    default: {policy: report, types: {"Local::Directory": {budget: {burst: 1}}}, resources: {web: {grace: 1}}}
${web}    metadata: {owner: me, homeostat: {poll: 1m}}`;
    const { locate: _one, ...built } = parseTemplateValue(document, "v");
    const { locate: _other, ...read } = template(text);
    expect(built).toEqual(read);
    expect(faults(parseTemplateValue(document, "v"))).toEqual([]);
  });

  it("speaks only of what is declared and known, which the compiler checks", () => {
    const declared = stackTemplate().resource("web", "Local::Directory");
    // @ts-expect-error: no such resource
    declared.policy({ resources: { wbe: {} } });
    // @ts-expect-error: no such mode
    declared.resource("db", "Local::Directory", {}, { policy: { policy: "repiar" } });
    // @ts-expect-error: not for a resource
    declared.resource("db", "Local::Directory", {}, { policy: { retry: false } });
    // @ts-expect-error: no such key
    expect(() => declared.policy({ pol: "1s" }).build()).toThrow('"homeostat_policy" is declared twice');
  });
});
