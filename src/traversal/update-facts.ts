/** What an update visit must know before its machine can decide (R4): the goal's values, resolved now. */
import { resourceActor } from "../actor/actor.js";
import { InvalidError } from "../errors.js";
import type { JsonObject } from "../json.js";
import type { ResourceType } from "../providers/provider.js";
import { readStored } from "../store/damage.js";
import type { ResourceRecord, Visit } from "../store/store.js";
import { resolveProperties } from "../template/template.js";
import type { ResourceView } from "../template/types.js";
import type { Engine } from "./engine.js";
import type { NodeGoal } from "./node-goal.js";
import { lines, readObject } from "./record.js";
import type { VisitedResource } from "./visited-resource.js";

export interface UpdateFacts {
  fit: "same" | "inPlace" | "replace";
  properties: JsonObject;
  /** Names of hidden properties. */
  hidden: string[];
  /** Hash of the definition. */
  definition: string;
  /** What was delivered, as id@output; sorted. */
  inputs: string[];
  /** Ids that the resource requires under this goal. */
  requires: string[];
  retain: boolean;
  /** What the template says of observing it, as JSON. */
  policy: string;
  /** Another incarnation of the name that fits exactly. */
  alternate: string | undefined;
}

/** @throws Error when the values cannot be resolved or the type does not take them. */
export async function gatherUpdate(
  engine: Engine,
  visit: Visit,
  goal: NodeGoal,
  arrivals: ReadonlyMap<string, string>,
  resource: VisitedResource,
): Promise<UpdateFacts> {
  const { definition } = goal.bound;
  const type = engine.types.get(definition.type);
  if (type === undefined) {
    throw new InvalidError([{ message: `the workers of this pool do not know the type ${definition.type}` }]);
  }
  const ids = goal.dependencies.map(({ node, resource: fixed }) =>
    node === undefined ? (fixed ?? "") : (arrivals.get(node) ?? "").replace(/@.*$/, ""),
  );
  const records = await engine.store.resources(visit.stack, ids, [
    "physical",
    "attributes",
    "hiddenAttributes",
    "output",
  ]);
  const views = new Map(
    goal.dependencies.map(({ name }, i) => [
      name,
      readStored(engine.store.keys.resource(visit.stack, ids[i] ?? ""), () => viewOf(engine, records[i])),
    ]),
  );
  const resolved = resolveProperties(goal.bound, (name) => views.get(name));
  const hidden = [...new Set([...resolved.hidden, ...type.hiddenProperties])];
  const properties = parseProperties(type, resolved.properties, hidden);
  const fit = fitOf(engine, type, resource, properties);
  return {
    fit,
    properties,
    hidden: hidden.filter((name) => name in properties),
    definition: goal.definition,
    inputs: ids.map((id, i) => `${id}@${records[i]?.output ?? ""}`).sort(),
    requires: [...new Set(ids)],
    retain: definition.deletionPolicy === "Retain",
    policy: goal.bound.policy === undefined ? "" : JSON.stringify(goal.bound.policy),
    alternate: fit === "replace" ? await findAlternate(engine, visit, goal, type, properties) : undefined,
  };
}

function viewOf(engine: Engine, record: ResourceRecord | undefined): ResourceView | undefined {
  if (record === undefined) return undefined;
  return {
    physicalId: record.physical ?? "",
    attributes: readObject(engine.sealing, record.attributes),
    hiddenAttributes: lines(record.hiddenAttributes),
  };
}

/** Both sides of a comparison went through the schema, so that a new default is no difference. */
function parseProperties(type: ResourceType, properties: JsonObject, hidden: readonly string[]): JsonObject {
  const parsed = type.schema.safeParse(properties);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => {
    const name = String(path[0]);
    // What it is made of, down to its keys, goes into events with this.
    if (hidden.includes(name)) return `property "${name}": its hidden value is not one that the type takes`;
    return `property "${path.join(".")}": ${message}`;
  });
  throw new InvalidError([...new Set(problems)].map((message) => ({ message })));
}

function fitOf(
  engine: Engine,
  type: ResourceType,
  resource: VisitedResource,
  properties: JsonObject,
): UpdateFacts["fit"] {
  if (resource.field("type") !== type.type) return "replace";
  if (!resource.context.physical) {
    // A create that is believed to have come to nothing may come too late: its token carries one set only (R10).
    if (resource.field("absent") === "") return "inPlace";
    return type.compare(resource.triedOrApplied(engine), properties).changed.length === 0
      ? "inPlace"
      : "replace";
  }
  const change = type.compare(resource.properties(engine), properties);
  if (change.changed.length === 0) return "same";
  return change.replace ? "replace" : "inPlace";
}

async function findAlternate(
  engine: Engine,
  visit: Visit,
  goal: NodeGoal,
  type: ResourceType,
  properties: JsonObject,
): Promise<string | undefined> {
  const records = await engine.store.resources(visit.stack, goal.alternates, [
    "type",
    "snapshot",
    "properties",
    "intent",
    "handed",
    "tombstone",
  ]);
  const found = records.findIndex((record) => {
    if (record === undefined || record.type !== type.type) return false;
    if (record.intent !== "" || record.handed !== "" || record.tombstone !== "") return false;
    const { state, context } = resourceActor.read(record.snapshot ?? "");
    if ((state !== "ready" && state !== "replaced") || context.dirty) return false;
    const applied = readObject(engine.sealing, record.properties);
    return type.compare(applied, properties).changed.length === 0;
  });
  return found < 0 ? undefined : goal.alternates[found];
}
