/** Gathers what is wrong with a template, so that all of it is reported at once. */
import { InvalidError, type Problem } from "../errors.js";
import { CloseNames } from "./close-names.js";
import type { Locate, Path } from "./types.js";

export class Problems {
  readonly #found: Problem[];
  readonly #locate: Locate;
  readonly #closeNames = new CloseNames();

  constructor(locate: Locate, found: readonly Problem[] = []) {
    this.#locate = locate;
    this.#found = [...found];
  }

  add(path: Path, message: string, part: "key" | "value" = "value"): void {
    this.#found.push({ message, ...this.#locate(path, part) });
  }

  /** One about a name that is not among the known ones. */
  addUnknown(
    path: Path,
    message: string,
    name: string,
    known: Iterable<string>,
    part?: "key" | "value",
  ): void {
    this.add(path, message + this.#closeNames.hint(name, known), part);
  }

  /** In the order of the file. */
  list(): Problem[] {
    return [...this.#found].sort(byPosition);
  }

  throwIfAny(): void {
    if (this.#found.length > 0) throw new InvalidError(this.list());
  }
}

function byPosition(left: Problem, right: Problem): number {
  return (left.line ?? 0) - (right.line ?? 0) || (left.column ?? 0) - (right.column ?? 0);
}
