/** The shapes a template has once it is parsed. One place for the parser, the graph and the visits. */
import type { Json, JsonObject } from "../json.js";

export type ParameterType = "string" | "number" | "boolean" | "json" | "comma_delimited_list";

export interface ParameterDefinition {
  name: string;
  type: ParameterType;
  description?: string;
  default?: Json;
  hidden: boolean;
}

/** A JSON value in which an object with a single key that names a function is a call of it: `{get_param: port}`. */
export type Expression = Json;

export interface ResourceDefinition {
  name: string;
  type: string;
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

export interface Template {
  description?: string;
  parameters: Map<string, ParameterDefinition>;
  /** In the template's order. */
  resources: Map<string, ResourceDefinition>;
  outputs: Map<string, OutputDefinition>;
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
}

/** What a resource looks like to those who refer to it. */
export interface ResourceView {
  physicalId: string;
  attributes: JsonObject;
}

/** A value in which every function was evaluated, and whether anything hidden went into it. */
export interface Resolved {
  value: Json;
  hidden: boolean;
}
