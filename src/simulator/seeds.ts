/** Which seeds are still to be explored, in memory that all jobs share. */
export class Seeds {
  readonly buffer: SharedArrayBuffer;
  /** How many were taken, and how many there are. */
  readonly #counts: BigInt64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#counts = new BigInt64Array(buffer);
  }

  static of(count: number): Seeds {
    const seeds = new Seeds(new SharedArrayBuffer(2 * BigInt64Array.BYTES_PER_ELEMENT));
    seeds.#counts[1] = BigInt(count);
    return seeds;
  }

  /** Index of the next one, in ascending order; undefined when there is none. */
  take(): number | undefined {
    const index = Atomics.add(this.#counts, 0, 1n);
    return index < Atomics.load(this.#counts, 1) ? Number(index) : undefined;
  }

  /** Leaves out this one and all after it, as far as nobody has taken them. Only one job may do so. */
  end(index: number): void {
    if (BigInt(index) < Atomics.load(this.#counts, 1)) Atomics.store(this.#counts, 1, BigInt(index));
  }
}

/** What became of one seed. */
export interface Explored {
  index: number;
  visits: number;
  ok: boolean;
}

/** Puts the runs, which end in any order, in the order of their seeds, and counts up to the first that failed. */
export class Tally {
  runs = 0;
  visits = 0;
  failed: number | undefined;
  readonly #ahead = new Map<number, Explored>();

  add(explored: Explored): void {
    this.#ahead.set(explored.index, explored);
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      this.#ahead.delete(next.index);
      this.runs += 1;
      this.visits += next.visits;
      if (!next.ok) this.failed = next.index;
    }
  }

  #next(): Explored | undefined {
    return this.failed === undefined ? this.#ahead.get(this.runs) : undefined;
  }
}
