/**
 * The document of a template, built in TypeScript: the same shape as in YAML, for `parseTemplateValue`.
 *
 * A name can be referred to once it is declared, which the compiler checks; so what is built has no cycles.
 *
 *     const document = stackTemplate()
 *       .parameter("port", { type: "number", default: 8080 })
 *       .resource("site", "Local::Directory", { path: "/srv/site" })
 *       .resource("server", "Local::Process", { cwd: attr("site", "path"), env: { PORT: param("port") } })
 *       .output("url", strReplace("http://localhost:$port", { $port: param("port") }))
 *       .build();
 */
import type { Json, JsonObject } from "../json.js";
import type { PolicyDocument, ResourcePolicyPart } from "../observer/policy.js";
import { policyKey, policyParameter } from "./policy.js";
import type { ParameterType } from "./types.js";

type Step = string | number;

interface ParamCall<P extends string> {
  readonly get_param: readonly [P, ...Step[]];
}
interface ResourceCall<R extends string> {
  readonly get_resource: R;
}
interface AttrCall<R extends string> {
  readonly get_attr: readonly [R, string, ...Step[]];
}
interface FileCall {
  readonly get_file: string;
}
interface ReplaceCall<P extends string, R extends string> {
  readonly str_replace: { readonly template: Value<P, R>; readonly params: ValueMap<P, R> };
}
interface JoinCall<P extends string, R extends string> {
  readonly list_join: readonly Value<P, R>[];
}

/** The keys of calls, which plain data must not have: without this, a call of an unknown name would be plain data. */
interface NoCall {
  readonly get_param?: never;
  readonly get_resource?: never;
  readonly get_attr?: never;
  readonly get_file?: never;
  readonly str_replace?: never;
  readonly list_join?: never;
}

type ValueMap<P extends string, R extends string> = { readonly [key: string]: Value<P, R> };

/** JSON with calls of functions, which may refer to the parameters P and the resources R. */
export type Value<P extends string = string, R extends string = string> =
  | null
  | boolean
  | number
  | string
  | readonly Value<P, R>[]
  | ParamCall<P | PseudoParameter>
  | ResourceCall<R>
  | AttrCall<R>
  | FileCall
  | ReplaceCall<P, R>
  | JoinCall<P, R>
  | (ValueMap<P, R> & NoCall);

type PseudoParameter = "OS::stack_name" | "OS::stack_id";

export interface ParameterOptions {
  type: ParameterType;
  default?: Json;
  hidden?: boolean;
  label?: string;
  description?: string;
}

export interface ResourceOptions<R extends string> {
  dependsOn?: readonly R[];
  deletionPolicy?: "Delete" | "Retain";
  metadata?: JsonObject;
  /** How it is kept in line; goes over what `policy` says for all. */
  policy?: ResourcePolicyPart;
  description?: string;
}

/** The value of a parameter, or of a part of it. */
export function param<P extends string>(name: P, ...path: Step[]): ParamCall<P> {
  return { get_param: [name, ...path] };
}

/** The physical id of a resource. */
export function ref<R extends string>(resource: R): ResourceCall<R> {
  return { get_resource: resource };
}

/** An attribute of a resource, or a part of it. */
export function attr<R extends string>(resource: R, attribute: string, ...path: Step[]): AttrCall<R> {
  return { get_attr: [resource, attribute, ...path] };
}

/** The content of one of the files that go with the template. */
export function file(key: string): FileCall {
  return { get_file: key };
}

export function strReplace<P extends string = never, R extends string = never>(
  template: Value<P, R>,
  params: { readonly [placeholder: string]: Value<P, R> },
): ReplaceCall<P, R> {
  return { str_replace: { template, params } };
}

export function listJoin<P extends string = never, R extends string = never>(
  delimiter: string,
  ...lists: readonly Value<P, R>[]
): JoinCall<P, R> {
  return { list_join: [delimiter, ...lists] };
}

export function stackTemplate(description?: string): StackTemplate {
  return new StackTemplate(description);
}

class StackTemplate<P extends string = never, R extends string = never> {
  readonly #description: string | undefined;
  readonly #parameters: [string, object][] = [];
  readonly #resources: [string, object][] = [];
  readonly #outputs: [string, object][] = [];

  constructor(description?: string) {
    this.#description = description;
  }

  parameter<N extends string>(name: N, options: ParameterOptions): StackTemplate<P | N, R> {
    this.#parameters.push([name, options]);
    return this;
  }

  resource<N extends string>(
    name: N,
    type: string,
    properties: { readonly [property: string]: Value<P, R> } = {},
    options: ResourceOptions<R> = {},
  ): StackTemplate<P, R | N> {
    const { dependsOn, deletionPolicy, policy, ...others } = options;
    const entry = { type, properties, depends_on: dependsOn, deletion_policy: deletionPolicy, ...others };
    if (policy !== undefined) entry.metadata = { ...entry.metadata, [policyKey]: policy as JsonObject };
    this.#resources.push([name, entry]);
    return this;
  }

  /** How the stack's resources are kept in line: the default of the parameter `homeostat_policy`. */
  policy(document: PolicyDocument<R>): this {
    this.#parameters.push([policyParameter, { type: "json", default: document }]);
    return this;
  }

  output(name: string, value: Value<P, R>, description?: string): this {
    this.#outputs.push([name, { value, description }]);
    return this;
  }

  /** Plain JSON. @throws TypeError when a name is declared twice. */
  build(): JsonObject {
    const sections = {
      description: this.#description,
      parameters: section(this.#parameters),
      resources: section(this.#resources),
      outputs: section(this.#outputs),
    };
    return JSON.parse(JSON.stringify(sections)) as JsonObject;
  }
}

function section(entries: readonly [string, object][]): object {
  const names = new Set<string>();
  for (const [name] of entries) {
    if (names.has(name)) throw new TypeError(`"${name}" is declared twice`);
    names.add(name);
  }
  return Object.fromEntries(entries);
}
