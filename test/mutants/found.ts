/** Which run is known to find each mutant: what is looked at first. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Known } from "./hunt.js";
import { mutants } from "./mutants.js";

const file = "test/mutants/found.json";

export type Found = Readonly<Record<string, Known>>;

/** `root`: the project's folder. */
export function readFound(root: string): Found {
  return JSON.parse(readFileSync(join(root, file), "utf8")) as Found;
}

/** Forgets mutants that are not in the list any more. */
export function record(root: string, mutant: string, known: Known): void {
  const all: Found = { ...readFound(root), [mutant]: known };
  const listed = mutants.flatMap(({ id }) => (all[id] === undefined ? [] : [[id, all[id]]]));
  writeFileSync(join(root, file), `${JSON.stringify(Object.fromEntries(listed), null, 2)}\n`);
}
