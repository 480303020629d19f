/**
 * Scenarios at random: a stack, now and then a second one, a few goals at random moments, and what the provider does
 * meanwhile. The same seed gives the same scenario.
 *
 * Invariants
 * 1. Every template is valid: references go to what stands before in one order, which two templates need not share.
 * 2. Every step can be carried out whatever happened before; what a run may reach too early or too late is optional.
 */
import { Prng } from "./prng.js";

/** A scenario file's content. */
export interface ScenarioDocument {
  name: string;
  description?: string;
  workers: number;
  steps: Record<string, unknown>[];
}

interface Reference {
  property: string;
  /** `attribute`: of property `a`, which every resource has. */
  kind: "id" | "attribute" | "dependsOn";
  to: string;
}

interface Resource {
  name: string;
  /** In place. */
  a: number;
  /** A change replaces the resource. */
  fixed: number | undefined;
  references: Reference[];
  idempotent: boolean;
  findable: boolean;
  /** Seconds; undefined: its calls take as long as they take. */
  timeout: number | undefined;
  retain: boolean;
}

/** In an order in which references only go back. */
type Stack = Resource[];

export type TemplateDocument = {
  parameters?: Record<string, unknown>;
  resources: Record<string, Record<string, unknown>>;
};

const names = ["A", "B", "C", "D", "E", "F", "G", "H"];
const otherNames = ["P", "Q", "R"];
const operations = ["create", "update", "delete"];

/** Resources in the first template of a stack, mostly. */
const usualSize = 6;

export function generateScenario(seed: number): ScenarioDocument {
  return new Generator(seed).scenario();
}

class Generator {
  readonly #seed: number;
  readonly #prng: Prng;
  readonly #steps: Record<string, unknown>[] = [];
  /** Whether much is looked at in it. */
  readonly #observed: boolean;
  /** Whether something may end in a failure for good: then nobody knows whether a delete succeeds. */
  #mayFail = false;
  #count = 0;

  constructor(seed: number) {
    this.#seed = seed;
    this.#prng = new Prng(seed ^ 0x9e3779b9);
    this.#observed = this.#prng.chance(0.3);
  }

