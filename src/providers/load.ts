import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { HomeostatError, messageOf } from "../errors.js";
import type { Json, JsonObject } from "../json.js";
import * as eventFormats from "./event-formats.js";
import { defineResource, ProviderError, type ResourceType, type ResourceTypeDefinition } from "./provider.js";

/** What a module's function gets, so that it needs no package of its own. */
const kit = { defineResource, ProviderError, z, ...eventFormats };

/**
 * Loads a user's own resource types from ES modules. Each export is one of these, or an array of them:
 *
 * ```js
 * // What defineResource returned.
 * import { defineResource } from "homeostat";
 * export const bucket = defineResource({ type: "My::Bucket", properties: schema, updatable: ["size"], ... });
 *
 * // Its definition. `properties` is a zod schema, a Standard Schema or a JSON Schema; without it, any are taken.
 * export const bucket = {
 *   type: "My::Bucket",
 *   properties: { type: "object", properties: { size: { type: "number" } }, additionalProperties: false },
 *   updatable: ["size"],
 *   async create(call, properties) { return { physicalId: await make(properties, call.token), attributes: {} }; },
 *   async read(call, physicalId, properties) { ... },
 *   async update(call, physicalId, properties, previous) { ... },
 *   async delete(call, physicalId, properties) { ... },
 *   async find(call, properties) { ... },
 *   // What events of other systems tell of; see event-formats.ts.
 *   events(event) { return event.body.kind === "bucket" ? [event.body.name] : undefined; },
 * };
 *
 * // A function that is given what it needs.
 * export default ({ defineResource, ProviderError, z }) => defineResource({ ... });
 * ```
 *
 * A plain module says that trying again cannot help with `throw Object.assign(new Error("no"), { retryable: false })`.
 *
 * @param paths files, relative to the working directory
 * @throws HomeostatError `invalid` that names the file and what is wrong with it
 */
export async function loadProviders(paths: readonly string[]): Promise<ResourceType[]> {
  const types = new Map<string, { path: string; type: ResourceType }>();
  for (const path of paths) {
    for (const type of await loadModule(path)) {
      const other = types.get(type.type);
      if (other !== undefined)
        throw refuse(path, `resource type ${type.type} is defined in ${other.path} too`);
      types.set(type.type, { path, type });
    }
  }
  return [...types.values()].map(({ type }) => type);
}

async function loadModule(path: string): Promise<ResourceType[]> {
  const file = resolve(path);
  const isFile = (await stat(file).catch(() => undefined))?.isFile() ?? false;
  if (!isFile) throw refuse(path, "there is no such file");
  let exported: Record<string, unknown>;
  try {
    exported = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
  } catch (error) {
    throw refuse(path, `it cannot be imported: ${messageOf(error)}`, error);
  }
  const found = new Set<ResourceType>();
  const seen = new Set<unknown>();
  for (const [name, value] of Object.entries(exported)) {
    // The same value is often exported by name and as the default.
    if (seen.has(value)) continue;
    seen.add(value);
    for (const type of await typesIn(value, path, name)) found.add(type);
  }
  if (found.size === 0) throw refuse(path, "it exports no resource type");
  return [...found].map(guarded);
}

async function typesIn(value: unknown, path: string, name: string): Promise<ResourceType[]> {
  if (Array.isArray(value)) {
    return (await Promise.all(value.map((item) => typesIn(item, path, name)))).flat();
  }
  if (typeof value === "function") {
    let result: unknown;
    try {
      result = await value(kit);
    } catch (error) {
      throw refuse(path, `its export "${name}" failed: ${messageOf(error)}`, error);
    }
    if (typeof result === "function") throw refuse(path, `its export "${name}" returns a function`);
    return typesIn(result, path, name);
  }
  if (isResourceType(value)) return [value];
  if (!isDefinition(value)) throw refuse(path, `its export "${name}" is not a resource type`);
  try {
    return [fromDefinition(value)];
  } catch (error) {
    throw refuse(path, `its export "${name}" is not a resource type: ${messageOf(error)}`, error);
  }
}

/** By shape: a module may have defined it with another copy of this package. */
function isResourceType(value: unknown): value is ResourceType {
  return hasMethods(value, [
    "compare",
    "capabilities",
    "deadlineMs",
    "create",
    "read",
    "update",
    "delete",
    "find",
  ]);
}

type PlainDefinition = Omit<ResourceTypeDefinition<JsonObject>, "properties" | "updatable"> & {
  properties?: unknown;
  updatable?: ResourceTypeDefinition<JsonObject>["updatable"];
};

