/** The functions of HOT: which of them a value calls, and whether the call is well formed. */
import type { Json } from "../json.js";
import type { Problems } from "./problems.js";
import type { Expression, Path } from "./types.js";

export type FunctionName =
  | "get_param"
  | "get_resource"
  | "get_attr"
  | "get_file"
  | "str_replace"
  | "list_join";

/** What the checks of one expression may look at, and where they note what it refers to. */
export interface Site {
  problems: Problems;
  files: Readonly<Record<string, string>>;
  parameters: ReadonlySet<string>;
  resources: ReadonlySet<string>;
  /** The resource that the expression belongs to; none for an output. */
  resource?: string;
  dependencies: Set<string>;
}

type Check = (site: Site, argument: Json, path: Path) => Expression;

const checks: Record<FunctionName, Check> = {
  get_param: checkGetParam,
  get_resource: checkGetResource,
  get_attr: checkGetAttr,
  get_file: checkGetFile,
  str_replace: checkStrReplace,
  list_join: checkListJoin,
};

const pseudoParameters: ReadonlySet<string> = new Set(["OS::stack_name", "OS::stack_id"]);

const unsupportedFunctions: ReadonlySet<string> = new Set([
  "and",
  "contains",
  "digest",
  "equals",
  "filter",
  "if",
  "list_concat",
  "list_concat_unique",
  "make_url",
  "map_merge",
  "map_replace",
  "not",
  "or",
  "Ref",
  "repeat",
  "resource_facade",
  "str_replace_strict",
  "str_replace_vstrict",
  "str_split",
  "yaql",
]);

/** An object with a single key that names a supported function is a call of it. */
export function callOf(value: Json): { name: FunctionName; argument: Json } | undefined {
  if (!isMap(value)) return undefined;
  const [name, ...others] = Object.keys(value);
  if (name === undefined || others.length > 0 || !isFunctionName(name)) return undefined;
  return { name, argument: value[name] ?? null };
}

export function hasCall(value: Json): boolean {
  if (value === null || typeof value !== "object") return false;
  return callOf(value) !== undefined || Object.values(value).some(hasCall);
}

/** Notes what is wrong with a value; returns it with the files that it names embedded. */
export function checkExpression(site: Site, value: Json, path: Path): Expression {
  if (Array.isArray(value)) return value.map((item, index) => checkExpression(site, item, [...path, index]));
  if (!isMap(value)) return value;
  refuseUnsupported(site.problems, value, path);
  const call = callOf(value);
  if (call === undefined) return checkEntries(site, value, path);
  const argument = checks[call.name](site, call.argument, [...path, call.name]);
  return call.name === "get_file" ? argument : { [call.name]: argument };
}

/** Notes every function in a value that must be plain data. */
export function refuseCalls(problems: Problems, value: Json, path: Path, where: string): void {
  if (value === null || typeof value !== "object") return;
  if (isMap(value)) refuseUnsupported(problems, value, path);
  const call = callOf(value);
  if (call !== undefined)
    problems.add([...path, call.name], `${call.name} in ${where} is not supported yet`, "key");
  else for (const [key, item] of entries(value)) refuseCalls(problems, item, [...path, key], where);
}

/** A function of HOT that is not there yet, or one that does not stand alone in its map. */
function refuseUnsupported(problems: Problems, map: { [key: string]: Json }, path: Path): void {
  const keys = Object.keys(map);
  for (const key of keys) {
    const known = isFunctionName(key);
    if (!known && !isUnsupportedFunction(key)) continue;
    if (keys.length === 1 && !known) problems.add([...path, key], `${key} is not supported yet`, "key");
    // Words like "filter" are names of ordinary data too, when they are not the only key.
    if (keys.length > 1 && /_|:/.test(key)) {
      problems.add([...path, key], `${key} is a function: it must be the only key of its map`, "key");
    }
  }
}

export function isUnsupportedFunction(name: string): boolean {
  return unsupportedFunctions.has(name) || name.startsWith("Fn::");
}

function checkEntries(site: Site, map: { [key: string]: Json }, path: Path): Expression {
  return Object.fromEntries(
    Object.entries(map).map(([key, item]) => [key, checkExpression(site, item, [...path, key])]),
  );
}

function checkGetParam(site: Site, argument: Json, path: Path): Expression {
  const [name, ...steps] = Array.isArray(argument) ? argument : [argument];
  const namePath = Array.isArray(argument) ? [...path, 0] : path;
  if (typeof name !== "string") {
    site.problems.add(path, "get_param needs the name of a parameter, or a list of the name and a path");
    return argument;
  }
  checkParameterName(site, name, namePath);
  return steps.length === 0 ? name : [name, ...checkSteps(site, steps, path, 1)];
}

