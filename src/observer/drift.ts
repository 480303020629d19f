/**
 * How reality differs from what was applied, and what a repair applies.
 *
 * Invariants
 * 1. There are paths of drift exactly when the type's own comparison finds a difference between reality and the target
 *    of a repair.
 * 2. The target has the observed value wherever nothing is compared: what is exempt is never written back.
 */
import { type Json, type JsonObject, jsonEqual } from "../json.js";
import type { ResourceType } from "../providers/provider.js";
import { matchesSteps, type Pattern, propertyPath, readPattern } from "./paths.js";

export { matchesPath } from "./paths.js";

export interface Drift {
  /** Sorted; `morePaths` at the end stands for those beyond the limit. */
  paths: string[];
  /** Whether it cannot be mended in place. */
  replace: boolean;
}

/** Paths that are told of one resource. */
const pathsLimit = 100;

/** No path: a key of this kind would be in quotes. */
export const morePaths = "…";

type Steps = readonly (string | number)[];

/**
 * @param applied What was last applied, through the type's schema.
 * @param observed What a read found. A top-level property that is not there is not compared.
 * @param exempt Patterns of paths (src/observer/paths.ts) that are not compared, with all that is below them.
 * @param hidden Names of the top-level properties of which only the name is told: their keys are values too.
 */
export function driftOf(
  type: ResourceType,
  applied: JsonObject,
  observed: JsonObject,
  exempt: readonly string[],
  hidden: readonly string[] = [],
): Drift {
  const overlay = new Overlay(exempt);
  const target = overlay.target(applied, observed);
  const { changed, replace } = type.compare({ ...applied, ...reported(observed) }, target);
  const pathsIn = (name: string) => (hidden.includes(name) ? undefined : overlay.drift.get(name));
  const paths = changed.flatMap((name) => pathsIn(name) ?? [propertyPath([name])]).sort();
  return { paths: paths.length > pathsLimit ? [...paths.slice(0, pathsLimit), morePaths] : paths, replace };
}

/**
 * The properties that a repair applies: what was applied, with the observed value at every exempt path.
 *
 * A top-level property that reality does not report stays as applied. Below it, where only one side has something, its
 * exempt parts are as observed: there or not. An item of a list has no place but behind the one before it, so that an
 * exempt item that only reality has is taken only without a gap, and one that reality lacks is left out only at the end.
 */
export function repairTarget(
  applied: JsonObject,
  observed: JsonObject,
  exempt: readonly string[],
): JsonObject {
  return new Overlay(exempt).target(applied, observed);
}

/** undefined in an object is as good as absent. */
function reported(observed: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(observed).filter(([, value]) => value !== undefined));
}

class Overlay {
  /** Paths that differ, by top-level property. */
  readonly drift = new Map<string, string[]>();
  readonly #exempt: readonly Pattern[];

  constructor(exempt: readonly string[]) {
    this.#exempt = exempt.map(readPattern).filter((pattern) => pattern !== undefined);
  }

  target(applied: JsonObject, observed: JsonObject): JsonObject {
    const seen = reported(observed);
    const entries = Object.keys(seen).map((name) => {
      const [before, now] = [part(applied, name), seen[name]];
      // Nearly always so, and cheaper to tell than by a walk.
      const same = before !== undefined && jsonEqual(before, now);
      return [name, same ? now : this.#value(before, now, [name])] as const;
    });
    return {
      ...applied,
      ...(Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as JsonObject),
    };
  }

  /** Equal to the observed value exactly if no drift is noted at the path or below. */
  #value(applied: Json | undefined, observed: Json | undefined, path: Steps): Json | undefined {
    if (this.#exempt.some((pattern) => matchesSteps(pattern, path))) return observed;
    const sides = [applied, observed].filter((side) => side !== undefined);
    const target = sides.some(isFilled) ? this.#parts(sides, applied, observed, path) : undefined;
    if (target !== undefined) return sides.length === 2 || isFilled(target) ? target : undefined;
    if (sides.length < 2 || !jsonEqual(applied, observed)) this.#note(path);
    return applied;
  }

  /** Undefined when the sides have no parts that could be told apart. */
  #parts(
    sides: readonly Json[],
    applied: Json | undefined,
    observed: Json | undefined,
    path: Steps,
  ): Json | undefined {
    if (sides.every(isList)) return this.#list((applied ?? []) as Json[], (observed ?? []) as Json[], path);
    if (!sides.every(isMap)) return undefined;
    return this.#map((applied ?? {}) as JsonObject, (observed ?? {}) as JsonObject, path);
  }

