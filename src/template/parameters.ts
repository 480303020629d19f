/** Values of parameters: what people give, as text or JSON, to the types that the template declares. */
import type { Json } from "../json.js";
import { checkGivenPolicy, policyParameter } from "./policy.js";
import { Problems } from "./problems.js";
import { readValue } from "./read-value.js";
import type { ParameterDefinition, ParameterType, ParameterValues, Template } from "./types.js";

export const parameterTypes: readonly ParameterType[] = [
  "string",
  "number",
  "boolean",
  "json",
  "comma_delimited_list",
];

/** What the pseudo parameters tell. */
export interface ParameterContext {
  stackName: string;
  stackId: string;
}

/** `problem` never shows the value, which may be a secret. */
type Converted = { value: Json } | { problem: string };

/**
 * The parameters of a goal: what is given now, else what was given for an earlier goal and is still valid, else the
 * template's default.
 *
 * @throws InvalidError when a value is missing, of the wrong type, or for an undeclared parameter.
 */
export function parameterValues(
  template: Template,
  given: Readonly<Record<string, unknown>>,
  context: ParameterContext,
  previous?: ParameterValues,
): ParameterValues {
  const choice = new Choice(template, given, previous);
  const declared = [...template.parameters.values()];
  const values = declared.map((parameter): [string, Json] => [parameter.name, choice.valueOf(parameter)]);
  choice.refuseUndeclared();
  const policy = values.find(([name]) => name === policyParameter && choice.given.includes(name));
  if (policy !== undefined) checkGivenPolicy(choice.problems, template, policy[1]);
  choice.problems.throwIfAny();
  const pseudo = { "OS::stack_name": context.stackName, "OS::stack_id": context.stackId };
  return {
    values: { ...Object.fromEntries(values), ...pseudo },
    hidden: declared.filter(({ hidden }) => hidden).map(({ name }) => name),
    given: choice.given,
  };
}

class Choice {
  readonly problems: Problems;
  readonly given: string[] = [];
  readonly #template: Template;
  readonly #now: Readonly<Record<string, unknown>>;
  readonly #previous: ParameterValues | undefined;

  constructor(
    template: Template,
    now: Readonly<Record<string, unknown>>,
    previous: ParameterValues | undefined,
  ) {
    this.problems = new Problems(template.locate);
    this.#template = template;
    this.#now = now;
    this.#previous = previous;
  }

  valueOf(parameter: ParameterDefinition): Json {
    const chosen = this.#givenNow(parameter) ?? this.#givenBefore(parameter);
    if (chosen !== undefined) this.given.push(parameter.name);
    const value = chosen ?? parameter.default;
    if (value !== undefined) return value;
    if (!Object.hasOwn(this.#now, parameter.name)) this.#missing(parameter);
    return null;
  }

  #givenNow({ name, type }: ParameterDefinition): Json | undefined {
    if (!Object.hasOwn(this.#now, name)) return undefined;
    const converted = convert(type, this.#now[name]);
    if ("value" in converted) return converted.value;
    this.problems.add(["parameters", name], `parameter "${name}": the value ${converted.problem}`, "key");
    return undefined;
  }

  #givenBefore({ name, type }: ParameterDefinition): Json | undefined {
    if (Object.hasOwn(this.#now, name) || !this.#previous?.given.includes(name)) return undefined;
    const converted = convert(type, this.#previous.values[name]);
    return "value" in converted ? converted.value : undefined;
  }

  #missing({ name }: ParameterDefinition): void {
    this.problems.add(["parameters", name], `parameter "${name}" has no default and was not given`, "key");
  }

  refuseUndeclared(): void {
    const { parameters } = this.#template;
    for (const name of Object.keys(this.#now)) {
      if (parameters.has(name)) continue;
      const message = `parameter "${name}" was given, but the template does not declare it`;
      this.problems.addUnknown(["parameters"], message, name, parameters.keys(), "key");
    }
  }
}

/** A default is read with YAML's types, so that text which looks like a number with a fraction has lost its form. */
export function convertDefault(type: ParameterType, value: Json): Converted {
  if (value === null) return { problem: "is empty: leave it out to make the parameter required" };
  if (type === "string" && typeof value === "number" && !Number.isInteger(value)) {
    return { problem: "is a number: put it in quotes" };
  }
  return convert(type, value);
}

function convert(type: ParameterType, value: unknown): Converted {
  switch (type) {
    case "string":
      return toText(value);
    case "number":
      return toNumber(value);
    case "boolean":
      return toBoolean(value);
    case "json":
      return typeof value === "string" ? parseJson(value) : toJson(value);
    case "comma_delimited_list":
      return toList(value);
  }
}

function toText(value: unknown): Converted {
  if (typeof value === "string") return { value };
  if (typeof value === "boolean" || Number.isFinite(value)) return { value: String(value) };
  return { problem: "is not text" };
}

function toNumber(value: unknown): Converted {
  const isText = typeof value === "string" && /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i.test(value);
  const number = isText ? Number(value) : value;
  if (typeof number !== "number" || !Number.isFinite(number)) return { problem: "is not a number" };
  const exact = Number.isSafeInteger(number) || !Number.isInteger(number) || /[.e]/i.test(String(value));
  return exact ? { value: number } : { problem: "is too large to be kept exactly" };
}

const trueWords = ["true", "t", "yes", "y", "on", "1"];
const falseWords = ["false", "f", "no", "n", "off", "0"];

function toBoolean(value: unknown): Converted {
  const word = typeof value === "object" ? "" : String(value).trim().toLowerCase();
  if (trueWords.includes(word)) return { value: true };
  return falseWords.includes(word) ? { value: false } : { problem: "is not true or false" };
}

function parseJson(text: string): Converted {
  try {
    return toJson(JSON.parse(text));
  } catch {
    return { problem: "is not JSON" };
  }
}

function toJson(value: unknown): Converted {
  if (value === undefined || value === null) return { problem: "is empty" };
  const { value: json, problems } = readValue(value, "value");
  return problems.length === 0 ? { value: json } : { problem: "cannot be kept as JSON" };
}

/** As in Heat, spaces around the commas belong to the items. */
function toList(value: unknown): Converted {
  if (typeof value === "string") return { value: value === "" ? [] : value.split(",") };
  if (!Array.isArray(value)) return { problem: "is not a list" };
  const items = value.map(toText);
  const texts = items.flatMap((item) => ("value" in item ? [item.value] : []));
  return texts.length === items.length ? { value: texts } : { problem: "has an item that is not text" };
}
