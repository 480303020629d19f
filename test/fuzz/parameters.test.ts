/**
 * Theory: some value for a parameter makes the engine fail otherwise than by naming the parameter, is taken as another
 * value than JSON or text can give back, or is shown by the error although it may be a secret.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InvalidError } from "../../src/errors.js";
import { canonicalJson } from "../../src/json.js";
import {
  bindDefinition,
  parameterValues,
  parseTemplate,
  resolveOutputs,
  resolveProperties,
} from "../../src/template/template.js";
import type { ParameterType, ParameterValues } from "../../src/template/types.js";
import { always, announce, expectPlaced, expectPlain, objectOf, oddJson, oddText } from "./support.js";

announce("parameters");

const kinds: readonly ParameterType[] = ["string", "number", "boolean", "json", "comma_delimited_list"];
const context = { stackName: "s", stackId: "id" };
const secret = "hunter2-hunter2";

const declarations = kinds.map((type) => `  ${type}: { type: ${type}, hidden: true }`).join("\n");
const outputs = kinds.map((type) => `  ${type}: { value: { get_param: ${type} } }`).join("\n");
const text = `parameters:\n${declarations}\nresources: {}\noutputs:\n${outputs}\n`;
const template = parseTemplate({ text, name: "it.yaml", files: {} });

/** Values as people give them on the command line, as JSON in a request, or as JavaScript. */
const given = fc.oneof(
  oddJson,
  oddText,
  fc.constantFrom(
    ...[
      "1",
      " 1 ",
      "1e400",
      "0x10",
      "1_000",
      "9007199254740993",
      "{",
      '{"a":1e999}',
      '{"a":1,"a":2}',
      "a,,b",
      ",",
    ],
    ...["[".repeat(200) + "]".repeat(200), '{"__proto__":1}', "yes", "OFF", "tRuE"],
  ),
  fc.constantFrom<unknown>(
    undefined,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    1n,
    Symbol("s"),
    () => 1,
    new Date(Number.NaN),
  ),
  fc.constantFrom<unknown>(new Map(), /x/, [undefined], new Array(2), Object.create(null), new Proxy({}, {})),
);

const names = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom<string>(...kinds) },
  { weight: 1, arbitrary: oddText },
);

function refusal(
  values: Record<string, unknown>,
  previous?: ParameterValues,
): InvalidError | ParameterValues {
  try {
    return parameterValues(template, values, context, previous);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    return error;
  }
}

describe("values of parameters", () => {
  it("are taken as JSON, or refused by name and place", async () => {
    const all = fc
      .array(fc.tuple(names, given), { maxLength: 7 })
      .map((entries) => objectOf(entries) as Record<string, unknown>);
    await always(
      fc.tuple(all, fc.option(all)),
      ([values, before]) => {
        const earlier = before === null ? undefined : refusal(before);
        const result = refusal(values, earlier instanceof InvalidError ? undefined : earlier);
        const unknown = Object.keys(values).filter((name) => !template.parameters.has(name));
        if (result instanceof InvalidError) {
          expectPlaced(result.problems, text);
          for (const name of unknown) expect(result.message).toContain(`"${name}"`);
        } else {
          expect(unknown).toEqual([]);
          expect(canonicalJson(JSON.parse(JSON.stringify(result.values)))).toBe(canonicalJson(result.values));
          expect(result.hidden.sort()).toEqual([...kinds].sort());
          for (const output of Object.values(resolveOutputs(template, result, () => undefined))) {
            expect(output.hidden).toBe(true);
          }
        }
      },
      4_000,
    );
  });

  it("are not in the error, however they are wrong", async () => {
    const wrapped = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        fc.constant(secret),
        tie("value").map((value) => [value]),
        tie("value").map((value) => ({ [secret]: value, x: Number.NaN })),
        tie("value").map((value) => `{"${value}`),
        tie("value").map((value) => Object.assign(() => 1, { value })),
      ),
    })).value;
    await always(
      fc.dictionary(fc.constantFrom<string>(...kinds), wrapped),
      (values) => {
        const result = refusal(values);
        if (result instanceof InvalidError)
          expect(JSON.stringify([result.message, result.problems])).not.toContain(secret);
      },
      2_000,
    );
  });

  it("are not in what is said of properties and outputs that cannot be told", async () => {
    const step = fc.oneof(
      fc.constant({ get_param: "string" }),
      fc.constantFrom<unknown>(
        "a",
        0,
        { get_param: ["json", "k"] },
        { list_join: ["", [{ get_param: "string" }, "x"]] },
      ),
      fc.constant({ str_replace: { template: "$x", params: { $x: { get_param: "string" } } } }),
    );
    const call = fc.oneof(
      fc.array(step, { maxLength: 3 }).map((steps) => ({ get_param: ["json", ...steps] })),
      fc.array(step, { minLength: 1, maxLength: 3 }).map((steps) => ({ get_attr: ["other", ...steps] })),
      fc.tuple(step, step).map(([left, right]) => ({ list_join: [left, right] })),
      fc
        .tuple(step, step)
        .map(([left, right]) => ({ str_replace: { template: left, params: { x: right } } })),
      step.map((params) => ({ str_replace: { template: "x", params } })),
    );
    const view = () => ({ physicalId: "p", attributes: { a: [secret] }, hiddenAttributes: ["a"] });
    await always(
      call,
      (value) => {
        const document = {
          parameters: { string: { type: "string", hidden: true }, json: { type: "json", hidden: true } },
          resources: { r: { type: "T", properties: { p: value } }, other: { type: "T" } },
          outputs: { o: { value } },
        };
        const source = { text: JSON.stringify(document), name: "it", files: {} };
        const parsed = accepted(() => parseTemplate(source));
        if (parsed === undefined) return;
        const parameters = parameterValues(parsed, { string: secret, json: { k: secret } }, context);
        const output = resolveOutputs(parsed, parameters, view).o;
        if (!output?.hidden) expect(JSON.stringify(output)).not.toContain(secret);
        const bound = bindDefinition(parsed.resources.get("r") as never, parameters);
        const resolved = accepted(() => resolveProperties(bound, view));
        if (resolved === undefined) return;
        const shown = Object.entries(resolved.properties).filter(([name]) => !resolved.hidden.includes(name));
        expect(JSON.stringify(shown)).not.toContain(secret);
      },
      3_000,
    );
  });
});

/** Undefined when it was refused, without the secret. */
function accepted<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    expectPlain(error.message);
    expect(error.message).not.toContain(secret);
    return undefined;
  }
}
