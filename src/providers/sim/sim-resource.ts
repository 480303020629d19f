/**
 * The resource type of simulations: any properties, over a world that somebody else provides.
 *
 * A property whose name starts with `!` cannot be updated in place. One that starts with `$` steers the simulation:
 * it is neither stored with the thing nor compared.
 */
import { z } from "zod";
import type { JsonObject } from "../../json.js";
import { durationMs, durationSchema } from "../duration.js";
import {
  type CallContext,
  defineResource,
  type Marked,
  type Operation,
  ProviderError,
  type ResourceType,
  type Thing,
} from "../provider.js";

export interface SimThing {
  /** Name of the resource that it was made for. */
  name: string;
  properties: JsonObject;
  token: string;
}

export interface NewSimThing extends SimThing {
  /** Stack id. */
  stack: string;
  deployment?: string;
  /** With a token that was used before: return the first thing (true), or make a second one (false). */
  idempotent: boolean;
}

/** Where simulated things physically are. A world of real time calls `beforeEffect` last before each effect. */
export interface SimWorld {
  /** Resolves to the physical id. */
  create(thing: NewSimThing, beforeEffect: () => void): Promise<string>;
  /** `undefined` means certainly not there. */
  get(physicalId: string): Promise<SimThing | undefined>;
  /** The physical id of the first thing with this token that is still there. */
  findByToken(token: string): Promise<string | undefined>;
  /** @throws ProviderError when the thing is not there */
  update(physicalId: string, properties: JsonObject, beforeEffect: () => void): Promise<void>;
  /** Succeeds when the thing is not there. */
  remove(physicalId: string, beforeEffect: () => void): Promise<void>;
  /** Everything that is there. */
  list(): AsyncIterable<Marked>;
}

/** Stands around each call: may wait, fail before, or fail after. */
export type Steering = <T>(
  call: CallContext,
  operation: Operation,
  properties: JsonObject,
  effect: (beforeEffect: () => void) => Promise<T>,
) => Promise<T>;

const unsteered: Steering = (_call, _operation, _properties, effect) => effect(() => undefined);

const operations = ["create", "read", "update", "delete", "find"] as const satisfies Operation[];

const failureSchema = z.union([
  z.number().int().nonnegative(),
  z.strictObject({
    times: z.number().int().nonnegative().default(1),
    retryable: z.boolean().default(true),
    after: z.boolean().default(false),
    error: z.string().default("simulated failure"),
  }),
]);

const steeringSchemas: Readonly<Record<string, z.ZodType>> = {
  $idempotent: z.boolean(),
  $findable: z.boolean(),
  $timeout: durationSchema,
  $delay: z.partialRecord(z.enum(operations), durationSchema),
  $fail: z.partialRecord(z.enum(operations), failureSchema),
};

/** How one operation is to fail; undefined when it is not. */
export interface Failure {
  times: number;
  retryable: boolean;
  after: boolean;
  error: string;
}

export function failureOf(properties: JsonObject, operation: Operation): Failure | undefined {
  const failure = (
    properties.$fail as Partial<Record<Operation, z.input<typeof failureSchema>>> | undefined
  )?.[operation];
  if (failure === undefined) return undefined;
  const parsed = failureSchema.parse(failure);
  return typeof parsed === "number"
    ? { times: parsed, retryable: true, after: false, error: "simulated failure" }
    : parsed;
}

const properties = z.record(z.string(), z.json()).superRefine((given, context) => {
  for (const [name, value] of Object.entries(given)) {
    if (!name.startsWith("$")) continue;
    const schema = steeringSchemas[name];
    if (schema === undefined) {
      const known = Object.keys(steeringSchemas).join(", ");
      context.addIssue({
        code: "custom",
        path: [name],
        message: `is not known; names that start with $ are ${known}`,
      });
      continue;
    }
    for (const { path, message } of schema.safeParse(value).error?.issues ?? []) {
      context.addIssue({ code: "custom", path: [name, ...path], message });
    }
  }
}) as z.ZodType<JsonObject>;

export function simResource(world: SimWorld, steer: Steering = unsteered): ResourceType {
  return defineResource<JsonObject>({
    type: "Sim::Resource",
    description: "A simulated thing with any properties",
    properties,
    updatable: (name) => !name.startsWith("!"),
    ignored: (name) => name.startsWith("$"),
    idempotent: ({ $idempotent }) => $idempotent === true,
    findable: ({ $findable }) => $findable !== false,
    timeoutsMs: ({ $timeout }) => {
      if ($timeout === undefined) return {};
      const ms = durationMs($timeout as string | number, "ms");
      return { create: ms, update: ms, delete: ms };
    },

    create: (call, wanted) =>
      steer(call, "create", wanted, async (beforeEffect) => {
        const { stack, token, resource: name, deployment } = call;
        const marks = { name, token, stack, ...(deployment === undefined ? {} : { deployment }) };
        const idempotent = wanted.$idempotent === true;
        const physical = physicalProperties(wanted);
        const physicalId = await world.create({ ...marks, properties: physical, idempotent }, beforeEffect);
        return { physicalId, attributes: physical };
      }),

    read: (call, physicalId, wanted) =>
      steer(call, "read", wanted, async () => {
        const thing = await world.get(physicalId);
        return thing && { physicalId, attributes: thing.properties, properties: thing.properties };
      }),

    update: (call, physicalId, wanted) =>
      steer(call, "update", wanted, async (beforeEffect): Promise<Thing> => {
        const physical = physicalProperties(wanted);
        await world.update(physicalId, physical, beforeEffect);
        return { physicalId, attributes: physical };
      }),

    delete: (call, physicalId, wanted) =>
      steer(call, "delete", wanted, (beforeEffect) => world.remove(physicalId, beforeEffect)),

    find: (call, wanted) =>
      steer(call, "find", wanted, async () => {
        if (wanted.$findable === false)
          throw new ProviderError("it cannot be found by token", { effect: "none" });
        const physicalId = await world.findByToken(call.token);
        const thing = physicalId === undefined ? undefined : await world.get(physicalId);
        return physicalId === undefined || thing === undefined
          ? undefined
          : { physicalId, attributes: thing.properties };
      }),

    list: () => world.list(),
  });
}

function physicalProperties(wanted: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(wanted).filter(([name]) => !name.startsWith("$")));
}
