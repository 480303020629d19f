/** Scenarios of the tests, and variations of them. */
import { readdirSync } from "node:fs";
import { parseScenario, readScenario, type Scenario, type Step } from "../../src/simulator/scenario.js";

const folder = new URL("../scenarios/", import.meta.url).pathname;

export function allScenarios(): Scenario[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".yaml"))
    .sort()
    .map((file) => readScenario(`${folder}${file}`));
}

const goals = new Set(["create", "update", "delete", "rollback", "cancel"]);

/** The scenario up to and with its last goal, without expectations of what follows. */
export function untilLastGoal(scenario: Scenario, which = -1): Step[] | undefined {
  const places = scenario.steps.flatMap((step, i) => (goals.has(step.kind) ? [i] : []));
  const last = places.at(which);
  return last === undefined ? undefined : scenario.steps.slice(0, last + 1);
}

export function steps(text: string): Step[] {
  return parseScenario(`steps:\n${text}`, "test").steps;
}

/** What happens to reality, and what people say of it: without it a scenario would end up elsewhere. */
const happenings: ReadonlySet<Step["kind"]> = new Set([
  "settle",
  "advance",
  "drift",
  "notify",
  "observe",
  "policy",
  "resume",
  "replace",
  "approve",
  "dismiss",
]);

/** Where a varied scenario must end up all the same: statuses and reality, not how it came to them. */
export function outcomeOf(scenario: Scenario): Step[] {
  const head = untilLastGoal(scenario)?.length ?? 0;
  return relaxed(scenario.steps.slice(head)).flatMap((step): Step[] => {
    if (happenings.has(step.kind) || (step.kind === "pause" && "stack" in step.with)) return [step];
    if (step.kind !== "expect") return [];
    const { status, reality } = step.with;
    return [{ ...step, with: { ...(status ? { status } : {}), ...(reality ? { reality } : {}) } }];
  });
}

/** Faults that the variation may not reach must not fail it; a call that nobody releases is not held. */
export function relaxed(list: readonly Step[]): Step[] {
  return list
    .filter(({ kind }) => kind !== "hold" && kind !== "release")
    .map((step) =>
      typeof step.with === "object" && "optional" in step.with
        ? ({ ...step, with: { ...step.with, optional: true } } as Step)
        : step,
    );
}
