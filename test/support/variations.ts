/** What is done to the scenarios of the tests to bring the engine into every situation; each run is judged by itself. */
import type { Redis } from "ioredis";
import type { Limits } from "../../src/limits.js";
import { type FaultKind, faultKinds } from "../../src/simulator/explorer.js";
import { generateScenario } from "../../src/simulator/generate.js";
import { parseScenario, type Scenario, scenarioOf, visitPoints } from "../../src/simulator/scenario.js";
import {
  type Action,
  type CallOutcome,
  type Driver,
  type RunResult,
  ScenarioRun,
} from "../../src/simulator/scenario-run.js";
import { ScriptedDriver } from "../../src/simulator/scripted.js";
import { exploreOnce } from "../../src/simulator/simulate.js";
import type { Life, Simulation } from "../../src/simulator/simulation.js";
import { outcomeOf, relaxed, steps, untilLastGoal } from "./scenarios.js";

export interface Varied {
  /** Which variation it was. */
  what: string;
  result: RunResult;
}

export async function scripted(scenario: Scenario, redis: Redis): Promise<Varied> {
  return { what: scenario.name, result: await runOf(scenario, redis).run() };
}

function runOf(
  scenario: Scenario,
  redis: Redis,
  driverOf: (simulation: Simulation) => Driver = (simulation) => new ScriptedDriver(simulation),
  limits: Partial<Limits> = {},
): ScenarioRun {
  return new ScenarioRun(scenario, redis, driverOf, { traced: false, limits });
}

// --- in a random order

/** Those whose outcome does not depend on when exactly a goal arrives. */
export const exploredScenarios: readonly string[] = [
  "create",
  "create-delete",
  "create-then-add",
  "delete-rollback",
  "empty",
  "fail-beyond-window",
  "failure-overtaken",
  "idempotent",
  "held-release-early",
  "invert-in-place",
  "invert-replaced",
  "invert-then-delete",
  "late-then-replaced",
  "observe-delete-during-repair",
  "observe-delete-missing",
  "observe-during-update",
  "observe-ignored-attribute",
  "observe-in-place",
  "observe-lost",
  "observe-missing",
  "observe-pause-resume",
  "observe-policy",
  "observe-policy-during-look",
  "observe-repair-fails-often",
  "observe-replace",
  "observe-replace-by-hand",
  "observe-tried-again-often",
  "observe-two-drifts",
  "observe-unreadable",
  "observe-update-during-repair",
  "observe-wish-waits",
  "one",
  "pause-renew",
  "racing-updates",
  "recreate",
  "rename",
  "rename-rollback-update",
  "replace",
  "replace-delete",
  "replace-missed-cleanup",
  "replace-then-delete",
  "retain",
  "rollback-on-failure",
  "three-updates",
  "unfindable-idempotent-delete",
  "update-add",
  "update-remove",
  "update-then-same",
];

/** The bounded share of seeds that the tests explore. */
export const exploration = {
  runs: Number(process.env.HOMEOSTAT_EXPLORE_RUNS ?? 20),
  seed: Number(process.env.HOMEOSTAT_EXPLORE_SEED ?? 20_000),
  workers: 3,
  faults: [...faultKinds],
};

/** The bounded share of made-up scenarios that the tests explore, once each. */
export const generation = {
  runs: Number(process.env.HOMEOSTAT_GENERATE_RUNS ?? 300),
  seed: Number(process.env.HOMEOSTAT_GENERATE_SEED ?? 30_000),
};

/** One seed, as `homeostat simulate --explore 1` runs it. Without faults nothing may wait for a timer. */
export async function explored(
  scenario: Scenario,
  redis: Redis,
  seed: number,
  faults: FaultKind[] = exploration.faults,
): Promise<Varied> {
  const { workers } = exploration;
  const { result } = await exploreOnce(scenario, redis, { workers, faults }, seed, { traced: false });
  return { what: `${scenario.name} with seed ${seed}`, result };
}

/** One seed, as `homeostat simulate --generate 1` runs it. */
export async function generated(redis: Redis, seed: number): Promise<Varied> {
  const { faults } = exploration;
  const document = generateScenario(seed);
  const scenario = scenarioOf(document, document.name);
  const { result } = await exploreOnce(scenario, redis, { workers: undefined, faults }, seed, {
    traced: false,
  });
  return { what: `seed ${seed}`, result };
}

