/**
 * Whether what exists is what a settled stack may leave behind, each excuse as narrow as it is: a failure excuses what
 * waits for it, `Retain` the thing that no record knows any more, drift the drifted property of the drifted thing.
 */
import type { ResourceContext, ResourceState } from "../../machines/resource.js";
import { resourceActor } from "../actor/actor.js";
import { type JsonObject, jsonEqual } from "../json.js";
import type { Operation } from "../providers/provider.js";
import type { IndexEntry, ResourceRecord } from "../store/store.js";
import { readObject } from "../traversal/record.js";
import {
  affectedBy,
  differenceOf,
  type Goals,
  isAsWanted,
  isOfGoal,
  isResolvable,
  type KnownGoal,
} from "./goals.js";
import type { KnownWorld } from "./known-world.js";
import type { Simulation } from "./simulation.js";
import type { PhysicalThing } from "./world.js";

/** What Redis says of a resource. */
export interface KnownRecord {
  id: string;
  name: string;
  token: string;
  physical: string;
  sequence: number;
  state: ResourceState;
  /** Its last look could not read it. */
  unreadable: boolean;
  context: ResourceContext;
  attributes: JsonObject;
}

const knownFields = ["name", "token", "physical", "sequence", "snapshot", "unreadable", "attributes"];

export async function readRecords(simulation: Simulation, stack: string): Promise<KnownRecord[]> {
  const { store } = simulation;
  const ids = [...(await store.index(stack)).keys()];
  const records = await store.resources(stack, ids, knownFields);
  return ids.flatMap((id, i) => knownRecord(simulation, id, records[i]) ?? []);
}

function knownRecord(
  { sealing }: Simulation,
  id: string,
  record: ResourceRecord | undefined,
): KnownRecord | undefined {
  if (record === undefined) return undefined;
  const { name = "", token, physical = "", sequence, snapshot = "", unreadable = "" } = record;
  const { state, context } = resourceActor.read(snapshot);
  const attributes = readObject(sealing, record.attributes);
  return {
    id,
    name,
    token: token || id,
    physical,
    sequence: Number(sequence ?? 0),
    state,
    unreadable: unreadable !== "",
    context,
    attributes,
  };
}

/** A stack of which nothing moves, read once for all who judge it. */
export interface SettledStack {
  stack: string;
  /** Undefined when it is gone. */
  record: ResourceRecord | undefined;
  index: ReadonlyMap<string, IndexEntry>;
  /** By id, as they are stored; undefined: in the index only. */
  resources: ReadonlyMap<string, ResourceRecord | undefined>;
  known: readonly KnownRecord[];
}

export async function readSettled(simulation: Simulation, stack: string): Promise<SettledStack> {
  const { store } = simulation;
  const [record, index] = await Promise.all([store.stack(stack), store.index(stack)]);
  const ids = [...index.keys()];
  const fields = [...knownFields, "type", "until", "mark", "intent", "deadline"];
  const records = await store.resources(stack, ids, fields);
  const known = ids.flatMap((id, i) => knownRecord(simulation, id, records[i]) ?? []);
  return { stack, record, index, resources: new Map(ids.map((id, i) => [id, records[i]])), known };
}

/** A call that failed for good, or of which only a person can say what became of it. */
export interface Failure {
  stack: string;
  resource: string;
  token: string;
  operation: Operation;
  traversal: number;
}

/** What the order of cleanups says of a resource. */
export type Ordered = Pick<KnownRecord, "id" | "name" | "sequence">;

/** What a run has seen so far. */
export interface Past {
  goals: Goals;
  known: KnownWorld;
  failures: readonly Failure[];
  /** Everything that ever was, one state after the other. */
  versions: readonly PhysicalThing[];
  /** Ids of what a resource ever required, by id. */
  required: ReadonlyMap<string, ReadonlySet<string>>;
  /** What ended under an older traversal when this one had begun: its graph may wait for it all the same. */
  ended: readonly (Ordered & { stack: string; traversal: number })[];
  /** Tokens of what somebody has begun to delete. */
  deleting: ReadonlySet<string>;
  /** Physical ids of what was found to be retained. */
  retained: Set<string>;
  /** The traversal since which a thing by this name can have become one that is retained. */
  retainableSince(thing: PhysicalThing): number;
}