function checkParameterName(site: Site, name: string, path: Path): void {
  if (site.parameters.has(name) || pseudoParameters.has(name)) return;
  if (name === "OS::project_id") site.problems.add(path, "OS::project_id is not supported yet");
  else site.problems.addUnknown(path, `parameter "${name}" is not declared`, name, knownParameters(site));
}

function* knownParameters(site: Site): Iterable<string> {
  yield* site.parameters;
  yield* pseudoParameters;
}

function checkGetResource(site: Site, argument: Json, path: Path): Expression {
  if (typeof argument === "string") checkReference(site, argument, path);
  else site.problems.add(path, "get_resource needs the name of a resource");
  return argument;
}

function checkGetAttr(site: Site, argument: Json, path: Path): Expression {
  if (!Array.isArray(argument) || typeof argument[0] !== "string" || argument.length < 2) {
    site.problems.add(
      path,
      "get_attr needs a list: the name of a resource, an attribute, and possibly a path",
    );
    return argument;
  }
  const [resource, ...steps] = argument;
  checkReference(site, resource, [...path, 0]);
  return [resource, ...checkSteps(site, steps, path, 1)];
}

/** Keys and indices, possibly given by functions. */
function checkSteps(site: Site, steps: readonly Json[], path: Path, offset: number): Expression[] {
  return steps.map((step, index) => {
    const place = [...path, offset + index];
    if (typeof step === "string" || Number.isInteger(step)) return step;
    if (!isMap(step)) site.problems.add(place, "a step of a path must be a key or the index of a list");
    return checkExpression(site, step, place);
  });
}

/** Notes the reference if it leads to a resource of this template, else the problem. */
export function checkReference(site: Site, name: string, path: Path): void {
  if (name === site.resource) {
    site.problems.add(path, `resource "${name}" refers to itself: ${name} → ${name}`);
  } else if (site.resources.has(name)) {
    site.dependencies.add(name);
  } else {
    site.problems.addUnknown(path, `there is no resource "${name}"`, name, site.resources);
  }
}

function checkGetFile(site: Site, argument: Json, path: Path): Expression {
  if (typeof argument !== "string") {
    site.problems.add(path, "get_file needs the name of a file");
    return null;
  }
  if (Object.hasOwn(site.files, argument)) return site.files[argument] ?? "";
  site.problems.addUnknown(path, `file "${argument}" is not there`, argument, Object.keys(site.files));
  return null;
}

function checkStrReplace(site: Site, argument: Json, path: Path): Expression {
  if (!isMap(argument) || argument.template === undefined || argument.params === undefined) {
    site.problems.add(path, "str_replace needs a map with template and params");
    return argument;
  }
  for (const key of Object.keys(argument)) {
    if (key === "template" || key === "params") continue;
    site.problems.addUnknown([...path, key], `unknown key "${key}"`, key, ["template", "params"], "key");
  }
  checkText(site, argument.template, [...path, "template"], "the template of str_replace");
  checkParams(site, argument.params, [...path, "params"]);
  return checkEntries(site, { template: argument.template, params: argument.params }, path);
}

function checkText(site: Site, value: Json, path: Path, what: string): void {
  if (typeof value !== "string" && callOf(value) === undefined)
    site.problems.add(path, `${what} must be text`);
}

function checkParams(site: Site, params: Json, path: Path): void {
  if (!isMap(params)) site.problems.add(path, "the params of str_replace must be a map");
  else if (Object.hasOwn(params, "")) {
    site.problems.add([...path, ""], "str_replace cannot replace the empty text", "key");
  }
}

function checkListJoin(site: Site, argument: Json, path: Path): Expression {
  if (!Array.isArray(argument) || argument.length < 2) {
    site.problems.add(path, "list_join needs a list: the delimiter, then one or more lists");
    return argument;
  }
  const [delimiter, ...lists] = argument;
  checkText(site, delimiter ?? null, [...path, 0], "the delimiter of list_join");
  for (const [index, list] of lists.entries()) {
    if (Array.isArray(list) || callOf(list) !== undefined) continue;
    site.problems.add([...path, index + 1], "list_join joins lists: this is none");
  }
  return argument.map((item, index) => checkExpression(site, item, [...path, index]));
}

function isFunctionName(name: string): name is FunctionName {
  return Object.hasOwn(checks, name);
}

function entries(value: Json[] | { [key: string]: Json }): Iterable<[string | number, Json]> {
  return Array.isArray(value) ? value.entries() : Object.entries(value);
}

export function isMap(value: Json | undefined): value is { [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
