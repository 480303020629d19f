import { HomeostatError } from "../errors.js";
import type { IndexEntry, ResourceRecord } from "../store/store.js";
import { CloseNames } from "../template/close-names.js";
import type { Engine } from "../traversal/engine.js";
import { notFound } from "../traversal/goal.js";

/** Resources that an error names. */
const namedResources = 20;

export interface FoundStack {
  stack: string;
  name: string;
  record: ResourceRecord;
}

/** By name or id. @throws HomeostatError `not_found` */
export async function findStack({ store }: Engine, nameOrId: string): Promise<FoundStack> {
  const stack = (await store.stackOfName(nameOrId)) ?? nameOrId;
  const record = await store.stack(stack);
  if (record === undefined) throw notFound(nameOrId);
  return { stack, name: record.name ?? nameOrId, record };
}

/** Id of the newest incarnation of each name. */
export function newestByName(index: ReadonlyMap<string, IndexEntry>): Map<string, string> {
  const newest = new Map<string, string>();
  for (const [id, entry] of index) {
    const other = index.get(newest.get(entry.name) ?? "");
    if (other === undefined || other.sequence < entry.sequence) newest.set(entry.name, id);
  }
  return newest;
}

export function unknownResource(stack: string, name: string, known: readonly string[]): HomeostatError {
  const named = known.slice(0, namedResources).join(", ");
  const rest = known.length > namedResources ? ` and ${known.length - namedResources} more` : "";
  const there = known.length === 0 ? "it has none" : `there are: ${named}${rest}`;
  const hint = new CloseNames().hint(name, known);
  return new HomeostatError("not_found", `stack ${stack} has no resource ${name} (${there})${hint}`);
}
