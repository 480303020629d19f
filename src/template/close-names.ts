/** "Did you mean": the known name nearest to one that is not known. */

/** Comparisons per template, so that a huge template full of unknown names is still refused quickly. */
const comparisonsLimit = 1_000_000;

export class CloseNames {
  #comparisonsLeft = comparisonsLimit;

  /** `; did you mean "x"?`, or nothing when no candidate is near. */
  hint(name: string, candidates: Iterable<string>): string {
    const close = this.#closest(name, candidates);
    return close === undefined ? "" : `; did you mean "${close}"?`;
  }

  #closest(name: string, candidates: Iterable<string>): string | undefined {
    let best: string | undefined;
    let bestDistance = farthest(name) + 1;
    for (const candidate of candidates) {
      if (this.#comparisonsLeft-- <= 0) break;
      if (Math.abs(candidate.length - name.length) >= bestDistance) continue;
      const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
      if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
    }
    return best;
  }
}

/** A name of one letter has nothing in common with another one. */
function farthest(name: string): number {
  return name.length === 1 ? 0 : Math.min(3, Math.max(1, Math.floor(name.length / 3)));
}

/** How many insertions, removals, replacements and swaps of neighbours lead from one to the other. */
function editDistance(from: string, to: string): number {
  let before: number[] = [];
  let above: number[] = [];
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let i = 1; i <= from.length; i++) {
    [before, above, row] = [above, row, [i]];
    for (let j = 1; j <= to.length; j++) {
      const replaced = at(above, j - 1) + (from[i - 1] === to[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      const swapped = isSwap ? at(before, j - 2) + 1 : replaced;
      row.push(Math.min(replaced, swapped, at(above, j) + 1, at(row, j - 1) + 1));
    }
  }
  return at(row, to.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}