// --- somebody stops in the middle

const definitions = (a: number) =>
  `{resources: {A: {type: Sim::Resource, properties: {a: ${a}}}, B: {type: Sim::Resource, properties: {"!a": {get_attr: [A, a]}}}}}`;

const goals: readonly string[] = [
  `update: {stack: foo, template: ${definitions(2)}}`,
  `update: {stack: foo, template: ${definitions(3)}}`,
  "rollback: {stack: foo}",
  "delete: {stack: foo}",
];

const vanish = "crash: {at: after-fence, during: begin, optional: true}";

/** Who stops, and which of its calls of a seam count. */
interface Stop {
  role: Life["role"];
  /** Of a method; any when left out. */
  label?: string;
  /** Fan-outs are passed on one by one. */
  chunked?: true;
  /** The step of the text that it stops in; any when left out. */
  from?: number;
  /** The step after which it goes on; when left out it vanishes. */
  until?: number;
  /** It makes the call, and stands still for so long before it hears the answer. */
  restsMs?: number;
  text: readonly string[];
}

function* stops(): Generator<Stop> {
  const begin = [`create: {stack: foo, template: ${definitions(0)}}`, "settle: true"];
  const under = [...begin, `update: {stack: foo, template: ${definitions(1)}}`, "visits: 1"];
  for (const goal of goals) {
    // A caller, while another one sets its goal, and does or does not vanish before it prepares.
    for (const other of goals) {
      yield { role: "caller", from: 4, until: 5, text: [...under, goal, other, "settle: true"] };
      yield { role: "caller", from: 4, until: 6, text: [...under, goal, vanish, other, "settle: true"] };
    }
    // A caller, while the sweeper looks; then it vanishes.
    yield {
      role: "caller",
      from: 3,
      until: 4,
      text: [...begin, vanish, goal, "advance: 20s", "settle: true"],
    };
    // A sweeper, while somebody sets a goal and vanishes.
    const text = [...begin, vanish, goal, "settle: true"];
    yield { role: "sweeper", label: "returnDue", from: 1, until: 3, text };
  }
  const drifted = ["drift: {resource: A, set: {a: 9}}", "notify: {resource: A}"];
  const lost = ["drift: {resource: A, missing: true}", "notify: {resource: A}"];
  const end = ["advance: 7m", "settle: true"];
  const mended = `expect: {reality: ${definitions(0)}}`;
  for (const happens of [drifted, lost]) {
    const seen = [...begin, "advance: 10s", ...happens];
    // An observer, for good: all is mended.
    yield { role: "observer", from: 5, text: [...seen, "settle: true", ...end, mended] };
    // An observer, while somebody sets a goal, and until that is reached.
    for (const goal of [goals[0] ?? "", goals[3] ?? ""]) {
      const text = [...seen, "visits: 1", goal, "settle: true", "advance: 1s", ...end];
      yield { role: "observer", from: 5, until: 6, text };
      yield { role: "observer", from: 5, until: 8, text };
    }
  }
  // An observer, while it tries a goal again that has failed.
  const failing = ["fail: {resource: A, op: create}", begin[0] ?? "", "settle: true", "advance: 40s"];
  yield { role: "observer", from: 3, text: [...failing, "settle: true", ...end, mended] };
  // An observer, while what was asked for waits for the end of a traversal, and when that is over.
  const waiting = [
    "hold: {resource: A, op: update}",
    `update: {stack: foo, template: ${definitions(1)}}`,
    "visits: 1",
    "observe: {stack: foo}",
    "advance: 8s",
    "release: {resource: A}",
    "settle: true",
  ];
  const reached = [...end, `expect: {reality: ${definitions(1)}}`];
  yield { role: "observer", from: 6, text: [...begin, ...waiting, ...reached] };
  yield { role: "observer", from: 8, text: [...begin, ...waiting, ...reached] };
  // A creator, for good: its stack comes to be, or its name is free again.
  yield { role: "caller", from: 0, text: begin };
  // A creator, until its id has been barred.
  yield { role: "caller", from: 0, until: 1, text: [begin[0] ?? "", "advance: 60s", "settle: true"] };
  const text = [...under, "delete: {stack: foo}", "settle: true", "expect: {gone: foo}"];
  yield { role: "worker", text };
  yield { role: "sweeper", text };
  // A worker, in the middle of a fan-out, while another goal makes what it fans out to wait for something else.
  yield {
    role: "worker",
    label: "passOn",
    from: 2,
    until: 4,
    chunked: true,
    text: [
      "hold: {resource: E, op: create, optional: true}",
      "create: {stack: foo, template: {resources: {A: {type: Sim::Resource}, B: {type: Sim::Resource, depends_on: A}, C: {type: Sim::Resource, depends_on: A}}}}",
      "visits: 1",
      vanish,
      "update: {stack: foo, template: {resources: {A: {type: Sim::Resource}, E: {type: Sim::Resource}, C: {type: Sim::Resource, depends_on: E}}}}",
      "advance: 40s",
      "release: {resource: E}",
      "settle: true",
    ],
  };
  // A worker, when it has just renewed a lease that had run out before its call.
  for (const restsMs of [40_000, 70_000]) {
    const slow = "pause: {at: before-call, op: create, for: 30s}";
    yield { role: "worker", label: "renew", restsMs, text: [slow, ...begin] };
  }
}

