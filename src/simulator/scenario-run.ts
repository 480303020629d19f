/**
 * Runs a scenario's steps. What they mean is here; how the engine gets from one to the next is the driver's: step by
 * step, or in a random order with faults.
 */
import type { Redis } from "ioredis";
import { Observation } from "../api/observation.js";
import type { Reply } from "../api/schemas.js";
import { requests } from "../api/schemas.js";
import { Stacks } from "../api/stacks.js";
import { HomeostatError, messageOf } from "../errors.js";
import type { Engine } from "../traversal/engine.js";
import { AmbiguousName, Expectations } from "./expectations.js";
import { Goals } from "./goals.js";
import { Invariants } from "./invariants.js";
import { ObservedInvariants } from "./observed-invariants.js";
import { readSettled } from "./reality.js";
import type { Expectation, GoalStep, Scenario, Step, StepOf } from "./scenario.js";
import { type Armed, type Op, Simulation, type SimulationOptions, Violation } from "./simulation.js";

export interface RunResult {
  ok: boolean;
  visits: number;
  /** The file itself is wrong. */
  unusable?: { line: number; message: string };
  failure?: { step: string; message: string; trace: string[] };
}

/** Steps in which the engine goes on; in the others nothing moves but what they say. */
const goesOn: ReadonlySet<Step["kind"]> = new Set(["visits", "settle", "advance", "release"]);

class StepFailed extends Error {}

/** In a random order a delete may be over before the next goal comes: what the scenario says then is moot. */
class DeletedMeanwhile extends Error {}

/** `answered`: whoever asked has the answer, and what follows is nobody's to wait for. */
export type Action = (stacks: Stacks, engine: Engine, answered?: () => void) => Promise<void>;

export interface CallOutcome {
  error?: unknown;
}

/** How the engine moves between the steps. */
export interface Driver {
  /** Whether only what was expected right after settling is exact. */
  readonly explores: boolean;
  /** Of the API, all at once where that is possible. */
  call(actions: readonly Action[]): Promise<CallOutcome[]>;
  /** Answers whether there were so many. */
  visits(count: number): Promise<boolean>;
  /** Answers whether it came to hold before everything was quiet. */
  until(holds: () => Promise<boolean>): Promise<boolean>;
  /** `whenIdle`: is called once, when nothing more can happen without time. */
  settle(whenIdle: () => Promise<void>): Promise<void>;
  advance(ms: number): Promise<void>;
  /** Before a step that is not `until`. */
  resume(): Promise<void>;
}

export class ScenarioRun {
  readonly simulation: Simulation;
  readonly #scenario: Scenario;
  readonly #driver: Driver;
  readonly #goals: Goals;
  readonly #expectations: Expectations;
  readonly #invariants: Invariants;
  readonly #observed: ObservedInvariants;
  /** Whether a step asked for more visits than there were. */
  exhausted = false;
  readonly #deleted = new Set<string>();
  readonly #armedAhead = new Set<Step>();
  #requests = 0;

