/** A resource's record as a visit sees it, and how its fields are written. */

import type { ResourceContext, ResourceState } from "../../machines/resource.js";
import type { JsonObject } from "../json.js";
import type { Sealing } from "../store/sealing.js";
import type { IndexEntry, ResourceRecord } from "../store/store.js";

export type Fields = Record<string, string>;

/** Ids that a record requires. */
export function requiresOf(record: ResourceRecord): string[] {
  return lines(record.requires);
}

export function lines(text: string | undefined): string[] {
  return text === undefined || text === "" ? [] : text.split("\n");
}

export function readObject(sealing: Sealing, text: string | undefined): JsonObject {
  return text === undefined || text === "" ? {} : (JSON.parse(sealing.open(text)) as JsonObject);
}

export function writeObject(sealing: Sealing, value: JsonObject, hidden: readonly string[]): string {
  return sealing.sealIf(hidden.length > 0, JSON.stringify(value));
}

export function indexEntry(
  record: ResourceRecord,
  machine: { state: ResourceState; context: ResourceContext },
  requires: readonly string[],
  wished = false,
): string {
  const { context } = machine;
  const entry: IndexEntry = {
    name: record.name ?? "",
    type: record.type ?? "",
    state: machine.state,
    sequence: Number(record.sequence ?? 0),
    pool: record.pool ?? "default",
    ...(record.definition ? { definition: record.definition } : {}),
    ...(record.inputs ? { inputs: lines(record.inputs) } : {}),
    ...(requires.length > 0 ? { requires: [...requires] } : {}),
    ...(record.output ? { output: record.output } : {}),
    ...(record.replacedBy ? { replacedBy: record.replacedBy } : {}),
    ...(context.physical ? { physical: true } : {}),
    ...(context.dirty ? { dirty: true } : {}),
    ...(context.doomed ? { doomed: true } : {}),
    ...(record.retain ? { retain: true } : {}),
    ...(record.intent ? { intent: record.intent } : {}),
    ...(wished ? { wished: true } : {}),
    ...(record.unreadable ? { unreadable: true } : {}),
  };
  return JSON.stringify(entry);
}

/** As people are told it: what is known from before does not hide that it cannot be read now. */
export function toldState({ state, unreadable }: Pick<IndexEntry, "state" | "unreadable">): string {
  return unreadable === true ? "unreadable" : state;
}
