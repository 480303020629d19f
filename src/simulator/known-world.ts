/**
 * The physical world as the engine must take it to be: this version does not observe, so what drifted counts as it was
 * before, until the engine itself touches it. Nothing else of the thing is excused.
 */
import type { Json, JsonObject } from "../json.js";
import type { PhysicalThing, World } from "./world.js";

export class KnownWorld {
  readonly #world: World;
  /** By physical id: the drifted properties as they were; undefined: absent. */
  readonly #drifted = new Map<string, Map<string, Json | undefined>>();
  /** What was taken away, as it was. */
  readonly #missing = new Map<string, PhysicalThing>();

  constructor(world: World) {
    this.#world = world;
  }

  change(thing: PhysicalThing, set: JsonObject): void {
    const before = this.#drifted.get(thing.id) ?? new Map<string, Json | undefined>();
    for (const name of Object.keys(set)) if (!before.has(name)) before.set(name, thing.properties[name]);
    this.#drifted.set(thing.id, before);
    thing.properties = { ...thing.properties, ...set };
  }

  takeAway(thing: PhysicalThing): void {
    this.#missing.set(thing.id, this.of(thing));
    this.#world.things.delete(thing.id);
    // Whoever looks for it is told that it is not there, and may make it again.
    this.#world.made.set(thing.token, (this.#world.made.get(thing.token) ?? 1) - 1);
  }

  /** A call of the engine had its effect: what it touched is known again. */
  touched(token: string, physicalId: string): void {
    this.#drifted.delete(physicalId);
    for (const [id, thing] of this.#missing) if (thing.token === token) this.#missing.delete(id);
  }

  of(thing: PhysicalThing): PhysicalThing {
    const before = this.#drifted.get(thing.id);
    if (before === undefined) return thing;
    const properties = { ...thing.properties };
    for (const [name, value] of before) {
      if (value === undefined) delete properties[name];
      else properties[name] = value;
    }
    return { ...thing, properties };
  }

  isMissing(physicalId: string): boolean {
    return this.#missing.has(physicalId);
  }

  /** Also those that were taken away, in no order. */
  things(stack: string): PhysicalThing[] {
    const there = [...this.#world.things.values()].map((thing) => this.of(thing));
    return [...there, ...this.#missing.values()].filter((thing) => thing.stack === stack);
  }

  named(name: string, stack: string): PhysicalThing[] {
    return this.things(stack).filter((thing) => thing.name === name);
  }
}
