/** The goals of a run as the checkers know them: read from Redis the moment a traversal's number was raised. */
import { canonicalJson, type Json, type JsonObject } from "../json.js";
import type { Sealing } from "../store/sealing.js";
import type { Store } from "../store/store.js";
import { bindDefinition, resolveProperties } from "../template/template.js";
import type { ParameterValues, ResourceDefinition, ResourceView, Template } from "../template/types.js";
import type { Engine } from "../traversal/engine.js";
import { type GoalDocument, readGoal, templateOf } from "../traversal/goal-document.js";
import type { KnownWorld } from "./known-world.js";
import type { PhysicalThing } from "./world.js";

export interface KnownGoal {
  /** Of its document in Redis; the same again when a rollback goes back to it. */
  id: string;
  traversal: number;
  action: string;
  /** The stack's status from the moment on: a cancelled goal never starts. */
  status: string;
  template: Template;
  parameters: ParameterValues;
}

export class Goals {
  readonly #store: Store;
  readonly #sealing: Sealing;
  readonly #goals = new Map<string, KnownGoal[]>();

  constructor(store: Store, sealing: Sealing) {
    this.#store = store;
    this.#sealing = sealing;
  }

  async note(stack: string): Promise<void> {
    const record = await this.#store.stack(stack);
    if (record === undefined) return;
    const reader = { store: this.#store, sealing: this.#sealing } as Engine;
    const document = await readGoal(reader, stack, record.goal ?? "");
    const known = this.#goals.get(stack) ?? [];
    if (document === undefined || known.at(-1)?.traversal === Number(record.traversal)) return;
    known.push({
      id: record.goal ?? "",
      traversal: Number(record.traversal),
      action: record.action ?? "",
      status: record.status ?? "",
      ...goalOf(document),
    });
    this.#goals.set(stack, known);
  }

  at(stack: string, traversal: number): KnownGoal | undefined {
    return this.#goals.get(stack)?.find((goal) => goal.traversal === traversal);
  }

  /** Reads the goal of the moment again. */
  async current(stack: string): Promise<KnownGoal | undefined> {
    await this.note(stack);
    return this.newest(stack);
  }

  newest(stack: string): KnownGoal | undefined {
    return this.#goals.get(stack)?.at(-1);
  }

  stacks(): string[] {
    return [...this.#goals.keys()];
  }

  all(stack: string): readonly KnownGoal[] {
    return this.#goals.get(stack) ?? [];
  }
}

function goalOf(document: GoalDocument): Pick<KnownGoal, "template" | "parameters"> {
  return { template: templateOf(document), parameters: document.parameters };
}

/**
 * Whether the world is exactly what a template says: one thing per name, no other, every value right. Undefined when
 * it is, else what differs.
 */
export function differenceOf(
  goal: Pick<KnownGoal, "template" | "parameters">,
  things: readonly PhysicalThing[],
): string | undefined {
  const { resources } = goal.template;
  const counts = new Map<string, number>();
  for (const thing of things) {
    if (!resources.has(thing.name)) return `${thing.id} exists, but no ${thing.name} is wanted`;
    counts.set(thing.name, (counts.get(thing.name) ?? 0) + 1);
  }
  const byName = new Map(things.map((thing) => [thing.name, thing]));
  for (const [name, definition] of resources) {
    const count = counts.get(name) ?? 0;
    if (count !== 1) return `there are ${count} ${name}, not 1`;
    const wanted = resolve(goal, definition, (other) => byName.get(other));
    const found = byName.get(name)?.properties;
    const problem = wanted === undefined ? "cannot be resolved" : difference(wanted, found ?? {});
    if (problem !== undefined) return `${name}: ${problem}`;
  }
  return undefined;
}

/** These names, and all that depend on one of them under a goal. */
export function affectedBy(goal: KnownGoal, names: Iterable<string>): Set<string> {
  const affected = new Set(names);
  for (let before = -1; before !== affected.size; ) {
    before = affected.size;
    for (const [name, { dependencies }] of goal.template.resources) {
      if (dependencies.some((dependency) => affected.has(dependency))) affected.add(name);
    }
  }
  return affected;
}

/** Whether a goal's values can be had at all from what exists. */
export function isResolvable(goal: KnownGoal, name: string, things: readonly PhysicalThing[]): boolean {
  const definition = goal.template.resources.get(name);
  const thingOf = (other: string) => things.findLast((thing) => thing.name === other);
  if (definition === undefined || definition.dependencies.some((other) => thingOf(other) === undefined))
    return true;
  return resolve(goal, definition, thingOf) !== undefined;
}

/** Whether a thing is exactly what a goal says, with what it depends on as given. */
export function isAsWanted(
  goal: KnownGoal,
  thing: PhysicalThing,
  thingOf: (name: string) => PhysicalThing | undefined,
): boolean {
  const definition = goal.template.resources.get(thing.name);
  if (definition === undefined || definition.dependencies.some((name) => thingOf(name) === undefined))
    return false;
  const wanted = resolve(goal, definition, thingOf);
  return wanted !== undefined && difference(wanted, thing.properties) === undefined;
}

/** Versions of what a property refers to, at most: so many are never there. */
const mostVersions = 10_000;

/** Whether a goal alone can have made a thing what it is, with what it depends on as that was at some time. */
export function isOfGoal(
  goal: KnownGoal,
  thing: PhysicalThing,
  versionsOf: (name: string) => readonly PhysicalThing[],
): boolean {
  const definition = goal.template.resources.get(thing.name);
  if (definition === undefined) return false;
  const { properties, dependencies } = definition;
  const names = Object.keys(properties).filter((name) => !name.startsWith("$"));
  if (Object.keys(thing.properties).some((name) => !names.includes(name))) return false;
  return names.every((name) => {
    const value = properties[name] as Json;
    const text = JSON.stringify(value);
    const one = { ...definition, properties: { [name]: value } };
    const found = { [name]: thing.properties[name] as Json };
    let choices: Map<string, PhysicalThing>[] = [new Map()];
    for (const dependency of dependencies.filter((other) => text.includes(other))) {
      const versions = versionsOf(dependency);
      choices = choices.flatMap((choice) =>
        versions.map((version) => new Map(choice).set(dependency, version)),
      );
      if (choices.length > mostVersions) throw new Error(`${choices.length} versions: something spins`);
    }
    return choices.some((choice) => {
      const wanted = resolve(goal, one, (other) => choice.get(other));
      return wanted !== undefined && difference(wanted, found) === undefined;
    });
  });
}

/** What a goal says of a thing, with what it depends on as given; undefined when that cannot be worked out. */
export function resolve(
  goal: Pick<KnownGoal, "parameters">,
  definition: ResourceDefinition,
  thingOf: (name: string) => PhysicalThing | undefined,
): JsonObject | undefined {
  const view = (name: string): ResourceView | undefined => {
    const thing = thingOf(name);
    return thing === undefined
      ? undefined
      : { physicalId: thing.id, attributes: thing.attributes ?? thing.properties };
  };
  try {
    const { properties } = resolveProperties(bindDefinition(definition, goal.parameters), view);
    return Object.fromEntries(Object.entries(properties).filter(([name]) => !name.startsWith("$")));
  } catch {
    return undefined;
  }
}

function difference(wanted: JsonObject, found: JsonObject): string | undefined {
  const names = new Set([...Object.keys(wanted), ...Object.keys(found)]);
  for (const name of names) {
    const [want, have] = [wanted[name], found[name]].map((value) =>
      value === undefined ? undefined : canonicalJson(value),
    );
    if (want !== have) return `property ${name} is ${have ?? "absent"}, not ${want ?? "absent"}`;
  }
  return undefined;
}

/** The things that one is certain to refer to under a goal: by physical id, or because there is only one by the name. */
export function referencesOf(
  goal: KnownGoal,
  stack: string,
  name: string,
  properties: JsonObject,
  world: KnownWorld,
): Set<string> {
  const text = JSON.stringify(properties);
  const found = new Set<string>();
  for (const dependency of goal.template.resources.get(name)?.dependencies ?? []) {
    const candidates = world.named(dependency, stack);
    const mentioned = candidates.filter((thing) => text.includes(JSON.stringify(thing.id).slice(1, -1)));
    const certain = mentioned.length === 1 ? mentioned : candidates.length === 1 ? candidates : [];
    for (const thing of certain) found.add(thing.id);
  }
  return found;
}
