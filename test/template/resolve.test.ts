import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Json, JsonObject } from "../../src/json.js";
import {
  bindDefinition,
  definitionText,
  parameterValues,
  parseTemplateValue,
  type ResourceView,
  resolveOutputs,
  resolveProperties,
} from "../../src/template/template.js";
import { problemsOf, template } from "./refusals.js";

const parameters = {
  text: { type: "string", default: "a$b" },
  list: { type: "comma_delimited_list", default: "x,y" },
  map: { type: "json", default: { k: { n: [1, null] }, constructor: 1, call: { get_param: "secret" } } },
  flag: { type: "boolean", default: true },
  secret: { type: "string", default: "s3cret", hidden: true },
};

const views: Record<string, ResourceView> = {
  r: {
    physicalId: "phys-1",
    attributes: {
      ip: "10.0.0.1",
      nets: [{ name: "n0", ports: [80, 443] }],
      none: null,
      key: "nets",
      pass: "pw",
    },
    hiddenAttributes: ["pass"],
  },
};

const context = { stackName: "web", stackId: "id-1" };

function bound(properties: JsonObject, more: object = {}) {
  const document = {
    parameters,
    resources: { r: { type: "T" }, s: { type: "T" }, a: { type: "T", properties, ...more } },
  };
  const parsed = parseTemplateValue(document, "v");
  const definition = parsed.resources.get("a");
  if (definition === undefined) throw new Error("a is there");
  // Through text, because a bound definition is stored.
  const made = bindDefinition(definition, parameterValues(parsed, {}, context));
  return JSON.parse(JSON.stringify(made)) as typeof made;
}

function resolve(properties: JsonObject) {
  return resolveProperties(bound(properties), (name) => views[name]);
}

