/**
 * The physical world as the engine may take it to be: what drifted counts as it was before, until the engine itself
 * changes it. Nothing else of the thing is excused. That drift is mended in time is checked elsewhere.
 */
import { type Json, type JsonObject, jsonEqual } from "../json.js";
import type { PhysicalThing, World } from "./world.js";

export class KnownWorld {
  readonly #world: World;
  /** By physical id: the drifted properties as they were; undefined: absent. */
  readonly #drifted = new Map<string, Map<string, Json | undefined>>();
  /** And what they drifted to. */
  readonly #now = new Map<string, Map<string, Json | undefined>>();
  /** Drifted properties that the engine has recorded as attributes. */
  readonly #seen = new Map<string, Set<string>>();
  /** What was taken away, as it was. */
  readonly #missing = new Map<string, PhysicalThing>();
  /** What became of each thing, by physical id, one after the other; undefined: it was removed. */
  readonly history: { id: string; state: PhysicalThing | undefined }[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  change(thing: PhysicalThing, set: JsonObject): void {
    const before = this.#drifted.get(thing.id) ?? new Map<string, Json | undefined>();
    for (const name of Object.keys(set)) if (!before.has(name)) before.set(name, thing.properties[name]);
    this.#drifted.set(thing.id, before);
    this.#now.set(thing.id, new Map([...(this.#now.get(thing.id) ?? []), ...Object.entries(set)]));
    thing.properties = { ...thing.properties, ...set };
  }

  takeAway(thing: PhysicalThing): void {
    this.#missing.set(thing.id, this.of(thing));
    this.#world.things.delete(thing.id);
    // Whoever looks for it is told that it is not there, and may make it again.
    this.#world.made.set(thing.token, (this.#world.made.get(thing.token) ?? 1) - 1);
  }

  /** A call of the engine had its effect: what it changed is known again; what it left as it was, others see from now on. */
  touched(token: string, physicalId: string): void {
    const properties = this.#world.things.get(physicalId)?.properties ?? {};
    const before = this.#drifted.get(physicalId);
    const now = this.#now.get(physicalId);
    for (const [name, was] of before ?? []) {
      if (isLeftOver(was, now?.get(name), properties[name])) now?.set(name, properties[name]);
      else {
        before?.delete(name);
        this.#seen.get(physicalId)?.delete(name);
      }
    }
    if (before?.size === 0) this.#drifted.delete(physicalId);
    this.recorded(physicalId, properties);
    for (const [id, thing] of this.#missing) if (thing.token === token) this.#missing.delete(id);
  }

  /** The engine has recorded these attributes: they are what others see. */
  recorded(physicalId: string, attributes: JsonObject): void {
    const seen = this.#seen.get(physicalId) ?? new Set<string>();
    for (const name of this.#drifted.get(physicalId)?.keys() ?? []) {
      if (isSame(attributes[name], this.#now.get(physicalId)?.get(name))) seen.add(name);
      else seen.delete(name);
    }
    this.#seen.set(physicalId, seen);
    this.note(physicalId);
  }

  /** A thing may have become another one. */
  note(physicalId: string): void {
    const thing = this.#world.things.get(physicalId);
    if (thing !== undefined) this.history.push({ id: physicalId, state: { ...this.of(thing) } });
  }

  removed(physicalId: string): void {
    this.history.push({ id: physicalId, state: undefined });
  }

  of(thing: PhysicalThing): PhysicalThing {
    const before = this.#drifted.get(thing.id);
    if (before === undefined) return thing;
    const seen = this.#seen.get(thing.id);
    const properties = { ...thing.properties };
    const attributes = { ...thing.properties };
    for (const [name, value] of before) {
      put(properties, name, value);
      if (seen?.has(name) !== true) put(attributes, name, value);
    }
    return { ...thing, properties, attributes };
  }

  isMissing(physicalId: string): boolean {
    return this.#missing.has(physicalId);
  }

  /** Also those that were taken away; oldest first. */
  things(stack: string): PhysicalThing[] {
    const there = [...this.#world.things.values()].map((thing) => this.of(thing));
    const all = [...there, ...this.#missing.values()].filter((thing) => thing.stack === stack);
    const age = new Map(this.#world.known.map(({ id }, index) => [id, index]));
    const ageOf = ({ id }: PhysicalThing) => age.get(id) ?? age.size;
    return all.sort((a, b) => ageOf(a) - ageOf(b));
  }

  named(name: string, stack: string): PhysicalThing[] {
    return this.things(stack).filter((thing) => thing.name === name);
  }
}

function put(properties: JsonObject, name: string, value: Json | undefined): void {
  if (value === undefined) delete properties[name];
  else properties[name] = value;
}

/** Whether what differs from what it was is what it drifted to: some of it was changed back, or nothing. */
function isLeftOver(was: Json | undefined, drifted: Json | undefined, is: Json | undefined): boolean {
  if (isSame(is, was)) return false;
  if (isSame(is, drifted)) return true;
  if (![was, drifted, is].every(isMap)) return false;
  const [before, then, now] = [was, drifted, is] as JsonObject[] as [JsonObject, JsonObject, JsonObject];
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  return names.every(
    (name) => isSame(now[name], before[name]) || isLeftOver(before[name], then[name], now[name]),
  );
}

function isMap(value: Json | undefined): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSame(left: Json | undefined, right: Json | undefined): boolean {
  if (left === undefined || right === undefined) return left === right;
  return jsonEqual(left, right);
}