  scenario(): ScenarioDocument {
    const main = new Line("foo", this.#grow(names, 1 + this.#prng.below(usualSize)));
    const other = new Line("bar", this.#grow(otherNames, 1 + this.#prng.below(otherNames.length)));
    this.#create(main);
    const goals = 1 + this.#prng.below(4);
    let both = false;
    for (let goal = 0; goal < goals; goal += 1) {
      if (!both && this.#prng.chance(0.12)) {
        this.#create(other);
        both = true;
      }
      this.#pause(main);
      if (this.#prng.chance(0.2)) this.#fail(main);
      const line = both && this.#prng.chance(0.3) ? other : main;
      if (this.#prng.chance(0.15)) this.#steps.push({ race: [this.#goal(line), this.#goal(line)] });
      else this.#goalAlone(line);
    }
    this.#end(main);
    return { name: `generated-${this.#seed}`, workers: 1 + this.#prng.below(4), steps: this.#steps };
  }

  /** How far the engine gets before the next goal. */
  #pause(line: Line): void {
    const kind = this.#prng.fraction();
    if (kind < 0.6) this.#steps.push({ visits: this.#prng.below(20) });
    else if (kind < 0.75) this.#steps.push({ advance: `${1 + this.#prng.below(90)}s` });
    else if (kind < 0.92) this.#steps.push({ settle: true });
    else {
      this.#steps.push({ settle: true });
      this.#drift(line);
    }
    if (this.#prng.chance(this.#observed ? 0.5 : 0.04)) this.#watch(line);
  }

  /** Reality changes and is reported, or is looked at, or its policy changes. */
  #watch(line: Line): void {
    const kind = this.#prng.fraction();
    const { name: stack } = line;
    if (kind < 0.6) {
      for (let i = this.#prng.below(3); i >= 0; i -= 1) this.#drift(line);
      if (this.#prng.chance(0.4)) this.#steps.push({ advance: `${1 + this.#prng.below(70)}s` });
      if (this.#prng.chance(0.5)) this.#steps.push({ settle: true });
    } else if (kind < 0.7) this.#steps.push({ observe: { stack } });
    else if (kind < 0.8) this.#steps.push({ policy: { stack, document: this.#policy() } });
    else if (kind < 0.87) this.#steps.push({ pause: { stack } });
    else if (kind < 0.94) this.#steps.push({ resume: { stack } });
    else this.#steps.push({ replace: { stack, resource: this.#prng.pick(line.pool) } });
  }

  #policy(): Record<string, unknown> {
    const policies: Record<string, unknown>[] = [
      {},
      { policy: "report" },
      { policy: "ignore" },
      { poll: "10s" },
      { ignore: ["a"] },
      { retry: false },
      { budget: { burst: 1, per_minute: 10 } },
      { incident: { missing: 2, within: "60s" } },
      { fight: { repairs: 1, within: "60s" } },
    ];
    return { ...this.#prng.pick(policies), ...this.#prng.pick(policies) };
  }

  #create(line: Line): void {
    line.seen.push(line.stack);
    const policy = this.#observed && this.#prng.chance(0.4) ? this.#policy() : {};
    const parameters = { homeostat_policy: { type: "json", default: policy } };
    const own = Object.keys(policy).length === 0 ? {} : { parameters };
    const template = { ...own, ...templateOf(line.stack) };
    this.#steps.push({ create: { stack: line.name, template, ...this.#options() } });
  }

  #goal(line: Line): Record<string, unknown> {
    const { name: stack } = line;
    const kind = this.#prng.fraction();
    if (kind < 0.62) {
      line.stack = this.#prng.chance(0.2) ? this.#prng.pick(line.seen) : this.#change(line.stack, line.pool);
      line.seen.push(line.stack);
      return { update: { stack, template: templateOf(line.stack), ...this.#options() } };
    }
    if (kind < 0.79) return { rollback: { stack } };
    if (kind < 0.88) return { cancel: { stack, rollback: this.#prng.chance(0.5) } };
    return { delete: { stack } };
  }

  /** Where nothing else can have come first, a deleted stack is gone without a trace, and comes anew. */
  #goalAlone(line: Line): void {
    const goal = this.#goal(line);
    this.#steps.push(goal);
    if (!("delete" in goal) || this.#mayFail || this.#prng.chance(0.5)) return;
    const { name: stack } = line;
    this.#steps.push({ settle: true }, { expect: { gone: stack, status: { [stack]: "NOT_FOUND" } } });
    this.#create(line);
  }

  /** Settled; and sometimes everything is to go in the end, without a trace. */
  #end(line: Line): void {
    this.#steps.push({ settle: true });
    if (this.#observed)
      this.#steps.push({ resume: { stack: line.name } }, { advance: "7m" }, { settle: true });
    if (this.#mayFail || this.#prng.chance(0.6)) return;
    this.#steps.push({ delete: { stack: line.name } }, { settle: true }, { expect: { gone: line.name } });
  }

  #fail(line: Line): void {
    const retryable = this.#prng.chance(0.6);
    this.#mayFail = true;
    this.#steps.push({
      fail: {
        resource: this.#prng.pick(line.pool),
        op: this.#prng.pick(operations),
        times: 1 + this.#prng.below(2),
        retryable,
        after: this.#prng.chance(0.3),
        optional: true,
      },
    });
  }

  #drift(line: Line): void {
    this.#mayFail = true;
    const resource = this.#prng.pick(line.pool);
    const fixed = this.#prng.chance(0.2) ? { "!fixed": -1 } : { a: -1 };
    const change = this.#prng.chance(0.5) ? { missing: true } : { set: fixed };
    this.#steps.push({ drift: { resource, ...change } });
    if (this.#prng.chance(0.5)) this.#steps.push({ notify: { resource } });
  }

  #options(): Record<string, unknown> {
    const options: Record<string, unknown> = {};
    if (this.#prng.chance(0.15)) options.rollback_on_failure = true;
    if (this.#prng.chance(0.06)) {
      options.timeout = `${20 + this.#prng.below(200)}s`;
      this.#mayFail = true;
    }
    return Object.keys(options).length === 0 ? {} : { options };
  }

  // --- templates

  #grow(pool: readonly string[], size: number): Stack {
    const stack: Stack = [];
    for (const name of this.#shuffled(pool).slice(0, size)) stack.push(this.#resource(name, stack));
    return stack;
  }

  #resource(name: string, before: Stack): Resource {
    const a = this.#number();
    const resource = {
      name,
      a,
      fixed: this.#prng.chance(0.4) ? this.#number() : undefined,
      references: this.#references(before),
      idempotent: this.#prng.chance(0.15),
      timeout: this.#prng.chance(0.3) ? 5 + this.#prng.below(40) : undefined,
      retain: this.#prng.chance(0.04),
    };
    // What cannot be found must be idempotent, or a person is asked.
    return { ...resource, findable: !resource.idempotent || a % 2 === 0 };
  }

  #references(before: Stack): Reference[] {
    const references: Reference[] = [];
    const most = Math.min(before.length, this.#prng.chance(0.1) ? before.length : 2);
    for (const { name: to } of this.#shuffled(before).slice(0, this.#prng.below(most + 1))) {
      const kind = this.#prng.pick(["id", "id", "attribute", "dependsOn"] as const);
      const property = `${this.#prng.chance(0.25) ? "!" : ""}of${to}`;
      references.push({ property, kind, to });
    }
    return references;
  }

  /** Another template, not far from this one. */
  #change(stack: Stack, pool: readonly string[]): Stack {
    let changed = stack.map((resource) => ({ ...resource }));
    const changes = 1 + this.#prng.below(3);
    for (let change = 0; change < changes; change += 1) changed = this.#changeOnce(changed, pool);
    return changed;
  }

  #changeOnce(stack: Stack, pool: readonly string[]): Stack {
    const one = stack.length === 0 ? undefined : this.#prng.pick(stack);
    const free = pool.filter((name) => stack.every((resource) => resource.name !== name));
    const kind = this.#prng.fraction();
    if (one === undefined || (kind < 0.15 && free.length > 0)) {
      return [...stack, this.#resource(this.#prng.pick(free.length > 0 ? free : pool), stack)];
    }
    if (kind < 0.35) one.a = this.#number();
    else if (kind < 0.55) one.fixed = this.#number();
    else if (kind < 0.68) return without(stack, one.name);
    else if (kind < 0.76 && free.length > 0) return renamed(stack, one.name, this.#prng.pick(free));
    else if (kind < 0.88) one.references = this.#references(stack.slice(0, stack.indexOf(one)));
    else return this.#inverted(stack);
    return stack;
  }

  /** The same resources in the opposite order, each referring to others than before. */
  #inverted(stack: Stack): Stack {
    const inverted: Stack = [];
    for (const resource of [...stack].reverse()) {
      inverted.push({ ...resource, references: this.#references(inverted) });
    }
    return inverted;
  }

  /** Never twice the same. */
  #number(): number {
    this.#count += 1;
    return this.#count;
  }

  #shuffled<T>(items: readonly T[]): T[] {
    const shuffled = [...items];
    for (let i = shuffled.length - 1; i > 0; i -= 1) {
      const j = this.#prng.below(i + 1);
      [shuffled[i], shuffled[j]] = [shuffled[j] as T, shuffled[i] as T];
    }
    return shuffled;
  }
}

/** A stack's way through the scenario. */
class Line {
  readonly name: string;
  stack: Stack;
  readonly pool: readonly string[];
  readonly seen: Stack[] = [];

  constructor(name: string, stack: Stack) {
    this.name = name;
    this.stack = stack;
    this.pool = name === "foo" ? names : otherNames;
  }
}

function without(stack: Stack, name: string): Stack {
  return stack
    .filter((resource) => resource.name !== name)
    .map((resource) => ({ ...resource, references: resource.references.filter(({ to }) => to !== name) }));
}

function renamed(stack: Stack, from: string, to: string): Stack {
  return stack.map((resource) => ({
    ...resource,
    name: resource.name === from ? to : resource.name,
    references: resource.references.map((reference) =>
      reference.to === from ? { ...reference, to } : reference,
    ),
  }));
}

function templateOf(stack: Stack): TemplateDocument {
  return { resources: Object.fromEntries(stack.map((resource) => [resource.name, definitionOf(resource)])) };
}

function definitionOf(resource: Resource): Record<string, unknown> {
  const { a, fixed, references, idempotent, findable, timeout, retain } = resource;
  const values = references
    .filter(({ kind }) => kind !== "dependsOn")
    .map(({ property, kind, to }) => [
      property,
      kind === "id" ? { get_resource: to } : { get_attr: [to, "a"] },
    ]);
  const properties = {
    a,
    ...(fixed === undefined ? {} : { "!fixed": fixed }),
    ...Object.fromEntries(values),
    ...(idempotent ? { $idempotent: true } : {}),
    ...(findable ? {} : { $findable: false }),
    ...(timeout === undefined ? {} : { $timeout: `${timeout}s` }),
  };
  const dependsOn = references.filter(({ kind }) => kind === "dependsOn").map(({ to }) => to);
  return {
    type: "Sim::Resource",
    properties,
    ...(dependsOn.length === 0 ? {} : { depends_on: dependsOn }),
    ...(retain ? { deletion_policy: "Retain" } : {}),
  };
}
