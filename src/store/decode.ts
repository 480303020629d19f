/** Replies of the scripts, decoded. */
import { HomeostatError } from "../errors.js";
import type { IndexEntry, NodeView, Ring, View } from "./types.js";

export function pairs(flat: unknown): [string, string][] {
  const list = flat as string[];
  const result: [string, string][] = [];
  for (let i = 0; i + 1 < list.length; i += 2) result.push([list[i] ?? "", list[i + 1] ?? ""]);
  return result;
}

/** A hash as Redis lists it. */
export function fieldsOf(flat: unknown): Record<string, string> {
  const list = flat as string[];
  const fields: Record<string, string> = {};
  for (let i = 0; i + 1 < list.length; i += 2) fields[list[i] ?? ""] = list[i + 1] ?? "";
  return fields;
}

export function decodeRings(lines: unknown, traversal: number, attempt: string): Ring[] {
  return ((lines ?? []) as string[]).map((line) => {
    const [node = "", resource = "", pool = ""] = line.split("\n");
    return { traversal, attempt, node, resource, pool };
  });
}

export function decodeMark(mark: unknown): Ring[] {
  if (typeof mark !== "string" || mark === "") return [];
  const [traversal = "", attempt = "", node = "", resource = "", pool = ""] = mark.split("\n");
  return [{ traversal: Number(traversal), attempt, node, resource, pool }];
}

export function decodeOperation(line: string, traversal: number, attempt: string): Ring {
  const [resource = "", entry = ""] = line.split("\n");
  const pool = entry === "" ? "default" : (decodeEntry(entry).pool ?? "default");
  return { traversal, attempt, node: "", resource, pool };
}

/** What view.lua answers behind its tag. */
export function decodeView(answer: readonly unknown[]): View {
  const [now, stack, record, nodes, operation, since, lost, incident, openedAt, verdict] = answer;
  return {
    nowMs: Number(now),
    stack: fieldsOf(stack),
    record: fieldsOf(record),
    nodes: (nodes as string[][]).map(decodeNode),
    operationAtMs: optional(operation),
    lostSinceMs: optional(since),
    incident:
      incident === ""
        ? undefined
        : { id: String(incident), openedAtMs: Number(openedAt), lost: Number(lost) },
    verdict: verdict as View["verdict"],
  };
}

function decodeNode(told: readonly string[]): NodeView {
  const [node = "", about = "", predecessors, arrived, done, failed, ring, place, moved, ...missing] = told;
  const [pool = "", resource = ""] = about.split("\n");
  return {
    node,
    pool,
    resource: moved || resource,
    predecessors: Number(predecessors),
    arrived: Number(arrived),
    done: done === "1",
    failed: failed === "1",
    ringAtMs: optional(ring),
    place: optional(place),
    missing,
  };
}

/** A number that may be left out. */
export function optional(text: unknown): number | undefined {
  return text === "" ? undefined : Number(text);
}

/** @throws Error when it is none. */
export function decodeEntry(text: string): IndexEntry {
  const entry = JSON.parse(text) as IndexEntry;
  if (typeof entry.name !== "string" || typeof entry.type !== "string") throw new Error("not an index entry");
  return entry;
}

export function unexpected(script: string, tag: unknown): Error {
  return new HomeostatError("internal", `${script}.lua answered ${String(tag)}`);
}

export function isTraversal(text: unknown): text is string {
  return typeof text === "string" && /^[1-9]\d*$/.test(text);
}
