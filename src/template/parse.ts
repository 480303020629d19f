/** A template's document to a Template: every section and key is checked, all problems are reported at once. */
import type { Json, JsonObject } from "../json.js";
import { describeCycle, findCycles } from "./cycles.js";
import {
  callOf,
  checkExpression,
  checkReference,
  isMap,
  isUnsupportedFunction,
  refuseCalls,
  type Site,
} from "./functions.js";
import { nameLengthLimit } from "./limits.js";
import { convertDefault, parameterTypes } from "./parameters.js";
import { Problems } from "./problems.js";
import { type ReadTemplate, readText } from "./read-text.js";
import { readValue } from "./read-value.js";
import type {
  Expression,
  OutputDefinition,
  ParameterDefinition,
  ParameterType,
  Path,
  ResourceDefinition,
  Template,
  TemplateSource,
} from "./types.js";

/**
 * Reads a template in HOT syntax.
 *
 * @throws InvalidError with all problems, each with file, line and column.
 */
export function parseTemplate(source: TemplateSource): Template {
  return new TemplateParser(readText(source), source.files).parse();
}

/**
 * The same from a template's document as a JavaScript value; `name` stands for it in messages.
 *
 * @throws InvalidError with all problems, each with its path.
 */
export function parseTemplateValue(
  value: unknown,
  name: string,
  files: Record<string, string> = {},
): Template {
  return new TemplateParser(readValue(value, name), files).parse();
}

/** The keys that a map may have, and those that HOT knows and Homeostat does not yet. */
interface Keys {
  known: readonly string[];
  unsupported: readonly string[];
}

const templateKeys: Keys = {
  known: ["heat_template_version", "description", "parameters", "resources", "outputs"],
  unsupported: [
    "parameter_groups",
    "conditions",
    "parameter_defaults",
    "resource_registry",
    "AWSTemplateFormatVersion",
    "HeatTemplateFormatVersion",
    "Resources",
    "Parameters",
    "Outputs",
    "Mappings",
    "Conditions",
    "Description",
  ],
};
const parameterKeys: Keys = {
  known: ["type", "label", "description", "default", "hidden"],
  unsupported: ["constraints", "immutable", "tags"],
};
const resourceKeys: Keys = {
  known: ["type", "description", "properties", "depends_on", "deletion_policy", "metadata"],
  unsupported: ["condition", "external_id", "update_policy"],
};
const outputKeys: Keys = { known: ["description", "value"], unsupported: ["condition"] };

type Section = "parameters" | "resources" | "outputs";

class TemplateParser {
  readonly #read: ReadTemplate;
  readonly #files: Record<string, string>;
  readonly #problems: Problems;
  readonly #document: JsonObject;
  readonly #parameterNames: ReadonlySet<string>;
  readonly #resourceNames: ReadonlySet<string>;

  constructor(read: ReadTemplate, files: Record<string, string>) {
    this.#read = read;
    this.#files = files;
    this.#problems = new Problems(read.locate, read.problems);
    this.#document = this.#map(read.value, [], "a template") ?? {};
    this.#parameterNames = new Set(Object.keys(this.#section("parameters")));
    this.#resourceNames = new Set(Object.keys(this.#section("resources")));
  }

  parse(): Template {
    this.#checkTop();
    const description = this.#text(this.#document.description, ["description"]);
    const parameters = this.#parseSection("parameters", (name, entry) => this.#parameter(name, entry));
    const resources = this.#parseSection("resources", (name, entry) => this.#resource(name, entry));
    const outputs = this.#parseSection("outputs", (name, entry) => this.#output(name, entry));
    this.#checkCycles(resources);
    this.#problems.throwIfAny();
    return { ...defined({ description }), parameters, resources, outputs, locate: this.#read.locate };
  }

  #checkTop(): void {
    if (!isMap(this.#read.value)) return;
    this.#checkKeys(this.#document, [], templateKeys);
    const version = this.#document.heat_template_version;
    if (version !== undefined && typeof version !== "string" && typeof version !== "number") {
      this.#problems.add(["heat_template_version"], "the version must be text or a date");
    }
    if (this.#document.resources === undefined) {
      this.#problems.add([], 'the template has no "resources" ("resources: {}" declares an empty stack)');
    }
  }

  #section(name: Section): JsonObject {
    const section = this.#document[name] ?? {};
    return isMap(section) ? section : {};
  }

  #parseSection<T>(section: Section, parse: (name: string, entry: Json) => T): Map<string, T> {
    this.#map(this.#document[section] ?? {}, [section], section);
    const entries = Object.entries(this.#section(section));
    for (const [name] of entries) this.#checkName(name, [section, name]);
    return new Map(entries.map(([name, entry]) => [name, parse(name, entry)]));
  }

  #checkName(name: string, path: Path): void {
    const problem = nameProblem(name);
    if (problem !== undefined) this.#problems.add(path, `a name ${problem}`, "key");
  }