/**
 * Each stops before its k-th call of a seam, and goes on when somebody else has, or never; k = 0, 1, 2, … `near`: what was
 * said of one; only it and the next few.
 */
export async function* stopped(redis: Redis, near?: string): AsyncGenerator<Varied> {
  for (const stop of stops()) {
    const text = stop.text.map((step) => `  - ${step}\n`).join("");
    const scenario = parseScenario(`steps:\n${text}`, "stopped");
    const kinds = stop.text.map((step) => step.split(":")[0]).join(", ");
    const what = `${kinds}: a ${stop.role} stops before call `;
    if (near?.startsWith(what) === false) continue;
    const first = near === undefined ? 0 : Number(near.slice(what.length));
    const end = near === undefined ? Number.POSITIVE_INFINITY : first + 3;
    for (let k = first, stood = true; stood && k < end; k += 1) {
      let driver: StoppingDriver | undefined;
      const limits = stop.chunked === true ? { chunkNodes: 1 } : {};
      const driverOf = (simulation: Simulation) => {
        driver = new StoppingDriver(simulation, stop, k);
        return driver;
      };
      const run = runOf(scenario, redis, driverOf, limits);
      const result = await run.run();
      yield { what: `${what}${k}`, result };
      stood = driver?.stood === true;
    }
  }
}

const passing = { crashAfter: false, repeat: false };

class StoppingDriver extends ScriptedDriver {
  readonly #simulation: Simulation;
  readonly #stop: Stop;
  #step = -1;
  #goOn: (() => void) | undefined;
  stood = false;