/** Once its record is gone, nobody looks after a retained thing; what is retained once stays so. */
export function isRetained(past: Past, thing: PhysicalThing, records: readonly KnownRecord[]): boolean {
  if (records.some(({ token }) => token === thing.token)) return false;
  const since = past.retainableSince(thing);
  const isSaid = past.goals
    .all(thing.stack)
    .some(
      ({ traversal, template }) =>
        traversal >= since && template.resources.get(thing.name)?.deletionPolicy === "Retain",
    );
  if (isSaid) past.retained.add(thing.id);
  return isSaid || past.retained.has(thing.id);
}

/** One settled stack. */
export class Reality {
  readonly #past: Past;
  readonly #stack: string;
  readonly #goal: KnownGoal;
  readonly #records: readonly KnownRecord[];
  /** Those that anybody is still responsible for, as they are known. */
  readonly #things: readonly PhysicalThing[];

  constructor(past: Past, stack: string, goal: KnownGoal, records: readonly KnownRecord[]) {
    this.#past = past;
    this.#stack = stack;
    this.#goal = goal;
    this.#records = records;
    const isForgotten = ({ id }: PhysicalThing) =>
      past.known.isMissing(id) && records.every(({ physical }) => physical !== id);
    this.#things = past.known
      .things(stack)
      .filter((thing) => !isForgotten(thing) && !isRetained(past, thing, records));
  }

  /** How the things differ from what the status promises. */
  ofStatus(status: string): string | undefined {
    const isDone = status === "COMPLETE" || status === "NOT_FOUND";
    if (isDone) return differenceOf(this.#goal, this.#things) ?? this.#leftOver();
    // Cancelled and timed out: it stopped wherever it was.
    if (this.#goal.status === "CANCELLED" || this.#goal.status === "FAILED") return undefined;
    return this.#unexcused();
  }

  /** Each resource of the goal has one record, and there is no other one. */
  #leftOver(): string | undefined {
    const { resources } = this.#goal.template;
    for (const name of new Set(this.#records.map((record) => record.name))) {
      const records = this.#records.filter((record) => record.name === name);
      if (resources.has(name) && records.length === 1) continue;
      return `of ${name} there are records: ${records.map(({ id, state }) => `${id} (${state})`).join(", ")}`;
    }
    return undefined;
  }

  /** A failure belongs to its resource: what does not depend on it is as the goal says, and nothing else is there. */
  #unexcused(): string | undefined {
    const goal = this.#goal;
    const names = [...goal.template.resources.keys()];
    const failures = this.#past.failures.filter(
      ({ stack, traversal }) => stack === this.#stack && traversal === goal.traversal,
    );
    const failed = [
      ...failures.filter(({ operation }) => operation !== "delete").map(({ resource }) => resource),
      ...names.filter((name) => !isResolvable(goal, name, this.#things)),
    ];
    if (failures.length === 0 && failed.length === 0) return "nothing has failed";
    const affected = affectedBy(goal, failed);
    const right = this.#rightOnes(names.filter((name) => !affected.has(name)));
    for (const [name, thing] of right) {
      if (thing !== undefined) continue;
      const what = this.#things.some((other) => other.name === name) ? "not as wanted" : "not there";
      return `${name}, which does not depend on what failed, is ${what}`;
    }
    const undeleted = failures.filter(({ operation }) => operation === "delete").map(({ token }) => token);
    const ended = this.#past.ended.filter(
      ({ stack, traversal }) => stack === this.#stack && traversal === goal.traversal,
    );
    const stuck = this.#stuck(
      [
        ...this.#records.filter(({ name, token }) => affected.has(name) || undeleted.includes(token)),
        ...ended.filter(({ name }) => affected.has(name)),
      ],
      [...this.#records, ...ended],
    );
    const stays = new Set([...right.values()].map((thing) => thing?.token));
    const unexplained = this.#records.find(
      (record) =>
        !stays.has(record.token) &&
        !stuck.has(record) &&
        this.#things.some(({ id }) => id === record.physical),
    );
    if (unexplained === undefined) return undefined;
    return `${unexplained.physical}, whose end waits for nothing that failed, is there`;
  }