  #parameter(name: string, entry: Json): ParameterDefinition {
    const path = ["parameters", name];
    if (name.startsWith("OS::")) this.#problems.add(path, "names with OS:: are reserved", "key");
    const map = this.#map(entry, path, `parameter "${name}"`) ?? {};
    this.#checkKeys(map, path, parameterKeys);
    const type = isMap(entry) ? this.#parameterType(map, path) : undefined;
    const label = this.#text(map.label, [...path, "label"]);
    const description = this.#text(map.description, [...path, "description"]);
    const preset = type === undefined ? undefined : this.#default(map.default, type, [...path, "default"]);
    const hidden = this.#boolean(map.hidden, [...path, "hidden"]);
    return { name, type: type ?? "string", hidden, ...defined({ label, description, default: preset }) };
  }

  #parameterType(map: JsonObject, path: Path): ParameterType | undefined {
    const { type } = map;
    const known = parameterTypes.find((each) => each === type);
    if (known !== undefined) return known;
    const choice = parameterTypes.join(", ");
    if (type === undefined) this.#missing(path, `a parameter needs a type: ${choice}`);
    else if (typeof type !== "string")
      this.#problems.add([...path, "type"], `the type must be one of ${choice}`);
    else {
      this.#problems.addUnknown([...path, "type"], `"${type}" is not one of ${choice}`, type, parameterTypes);
    }
    return undefined;
  }

  #default(value: Json | undefined, type: ParameterType, path: Path): Json | undefined {
    if (value === undefined) return undefined;
    const converted = convertDefault(type, value);
    if ("value" in converted) return converted.value;
    this.#problems.add(path, `the default ${converted.problem}`);
    return undefined;
  }

  #resource(name: string, entry: Json): ResourceDefinition {
    const path = ["resources", name];
    const map = this.#map(entry, path, `resource "${name}"`) ?? {};
    this.#checkKeys(map, path, resourceKeys);
    const dependencies = new Set<string>();
    const site = { ...this.#site(dependencies), resource: name };
    const type = isMap(entry) ? this.#resourceType(map, path, name) : "";
    const description = this.#text(map.description, [...path, "description"]);
    const properties = this.#properties(site, map.properties ?? {}, [...path, "properties"]);
    const dependsOn = this.#dependsOn(site, map.depends_on ?? [], [...path, "depends_on"]);
    const deletionPolicy = this.#deletionPolicy(map.deletion_policy, [...path, "deletion_policy"]);
    const metadata = this.#metadata(map.metadata ?? {}, [...path, "metadata"]);
    return {
      name,
      type,
      ...defined({ description }),
      properties,
      dependsOn,
      dependencies: [...dependencies].sort(),
      deletionPolicy,
      metadata,
    };
  }

  #site(dependencies: Set<string>): Site {
    return {
      problems: this.#problems,
      files: this.#files,
      parameters: this.#parameterNames,
      resources: this.#resourceNames,
      dependencies,
    };
  }

  #resourceType(map: JsonObject, path: Path, name: string): string {
    const { type } = map;
    if (typeof type === "string" && type !== "") return type;
    if (type === undefined) this.#missing(path, `resource "${name}" needs a type`);
    else this.#problems.add([...path, "type"], "the type of a resource must be a name");
    return "";
  }

  #properties(site: Site, value: Json, path: Path): { [name: string]: Expression } {
    const call = callOf(value);
    if (call !== undefined) {
      this.#problems.add([...path, call.name], `${call.name} for all properties is not supported yet`, "key");
      return {};
    }
    if (this.#map(value, path, "properties") === undefined) return {};
    return checkExpression(site, value, path) as JsonObject;
  }

  #dependsOn(site: Site, value: Json, path: Path): string[] {
    const names = Array.isArray(value) ? value : [value];
    for (const [index, name] of names.entries()) {
      const place = Array.isArray(value) ? [...path, index] : path;
      if (typeof name === "string") checkReference(site, name, place);
      else this.#problems.add(place, "depends_on must be the name of a resource, or a list of names");
    }
    return [...new Set(names.filter((name) => typeof name === "string"))];
  }

  #deletionPolicy(value: Json | undefined, path: Path): "Delete" | "Retain" {
    const policy = typeof value === "string" ? value.toLowerCase() : value;
    if (policy === undefined || policy === "delete") return "Delete";
    if (policy === "retain") return "Retain";
    if (policy === "snapshot") this.#problems.add(path, "deletion policy Snapshot is not supported yet");
    else this.#problems.add(path, "the deletion policy must be Delete or Retain");
    return "Delete";
  }

  #metadata(value: Json, path: Path): JsonObject {
    refuseCalls(this.#problems, value, path, "metadata");
    return this.#map(value, path, "metadata") ?? {};
  }

  #output(name: string, entry: Json): OutputDefinition {
    const path = ["outputs", name];
    const map = this.#map(entry, path, `output "${name}"`) ?? {};
    this.#checkKeys(map, path, outputKeys);
    const description = this.#text(map.description, [...path, "description"]);
    if (map.value === undefined && isMap(entry)) this.#missing(path, `output "${name}" needs a value`);
    const value = checkExpression(this.#site(new Set()), map.value ?? null, [...path, "value"]);
    return { name, ...defined({ description }), value };
  }

  #checkCycles(resources: ReadonlyMap<string, ResourceDefinition>): void {
    const edges = new Map([...resources].map(([name, { dependencies }]) => [name, dependencies]));
    for (const cycle of findCycles(edges)) {
      const message = `resources depend on each other in a circle: ${describeCycle(cycle)}`;
      this.#problems.add(["resources", cycle[0] ?? ""], message, "key");
    }
  }

  #map(value: Json, path: Path, what: string): JsonObject | undefined {
    if (isMap(value)) return value;
    this.#problems.add(path, `${what} must be a map, not ${kindOf(value)}`);
    return undefined;
  }

  #checkKeys(map: JsonObject, path: Path, keys: Keys): void {
    for (const key of Object.keys(map)) {
      if (keys.known.includes(key)) continue;
      const place = [...path, key];
      const exists = keys.unsupported.includes(key) || isUnsupportedFunction(key);
      if (exists) this.#problems.add(place, `${key} is not supported yet`, "key");
      else this.#problems.addUnknown(place, `unknown key "${key}"`, key, keys.known, "key");
    }
  }

  /** One about something that is not there: it stands at the key that it should be under. */
  #missing(path: Path, message: string): void {
    this.#problems.add(path, message, "key");
  }

  #text(value: Json | undefined, path: Path): string | undefined {
    if (value === undefined || value === null) return undefined;
    if (typeof value === "string") return value;
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    this.#problems.add(path, `${path.at(-1)} must be text, not ${kindOf(value)}`);
    return undefined;
  }

  #boolean(value: Json | undefined, path: Path): boolean {
    if (value === undefined || value === false || value === true) return value ?? false;
    const word = typeof value === "string" ? value.toLowerCase() : "";
    if (word !== "true" && word !== "false") this.#problems.add(path, `${path.at(-1)} must be true or false`);
    return word === "true";
  }
}

function nameProblem(name: string): string | undefined {
  if (name === "") return "must not be empty";
  if (name.length > nameLengthLimit) return `must not be longer than ${nameLengthLimit} characters`;
  if (name.includes("/")) return "must not contain a slash";
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(name)) return "must not contain control characters";
  return /\p{Surrogate}/u.test(name) ? "must be well-formed Unicode" : undefined;
}

function kindOf(value: Json): string {
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  return { boolean: "a boolean", number: "a number", string: "text", object: "a map" }[
    typeof value as "object"
  ];
}

/** The fields that have a value. */
function defined<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
