/** Evaluates the functions in one value, and notes whether anything hidden went into it. */
import { InvalidError } from "../errors.js";
import { canonicalJson, type Json, type JsonObject } from "../json.js";
import { callOf, type FunctionName, isMap } from "./functions.js";
import { textLengthLimit } from "./limits.js";
import { pathText } from "./read-value.js";
import type { Expression, ResourceView } from "./types.js";

export type View = (resourceName: string) => ResourceView | undefined;

/** What functions can see. */
export interface Scope {
  parameters: JsonObject;
  hiddenParameters: readonly string[];
  view: View;
}

export interface Evaluated {
  value: Json;
  hidden: boolean;
}

/** @throws InvalidError when a function refers to what is not there. */
export function evaluate(scope: Scope, expression: Expression): Evaluated {
  const evaluation = new Evaluation(scope);
  const value = evaluation.value(expression);
  return { value, hidden: evaluation.hidden };
}

class Evaluation {
  hidden = false;
  readonly #scope: Scope;
  readonly #functions: Record<FunctionName, (argument: Json) => Json> = {
    get_param: (argument) => this.#getParam(argument),
    get_resource: (argument) => this.#viewOf(argument as string).physicalId,
    get_attr: (argument) => this.#getAttr(argument as Json[]),
    get_file: () => fail("get_file was left in a parsed template"),
    str_replace: (argument) => this.#strReplace(argument as JsonObject),
    list_join: (argument) => this.#listJoin(argument as Json[]),
  };

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  value(expression: Expression): Json {
    if (Array.isArray(expression)) return expression.map((item) => this.value(item));
    if (!isMap(expression)) return expression;
    const call = callOf(expression);
    if (call !== undefined) return this.#functions[call.name](call.argument);
    return Object.fromEntries(Object.entries(expression).map(([key, item]) => [key, this.value(item)]));
  }

  #getParam(argument: Json): Json {
    const [first, ...steps] = Array.isArray(argument) ? argument : [argument];
    const name = String(first);
    const { parameters, hiddenParameters } = this.#scope;
    if (!Object.hasOwn(parameters, name)) fail(`parameter "${name}" has no value`);
    if (hiddenParameters.includes(name)) this.hidden = true;
    return follow(parameters[name] ?? null, this.#path(steps), `parameter "${name}"`, "value");
  }

  #getAttr([first, ...steps]: Json[]): Json {
    const name = String(first);
    const { attributes, hiddenAttributes } = this.#viewOf(name);
    const path = this.#path(steps);
    if (hiddenAttributes?.includes(String(path[0]?.value))) this.hidden = true;
    return follow(attributes, path, `resource "${name}"`, "attribute");
  }

  #path(steps: readonly Json[]): Evaluated[] {
    const path = steps.map((step) => evaluate(this.#scope, step));
    if (path.some(({ hidden }) => hidden)) this.hidden = true;
    return path;
  }

  #viewOf(name: string): ResourceView {
    return this.#scope.view(name) ?? fail(`resource "${name}" is not there yet`);
  }

  #strReplace({ template, params }: JsonObject): Json {
    const text = this.value(template ?? null);
    const replacements = this.value(params ?? null);
    if (typeof text !== "string") return fail("the template of str_replace is not text");
    if (!isMap(replacements)) return fail("the params of str_replace are not a map");
    return replaceAll(text, replacements);
  }

  #listJoin([first, ...rest]: Json[]): Json {
    const delimiter = this.value(first ?? null) ?? "";
    if (typeof delimiter !== "string") return fail("the delimiter of list_join is not text");
    const lists = rest.map((list) => this.value(list) ?? []);
    if (!lists.every((list) => Array.isArray(list))) return fail("list_join got something else than a list");
    return join(lists.flat(1).map(asText), delimiter);
  }
}

function follow(start: Json, path: readonly Evaluated[], what: string, partName: string): Json {
  let value: Json | undefined = start;
  for (const step of path) value = partOf(value, step.value);
  return value === undefined ? fail(`${what} has no ${partName} ${describePath(path)}`) : value;
}

function partOf(value: Json | undefined, step: Json): Json | undefined {
  if (Array.isArray(value)) return /^\d+$/.test(String(step)) ? value[Number(step)] : undefined;
  if (!isMap(value) || !Object.hasOwn(value, String(step))) return undefined;
  return value[String(step)];
}

/** Without what is hidden: it goes into messages. */
function describePath(path: readonly Evaluated[]): string {
  return pathText(path.map(({ value, hidden }) => shownStep(hidden ? "(hidden)" : value)));
}

function shownStep(step: Json): string | number {
  return typeof step === "number" ? step : asText(step);
}

/**
 * HOT's rule: the longest key first, each key everywhere at once, and what was put in is not looked at again.
 * This differs from one scan from left to right where two keys overlap.
 */
function replaceAll(template: string, params: JsonObject): string {
  const keys = Object.keys(params).sort((a, b) => b.length - a.length || (a < b ? -1 : 1));
  if (keys.includes("")) fail("str_replace cannot replace the empty text");
  /** Untouched text at even indices, put in text at odd ones. */
  let pieces = [template];
  for (const key of keys) {
    const replacement = asText(params[key] ?? null);
    pieces = pieces.flatMap((piece, index) => (index % 2 === 1 ? [piece] : splitBy(piece, key, replacement)));
  }
  return join(pieces, "");
}

function splitBy(text: string, key: string, replacement: string): string[] {
  return text.split(key).flatMap((part, index) => (index === 0 ? [part] : [replacement, part]));
}

function join(texts: readonly string[], delimiter: string): string {
  let length = delimiter.length * Math.max(0, texts.length - 1);
  for (const text of texts) length += text.length;
  if (length > textLengthLimit) fail(`a text would be longer than ${textLengthLimit} characters`);
  return texts.join(delimiter);
}

function asText(value: Json): string {
  if (value === null) return "";
  return typeof value === "object" ? canonicalJson(value) : String(value);
}

function fail(message: string): never {
  throw new InvalidError([{ message }]);
}