  /** What cannot be looked at for cleanup because these cannot. */
  #stuck(these: readonly Ordered[], all: readonly Ordered[]): Set<Ordered> {
    const stuck = new Set(these);
    for (const first of stuck) {
      for (const record of all) if (this.#isCleanedUpBefore(first, record)) stuck.add(record);
    }
    return stuck;
  }

  /** What required a thing when the graph was made, or came after it under the same name, is looked at first. */
  #isCleanedUpBefore(other: Ordered, record: Ordered): boolean {
    const isNewer = other.name === record.name && other.sequence > record.sequence;
    return isNewer || this.#past.required.get(other.id)?.has(record.id) === true;
  }

  /** A name can have several things: one of them must be right. */
  #rightOnes(names: readonly string[]): Map<string, PhysicalThing | undefined> {
    const chosen = new Map<string, PhysicalThing | undefined>();
    const rightOne = (name: string): PhysicalThing | undefined => {
      if (!chosen.has(name)) {
        const named = this.#things.filter((thing) => thing.name === name);
        const found = named.filter((thing) => isAsWanted(this.#goal, thing, rightOne));
        chosen.set(name, found.findLast((thing) => !this.#isDoomed(thing)) ?? found.at(-1));
      }
      return chosen.get(name);
    };
    return new Map(names.map((name) => [name, rightOne(name)]));
  }

  #isDoomed({ token }: PhysicalThing): boolean {
    return this.#records.some((record) => record.token === token && record.context.doomed);
  }

  /** Whatever became of the goal: each thing has a record, and what a record says of its thing is so. */
  *ofRecords(): Generator<string> {
    const { known, deleting } = this.#past;
    for (const { id, token } of this.#things) {
      const records = this.#records.filter((record) => record.token === token);
      if (records.length === 0) yield `no record knows ${id}`;
      else if (!records.some((record) => record.physical === id || mayHaveMade(record)))
        yield `${id} is another thing than its record's`;
    }
    for (const { physical, name, token, state, context, attributes } of this.#records) {
      const isAtRest = state === "ready" || state === "replaced";
      if (isAtRest && physical === "") yield `${name} is ${state} without a thing`;
      if (physical === "" || known.isMissing(physical)) continue;
      const thing = this.#things.find(({ id }) => id === physical);
      if (thing === undefined) {
        if (isAtRest || !deleting.has(token)) yield `${physical} is gone, but its record stands`;
      } else if (isAtRest && !context.dirty && !jsonEqual(attributes, thing.attributes ?? thing.properties)) {
        yield `${physical} is not as its record says`;
      }
    }
  }

  /** Wherever a goal stopped, nothing is a mixture that no goal asked for. */
  *ofNoGoal(): Generator<string> {
    // What a drifted thing shows by now, others may have been brought in line with.
    const versions = [...this.#past.versions.filter(({ stack }) => stack === this.#stack), ...this.#things];
    const versionsOf = (name: string) => versions.filter((version) => version.name === name);
    for (const thing of this.#things) {
      const goals = this.#past.goals.all(this.#stack);
      if (!goals.some((goal) => isOfGoal(goal, thing, versionsOf)))
        yield `no goal wanted ${thing.id} as it is`;
    }
  }
}

function mayHaveMade({ physical, context }: KnownRecord): boolean {
  return physical === "" && context.unsure;
}
