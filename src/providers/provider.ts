/**
 * What a resource type is: the code that creates, reads, updates, deletes and finds one kind of physical thing.
 *
 * The engine's side of the bargain: at most one call per resource is in flight; `create` carries a token that
 * belongs to the incarnation and always comes with the same properties; no call starts after its deadline; a call
 * whose lease was lost is aborted through `signal`.
 * The provider's side: no call takes effect after its deadline, nor after it has thrown an error without being aborted; `delete` of what is gone succeeds; an error says
 * whether trying again may help.
 */
import type { z } from "zod";
import { type Json, type JsonObject, jsonEqual } from "../json.js";

export type Operation = "create" | "read" | "update" | "delete" | "find";

export interface ProviderLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface CallContext {
  /** Stack id, unique for ever; providers put it on what they make (R10). */
  stack: string;
  stackName: string;
  /** Name of the resource in its template. */
  resource: string;
  /** Idempotency token of the incarnation, the same for every attempt. */
  token: string;
  /** Of the database that the stack is in; with the others one of the marks that tell whose a thing is. */
  deployment?: string;
  /** Aborted when the worker lost its lease, the operation's timeout passed, or the worker must stop now. */
  signal: AbortSignal;
  /** Milliseconds from the start of the call until its deadline; renewed while the worker lives. */
  deadlineMs: number;
  log: ProviderLog;
}

/** A physical thing as its provider reports it. */
export interface Thing {
  physicalId: string;
  attributes: JsonObject;
}

/** What a read found. `properties` in the shape of the type's schema, as far as reality can tell. */
export interface Reading extends Thing {
  properties: JsonObject;
}

/** How two sets of properties differ for the engine's purpose. */
interface Change {
  /** Names of top-level properties that differ, sorted. */
  changed: string[];
  /** Whether the difference cannot be applied in place. */
  replace: boolean;
}

/** A thing with the marks that its create call carried. Without `deployment`: it was made by an older version. */
export interface Marked extends Pick<CallContext, "stack" | "resource" | "token" | "deployment"> {
  physicalId: string;
  stackName?: string;
}

export type ListContext = Pick<CallContext, "signal" | "deployment" | "log">;

interface Capabilities {
  /** `find` can tell for certain whether a thing with this token exists. */
  find: boolean;
  /** A second `create` with the same token returns the first thing. */
  idempotent: boolean;
}

/** An event that some other system made, on its way to the resource types that may know what it tells of. */
export interface ForeignEvent {
  /** What follows `homeostat.observed.` in its subject: `foreign.docker`. */
  topic: string;
  /** Attributes of the CloudEvent that it came in, by lower-case name; empty when it came in none. */
  attributes: Readonly<Record<string, string>>;
  /** The event; the data, when it came in a CloudEvent. */
  body: Json;
}

export interface ResourceType {
  readonly type: string;
  readonly description: string;
  /** Schema of the properties. Parsed values (defaults filled in) are what every call gets and what is stored. */
  readonly schema: z.ZodType<JsonObject>;
  /** Attribute names and what they hold; `undefined` when any name may occur. */
  readonly attributes: Readonly<Record<string, string>> | undefined;
  /** Properties whose values are secrets: sealed at rest and redacted. */
  readonly hiddenProperties: readonly string[];
  readonly hiddenAttributes: readonly string[];
  /** Pool whose workers can run this type. */
  readonly pool: string;
  /** Milliseconds after the last lease renewal until which a started call may still take effect. */
  deadlineMs(operation: Operation): number;
  /** Milliseconds after which a call is aborted and counts as failed (retryable). `undefined`: never. */
  timeoutMs(operation: Operation, properties: JsonObject): number | undefined;
  capabilities(properties: JsonObject): Capabilities;
  compare(previous: JsonObject, next: JsonObject): Change;
  create(call: CallContext, properties: JsonObject): Promise<Thing>;
  /** `undefined` means certainly not there; an unreadable thing is an error. */
  read(call: CallContext, physicalId: string, properties: JsonObject): Promise<Reading | undefined>;
  update(call: CallContext, physicalId: string, properties: JsonObject, previous: JsonObject): Promise<Thing>;
  delete(call: CallContext, physicalId: string, properties: JsonObject): Promise<void>;
  /** `undefined` means certainly not there. */
  find(call: CallContext, properties: JsonObject): Promise<Thing | undefined>;
  /** Why a thing that is as it should be is of no use all the same; `undefined`: it is healthy. It is then replaced. */
  check?(call: CallContext, physicalId: string, properties: JsonObject): Promise<string | undefined>;
  /** Physical ids that an event of another system tells of; `undefined` when it is not about this type. */
  events?(event: ForeignEvent): readonly string[] | undefined;
  list?(context: ListContext): AsyncIterable<Marked>;
}

/** Thrown by a provider's call. Any other error counts as retryable. */
export class ProviderError extends Error {
  readonly retryable: boolean;
  /** `none`: the call certainly changed nothing. `unknown`: it may have. */
  readonly effect: "none" | "unknown";

