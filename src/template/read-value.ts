/** A JavaScript value to JSON, noting what JSON cannot hold; places are paths: `resources.web.properties.port`. */
import type { Problem } from "../errors.js";
import type { Json } from "../json.js";
import { nestingLimit, repeatedNodesLimit } from "./limits.js";
import type { ReadTemplate } from "./read-text.js";
import type { Locate, Path } from "./types.js";

export function readValue(value: unknown, name: string): ReadTemplate {
  const locate = pathLocator(name);
  const conversion = new ValueConversion(locate);
  const json = conversion.toJson(value, []);
  return { value: json, problems: conversion.problems, locate };
}

/** Places as paths behind the name. */
export function pathLocator(name: string): Locate {
  return (path) => ({ file: path.length === 0 ? name : `${name}: ${pathText(path)}` });
}

/** `resources.web.properties.ports[0]`, with quotes where a name needs them. */
export function pathText(path: Path): string {
  return path.map((step, index) => stepText(step, index === 0)).join("");
}

function stepText(step: string | number, first: boolean): string {
  if (typeof step === "number") return `[${step}]`;
  if (!/^[\w:$-]+$/.test(step)) return `[${JSON.stringify(step)}]`;
  return first ? step : `.${step}`;
}

class ValueConversion {
  readonly problems: Problem[] = [];
  readonly #locate: Locate;
  readonly #seen = new WeakSet<object>();
  #openRepeated = 0;
  #repeatedNodes = 0;

  constructor(locate: Locate) {
    this.#locate = locate;
  }

  toJson(value: unknown, path: Path): Json {
    if (this.#openRepeated > 0 && ++this.#repeatedNodes > repeatedNodesLimit) return this.#tooMany(path);
    if (value === null || typeof value === "boolean" || typeof value === "string") return value;
    if (typeof value === "number") return Number.isFinite(value) ? value : this.#refuse(path, `${value}`);
    if (typeof value !== "object") return this.#refuse(path, typeof value);
    if (value instanceof Date) return this.#date(value, path);
    if (path.length >= nestingLimit) return this.#add(path, `nested deeper than ${nestingLimit} levels`);
    const repeated = this.#seen.has(value);
    this.#seen.add(value);
    if (repeated) this.#openRepeated++;
    const json = this.#collection(value, path);
    if (repeated) this.#openRepeated--;
    return json;
  }

  #collection(value: object, path: Path): Json {
    if (Array.isArray(value)) return Array.from(value, (item, index) => this.toJson(item, [...path, index]));
    return isPlainObject(value) ? this.#object(value, path) : this.#refuse(path, "an instance of a class");
  }

  #object(value: object, path: Path): Json {
    const entries: [string, Json][] = [];
    for (const [key, item] of Object.entries(value)) {
      if (item === undefined) continue;
      if (key === "__proto__") this.#add([...path, key], "__proto__ cannot be used as a key");
      else entries.push([key, this.toJson(item, [...path, key])]);
    }
    return Object.fromEntries(entries);
  }

  #date(value: Date, path: Path): Json {
    return Number.isNaN(value.getTime())
      ? this.#refuse(path, "an invalid date")
      : value.toISOString().slice(0, 10);
  }

  #tooMany(path: Path): null {
    if (this.#repeatedNodes > repeatedNodesLimit + 1) return null;
    return this.#add(path, `shared objects expand to more than ${repeatedNodesLimit} values`);
  }

  #refuse(path: Path, what: string): null {
    return this.#add(path, `${what} is not a JSON value`);
  }

  #add(path: Path, message: string): null {
    this.problems.push({ message, ...this.#locate(path) });
    return null;
  }
}

function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
