import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { JsonObject } from "../../src/json.js";
import { defineResource, ResourceTypes } from "../../src/providers/provider.js";
import { checkAgainstTypes } from "../../src/template/template.js";
import { template } from "./refusals.js";

function type(name: string, schema: z.ZodType, attributes?: Record<string, string>) {
  return defineResource({
    type: name,
    properties: schema as z.ZodType<JsonObject>,
    updatable: [],
    ...(attributes === undefined ? {} : { attributes }),
    create: async () => ({ physicalId: "p", attributes: {} }),
    read: async () => undefined,
    delete: async () => {},
  });
}

const file = z.strictObject({
  path: z.string().startsWith("/"),
  content: z.string().default(""),
  mode: z.union([z.string(), z.int()]).optional(),
  tags: z.array(z.strictObject({ key: z.string() })).optional(),
});

const types = new ResourceTypes().add(
  type("Test::File", file, { path: "where it is" }),
  type("Test::Dropping", z.object({ a: z.number() })),
  type("Test::Loose", z.looseObject({ a: z.number() })),
  type("Test::Any", z.record(z.string(), z.unknown())),
  type(
    "Test::Refined",
    file.refine(({ path, content }) => path !== content, "path and content must differ"),
  ),
  type(
    "Test::Piped",
    file.transform((value) => ({ ...value, done: true })),
  ),
  type("Test::Async", z.strictObject({ a: z.string().refine(async () => false) })),
  type(
    "Test::Throwing",
    z.strictObject({
      a: z.string().refine(() => {
        throw new Error("bug");
      }),
    }),
  ),
);

function problems(text: string): string[] {
  return checkAgainstTypes(template(text), types).map(
    ({ line, column, message }) => `${line}:${column} ${message}`,
  );
}

function ofResource(name: string, properties: string): string[] {
  return problems(
    `parameters: {p: {type: string}}\nresources:\n  a:\n    type: ${name}\n    properties: ${properties}\n`,
  );
}

describe("a template is held against the types that there are", () => {
  test.each<[string, string, string[], string]>([
    ["Test::File", "{path: /a, content: x, mode: 420}", [], "right"],
    ["Test::File", "{path: /a, content: null}", [], "null is as good as absent"],
    [
      "Test::Fil",
      "{}",
      [
        '4:11 unknown resource type "Test::Fil" (there are: Test::Any, Test::Async, Test::Dropping, Test::File, Test::Loose, Test::Piped, Test::Refined, Test::Throwing); did you mean "Test::File"?',
      ],
      "misspelt type",
    ],
    [
      "Test::File",
      "{path: a}",
      ['5:24 property path of Test::File: Invalid string: must start with "/"'],
      "a bad literal",
    ],
    [
      "Test::File",
      "{path: [/a]}",
      ["5:24 property path of Test::File: Invalid input: expected string, received array"],
      "wrong kind",
    ],
    [
      "Test::File",
      "{path: /a, mode: []}",
      [
        "5:34 property mode of Test::File: Invalid input: expected string, received array, or Invalid input: expected number, received array",
      ],
      "no branch fits",
    ],
    ["Test::File", "{}", ['3:3 Test::File needs the property "path"'], "missing"],
    [
      "Test::File",
      "{path: null}",
      ['3:3 Test::File needs the property "path"'],
      "null is as good as missing",
    ],
    [
      "Test::File",
      "{path: /a, contents: x}",
      ['5:28 Test::File has no property contents; did you mean "content"?'],
      "misspelt",
    ],
    [
      "Test::File",
      "{path: /a, tags: [{key: a, valu: b}]}",
      ["5:44 Test::File has no property tags[0].valu"],
      "unknown, nested",
    ],
    [
      "Test::File",
      "{path: /a, tags: [{key: 3}]}",
      ["5:41 property tags[0].key of Test::File: Invalid input: expected string, received number"],
      "bad, nested",
    ],
    ["Test::File", "{path: {get_param: p}}", [], "a function is known later"],
    [
      "Test::File",
      "{path: {get_param: p}, content: 1, x: 2}",
      [
        "5:49 property content of Test::File: Invalid input: expected string, received number",
        "5:52 Test::File has no property x",
      ],
      "literals beside a function are checked",
    ],
    [
      "Test::File",
      "{content: {get_param: p}}",
      ['3:3 Test::File needs the property "path"'],
      "missing beside a function",
    ],
    [
      "Test::File",
      "{path: /a, tags: [{key: {get_param: p}, x: 1}]}",
      [],
      "a property with a function inside passes whole",
    ],
    [
      "Test::Dropping",
      "{a: 1, b: 2}",
      ["5:24 Test::Dropping has no property b"],
      "zod would drop it silently",
    ],
    ["Test::Loose", "{a: 1, b: 2}", [], "open on purpose"],
    ["Test::Loose", "{a: {get_param: p}, b: 2}", [], "open on purpose, with a function"],
    ["Test::Any", "{a: {get_param: p}, b: 2}", [], "no object schema"],
    [
      "Test::Refined",
      "{path: /a, content: /a}",
      ["5:17 the properties of Test::Refined: path and content must differ"],
      "as a whole",
    ],
    ["Test::Refined", "{path: /a, content: {get_param: p}}", [], "as a whole only when all is known"],
    [
      "Test::Piped",
      "{path: /a, x: {get_param: p}}",
      ["5:28 Test::Piped has no property x"],
      "through a transformation",
    ],
    [
      "Test::Piped",
      "{path: {get_param: p}, content: 1}",
      ["5:49 property content of Test::Piped: Invalid input: expected string, received number"],
      "the same",
    ],
    ["Test::Async", "{a: x}", [], "cannot be checked now"],
    ["Test::Throwing", "{a: x}", [], "a provider's mistake is not the template's"],
  ])("%s %s: %j", (name, properties, expected) => {
    expect(ofResource(name, properties)).toEqual(expected);
  });

  test("attributes that a type does not have", () => {
    const text = `
resources:
  a: {type: Test::File, properties: {path: /a}}
  b: {type: Test::File, properties: {path: {list_join: ["", [{get_attr: [a, paht]}, {get_attr: [a, path]}]]}}}
  c: {type: Test::Any, properties: {x: {get_attr: [a, {get_resource: b}]}}}
outputs:
  x: {value: {get_attr: [a, zzz]}}
  y: {value: {get_attr: [c, zzz]}}
`;
    expect(problems(text)).toEqual([
      '4:77 Test::File has no attribute "paht" (it has: path); did you mean "path"?',
      '7:29 Test::File has no attribute "zzz" (it has: path)',
    ]);
  });
});
