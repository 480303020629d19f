/** The simulated physical world: what exists, and every call that was made. Knows nothing of the engine. */
import { type JsonObject, jsonEqual } from "../json.js";
import type { Marked, Operation } from "../providers/provider.js";
import { ProviderError } from "../providers/provider.js";
import type { NewSimThing, SimThing, SimWorld } from "../providers/sim/sim-resource.js";

export interface PhysicalThing extends SimThing {
  id: string;
  /** Stack id. */
  stack: string;
  deployment?: string;
  /** What others see of it, where that is not what it is. */
  attributes?: JsonObject;
  /** Ids of the things that it was made or last updated to refer to, when that is certain. */
  refersTo: Set<string>;
}

export interface CallRecord {
  operation: Operation;
  stack: string;
  /** Resource name. */
  resource: string;
  token: string;
  worker: string;
}

export class World implements SimWorld {
  readonly things = new Map<string, PhysicalThing>();
  readonly calls: CallRecord[] = [];
  /** How many things a token has made. */
  readonly made = new Map<string, number>();
  /** All that ever came to be, oldest first. */
  readonly known: Pick<PhysicalThing, "id" | "name" | "stack">[] = [];
  beforeRemoval: ((thing: PhysicalThing) => Promise<void>) | undefined;
  #count = 0;

  async create(thing: NewSimThing): Promise<string> {
    const first = thing.idempotent ? await this.findByToken(thing.token) : undefined;
    if (first !== undefined) return first;
    this.#count += 1;
    const id = `${thing.name}-${this.#count}`;
    const { idempotent: _, ...made } = thing;
    this.things.set(id, { id, ...made, refersTo: new Set() });
    this.known.push({ id, name: thing.name, stack: thing.stack });
    this.made.set(thing.token, (this.made.get(thing.token) ?? 0) + 1);
    return id;
  }

  async get(id: string): Promise<SimThing | undefined> {
    return this.things.get(id);
  }

  async findByToken(token: string): Promise<string | undefined> {
    for (const thing of this.things.values()) if (thing.token === token) return thing.id;
    return undefined;
  }

  async update(id: string, properties: JsonObject): Promise<void> {
    const thing = this.things.get(id);
    if (thing === undefined) throw new ProviderError(`${id} is not there`);
    if (!jsonEqual(thing.properties, properties)) thing.properties = properties;
  }

  async remove(id: string): Promise<void> {
    const thing = this.things.get(id);
    if (thing !== undefined) await this.beforeRemoval?.(thing);
    this.things.delete(id);
  }

  async *list(): AsyncGenerator<Marked> {
    for (const { id, name, token, stack, deployment } of [...this.things.values()]) {
      const marks = { stack, resource: name, token, ...(deployment === undefined ? {} : { deployment }) };
      yield { physicalId: id, ...marks };
    }
  }

  /** Newest last. */
  named(name: string, stack?: string): PhysicalThing[] {
    return [...this.things.values()].filter(
      (thing) => thing.name === name && (stack === undefined || thing.stack === stack),
    );
  }
}
