/** What a fenced worker made is handed over: a fact about reality, recorded without a lease (R10). */
import { resourceActor } from "../actor/actor.js";
import type { Thing } from "../providers/provider.js";
import type { Visit } from "../store/store.js";
import type { Engine } from "./engine.js";
import { indexEntry } from "./record.js";
import type { VisitedResource } from "./visited-resource.js";

/** Handed over by a person instead of a thing: the call made none. */
export const nothingMade = "nothing";

export function handOver(
  engine: Engine,
  visit: Visit,
  holder: string,
  resource: VisitedResource,
  thing: Thing,
): Promise<void> {
  return record(engine, visit, holder, resource, thing, visit.resource);
}

/** A thing that is one too many gets a record of its own, which deletes it. */
export function giveAway(
  engine: Engine,
  visit: Visit,
  holder: string,
  resource: VisitedResource,
  thing: Thing,
): Promise<void> {
  return record(engine, visit, holder, resource, thing, engine.random.id());
}

async function record(
  engine: Engine,
  visit: Visit,
  holder: string,
  resource: VisitedResource,
  thing: Thing,
  to: string,
): Promise<void> {
  const secretive = (engine.types.get(resource.field("type"))?.hiddenAttributes.length ?? 0) > 0;
  const hidden = secretive || resource.field("triedHidden") !== "" || resource.field("hidden") !== "";
  const name = resource.field("name");
  const type = resource.field("type");
  const pool = resource.field("pool");
  // Had the record gone, the thing would be nobody's: a record that is about to delete it takes it up.
  const stray = ["handedOver", "visit.cleanup"].reduce(
    (snapshot, event) => resourceActor.step(snapshot, strayEvent(event)).snapshot,
    "",
  );
  const fields = {
    name,
    type,
    pool,
    stackName: resource.field("stackName"),
    token: visit.resource,
    physical: thing.physicalId,
    properties: resource.field("tried") || resource.field("properties"),
    snapshot: stray,
    intent: "delete",
    stray: "1",
    holder: "",
    until: "0",
    fence: "0",
    revision: "0",
    sequence: "0",
  };
  await engine.store.hint(visit.stack, 0);
  await engine.store.handOver(
    visit.stack,
    to,
    holder,
    { physical: thing.physicalId, text: engine.sealing.sealIf(hidden, JSON.stringify(thing)) },
    {
      resource: engine.random.id(),
      fields,
      index: indexEntry(fields, resourceActor.read(stray), []),
    },
  );
  // The stack may be gone, and the first hint with it before there was anything to find.
  await engine.store.hint(visit.stack, 0);
  engine.log.warn(
    { stack: visit.stack, resource: name },
    "handed over a thing that was made after the lease was lost",
  );
}

function strayEvent(type: string) {
  return type === "handedOver"
    ? { type: "handedOver" as const, late: true }
    : {
        type: "visit.cleanup" as const,
        wanted: false,
        retain: false,
        late: true,
        canFind: true,
        idempotent: false,
      };
}