  constructor(
    message: string,
    options: { retryable?: boolean; effect?: "none" | "unknown"; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ProviderError";
    this.retryable = options.retryable ?? false;
    this.effect = options.effect ?? "unknown";
  }
}

export interface ResourceTypeDefinition<P extends JsonObject> {
  type: string;
  description?: string;
  properties: z.ZodType<P>;
  /** Properties that can change in place: names, or a predicate. All others replace. */
  updatable: readonly (keyof P & string)[] | ((property: string) => boolean);
  /** Properties that never count as a difference. */
  ignored?: (property: string) => boolean;
  attributes?: Readonly<Record<string, string>>;
  hiddenProperties?: readonly string[];
  hiddenAttributes?: readonly string[];
  pool?: string;
  /** Default 60,000 ms for each operation. */
  deadlinesMs?: Partial<Record<Operation, number>>;
  timeoutsMs?: Partial<Record<Operation, number>> | ((properties: P) => Partial<Record<Operation, number>>);
  /** Whether a second create with the same token returns the first thing. Default: false. */
  idempotent?: boolean | ((properties: P) => boolean);
  /** Whether `find` can be used for these properties. Default: true when `find` is given. */
  findable?: (properties: P) => boolean;
  create(call: CallContext, properties: P): Promise<Thing>;
  read(call: CallContext, physicalId: string, properties: P): Promise<Reading | undefined>;
  update?(call: CallContext, physicalId: string, properties: P, previous: P): Promise<Thing>;
  delete(call: CallContext, physicalId: string, properties: P): Promise<void>;
  find?(call: CallContext, properties: P): Promise<Thing | undefined>;
  /** Default: always healthy. */
  check?(call: CallContext, physicalId: string, properties: P): Promise<string | undefined>;
  /**
   * Physical ids that an event of another system tells of; `undefined` when it is not about this type. Called for every
   * such event, at once, so it must be fast; event-formats.ts reads the usual formats.
   */
  events?(event: ForeignEvent): readonly string[] | undefined;
  /**
   * All things of this type that carry marks; those of other deployments may be left out. What no record knows is
   * deleted, where that is wished, with its own token and with no properties: `delete` must then do with the id, and end
   * nothing but that very thing. What cannot be deleted like that must not be listed.
   */
  list?(context: ListContext): AsyncIterable<Marked>;
}

const defaultDeadlineMs = 60_000;

/**
 * Declares a resource type from its parts.
 *
 * @throws TypeError when the definition contradicts itself (no type name, or updatable properties and no `update`).
 */
export function defineResource<P extends JsonObject>(definition: ResourceTypeDefinition<P>): ResourceType {
  const { type, updatable } = definition;
  if (!/^[A-Za-z0-9_]+(::[A-Za-z0-9_]+)+$/.test(type)) {
    throw new TypeError(`resource type "${type}" must look like Family::Name`);
  }
  if (definition.update === undefined && !(Array.isArray(updatable) && updatable.length === 0)) {
    throw new TypeError(`${type} declares properties that can change in place but has no update`);
  }
  const inPlace = typeof updatable === "function" ? updatable : (name: string) => updatable.includes(name);
  const ignored = definition.ignored ?? (() => false);
  const { idempotent = false, timeoutsMs = {} } = definition;
  return {
    type,
    description: definition.description ?? "",
    schema: definition.properties as unknown as z.ZodType<JsonObject>,
    attributes: definition.attributes,
    hiddenProperties: definition.hiddenProperties ?? [],
    hiddenAttributes: definition.hiddenAttributes ?? [],
    pool: definition.pool ?? "default",
    deadlineMs: (operation) => definition.deadlinesMs?.[operation] ?? defaultDeadlineMs,
    timeoutMs: (operation, properties) =>
      (typeof timeoutsMs === "function" ? timeoutsMs(properties as P) : timeoutsMs)[operation],
    capabilities: (properties) => ({
      find: definition.find !== undefined && (definition.findable?.(properties as P) ?? true),
      idempotent: typeof idempotent === "function" ? idempotent(properties as P) : idempotent,
    }),
    compare: (previous, next) => compareProperties(previous, next, inPlace, ignored),
    create: (call, properties) => definition.create(call, properties as P),
    read: (call, physicalId, properties) => definition.read(call, physicalId, properties as P),
    update: (call, physicalId, properties, previous) => {
      if (definition.update === undefined) throw new ProviderError(`${type} cannot be updated in place`);
      return definition.update(call, physicalId, properties as P, previous as P);
    },
    delete: (call, physicalId, properties) => definition.delete(call, physicalId, properties as P),
    find: (call, properties) => {
      if (definition.find === undefined) throw new ProviderError(`${type} cannot be found by token`);
      return definition.find(call, properties as P);
    },
    ...(definition.check === undefined
      ? {}
      : { check: definition.check.bind(definition) as NonNullable<ResourceType["check"]> }),
    ...(definition.events === undefined ? {} : { events: (event) => definition.events?.(event) }),
    ...(definition.list === undefined ? {} : { list: definition.list.bind(definition) }),
  };
}

function compareProperties(
  previous: JsonObject,
  next: JsonObject,
  inPlace: (property: string) => boolean,
  ignored: (property: string) => boolean,
): Change {
  const names = [...new Set([...Object.keys(previous), ...Object.keys(next)])].sort();
  const changed = names.filter((name) => !ignored(name) && !sameValue(previous[name], next[name]));
  return { changed, replace: changed.some((name) => !inPlace(name)) };
}

function sameValue(left: Json | undefined, right: Json | undefined): boolean {
  if (left === right) return true;
  if (left === undefined || right === undefined) return false;
  return jsonEqual(left, right);
}

/** The types a process knows, by name. */
export class ResourceTypes {
  readonly #types = new Map<string, ResourceType>();

  /** @throws TypeError when a type of that name is already there. */
  add(...types: ResourceType[]): this {
    for (const type of types) {
      if (this.#types.has(type.type)) throw new TypeError(`resource type ${type.type} is defined twice`);
      this.#types.set(type.type, type);
    }
    return this;
  }

  get(type: string): ResourceType | undefined {
    return this.#types.get(type);
  }

  names(): string[] {
    return [...this.#types.keys()].sort();
  }
}
