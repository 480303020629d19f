/** How hints are written: whom or what to look after, and where that is kept. */
import type { Watched } from "./types.js";

/** Every observer looks after the entries of stacks, whatever its pools are. */
export const stackPool = "";

/** Where what is due of unfinished stacks is kept. */
export const duePlace = "due";

/** Where what is to be looked at is kept: one shard of one pool. */
export function watchPlace(pool: string, shard: number): string {
  return `watch\n${shard}\n${pool}`;
}

/** Marks the hint of a stack that may not exist yet. */
const birthMark = "+";

/** The stack that a hint is for; with its name when it may not exist yet. */
export function readHint(hint: string): { stack: string; name?: string } {
  if (!hint.startsWith(birthMark)) return { stack: hint };
  const [stack = "", name = ""] = hint.slice(birthMark.length).split(" ");
  return { stack, name };
}

export function birthHint(stack: string, name: string): string {
  return `${birthMark}${stack} ${name}`;
}

/** One line each, then the physical id, which may have more. */
export function writeWatched({ stack, resource }: Watched): string {
  if (resource === undefined) return stack;
  return [stack, resource.id, resource.type, resource.physicalId].join("\n");
}

export function readWatched(entry: string): Watched {
  const [stack = "", id, type = "", ...physical] = entry.split("\n");
  if (id === undefined) return { stack };
  return { stack, resource: { id, type, physicalId: physical.join("\n") } };
}
