/** What a scenario expects, looked up in the physical world, the call log and Redis. */
import type { Redis } from "ioredis";
import { statusOfState } from "../../machines/stack.js";
import { stackActor } from "../actor/actor.js";
import { parameterValues, parseTemplate, parseTemplateValue } from "../template/template.js";
import { differenceOf, type Goals } from "./goals.js";
import type { Expectation } from "./scenario.js";
import type { Op, Simulation } from "./simulation.js";
import type { PhysicalThing } from "./world.js";

/** The file is wrong, not the engine: a name that could mean several things. */
export class AmbiguousName extends Error {}

export class Expectations {
  /** In exploring mode faults add calls: `calls` are lower bounds. */
  atLeastCalls = false;
  readonly remembered = new Map<string, string>();
  readonly #simulation: Simulation;
  readonly #goals: Goals;
  readonly #redis: Redis;

  constructor(simulation: Simulation, goals: Goals, redis: Redis) {
    this.#simulation = simulation;
    this.#goals = goals;
    this.#redis = redis;
  }

  /** Why it does not hold, undefined when it does. */
  async problem(expected: Expectation): Promise<string | undefined> {
    const checks: (() => Promise<string | undefined>)[] = [
      async () => this.#reality(expected.reality),
      async () => this.#each(expected.physical, (name, count) => this.#physical(name, count)),
      async () => this.#total(expected.total),
      async () => this.#each(expected.status, (name, status) => this.#status(name, status)),
      async () => this.#each(expected.state, (name, state) => this.#state(name, state)),
      async () => this.#each(expected.calls, (name, counts) => this.#calls(name, counts)),
      async () => this.#each(expected.same, (name, as) => this.#same(name, as, true)),
      async () => this.#each(expected.differs, (name, as) => this.#same(name, as, false)),
      async () => this.#gone(expected.gone),
    ];
    for (const check of checks) {
      const problem = await check();
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  /** The physical thing that a bare or qualified name stands for: the newest. */
  thingOf(target: string): PhysicalThing | undefined {
    const { name, stack } = this.parse(target);
    return this.#simulation.world.named(name, stack).at(-1);
  }

  /** @throws AmbiguousName when several stacks have a resource by that name. */
  parse(target: string): { name: string; stack: string | undefined } {
    const slash = target.indexOf("/");
    const names = this.#simulation.stackNames;
    if (slash >= 0) {
      const stackName = target.slice(0, slash);
      const stack = [...names].filter(([, name]) => name === stackName).at(-1)?.[0];
      return { name: target.slice(slash + 1), stack: stack ?? "" };
    }
    const stacks = new Set(
      [...this.#simulation.world.things.values()]
        .filter((thing) => thing.name === target)
        .map((thing) => names.get(thing.stack) ?? thing.stack),
    );
    if (stacks.size > 1) {
      throw new AmbiguousName(
        `${target} is in the stacks ${[...stacks].join(", ")}: say which, as in stack/${target}`,
      );
    }
    return { name: target, stack: undefined };
  }

  async #each<T>(
    expected: Record<string, T | undefined> | undefined,
    check: (name: string, value: T) => string | undefined | Promise<string | undefined>,
  ): Promise<string | undefined> {
    for (const [name, value] of Object.entries(expected ?? {})) {
      const problem = value === undefined ? undefined : await check(name, value);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  #reality(expected: Expectation["reality"]): string | undefined {
    if (expected === undefined) return undefined;
    const document = documentOf(expected);
    const template =
      typeof document === "string"
        ? parseTemplate({ text: document, name: "reality", files: {} })
        : parseTemplateValue(document, "reality");
    const parameters = parameterValues(template, {}, { stackName: "", stackId: "" });
    return differenceOf({ template, parameters }, [...this.#simulation.world.things.values()]);
  }

  #physical(target: string, count: number): string | undefined {
    const { name, stack } = this.parse(target);
    const found = this.#simulation.world.named(name, stack).length;
    return found === count ? undefined : `there are ${found} physical ${target}, not ${count}`;
  }

  #total(total: number | undefined): string | undefined {
    const found = this.#simulation.world.things.size;
    return total === undefined || found === total
      ? undefined
      : `there are ${found} physical things, not ${total}`;
  }

  async #stackId(name: string): Promise<string | undefined> {
    return this.#simulation.store.stackOfName(name);
  }

  async #status(name: string, expected: string): Promise<string | undefined> {
    const id = await this.#stackId(name);
    const record = id === undefined ? undefined : await this.#simulation.store.stack(id);
    const status =
      record === undefined ? "NOT_FOUND" : statusOfState[stackActor.read(record.snapshot ?? "").state];
    return status === expected ? undefined : `the status of ${name} is ${status}, not ${expected}`;
  }

  async #state(target: string, expected: string): Promise<string | undefined> {
    const { name, stack } = this.parse(target);
    const stacks = stack === undefined ? [...this.#simulation.stackNames.keys()] : [stack];
    const found = (await Promise.all(stacks.map((id) => this.#stateIn(id, name)))).filter(
      (state) => state !== undefined,
    );
    if (found.length > 1)
      throw new AmbiguousName(`${target} is in several stacks: say which, as in stack/${target}`);
    const state = found[0] ?? "absent";
    return state === expected ? undefined : `the state of ${target} is ${state}, not ${expected}`;
  }

  async #stateIn(stack: string, name: string): Promise<string | undefined> {
    const { store } = this.#simulation;
    const record = await store.stack(stack);
    if (record === undefined) return undefined;
    const entries = [...(await store.index(stack)).values()].filter((entry) => entry.name === name);
    entries.sort((a, b) => b.sequence - a.sequence);
    if (entries[0] !== undefined) return entries[0].state;
    const goal = record.action === "delete" ? undefined : await this.#goals.current(stack);
    return goal?.template.resources.has(name) === true ? "declared" : undefined;
  }

  #calls(target: string, counts: Partial<Record<Op, number>>): string | undefined {
    const { name, stack } = this.parse(target);
    for (const [operation, expected] of Object.entries(counts)) {
      const found = this.#simulation.world.calls.filter(
        (call) =>
          call.resource === name &&
          call.operation === operation &&
          (stack === undefined || call.stack === stack),
      ).length;
      const holds = this.atLeastCalls ? found >= (expected ?? 0) : found === expected;
      if (!holds) return `there were ${found} ${operation} calls of ${target}, not ${expected}`;
    }
    return undefined;
  }

