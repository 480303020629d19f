/** A person says what became of a create of which only a person can tell (R10). */
import { HomeostatError, messageOf } from "../errors.js";
import type { Thing } from "../providers/provider.js";
import { readStored } from "../store/damage.js";
import type { IndexEntry } from "../store/store.js";
import type { Engine } from "../traversal/engine.js";
import { nothingMade } from "../traversal/hand-over.js";
import { checked } from "../traversal/provider-call.js";
import { VisitedResource } from "../traversal/visited-resource.js";
import { findStack, newestByName, unknownResource } from "./find-stack.js";
import type { ParsedRequest, Reply } from "./schemas.js";

const readMs = 30_000;

/** @throws HomeostatError `not_found`, `conflict` when there is nothing to answer, `invalid` when there is no such thing. */
export async function resolveCall(
  engine: Engine,
  { name, resource: asked, made }: ParsedRequest<"resolve">,
): Promise<Reply<"resolve">> {
  const { store } = engine;
  const found = await findStack(engine, name);
  const { stack } = found;
  const index = await store.index(stack);
  const id = uncertainOf(found.name, asked, index);
  const sight = await store.sight(stack, id);
  const key = store.keys.resource(stack, id);
  const resource = readStored(key, () => new VisitedResource(sight?.record ?? {}));
  const [holder, until, intent, handed] = ["holder", "until", "intent", "handed"].map((field) =>
    resource.field(field),
  );
  const held = holder !== "" && Number(until) > (sight?.nowMs ?? 0);
  const busy = new HomeostatError("conflict", `somebody is at ${asked} of stack ${found.name}; try again`);
  if (resource.state !== "uncertain" || held || intent !== "" || handed !== "") throw busy;
  const thing = made === null ? undefined : await readThing(engine, { stack, id, resource }, made);
  await store.hint(stack, 0);
  const said = await store.resolve(stack, id, {
    revision: resource.field("revision"),
    physical: thing?.physicalId ?? "",
    answer: thing === undefined ? nothingMade : sealed(engine, resource, thing),
  });
  if (!said) throw busy;
  // The first hint may be taken before there was anything to find.
  await store.hint(stack, 0);
  return { stack, name: found.name, resource: asked, id, made: thing?.physicalId ?? null };
}

/** The newest one. */
function uncertainOf(stack: string, name: string, index: ReadonlyMap<string, IndexEntry>): string {
  const named = [...index].filter(([, entry]) => entry.name === name);
  if (named.length === 0) throw unknownResource(stack, name, [...newestByName(index).keys()]);
  const [first] = named
    .filter(([, { state }]) => state === "uncertain")
    .sort(([, a], [, b]) => b.sequence - a.sequence);
  if (first !== undefined) return first[0];
  throw new HomeostatError("conflict", `${name} of stack ${stack} waits for no answer: it is not uncertain`);
}

interface Uncertain {
  stack: string;
  id: string;
  resource: VisitedResource;
}

async function readThing(engine: Engine, at: Uncertain, physicalId: string): Promise<Thing> {
  const { stack, id, resource } = at;
  const type = engine.types.get(resource.field("type"));
  if (type === undefined)
    throw new HomeostatError("unavailable", `this daemon has no provider of ${resource.field("type")}`);
  for (const other of await engine.store.resourcesOf(resource.field("pool"), type.type, physicalId)) {
    const [record] = await engine.store.resources(other.stack, [other.resource], ["physical", "tombstone"]);
    if (other.resource === id || record?.physical !== physicalId || record.tombstone !== "") continue;
    throw new HomeostatError("conflict", `${physicalId} is the thing of ${record.name} already`);
  }
  const call = {
    stack,
    stackName: resource.field("stackName"),
    resource: resource.field("name"),
    token: resource.field("token") || id,
    signal: AbortSignal.timeout(readMs),
    deadlineMs: readMs,
    log: engine.log,
  };
  const late = new Promise<never>((_resolve, reject) => {
    call.signal.addEventListener("abort", () => reject(new Error(`no answer within ${readMs} ms`)));
  });
  const thing = await Promise.race([
    type.read(call, physicalId, resource.triedOrApplied(engine)),
    late,
  ]).catch((error: unknown) => {
    // What it says may show what is hidden.
    const why = resource.hiddenProperties(engine).length === 0 ? `: ${messageOf(error)}` : "";
    throw new HomeostatError("invalid", `${physicalId} cannot be read${why}`);
  });
  if (thing !== undefined) return checked(thing);
  throw new HomeostatError("invalid", `there is no ${physicalId} of type ${type.type}`);
}

function sealed(engine: Engine, resource: VisitedResource, thing: Thing): string {
  const { sealing, types } = engine;
  const secretive = (types.get(resource.field("type"))?.hiddenAttributes.length ?? 0) > 0;
  const hidden = secretive || resource.hiddenProperties(engine).length > 0;
  return sealing.sealIf(hidden, JSON.stringify(thing));
}