  #map(applied: JsonObject, observed: JsonObject, path: Steps): JsonObject {
    const entries = keysOf([applied, observed]).map((key) => {
      return [key, this.#value(part(applied, key), part(observed, key), [...path, key])] as const;
    });
    return Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as JsonObject;
  }

  #list(applied: readonly Json[], observed: readonly Json[], path: Steps): Json[] {
    const length = Math.max(applied.length, observed.length);
    const items = Array.from({ length }, (_, i) => this.#value(applied[i], observed[i], [...path, i]));
    const kept = items.findLastIndex((item) => item !== undefined) + 1;
    const gap = items.findIndex((item, i) => item === undefined && i >= applied.length);
    const end = gap < 0 ? kept : Math.min(kept, gap);
    return items.slice(0, end).map((item, i) => (item === undefined ? (applied[i] ?? null) : item));
  }

  #note(path: Steps): void {
    const property = String(path[0]);
    const paths = this.drift.get(property) ?? [];
    paths.push(propertyPath(path));
    this.drift.set(property, paths);
  }
}

/** One leaf of the properties, or all of a hidden one. A side that is absent has nothing there. */
export interface PropertyRow {
  path: string;
  desired?: Json;
  applied?: Json;
  observed?: Json;
  /** Whether the sides that can tell differ. */
  differs: boolean;
}

const redacted = "(hidden)";

/**
 * The properties side by side, sorted by path, with the items of lists in their order.
 *
 * @param desired Undefined when it is not known, as when an input is not there yet.
 * @param observed Undefined when nothing was read. A top-level property that is not there does not differ.
 * @param hidden Names of the top-level properties whose values, and what they consist of, are not shown.
 */
export function propertyTable(
  desired: JsonObject | undefined,
  applied: JsonObject,
  observed: JsonObject | undefined,
  hidden: readonly string[],
): PropertyRow[] {
  const known = { desired, applied, observed: observed && reported(observed) };
  const sides = Object.values(known).filter((side) => side !== undefined);
  return keysOf(sides).flatMap((name) => {
    const entries = Object.entries(known).filter(([side, values]) => {
      return values !== undefined && (side !== "observed" || Object.hasOwn(values, name));
    });
    const values = Object.fromEntries(entries.map(([side, each]) => [side, part(each ?? {}, name)]));
    if (!hidden.includes(name)) return rowsOf(values, [name]);
    const row = rowOf(values, [name]);
    const shown = Object.keys(values).filter((side) => values[side] !== undefined);
    return { ...row, ...Object.fromEntries(shown.map((side) => [side, redacted])) };
  });
}

/** By side; undefined where a side that can tell has nothing. */
type Sides = { readonly [side: string]: Json | undefined };

function rowsOf(values: Sides, path: Steps): PropertyRow[] {
  const present = Object.values(values).filter((value) => value !== undefined);
  const steps = present.some(isFilled) ? stepsInto(present) : undefined;
  if (steps === undefined) return [rowOf(values, path)];
  return steps.flatMap((step) => {
    const parts = Object.entries(values).map(([side, value]) => [side, part(value, step)]);
    return rowsOf(Object.fromEntries(parts), [...path, step]);
  });
}

/** Undefined when they are not all maps, or all lists. */
function stepsInto(values: readonly Json[]): (string | number)[] | undefined {
  if (values.every(isMap)) return keysOf(values);
  if (!values.every(isList)) return undefined;
  return [...Array(Math.max(...values.map(({ length }) => length))).keys()];
}

function rowOf(values: Sides, path: Steps): PropertyRow {
  const present = Object.entries(values).filter(([, value]) => value !== undefined);
  const [first, ...others] = Object.values(values);
  return {
    path: propertyPath(path),
    ...Object.fromEntries(present),
    differs: others.some((other) => !sameValue(first, other)),
  };
}

/** What is not there is something else than null. */
function sameValue(left: Json | undefined, right: Json | undefined): boolean {
  return left === undefined || right === undefined ? left === right : jsonEqual(left, right);
}

/** Of those that have a value, sorted. */
function keysOf(maps: readonly JsonObject[]): string[] {
  const keys = maps.flatMap((map) => Object.keys(map).filter((key) => map[key] !== undefined));
  return [...new Set(keys)].sort();
}

function part(value: Json | undefined, step: string | number): Json | undefined {
  if (value === undefined || value === null || !Object.hasOwn(value as object, step)) return undefined;
  return (value as JsonObject)[step];
}

function isMap(value: Json): value is JsonObject {
  return value !== null && typeof value === "object" && !isList(value);
}

function isList(value: Json): value is Json[] {
  return Array.isArray(value);
}

/** A map or list with something in it. */
function isFilled(value: Json): boolean {
  return value !== null && typeof value === "object" && Object.keys(value).length > 0;
}