  #same(target: string, as: string, expected: boolean): string | undefined {
    const before = this.remembered.get(as);
    const now = this.thingOf(target)?.id;
    if (before === undefined) return `nothing is remembered as ${as}`;
    if ((now === before) === expected) return undefined;
    return expected ? `${target} is ${now}, not ${before} any more` : `${target} is still ${before}`;
  }

  /** Of an id that must not come to be any more; it expires by itself. */
  async #isBar(key: string): Promise<boolean> {
    return key.endsWith(":s") && (await this.#redis.hexists(key, "void")) === 1;
  }

  /** A goal that a repeated request stored again, and that became nothing; it expires by itself. */
  async #isDraft(key: string): Promise<boolean> {
    return /:t:[^:]*$/.test(key) && (await this.#redis.pttl(key)) > 0;
  }

  async #gone(gone: Expectation["gone"]): Promise<string | undefined> {
    for (const name of gone === undefined ? [] : [gone].flat()) {
      const ids = [...this.#simulation.stackNames].filter(([, other]) => other === name).map(([id]) => id);
      if ((await this.#stackId(name)) !== undefined) return `the name ${name} is still taken`;
      const keys = await this.#redis.keys(`${this.#simulation.store.keys.prefix}*`);
      const left = [];
      for (const key of keys.filter((key) => ids.some((id) => key.includes(`{${id}}`)))) {
        if (!(await this.#isBar(key)) && !(await this.#isDraft(key))) left.push(key);
      }
      if (left.length > 0) return `${name} left ${left.join(", ")} in Redis`;
      const hints = await this.#simulation.store.hinted();
      const timers = hints.filter((id) => ids.includes(id));
      if (timers.length > 0) return `${name} left a timer`;
      const messages = [
        ...this.#simulation.queue,
        ...this.#simulation.delayed.map(({ delivery }) => delivery),
      ];
      if (messages.some(({ visit }) => ids.includes(visit.stack))) return `${name} left notifications`;
    }
    return undefined;
  }
}

/** An expectation gives values where a template declares: each value is its own declaration's default. */
function documentOf(expected: NonNullable<Expectation["reality"]>): unknown {
  if (typeof expected === "string") return expected;
  const { parameters = {}, ...document } = expected;
  const declared = Object.entries(parameters).map(([name, value]) => [name, declarationOf(value)]);
  return { resources: {}, ...document, parameters: Object.fromEntries(declared) };
}

function declarationOf(value: unknown): unknown {
  if (value !== null && typeof value === "object" && "type" in value) return value;
  const types = { string: "string", number: "number", boolean: "boolean" } as Record<string, string>;
  return { type: types[typeof value] ?? "json", default: value };
}