describe("functions", () => {
  test.each<[Json, Json, string]>([
    ["plain", "plain", "a literal"],
    [{ get_param: "text" }, "a$b", "a parameter"],
    [{ get_param: "flag" }, true, "of its type"],
    [{ get_param: ["map", "k", "n", 0] }, 1, "a part of a parameter"],
    [{ get_param: ["map", "k", "n", "0"] }, 1, "an index as text"],
    [{ get_param: ["list", { get_param: ["map", "k", "n", 0] }] }, "y", "a step that is computed"],
    [{ get_param: ["map", "call"] }, { get_param: "secret" }, "a value is data, whatever it looks like"],
    [{ get_param: "OS::stack_name" }, "web", "pseudo parameter"],
    [{ get_param: "OS::stack_id" }, "id-1", "pseudo parameter"],
    [{ get_resource: "r" }, "phys-1", "the physical id"],
    [{ get_attr: ["r", "ip"] }, "10.0.0.1", "an attribute"],
    [{ get_attr: ["r", "nets", 0, "ports", 1] }, 443, "nested by index and key"],
    [{ get_attr: ["r", { get_attr: ["r", "key"] }, "0", "name"] }, "n0", "computed steps"],
    [[{ deep: [{ get_resource: "r" }] }], [{ deep: ["phys-1"] }], "at any depth"],
    [{ list_join: ["-", ["a", "b"]] }, "a-b", "join"],
    [
      { list_join: [", ", { get_param: "list" }, [1, true, null, [2], { b: 1, a: 2 }]] },
      'x, y, 1, true, , [2], {"a":2,"b":1}',
      "several lists; all items as text",
    ],
    [{ list_join: ["", []] }, "", "nothing to join"],
    [{ list_join: [{ get_param: "text" }, ["x", "y"]] }, "xa$by", "a computed delimiter"],
  ])("%j is %j: %s", (expression, value) => {
    expect(resolve({ x: expression }).properties.x).toEqual(value);
  });

  test.each<[string, JsonObject, string, string]>([
    ["$a and $a", { $a: 1 }, "1 and 1", "everywhere"],
    ["$name $name2", { $name: "x", $name2: "y" }, "x y", "the longest key first, whatever the order"],
    ["ab", { a: "b", b: "c" }, "bc", "what was put in is not looked at again"],
    [
      "abcd",
      { ab: "X", bcd: "Y" },
      "aY",
      "the longest wins where two overlap, though the shorter is to the left",
    ],
    ["a.c", { ".": "$&" }, "a$&c", "keys and values are plain text, no patterns"],
    ["xyz", {}, "xyz", "nothing to replace"],
    [
      "n m l",
      { n: null, m: { b: [1], a: true }, l: [] },
      ' {"a":true,"b":[1]} []',
      "null is empty, maps and lists are JSON",
    ],
    ["t f 1.5", { t: true, f: false, "1.5": 2.5 }, "true false 2.5", "booleans and numbers"],
    ["aaa", { aa: "x", a: "y" }, "xy", "repeated letters"],
  ])("str_replace %j with %j is %j: %s", (text, params, value) => {
    expect(resolve({ x: { str_replace: { template: text, params } } }).properties.x).toBe(value);
  });

  test("str_replace takes template and params from functions", () => {
    const call = { str_replace: { template: { get_param: "text" }, params: { get_param: ["map", "k"] } } };
    expect(resolve({ x: call }).properties.x).toBe("a$b");
  });

  test.each<[Json, string, string]>([
    [{ get_param: ["map", "no"] }, 'parameter "map" has no value no', "a missing key"],
    [
      { get_param: ["map", "toString"] },
      'parameter "map" has no value toString',
      "only what is there itself",
    ],
    [{ get_param: ["text", 0] }, 'parameter "text" has no value [0]', "text has no parts"],
    [{ get_resource: "s" }, 'resource "s" is not there yet', "no resource"],
    [{ get_attr: ["s", "ip"] }, 'resource "s" is not there yet', "no resource"],
    [{ get_attr: ["r", "no"] }, 'resource "r" has no attribute no', "a missing attribute"],
    [{ get_attr: ["r", "nets", 1, "name"] }, 'resource "r" has no attribute nets[1].name', "beyond the list"],
    [
      { get_attr: ["r", "nets", "length"] },
      'resource "r" has no attribute nets.length',
      "a list has items only",
    ],
    [{ get_attr: ["r", "none", "x"] }, 'resource "r" has no attribute none.x', "null has no parts"],
    [{ list_join: ["", { get_attr: ["r", "ip"] }] }, "list_join got something else than a list", "no list"],
    [{ list_join: [{ get_param: "flag" }, []] }, "the delimiter of list_join is not text", "no text"],
    [
      { str_replace: { template: { get_param: "list" }, params: {} } },
      "the template of str_replace is not text",
      "no text",
    ],
    [
      { str_replace: { template: "", params: { get_param: "list" } } },
      "the params of str_replace are not a map",
      "no map",
    ],
    [
      { str_replace: { template: "a".repeat(10_000), params: { a: "b".repeat(10_000) } } },
      "a text would be longer than 16777216 characters",
      "a text that explodes",
    ],
  ])("%j fails: %s", (expression, message) => {
    expect(problemsOf(() => resolve({ x: expression }))).toEqual([`resource "a", property "x": ${message}`]);
  });

  test("all properties that fail are told", () => {
    const problems = problemsOf(() =>
      resolve({ x: { get_resource: "s" }, y: 1, z: { get_attr: ["r", "no"] } }),
    );
    expect(problems).toHaveLength(2);
  });

  test("embedded files are text, even when they look like functions", () => {
    const text =
      "resources:\n  a:\n    type: T\n    properties: {x: {get_file: f}, y: {list_join: ['', [{get_file: f}]]}}\n";
    const definition = template(text, { f: '{"get_param": "p"}' }).resources.get("a");
    if (definition === undefined) throw new Error("a is there");
    const made = bindDefinition(definition, { values: {}, hidden: [], given: [] });
    const literal = '{"get_param": "p"}';
    expect(resolveProperties(made, () => undefined).properties).toEqual({ x: literal, y: literal });
  });

  test("str_replace: one key replaced is split and join; values never matter to what else is replaced", () => {
    const key = fc.string({ unit: fc.constantFrom("a", "b", "$"), minLength: 1, maxLength: 3 });
    const text = fc.string({ unit: fc.constantFrom("a", "b", "$", "c"), maxLength: 20 });
    const call = (template: string, params: JsonObject) =>
      resolve({ x: { str_replace: { template, params } } }).properties.x;
    fc.assert(
      fc.property(text, fc.dictionary(key, text, { maxKeys: 4 }), (template, params) => {
        const keys = Object.keys(params);
        const marked = call(template, Object.fromEntries(keys.map((each, index) => [each, `<${index}>`])));
        const expected = String(marked).replace(
          /<(\d+)>/g,
          (_, index) => params[keys[Number(index)] ?? ""] ?? "",
        );
        expect(call(template, params)).toBe(expected);
        for (const each of keys.slice(0, 1)) {
          expect(call(template, { [each]: "X" })).toBe(template.split(each).join("X"));
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("resolved properties", () => {
  test("a property that is null is dropped, a null deeper down stays", () => {
    const properties = {
      a: null,
      b: { get_attr: ["r", "none"] },
      c: [null],
      d: { get_param: ["map", "k", "n", 1] },
    };
    expect(resolve(properties).properties).toEqual({ c: [null] });
  });

  test("hidden values mark the properties that they go into, and no others", () => {
    const properties = {
      open: { get_param: "text" },
      direct: { get_param: "secret" },
      deep: [{ x: { str_replace: { template: "t", params: { t: { get_param: "secret" } } } } }],
      attribute: { list_join: ["", [{ get_attr: ["r", "pass"] }]] },
      other: { get_attr: ["r", "ip"] },
    };
    expect(resolve(properties).hidden).toEqual(["direct", "deep", "attribute"]);
  });
});

describe("a bound definition", () => {
  test("holds the parameters that it uses and no others", () => {
    const made = bound({ x: [{ get_param: ["map", { get_param: "text" }] }], y: { get_param: "secret" } });
    expect(Object.keys(made.parameters)).toEqual(["map", "secret", "text"]);
    expect(made.hidden).toEqual(["secret"]);
  });

  const base = { x: { get_param: "text" } };
  test.each<[string, object, boolean]>([
    ["the same", {}, true],
    ["the default policy, spelt out", { deletion_policy: "delete", depends_on: [], metadata: {} }, true],
    ["a description", { description: "d" }, true],
    ["another policy", { deletion_policy: "Retain" }, false],
    ["metadata", { metadata: { m: 1 } }, false],
    ["a dependency", { depends_on: "r" }, false],
    ["a type", { type: "U" }, false],
    ["a property", { properties: { ...base, y: 1 } }, false],
  ])("with %s: equal is %#", (_what, more, equal) => {
    expect(definitionText(bound(base, more)) === definitionText(bound(base))).toBe(equal);
  });

  test("does not depend on order", () => {
    const one = bound({ x: 1, y: { a: 1, b: 2 } }, { depends_on: ["r", "s"] });
    const other = bound({ y: { b: 2, a: 1 }, x: 1 }, { depends_on: ["s", "r"] });
    expect(definitionText(one)).toBe(definitionText(other));
  });

  test("changes with a parameter that it uses only", () => {
    const parsed = parseTemplateValue({ parameters, resources: { a: { type: "T", properties: base } } }, "v");
    const definition = parsed.resources.get("a");
    if (definition === undefined) throw new Error("a is there");
    const text = (given: object) =>
      definitionText(bindDefinition(definition, parameterValues(parsed, { ...given }, context)));
    expect(text({ flag: false, secret: "other" })).toBe(text({}));
    expect(text({ text: "other" })).not.toBe(text({}));
  });
});

describe("outputs", () => {
  test("are each resolved by themselves", () => {
    const document = {
      parameters,
      resources: { r: { type: "T" }, s: { type: "T" } },
      outputs: {
        ip: { value: { get_attr: ["r", "ip"] }, description: "where" },
        secret: { value: { list_join: ["", [{ get_param: "secret" }]] } },
        later: { value: { get_resource: "s" } },
        nothing: { value: null },
        constructor: { value: 1 },
      },
    };
    const parsed = parseTemplateValue(document, "v");
    const outputs = resolveOutputs(parsed, parameterValues(parsed, {}, context), (name) => views[name]);
    expect(outputs).toEqual({
      ip: { value: "10.0.0.1", hidden: false, description: "where" },
      secret: { value: "s3cret", hidden: true },
      later: { error: 'resource "s" is not there yet', hidden: false },
      nothing: { value: null, hidden: false },
      constructor: { value: 1, hidden: false },
    });
  });
});
