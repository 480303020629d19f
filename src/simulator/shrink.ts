/** Makes a failing scenario smaller: leaves out steps, then resources, as long as some seed near by still fails. */
import type { ScenarioDocument, TemplateDocument } from "./generate.js";

type Step = ScenarioDocument["steps"][number];

export interface Failing {
  document: ScenarioDocument;
  seed: number;
}

/** A smaller scenario takes another way with the same seed: so many are tried. */
const seedsTried = 12;

/** Runs in all, at most: a few seconds. */
const runsLimit = 1_000;

/** `fails`: whether the scenario fails in the same way with a seed. */
export async function shrinkScenario(
  first: Failing,
  fails: (failing: Failing) => Promise<boolean>,
): Promise<Failing> {
  let best = first;
  let runs = 0;
  const isFailing = async (document: ScenarioDocument): Promise<boolean> => {
    for (let i = 0; i < seedsTried && runs < runsLimit; i += 1) {
      runs += 1;
      const tried = { document, seed: first.seed + i };
      if (!(await fails(tried))) continue;
      best = tried;
      return true;
    }
    return false;
  };
  for (let i = first.document.steps.length - 1; i > 0; i -= 1) {
    await isFailing(withoutStep(best.document, i));
  }
  for (const name of namesOf(best.document)) {
    await isFailing(withoutResource(best.document, name));
  }
  return best;
}

function withoutStep(document: ScenarioDocument, index: number): ScenarioDocument {
  return { ...document, steps: document.steps.filter((_, i) => i !== index) };
}

function namesOf({ steps }: ScenarioDocument): string[] {
  const goals = steps.flatMap((step) => ("race" in step ? (step.race as Step[]) : [step]));
  return [...new Set(goals.flatMap((step) => Object.keys(templateIn(step)?.resources ?? {})))];
}

function templateIn(step: Step): TemplateDocument | undefined {
  const [given] = Object.values(step);
  return (given as { template?: TemplateDocument } | undefined)?.template;
}

function withoutResource(document: ScenarioDocument, name: string): ScenarioDocument {
  const steps = document.steps
    .filter((step) => (Object.values(step)[0] as { resource?: string }).resource !== name)
    .map((step) => stepWithout(step, name));
  return { ...document, steps };
}

function stepWithout(step: Step, name: string): Step {
  if ("race" in step) return { race: (step.race as Step[]).map((goal) => stepWithout(goal, name)) };
  const template = templateIn(step);
  if (template === undefined) return step;
  const resources = Object.entries(template.resources)
    .filter(([other]) => other !== name)
    .map(([other, definition]) => [other, withoutReferences(definition, name)]);
  const [[kind, given] = ["", {}]] = Object.entries(step);
  const smaller = { ...template, resources: Object.fromEntries(resources) };
  return { [kind]: { ...(given as object), template: smaller } };
}

function withoutReferences(definition: Record<string, unknown>, name: string): Record<string, unknown> {
  const { properties, depends_on: dependsOn, ...rest } = definition;
  const kept = Object.entries(properties as object).filter(([, value]) => !isReferenceTo(value, name));
  const left = ((dependsOn ?? []) as string[]).filter((other) => other !== name);
  return {
    ...rest,
    properties: Object.fromEntries(kept),
    ...(left.length === 0 ? {} : { depends_on: left }),
  };
}

function isReferenceTo(value: unknown, name: string): boolean {
  if (value === null || typeof value !== "object") return false;
  const { get_resource: id, get_attr: attribute } = value as { get_resource?: string; get_attr?: string[] };
  return id === name || attribute?.[0] === name;
}