function isDefinition(value: unknown): value is PlainDefinition {
  return hasMethods(value, ["create", "read", "delete"]) && "type" in value && typeof value.type === "string";
}

function hasMethods(value: unknown, names: readonly string[]): value is object {
  if (typeof value !== "object" || value === null) return false;
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === "function");
}

function fromDefinition(definition: PlainDefinition): ResourceType {
  return defineResource<JsonObject>({
    ...definition,
    // Bound, because a definition may be an instance of a class.
    create: definition.create.bind(definition),
    read: definition.read.bind(definition),
    delete: definition.delete.bind(definition),
    ...(definition.update === undefined ? {} : { update: definition.update.bind(definition) }),
    ...(definition.find === undefined ? {} : { find: definition.find.bind(definition) }),
    ...(definition.events === undefined ? {} : { events: definition.events.bind(definition) }),
    ...(definition.list === undefined ? {} : { list: definition.list.bind(definition) }),
    properties: schemaOf(definition.properties),
    updatable: definition.updatable ?? (definition.update === undefined ? [] : () => true),
  });
}

const anyProperties: z.ZodType<JsonObject> = z.record(z.string(), z.json());

function schemaOf(given: unknown): z.ZodType<JsonObject> {
  if (given === undefined) return anyProperties;
  if (typeof given !== "object" || given === null) throw new TypeError("properties is not a schema");
  if ("_zod" in given) return given as z.ZodType<JsonObject>;
  if ("~standard" in given) return fromStandardSchema(given as StandardSchema);
  return z.fromJSONSchema(given as Parameters<typeof z.fromJSONSchema>[0]) as z.ZodType<JsonObject>;
}

/** The part of https://standardschema.dev that is used. */
interface StandardSchema {
  "~standard": { validate(value: unknown): StandardResult | Promise<StandardResult> };
}
interface StandardResult {
  value?: unknown;
  issues?: readonly { message: string; path?: readonly (PropertyKey | { key: PropertyKey })[] }[];
}

function fromStandardSchema(schema: StandardSchema): z.ZodType<JsonObject> {
  return anyProperties.transform((value, context): JsonObject => {
    const result = schema["~standard"].validate(value);
    if (result instanceof Promise)
      throw new TypeError("the schema of the properties must not be asynchronous");
    for (const { message, path = [] } of result.issues ?? []) {
      const keys = path.map((part) => (typeof part === "object" ? part.key : part));
      context.addIssue({ code: "custom", message, path: keys });
    }
    return result.issues === undefined ? (result.value as JsonObject) : z.NEVER;
  });
}

/** A user's code is outside: what it returns and throws is checked where it enters. */
function guarded(type: ResourceType): ResourceType {
  const enter = async <T>(
    operation: string,
    call: () => Promise<unknown>,
    schema: z.ZodType<T>,
  ): Promise<T> => {
    let result: unknown;
    try {
      result = await call();
    } catch (error) {
      throw asProviderError(error);
    }
    const unusable = (why: string) =>
      new ProviderError(`${type.type}: ${operation} returned something unusable: ${why}`);
    let parsed: z.ZodSafeParseResult<T>;
    try {
      parsed = schema.safeParse(result);
    } catch (error) {
      // It is nested too deeply, or throws when it is looked at.
      throw unusable(messageOf(error));
    }
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw unusable(`${["result", ...(issue?.path ?? [])].map(String).join(".")}: ${issue?.message}`);
  };
  return {
    ...type,
    create: (...call) => enter("create", async () => type.create(...call), thingSchema),
    read: (...call) => enter("read", async () => type.read(...call), readingSchema.optional()),
    update: (...call) => enter("update", async () => type.update(...call), thingSchema),
    delete: (...call) => enter("delete", async () => type.delete(...call), z.unknown()).then(() => undefined),
    find: (...call) => enter("find", async () => type.find(...call), thingSchema.optional()),
  };
}

const thingSchema = z.object({
  physicalId: z.string().min(1),
  attributes: anyProperties.default({}),
});
const readingSchema = thingSchema.extend({ properties: anyProperties });

function asProviderError(error: unknown): ProviderError {
  if (error instanceof ProviderError) return error;
  const { retryable, effect } = (error ?? {}) as { retryable?: Json; effect?: Json };
  return new ProviderError(messageOf(error), {
    retryable: retryable !== false,
    effect: effect === "none" ? "none" : "unknown",
    cause: error,
  });
}

function refuse(path: string, message: string, cause?: unknown): HomeostatError {
  const problems = [{ file: path, message }];
  return new HomeostatError("invalid", `${path}: ${message}`, {
    problems,
    ...(cause === undefined ? {} : { cause }),
  });
}
