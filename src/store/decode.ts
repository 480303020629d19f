/** Replies of the scripts, decoded. */
import { HomeostatError } from "../errors.js";
import type { IndexEntry, Ring } from "./types.js";

export function pairs(flat: unknown): [string, string][] {
  const list = flat as string[];
  const result: [string, string][] = [];
  for (let i = 0; i + 1 < list.length; i += 2) result.push([list[i] ?? "", list[i + 1] ?? ""]);
  return result;
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

/** @throws Error when it is none. */
export function decodeEntry(text: string): IndexEntry {
  const entry = JSON.parse(text) as IndexEntry;
  if (typeof entry.name !== "string" || typeof entry.type !== "string") throw new Error("not an index entry");
  return entry;
}

export function unexpected(script: string, tag: unknown): Error {
  return new HomeostatError("internal", `${script}.lua answered ${String(tag)}`);
}