  constructor(simulation: Simulation, stop: Stop, before: number) {
    super(simulation);
    this.#simulation = simulation;
    this.#stop = stop;
    let calls = 0;
    simulation.gate = async (life, label) => {
      const isThere = (stop.label ?? label) === label && (stop.from ?? this.#step) === this.#step;
      const counts = life.role === stop.role && isThere;
      if (counts) calls += 1;
      if (counts && calls === before + 1) {
        this.stood = true;
        simulation.faults += 1;
        if (stop.restsMs !== undefined) return { ...passing, pauseAfterMs: stop.restsMs };
        if (stop.until === undefined) simulation.crash(life, `before ${label}`);
        // Another takes the place of an observer that stands still.
        if (stop.role === "observer") life.pausedUntil = Number.POSITIVE_INFINITY;
        await new Promise<void>((resolve) => {
          this.#goOn = resolve;
        });
        life.pausedUntil = 0;
      }
      return passing;
    };
  }

  override async call(actions: readonly Action[]): Promise<CallOutcome[]> {
    return this.#during(() => super.call(actions));
  }

  override async visits(count: number): Promise<boolean> {
    return this.#during(() => super.visits(count));
  }

  override async settle(whenIdle: () => Promise<void>): Promise<void> {
    return this.#during(() => super.settle(whenIdle));
  }

  override async advance(ms: number): Promise<void> {
    return this.#during(() => super.advance(ms));
  }

  async #during<T>(act: () => Promise<T>): Promise<T> {
    this.#step += 1;
    while (/^(crash|pause|hold|release|drift|notify|fail)/.test(this.#stop.text[this.#step] ?? ""))
      this.#step += 1;
    const result = await act();
    if (this.#step === this.#stop.until) {
      this.#goOn?.();
      await this.#simulation.quiesce();
    }
    return result;
  }
}

// --- crashed at every point

/** A second fault would make another outcome right; what happens after the last goal is left out. */
const hasOwnFault =
  /^(observe|crash|pause|fail|retry|timeout|failure|failed|rollback|replace-fails|fan|held|stream)/;

export function mayCrash(scenario: Scenario): boolean {
  return untilLastGoal(scenario) !== undefined && !hasOwnFault.test(scenario.name);
}

/**
 * The last goal's worker vanishes at each point after every k-th visit. `number`: with which visits to begin, when not
 * every visit is tried.
 */
export async function* crashes(
  scenario: Scenario,
  number: number,
  redis: Redis,
  exhaustive = process.env.HOMEOSTAT_EXHAUSTIVE === "1",
): AsyncGenerator<Varied> {
  const head = relaxed(untilLastGoal(scenario) ?? []).filter(({ kind }) => kind !== "expect");
  const stride = exhaustive ? 1 : 4;
  for (const [i, point] of visitPoints.entries()) {
    for (let k = exhaustive ? 0 : (number + i) % stride; ; k += stride) {
      const crash = `  - visits: ${k}\n  - crash: {at: ${point}, optional: true}\n  - settle: true\n`;
      const run = runOf({ ...scenario, steps: [...head, ...steps(crash), ...outcomeOf(scenario)] }, redis);
      const result = await run.run();
      yield { what: `${scenario.name}: ${point} after ${k} visits`, result };
      if (run.exhausted) break;
    }
  }
}

// --- calls that outlive their worker

interface Landing {
  /** When the effect comes. */
  afterMs: number;
  /** When its worker vanishes; at once when left out. */
  longMs?: number;
  /** A step that makes the find for it slow. */
  find?: string;
  /** Its worker only stands still until then. */
  lives?: true;
}

/**
 * Between lease and deadline; the same, while a find that has seen nothing takes until after the deadline to say so;
 * before the lease has run out; after a long call, before the renewed deadline.
 */
const landingsOf: readonly Landing[] = [
  { afterMs: 45_000 },
  { afterMs: 45_000, find: "  - pause: {at: after-call, op: find, for: 29500ms, optional: true}\n" },
  { afterMs: 20_000 },
  { longMs: 50_000, afterMs: 95_000 },
];

/**
 * After the deadline: who made it lives, and hands it over, though its record is gone. No order of deletion is promised
 * then: only where there is none.
 */
function commitsOfA(pauses: readonly string[]): string {
  return pauses
    .map((pause) => `  - pause: {at: before-commit, resource: A, for: ${pause}, optional: true}\n`)
    .join("");
}

const tooLate: Readonly<Record<string, readonly Landing[]>> = {
  "create-delete": [
    { afterMs: 100_000, lives: true },
    // Between the last look at what exists and the commit that concludes that nothing does.
    { afterMs: 65_000, find: commitsOfA(["1ms", "1ms", "10s"]), lives: true },
  ],
  "late-after-failure": [{ afterMs: 80_000, lives: true }],
  "late-retained": [{ afterMs: 80_000, lives: true }],
  "late-then-replaced": [
    { afterMs: 61_500, lives: true },
    { afterMs: 80_000, lives: true },
  ],
};

/** The k-th call loses its worker, and takes effect later; k = 0, 1, 2, … */
export async function* landings(scenario: Scenario, redis: Redis): AsyncGenerator<Varied> {
  const head = relaxed(untilLastGoal(scenario) ?? []).filter(({ kind }) => kind !== "expect");
  for (let k = 0, reached = true; reached; k += 1) {
    const usual = landingsOf[k % landingsOf.length] as Landing;
    for (const landing of [usual, ...(tooLate[scenario.name] ?? [])]) {
      const end = [...steps(`${landing.find ?? ""}  - settle: true\n`), ...outcomeOf(scenario)];
      let driver: LandingDriver | undefined;
      const run = runOf({ ...scenario, steps: [...head, ...end] }, redis, (simulation) => {
        driver = new LandingDriver(simulation, k, landing);
        return driver;
      });
      const result = await run.run();
      yield { what: `${scenario.name}: during call ${k}`, result };
      reached = driver?.reached === true;
    }
  }
}

class LandingDriver extends ScriptedDriver {
  readonly #simulation: Simulation;
  #landsAt = 0;
  reached = false;

  constructor(simulation: Simulation, number: number, { afterMs, longMs, lives }: Landing) {
    super(simulation);
    this.#simulation = simulation;
    let calls = 0;
    simulation.gateOfEffect = async (life, call, operation) => {
      // A look changes nothing that could come later.
      if (operation === "read") return;
      calls += 1;
      if (calls !== number + 1) return;
      this.reached = true;
      if (lives && operation !== "create") return;
      simulation.faults += 1;
      this.#landsAt = simulation.now + afterMs;
      const { clock } = simulation.newLife("caller").engine;
      const landed = clock.sleep(afterMs);
      if (longMs !== undefined) await clock.sleep(longMs);
      if (lives) {
        void simulation.pause(life, afterMs);
        simulation.late.add(call);
        simulation.gate = async (caller) => {
          if (caller === life) await landed;
          return { crashAfter: false, repeat: false };
        };
      } else simulation.crash(life, "during a call");
      await landed;
    };
  }

  /** Also what takes effect when nobody waits for anything is part of the end. */
  override async settle(whenIdle: () => Promise<void>): Promise<void> {
    await super.settle(whenIdle);
    if (this.#landsAt <= this.#simulation.now) return;
    await this.advance(this.#landsAt - this.#simulation.now);
    await super.settle(async () => {});
  }
}

// --- interrupted after every visit

/** Interrupting these at each of a thousand visits takes too long here; every so many is enough. */
const strides: Record<string, number> = { "crash-mid-fan-out": 83, "fan-in": 167, "fan-out": 167 };

const other = `
  - update:
      stack: foo
      template:
        resources:
          A: {type: Sim::Resource, properties: {a: 9}}
          C: {type: Sim::Resource, properties: {"!a": {get_attr: [A, a]}}}
          N: {type: Sim::Resource, depends_on: C}`;

export interface Interruption {
  name: string;
  text: string;
  after: string;
}

export const interruptions: readonly Interruption[] = [
  {
    name: "delete",
    text: "  - delete: {stack: foo}",
    after: "  - expect: {status: {foo: NOT_FOUND}, gone: foo}",
  },
  { name: "rollback", text: "  - rollback: {stack: foo}", after: "" },
  { name: "update", text: other, after: "  - expect: {status: {foo: COMPLETE}}" },
];

/** A stack that is gone cannot be asked for anything. */
const missing = /there is no stack/;

/** A person must look, and what went missing unseen cannot be updated: an update need not come to its end. */
const mayStayFailed: ReadonlySet<string> = new Set([
  "crash-unfindable",
  "observe-delete-missing",
  "observe-failed-missing",
]);

export function mayBeInterrupted(scenario: Scenario): boolean {
  return untilLastGoal(scenario) !== undefined && !mayStayFailed.has(scenario.name);
}

/** Another goal comes after each visit of the last one. */
export async function* interrupted(
  scenario: Scenario,
  { name, text, after }: Interruption,
  redis: Redis,
): AsyncGenerator<Varied> {
  const head = untilLastGoal(scenario) ?? [];
  const failing = head.flatMap((step) => (step.kind === "fail" ? step.with.op : []));
  const fails = name === "update" ? failing.length > 0 : failing.includes("delete");
  const end = fails ? "" : after;
  for (let k = 0; ; k += strides[scenario.name] ?? 1) {
    const begin = relaxed(head).filter(({ kind }) => kind !== "expect");
    const rest = steps(`  - visits: ${k}\n${text}\n  - settle: true\n${end}`);
    const run = runOf({ ...scenario, steps: [...begin, ...rest] }, redis);
    const result = await run.run();
    if (missing.test(result.failure?.message ?? "")) break;
    yield { what: `${scenario.name} by ${name} after ${k} visits`, result };
    if (run.exhausted) break;
  }
}
