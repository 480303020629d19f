/**
 * What can be said against a template before anything is resolved: types that nobody provides, properties that they do
 * not have, literals that they refuse, a policy that is none. A value that contains a function is known only at its visit and passes here.
 */
import { z } from "zod";
import type { Problem } from "../errors.js";
import type { Json, JsonObject } from "../json.js";
import type { ResourceType, ResourceTypes } from "../providers/provider.js";
import { callOf, hasCall } from "./functions.js";
import { checkTemplatePolicy } from "./policy.js";
import { Problems } from "./problems.js";
import { pathText } from "./read-value.js";
import type { Expression, Path, ResourceDefinition, Template } from "./types.js";

/** Resource types that are listed when none has a name near the unknown one. */
const listedTypes = 12;

export function checkAgainstTypes(template: Template, types: ResourceTypes): Problem[] {
  const problems = new Problems(template.locate);
  for (const resource of template.resources.values()) {
    const type = types.get(resource.type);
    if (type === undefined) unknownType(problems, resource, types);
    else new PropertiesCheck(problems, resource, type).run();
    checkAttributes(problems, template, types, resource.properties, [
      "resources",
      resource.name,
      "properties",
    ]);
  }
  for (const { name, value } of template.outputs.values()) {
    checkAttributes(problems, template, types, value, ["outputs", name, "value"]);
  }
  checkTemplatePolicy(problems, template);
  return problems.list();
}

function unknownType(problems: Problems, { name, type }: ResourceDefinition, types: ResourceTypes): void {
  const names = types.names();
  const list = names.length <= listedTypes ? ` (there are: ${names.join(", ")})` : "";
  problems.addUnknown(["resources", name, "type"], `unknown resource type "${type}"${list}`, type, names);
}

function checkAttributes(
  problems: Problems,
  template: Template,
  types: ResourceTypes,
  value: Expression,
  path: Path,
): void {
  if (value === null || typeof value !== "object") return;
  const call = callOf(value);
  if (call?.name === "get_attr") {
    checkAttribute(problems, template, types, call.argument as Json[], [...path, "get_attr"]);
  }
  const entries = Array.isArray(value) ? value.entries() : Object.entries(value);
  for (const [key, part] of entries) checkAttributes(problems, template, types, part, [...path, key]);
}

function checkAttribute(
  problems: Problems,
  template: Template,
  types: ResourceTypes,
  [resource, attribute]: Json[],
  path: Path,
): void {
  const type = types.get(template.resources.get(String(resource))?.type ?? "");
  if (type?.attributes === undefined || typeof attribute !== "string") return;
  if (Object.hasOwn(type.attributes, attribute)) return;
  const names = Object.keys(type.attributes);
  const message = `${type.type} has no attribute "${attribute}" (it has: ${names.join(", ") || "none"})`;
  problems.addUnknown([...path, 1], message, attribute, names);
}

class PropertiesCheck {
  readonly #problems: Problems;
  readonly #type: ResourceType;
  readonly #path: Path;
  readonly #resourcePath: Path;
  /** Those that are not null: HOT takes null as absent. */
  readonly #properties: JsonObject;

  constructor(problems: Problems, resource: ResourceDefinition, type: ResourceType) {
    this.#problems = problems;
    this.#type = type;
    this.#resourcePath = ["resources", resource.name];
    this.#path = [...this.#resourcePath, "properties"];
    const present = Object.entries(resource.properties).filter(([, value]) => value !== null);
    this.#properties = Object.fromEntries(present);
  }

  run(): void {
    const object = objectSchema(this.#type.schema);
    if (object !== undefined) this.#checkNames(object);
    const dynamic = Object.values(this.#properties).some(hasCall);
    if (!dynamic) this.#checkWhole();
    else if (object !== undefined) this.#checkEach(object);
  }

  #checkNames(object: z.ZodObject): void {
    const names = Object.keys(object.shape);
    if (!isClosed(object)) return;
    for (const name of Object.keys(this.#properties)) {
      if (!names.includes(name)) this.#unknown([name], names);
    }
  }

  #checkWhole(): void {
    this.#report(this.#type.schema, this.#properties, []);
  }

  #checkEach(object: z.ZodObject): void {
    for (const [name, schema] of Object.entries(object.shape)) {
      const value = this.#properties[name];
      if (value === undefined || !hasCall(value)) this.#report(schema as z.ZodType, value, [name]);
    }
  }

  #report(schema: z.ZodType, value: unknown, base: readonly PropertyKey[]): void {
    for (const issue of issuesOf(schema, value)) this.#reportIssue(issue, [...base, ...issue.path]);
  }

  #reportIssue(issue: z.core.$ZodIssue, steps: readonly PropertyKey[]): void {
    const path = steps.map((step) => (typeof step === "number" ? step : String(step)));
    if (issue.code === "unrecognized_keys") {
      // The top level was checked by name before, with the names that there are.
      if (path.length > 0) for (const key of issue.keys) this.#unknown([...path, key], []);
    } else if (path.length === 1 && !Object.hasOwn(this.#properties, String(path[0]))) {
      this.#missing(String(path[0]));
    } else {
      const what = path.length === 0 ? "the properties" : `property ${pathText(path)}`;
      this.#problems.add([...this.#path, ...path], `${what} of ${this.#type.type}: ${messageOf(issue)}`);
    }
  }

  #unknown(path: Path, names: readonly string[]): void {
    const message = `${this.#type.type} has no property ${pathText(path)}`;
    this.#problems.addUnknown([...this.#path, ...path], message, String(path.at(-1)), names, "key");
  }

  #missing(name: string): void {
    this.#problems.add(this.#resourcePath, `${this.#type.type} needs the property "${name}"`, "key");
  }
}

/** The object schema that raw properties are first held against, if there is one. */
function objectSchema(schema: unknown): z.ZodObject | undefined {
  if (schema instanceof z.ZodObject) return schema;
  return schema instanceof z.ZodPipe ? objectSchema(schema.def.in) : undefined;
}

/** Also where unknown names would merely be dropped: a misspelt property must not vanish. */
function isClosed(object: z.ZodObject): boolean {
  const { catchall } = object.def;
  return catchall === undefined || catchall instanceof z.ZodNever;
}

/** A schema that can only be run asynchronously, or throws, is left to the visit. */
function issuesOf(schema: z.ZodType, value: unknown): readonly z.core.$ZodIssue[] {
  try {
    return schema.safeParse(value).error?.issues ?? [];
  } catch {
    return [];
  }
}

function messageOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== "invalid_union") return issue.message;
  const branches = issue.errors.flatMap((issues) => issues.slice(0, 1).map((each) => each.message));
  return [...new Set(branches)].join(", or ") || issue.message;
}
