/** What all fuzz tests share: the seed, how much is tried, odd values and texts, and what no error may say. */
import fc from "fast-check";
import { expect, vi } from "vitest";
import type { Problem } from "../../src/errors.js";

const seed = Number(process.env.HOMEOSTAT_SEED ?? Date.now() % 2 ** 31);

const scale = Number(process.env.HOMEOSTAT_FUZZ_RUNS ?? 1);

/** HOMEOSTAT_FUZZ_RUNS multiplies every number of runs. */
export function runs(count: number): { seed: number; numRuns: number } {
  return { seed, numRuns: Math.max(1, Math.round(count * scale)) };
}

/** For every value; with pauses, in which parsed documents that are held weakly can go. */
export async function always<T>(
  values: fc.Arbitrary<T>,
  check: (value: T) => void,
  count: number,
): Promise<void> {
  let tried = 0;
  const property = fc.asyncProperty(values, async (value) => {
    check(value);
    tried += 1;
    if (tried % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  });
  await fc.assert(property, runs(count));
}

/** Where each run leaves something behind that the next one meets, smaller examples are none. */
export function runsInTurn(count: number) {
  return { ...runs(count), endOnFailure: true };
}

/** Says how to try the same again, and gives this file's tests their time. */
export function announce(what: string): void {
  const patienceMs = 180_000 * Math.max(1, scale);
  vi.setConfig({ testTimeout: patienceMs, hookTimeout: patienceMs });
  console.log(
    `fuzz ${what}: seed ${seed} (HOMEOSTAT_SEED=${seed} repeats it; HOMEOSTAT_FUZZ_RUNS=10 tries more)`,
  );
}

/** Milliseconds of this process's own work from here, however busy the machine is. */
export function cpuTime(): () => number {
  const began = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(began);
    return (user + system) / 1000;
  };
}

/** How the language speaks of mistakes in a program; no user should read it. */
const innards = [
  /Cannot (read|set|convert|destructure)/,
  /is not (a function|iterable|a constructor)/,
  /Maximum call stack|Invalid (string|array) length|out of memory/,
  /(Type|Range|Syntax|Reference|Zod)Error/,
  /\bat .*\.[jt]s:\d+/,
  /\[object /,
];

export function expectPlain(text: string): void {
  for (const pattern of innards) expect(text).not.toMatch(pattern);
}

/** Every problem is plain, and stands at a line and column that the text has. */
export function expectPlaced(problems: readonly Problem[], text: string): void {
  const lines = text.split("\n");
  expect(problems.length).toBeGreaterThan(0);
  for (const { message, file, line = 0, column = 0 } of problems) {
    expectPlain(message);
    expect(message).not.toBe("");
    expect(file).toBeTruthy();
    expect(line).toBeGreaterThanOrEqual(1);
    expect(line).toBeLessThanOrEqual(lines.length + 1);
    expect(column).toBeGreaterThanOrEqual(1);
    expect(column).toBeLessThanOrEqual((lines[line - 1] ?? "").length + 2);
  }
}

/** Names and texts that programs trip over. */
export const oddTexts = [
  "",
  " ",
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "null",
  "~",
  "true",
  "NaN",
  "-0",
  "1e999",
  "0644",
  "a\nb",
  "a\0b",
  "\ud800",
  "\u2028",
  "ÄÖ😀",
  "*",
  ">",
  "a.b.>",
  "../..",
  "OS::stack_name",
  "get_param",
  "get_resource",
  "get_attr",
  "get_file",
  "str_replace",
  "list_join",
  "Fn::Join",
  "<<",
  "x".repeat(300),
];

const oddNumbers = [-0, 0, 1, -1, 0.5, 2 ** 53, -(2 ** 63), 1e308, 5e-324, 1e21];

export const oddText = fc.oneof(
  fc.constantFrom(...oddTexts),
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.string(),
);

/** Any JSON value, from odd parts. */
export const oddJson: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constantFrom(null, true, false),
    fc.constantFrom(...oddNumbers),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    oddText,
    fc.array(tie("value"), { maxLength: 4 }),
    fc.array(fc.tuple(oddText, tie("value")), { maxLength: 4 }).map(objectOf),
  ),
})).value;

/** Keys like `__proto__` become keys of its own. */
export function objectOf(entries: readonly (readonly [string, unknown])[]): object {
  const object = {};
  for (const [key, value] of entries) {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  }
  return object;
}

/** Bytes of a text removed, doubled, swapped or replaced. */
export function mangled(text: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const change = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.nat(20),
    kind: fc.constantFrom("remove", "repeat", "replace", "insert", "swap"),
    text: fc.oneof(
      fc.constantFrom(
        ..."{}[]:,-*&!|>%@`\"'#?\t\n\0 \\",
        "\n  ",
        "&a ",
        "*a",
        "!!binary ",
        "---\n",
        "<<: ",
        "\ufeff",
      ),
      oddText,
    ),
  });
  return fc.tuple(text, fc.array(change, { minLength: 1, maxLength: 5 })).map(([whole, changes]) =>
    changes.reduce((before, { at, length, kind, text: put }) => {
      const start = Math.floor(at * before.length);
      const [head, cut, tail] = [
        before.slice(0, start),
        before.slice(start, start + length),
        before.slice(start + length),
      ];
      switch (kind) {
        case "remove":
          return head + tail;
        case "repeat":
          return head + cut + cut + tail;
        case "insert":
          return head + put + cut + tail;
        case "swap":
          return head + tail.slice(0, length) + cut + tail.slice(length);
        default:
          return head + put + tail;
      }
    }, whole),
  );
}

/** Somewhere in a JSON value a part is replaced, renamed, removed, or put elsewhere. */
export function mutated(value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const change = fc.record({
    place: fc.nat(),
    kind: fc.constantFrom("replace", "replace", "rename", "remove", "copy", "wrap"),
    value: oddJson,
    name: oddText,
    from: fc.nat(),
  });
  return fc.tuple(value, fc.array(change, { minLength: 1, maxLength: 3 })).map(([whole, changes]) => {
    let result = structuredClone(whole);
    for (const { place, kind, value: put, name, from } of changes) {
      const places = placesIn(result);
      const at = places[place % places.length];
      if (at === undefined) result = put;
      else if (kind === "replace") at.set(put);
      else if (kind === "rename") at.rename(name);
      else if (kind === "remove") at.remove();
      else if (kind === "wrap") at.set(objectOf([[name, at.get()]]));
      else at.set(structuredClone(places[from % places.length]?.get()));
    }
    return result;
  });
}

interface Place {
  get(): unknown;
  set(value: unknown): void;
  rename(name: string): void;
  remove(): void;
}

function placesIn(value: unknown): Place[] {
  if (value === null || typeof value !== "object") return [];
  const parent = value as Record<string, unknown>;
  const put = (key: string, part: unknown) =>
    Object.defineProperty(parent, key, { value: part, enumerable: true, configurable: true, writable: true });
  return Object.keys(parent).flatMap((key) => [
    {
      get: () => parent[key],
      set: (part) => put(key, part),
      rename: (name) => {
        const part = parent[key];
        if (Array.isArray(parent)) return;
        delete parent[key];
        put(name, part);
      },
      remove: () => {
        if (Array.isArray(parent)) parent.splice(Number(key), 1);
        else delete parent[key];
      },
    },
    ...placesIn(parent[key]),
  ]);
}