  constructor(
    scenario: Scenario,
    redis: Redis,
    driverOf: (simulation: Simulation) => Driver,
    options?: SimulationOptions,
  ) {
    this.#scenario = scenario;
    this.simulation = new Simulation(redis, options);
    this.#driver = driverOf(this.simulation);
    const goals = new Goals(this.simulation.store, this.simulation.sealing);
    this.#goals = goals;
    this.#invariants = new Invariants(this.simulation, goals, redis);
    this.simulation.watch(this.#invariants);
    this.#observed = new ObservedInvariants(this.simulation, goals, this.#invariants.known);
    this.simulation.watchLooks(this.#observed);
    this.#expectations = new Expectations(this.simulation, goals, redis);
    this.#expectations.atLeastCalls = this.#driver.explores;
  }

  async run(): Promise<RunResult> {
    await this.simulation.clear();
    let at = "the start";
    let before: Step["kind"] | undefined;
    try {
      for (const [i, step] of this.#scenario.steps.entries()) {
        at = `step ${i + 1} (${step.kind}, line ${step.line})`;
        this.simulation.log(`--- ${at}`);
        if (goesOn.has(step.kind)) await this.#driver.resume();
        if (this.#driver.explores && isGoal(step)) this.#armAhead(i + 1);
        // Between faults, only what holds in the end is exact.
        const exact = !this.#driver.explores || before === "settle" || before === "expect";
        if (step.kind !== "expect" || exact) {
          await this.#step(step);
          before = step.kind;
        } else before = undefined;
        this.simulation.check();
      }
      at = "the end";
      const unreached = this.simulation.armed.find((armed) => !armed.optional && !armed.reached);
      if (unreached !== undefined && !this.#driver.explores) {
        throw new StepFailed(`the ${unreached.kind} of line ${unreached.line} was never reached`);
      }
      return { ok: true, visits: this.simulation.visits };
    } catch (error) {
      const { visits, trace } = this.simulation;
      if (error instanceof DeletedMeanwhile) return this.#endEarly();
      if (error instanceof AmbiguousName) {
        return {
          ok: false,
          visits,
          unusable: { line: Number(/line (\d+)/.exec(at)?.[1] ?? 1), message: error.message },
        };
      }
      const isPlain = error instanceof StepFailed || error instanceof Violation || isRefusal(error);
      const message = isPlain ? error.message : `${messageOf(error)}\n${stackOf(error)}`;
      return { ok: false, visits, failure: { step: at, message, trace } };
    }
  }

  async #endEarly(): Promise<RunResult> {
    const { visits, trace } = this.simulation;
    try {
      await this.#settle();
      this.simulation.check();
      return { ok: true, visits };
    } catch (error) {
      return { ok: false, visits, failure: { step: "the end", message: messageOf(error), trace } };
    }
  }

  async #step(step: Step): Promise<void> {
    switch (step.kind) {
      case "create":
      case "update":
      case "delete":
      case "rollback":
      case "cancel":
        return this.#setGoals([step]);
      case "race":
        return this.#setGoals(step.with);
      case "resume":
      case "observe":
      case "policy":
      case "replace":
      case "approve":
      case "dismiss":
        return this.#verb(step);
      case "notify":
        return this.#notify(step.with);
      case "visits":
        return this.#visits(step.with);
      case "until":
        return this.#until(step.with);
      case "settle":
        return this.#settle();
      case "advance":
        return this.#advance(step.with);
      case "expect":
        return this.#expect(step.with);
      case "remember":
        return this.#remember(step.with);
      case "fail":
      case "hold":
      case "crash":
      case "pause":
        if ("stack" in step.with) return this.#verb(step as VerbStep);
        if (!this.#armedAhead.delete(step)) this.#arm(step);
        return;
      case "release":
        return this.#release(step.with);
      case "drift":
        return this.#drift(step.with);
      case "duplicate":
        this.simulation.duplicates = step.with;
        return;
      case "lose":
        this.simulation.losses = step.with;
        return;
    }
  }

  async #setGoals(goals: readonly GoalStep[]): Promise<void> {
    const actions = goals.map((step): Action => {
      this.#requests += 1;
      const request = `request-${this.#requests}`;
      return async (stacks, _, answered) => {
        const reply = await ask(stacks, step, request);
        answered?.();
        if (reply.begun) await stacks.begin(reply);
      };
    });
    const outcomes = await this.#driver.call(actions);
    this.#observed.asked();
    for (const step of goals) if (step.kind === "delete") this.#deleted.add(step.with.stack);
    for (const [i, step] of goals.entries()) this.#judge(step, outcomes[i]?.error);
  }

  async #verb(step: VerbStep): Promise<void> {
    this.#requests += 1;
    const request = `request-${this.#requests}`;
    const [outcome] = await this.#driver.call([
      (_, engine, answered) => carryOut(engine, step, request, answered),
    ]);
    this.#observed.asked();
    // In a random order what a person would answer may not have come about.
    const code = outcome?.error instanceof HomeostatError ? outcome.error.code : undefined;
    const early = code === "not_found" || code === "invalid" || code === "conflict";
    if (this.#driver.explores && early && step.with.error === undefined) return;
    this.#judge(step, outcome?.error);
  }

  async #notify({ resource }: StepOf<"notify">): Promise<void> {
    const { name, stack } = this.#expectations.parse(resource);
    const { known } = this.simulation.world;
    const thing = known.findLast((one) => one.name === name && (stack === undefined || one.stack === stack));
    await this.simulation.observers.notify({ type: "Sim::Resource", physicalId: thing?.id ?? name });
  }

  #judge({ with: { stack: name, error: expected } }: GoalStep | VerbStep, error: unknown): void {
    const code = error instanceof HomeostatError ? error.code : undefined;
    if (code === "not_found" && this.#driver.explores && this.#deleted.has(name))
      throw new DeletedMeanwhile();
    if (error !== undefined && (code === undefined || code !== expected)) throw error;
    if (error === undefined && expected !== undefined) {
      throw new StepFailed(`it succeeded, but was to fail with ${expected}`);
    }
  }

  async #visits(count: number): Promise<void> {
    if (!(await this.#driver.visits(count))) this.exhausted = true;
  }

  async #until(expected: Expectation): Promise<void> {
    const holds = async () => (await this.#expectations.problem(expected)) === undefined;
    if ((await holds()) || (await this.#driver.until(holds)) || this.#driver.explores) return;
    const problem = await this.#expectations.problem(expected);
    throw new StepFailed(`everything is quiet, and it does not hold: ${problem}`);
  }

  async #settle(): Promise<void> {
    await this.#driver.settle(() => this.#invariants.checkPrompt());
    const stacks = await Promise.all(
      this.#goals.stacks().map((stack) => readSettled(this.simulation, stack)),
    );
    await this.#invariants.checkSettled(stacks);
    await this.#observed.checkSettled(stacks);
  }

  async #advance(ms: number): Promise<void> {
    await this.#driver.advance(ms);
    await this.#observed.checkMended();
  }

  async #expect(expected: Expectation): Promise<void> {
    const problem = await this.#expectations.problem(expected);
    if (problem !== undefined) throw new StepFailed(problem);
  }

  #remember({ as, resource }: StepOf<"remember">): void {
    const thing = this.#expectations.thingOf(resource);
    if (thing === undefined) throw new StepFailed(`there is no physical ${resource} to remember`);
    this.#expectations.remembered.set(as, thing.id);
  }

  /** In a random order visits go on while a goal is set: what is armed right after it must not come too late for them. */
  #armAhead(from: number): void {
    for (const step of this.#scenario.steps.slice(from)) {
      if (!isArming(step) || ("during" in step.with && step.with.during === "begin")) return;
      this.#arm(step);
      this.#armedAhead.add(step);
    }
  }

  #arm(step: ArmingStep): void {
    const given = step.with as Partial<StepOf<"fail">> & Interruption;
    const { resource, stack } = splitTarget(given.resource);
    const { at, during, op, retryable, after, error } = given;
    const armed: Armed = {
      kind: step.kind,
      line: step.line,
      times: given.times ?? 1,
      reached: false,
      optional: given.optional ?? false,
      ...defined({ at, during, stack, resource, op, forMs: given.for, retryable, after, error }),
    };
    this.simulation.armed.push(armed);
  }

  async #release(target: StepOf<"release">): Promise<void> {
    const { resource, stack } = splitTarget(target.resource);
    const held = this.simulation.held.find(
      (one) =>
        (resource === undefined || one.resource === resource) &&
        (stack === undefined || this.simulation.stackNames.get(one.stack) === stack) &&
        (target.op === undefined || one.op === target.op),
    );
    if (held === undefined) {
      if (this.#driver.explores) return this.#disarm(resource, stack, target.op);
      throw new StepFailed("no such call is held");
    }
    held.release();
    await this.simulation.quiesce();
  }

  /** A call that comes after its release is not held any more. */
  #disarm(resource: string | undefined, stack: string | undefined, op: Op | undefined): void {
    const { armed } = this.simulation;
    const index = armed.findIndex(
      (one) =>
        one.kind === "hold" &&
        (resource === undefined || one.resource === resource) &&
        (stack === undefined || one.stack === stack) &&
        (op === undefined || one.op === op),
    );
    if (index >= 0) armed.splice(index, 1);
  }

  #drift({ resource, set, missing }: StepOf<"drift">): void {
    const thing = this.#expectations.thingOf(resource);
    if (thing === undefined && this.#driver.explores) return;
    if (thing === undefined) throw new StepFailed(`there is no physical ${resource} to drift`);
    const { known } = this.#invariants;
    this.simulation.drift(thing.id, () => {
      if (missing === true) known.takeAway(thing);
      else known.change(thing, set as typeof thing.properties);
    });
  }
}

