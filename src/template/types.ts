/** The shapes a template has once it is parsed. One place for the parser, the graph and the visits. */
import type { Problem } from "../errors.js";
import type { Json, JsonObject } from "../json.js";
import type { PolicyPart } from "../observer/policy.js";

export type ParameterType = "string" | "number" | "boolean" | "json" | "comma_delimited_list";

export interface ParameterDefinition {
  name: string;
  type: ParameterType;
  label?: string;
  description?: string;
  default?: Json;
  hidden: boolean;
}

/** A JSON value in which an object with a single key that names a function is a call of it: `{get_param: port}`. */
export type Expression = Json;

export interface ResourceDefinition {
  name: string;
  type: string;
  description?: string;
  properties: { [name: string]: Expression };
  /** Names given in `depends_on`. */
  dependsOn: string[];
  /** Every resource that this one refers to, through depends_on or any function at any depth; sorted, unique. */
  dependencies: string[];
  deletionPolicy: "Delete" | "Retain";
  metadata: JsonObject;
}

export interface OutputDefinition {
  name: string;
  description?: string;
  value: Expression;
}

/** Keys and list indices from the top of the template's document. */
export type Path = readonly (string | number)[];

/** Where a problem is; without line and column, `file` ends in the path. */
export type Location = Pick<Problem, "file" | "line" | "column">;

/** The place of what a path leads to: of its value, or of the key in front of it. */
export type Locate = (path: Path, part?: "key" | "value") => Location;

export interface Template {
  description?: string;
  parameters: Map<string, ParameterDefinition>;
  /** In the template's order. */
  resources: Map<string, ResourceDefinition>;
  outputs: Map<string, OutputDefinition>;
  /** For problems that are found later: `["resources", "web", "properties", "port"]`. */
  locate: Locate;
}

/** A template as it travels and is stored: the text and the files that it embeds. */
export interface TemplateSource {
  /** YAML or JSON. */
  text: string;
  /** For error messages. */
  name: string;
  /** Contents for get_file, by the key that the template uses. */
  files: Record<string, string>;
}

/** Parameter values of one goal, complete with defaults, converted to their declared types. */
export interface ParameterValues {
  values: JsonObject;
  /** Names of the parameters that are declared hidden. */
  hidden: string[];
  /** Names of those that somebody gave, now or for an earlier goal; the others follow the template's defaults. */
  given: string[];
}

/** What a goal says of one resource, complete in itself: no need for the template to resolve it. */
export interface BoundDefinition {
  definition: ResourceDefinition;
  /** The parameters that it uses, no others. */
  parameters: JsonObject;
  /** Which of those are hidden. */
  hidden: string[];
  /** What the template says of how the resource is kept in line; absent when it says nothing. */
  policy?: PolicyPart;
}

/** What a resource looks like to those who refer to it. */
export interface ResourceView {
  physicalId: string;
  attributes: JsonObject;
  /** Attributes that are secrets: what they go into is hidden as well. */
  hiddenAttributes?: readonly string[];
}

/** Properties in which every function was evaluated. */
export interface ResolvedProperties {
  properties: JsonObject;
  /** Names of the top-level properties into which something hidden went. */
  hidden: string[];
}

export interface ResolvedOutput {
  description?: string;
  /** Absent when it cannot be told; `error` says why. */
  value?: Json;
  error?: string;
  hidden: boolean;
}
