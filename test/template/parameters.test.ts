import { describe, expect, test } from "vitest";
import { InvalidError } from "../../src/errors.js";
import { type ParameterType, parameterValues } from "../../src/template/template.js";
import { problemsOf, template } from "./refusals.js";

const context = { stackName: "web", stackId: "id-1" };

function declared(type: ParameterType) {
  return template(`resources:\nparameters:\n  p: {type: ${type}}\n`);
}

describe("a given value becomes one of the declared type", () => {
  test.each<[ParameterType, unknown, unknown, string]>([
    ["string", "a", "a", "text"],
    ["string", "", "", "the empty text is a value"],
    ["string", 5, "5", "a number from JSON"],
    ["string", true, "true", "a boolean from JSON"],
    ["string", "0644", "0644", "text is left alone"],
    ["number", "5", 5, "from the command line"],
    ["number", " -1.5e3 ", -1500, "sign, fraction, exponent"],
    ["number", 0, 0, "zero is a value"],
    ["number", "1e300", 1e300, "large but meant so"],
    ["boolean", "true", true, "from the command line"],
    ["boolean", "No", false, "a word that HOT takes"],
    ["boolean", false, false, "false is a value"],
    ["boolean", 1, true, "a number that HOT takes"],
    ["json", '{"a": [1, null]}', { a: [1, null] }, "JSON text"],
    ["json", { a: { get_param: "p" } }, { a: { get_param: "p" } }, "data that looks like a function"],
    ["json", "3", 3, "any JSON"],
    ["comma_delimited_list", "a,b", ["a", "b"], "from the command line"],
    ["comma_delimited_list", "a, b", ["a", " b"], "as in Heat, spaces belong to the items"],
    ["comma_delimited_list", "", [], "no items"],
    ["comma_delimited_list", ["a", 1], ["a", "1"], "a list; items are text"],
  ])("%s from %j is %j: %s", (type, given, value) => {
    expect(parameterValues(declared(type), { p: given }, context).values.p).toEqual(value);
  });

  test.each<[ParameterType, unknown, string]>([
    ["string", null, "is not text"],
    ["string", {}, "is not text"],
    ["string", Number.NaN, "is not text"],
    ["number", "five", "is not a number"],
    ["number", "", "is not a number"],
    ["number", "0x10", "is not a number"],
    ["number", true, "is not a number"],
    ["number", Number.POSITIVE_INFINITY, "is not a number"],
    ["number", "1e999", "is not a number"],
    ["number", "12345678901234567890", "is too large to be kept exactly"],
    ["boolean", "maybe", "is not true or false"],
    ["boolean", ["true"], "is not true or false"],
    ["boolean", null, "is not true or false"],
    ["json", "{", "is not JSON"],
    ["json", "null", "is empty"],
    ["json", { a: () => 1 }, "cannot be kept as JSON"],
    ["json", JSON.parse(`${"[".repeat(500)}${"]".repeat(500)}`), "cannot be kept as JSON"],
    ["comma_delimited_list", 5, "is not a list"],
    ["comma_delimited_list", [["a"]], "has an item that is not text"],
  ])("%s refuses %j: it %s", (type, given, problem) => {
    expect(problemsOf(() => parameterValues(declared(type), { p: given }, context))).toEqual([
      `3:3 parameter "p": the value ${problem}`,
    ]);
  });

  test("a secret is not in the message that refuses it", () => {
    const secret = template("resources:\nparameters:\n  p: {type: json, hidden: true}\n");
    expect(() => parameterValues(secret, { p: "hunter2" }, context)).toThrow(InvalidError);
    expect(() => parameterValues(secret, { p: "hunter2" }, context)).not.toThrow(/hunter2/);
  });
});

describe("where values come from", () => {
  const text =
    "resources:\nparameters:\n  a: {type: number, default: 1}\n  b: {type: string}\n  c: {type: string, default: x, hidden: true}\n";

  test("given values, then defaults; pseudo parameters always", () => {
    expect(parameterValues(template(text), { b: "B" }, context)).toEqual({
      values: { a: 1, b: "B", c: "x", "OS::stack_name": "web", "OS::stack_id": "id-1" },
      hidden: ["c"],
      given: ["b"],
    });
  });

  test("all that is wrong at once", () => {
    const given = { a: "one", bb: 1, "OS::stack_name": "mine" };
    expect(problemsOf(() => parameterValues(template(text), given, context))).toEqual([
      '2:1 parameter "bb" was given, but the template does not declare it; did you mean "b"?',
      '2:1 parameter "OS::stack_name" was given, but the template does not declare it',
      '3:3 parameter "a": the value is not a number',
      '4:3 parameter "b" has no default and was not given',
    ]);
  });

  test("a value given earlier stays, one that was a default follows the new default", () => {
    const earlier = parameterValues(template(text), { b: "B" }, context);
    const next = template(
      text
        .replace("default: 1", "default: 2")
        .replace("b: {type: string}", "b: {type: string, default: new}"),
    );
    const values = parameterValues(next, { c: "C" }, context, earlier);
    expect(values.values).toMatchObject({ a: 2, b: "B", c: "C" });
    expect(values.given).toEqual(["b", "c"]);
    expect(parameterValues(next, { b: "B2" }, context, values).values).toMatchObject({ b: "B2", c: "C" });
  });

  test("an earlier value that is not declared or not valid any more is dropped", () => {
    const earlier = parameterValues(template(text), { a: 5, b: "B", c: "C" }, context);
    const next = template("resources:\nparameters:\n  a: {type: string}\n  b: {type: number, default: 7}\n");
    expect(parameterValues(next, {}, context, earlier)).toEqual({
      values: { a: "5", b: 7, "OS::stack_name": "web", "OS::stack_id": "id-1" },
      hidden: [],
      given: ["a"],
    });
  });
});