/** What a request was refused for, which says all without where in the program that was. */
function isRefusal(error: unknown): error is HomeostatError {
  return error instanceof HomeostatError && ["invalid", "not_found", "conflict"].includes(error.code);
}

type ArmingStep = Extract<Step, { kind: "fail" | "hold" | "crash" | "pause" }>;

function isArming(step: Step): step is ArmingStep {
  return ["fail", "hold", "crash", "pause"].includes(step.kind) && !("stack" in (step as ArmingStep).with);
}

function isGoal({ kind }: Step): boolean {
  return ["create", "update", "delete", "rollback", "cancel", "race"].includes(kind);
}

/** Of a crash or a pause of any kind. */
interface Interruption {
  at?: NonNullable<Armed["at"]>;
  during?: NonNullable<Armed["during"]>;
  resource?: string;
  op?: Op;
  for?: number;
  optional?: boolean;
}

type VerbStep =
  | Extract<Step, { kind: "resume" | "observe" | "policy" | "replace" | "approve" | "dismiss" }>
  | { kind: "pause"; with: { stack: string; error?: StepOf<"resume">["error"] } };

/** What the step says, as the API does it. */
async function carryOut(
  engine: Engine,
  step: VerbStep,
  request: string,
  answered?: () => void,
): Promise<void> {
  const observation = new Observation(engine);
  const { stack: name } = step.with;
  switch (step.kind) {
    case "pause":
      await observation.pause(requests.pause.parse({ name }));
      break;
    case "resume":
      await observation.resume(requests.resume.parse({ name }));
      break;
    case "observe":
      await observation.observe(requests.observe.parse({ name, resource: step.with.resource }));
      break;
    case "policy":
      await observation.policy(requests.policy.parse({ name, document: step.with.document }));
      break;
    case "replace": {
      const stacks = new Stacks(engine);
      const { resource } = step.with;
      const reply = await stacks.replace(requests.replace.parse({ name, request, resource }));
      answered?.();
      if (reply.begun) await stacks.begin(reply);
      break;
    }
    case "approve":
      await observation.answer(requests.approve.parse({ name }), "approved");
      break;
    case "dismiss":
      await observation.answer(requests.dismiss.parse({ name }), "dismissed");
      break;
  }
  await observation.hinted();
}

/** What the scenario's step says, as a request to the API. */
async function ask(stacks: Stacks, step: GoalStep, request: string): Promise<Reply<"create">> {
  const name = step.with.stack;
  const given = "options" in step.with ? step.with.options : {};
  const options = defined({ rollback_on_failure: given.rollback_on_failure, timeout_ms: given.timeout });
  switch (step.kind) {
    case "create": {
      const { parameters } = step.with;
      const template = templateSource(step.with.template);
      return stacks.create(requests.create.parse({ name, request, template, parameters, options }));
    }
    case "update": {
      const { parameters, template: given } = step.with;
      const template = given === undefined ? {} : { template: templateSource(given) };
      return stacks.update(requests.update.parse({ name, request, ...template, parameters, options }));
    }
    case "delete":
      return stacks.delete(requests.delete.parse({ name, request, options }));
    case "rollback":
      return stacks.rollback(requests.rollback.parse({ name, request, options }));
    case "cancel":
      return stacks.cancel(requests.cancel.parse({ name, request, rollback: step.with.rollback }));
  }
}

function templateSource(template: string | Record<string, unknown>): { text: string; name: string } {
  const text = typeof template === "string" ? template : JSON.stringify({ resources: {}, ...template });
  return { text, name: "template" };
}

function splitTarget(target: string | undefined): { resource?: string; stack?: string } {
  if (target === undefined) return {};
  const slash = target.indexOf("/");
  return slash < 0
    ? { resource: target }
    : { stack: target.slice(0, slash), resource: target.slice(slash + 1) };
}

/** Without the fields that are undefined. */
function defined<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

function stackOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? (cause.stack ?? "").split("\n").slice(1, 8).join("\n") : "";
}
