/** Theory: what is left of a failing scenario still fails, and nothing can be left out of it that was tried. */
import { expect, test } from "vitest";
import { generateScenario, type ScenarioDocument } from "../../src/simulator/generate.js";
import { scenarioOf } from "../../src/simulator/scenario.js";
import { shrinkScenario } from "../../src/simulator/shrink.js";

const sim = (properties: Record<string, unknown>) => ({ type: "Sim::Resource", properties });

const document: ScenarioDocument = {
  name: "test",
  workers: 2,
  steps: [
    {
      create: {
        stack: "foo",
        template: { resources: { A: sim({}), B: sim({ of: { get_resource: "A" } }) } },
      },
    },
    { settle: true },
    { fail: { resource: "A" } },
    {
      race: [
        {
          update: {
            stack: "foo",
            template: { resources: { B: sim({ b: 1 }), C: sim({ of: { get_attr: ["B", "b"] } }) } },
          },
        },
        { rollback: { stack: "foo" } },
      ],
    },
    { settle: true },
  ],
};

/** Whether C is in some template, whatever the seed. */
const hasC = async ({ document }: { document: ScenarioDocument }) =>
  JSON.stringify(document).includes('"C":');

test("steps and resources that do not matter are left out, with what refers to them", async () => {
  const { document: least } = await shrinkScenario({ document, seed: 1 }, hasC);
  expect(least.steps).toEqual([
    { create: { stack: "foo", template: { resources: {} } } },
    {
      race: [
        { update: { stack: "foo", template: { resources: { C: sim({}) } } } },
        { rollback: { stack: "foo" } },
      ],
    },
  ]);
});

test("the seed is one with which it fails", async () => {
  const fails = async (failing: { document: ScenarioDocument; seed: number }) =>
    (failing.document.steps.length === document.steps.length && failing.seed === 1) || failing.seed === 5;
  expect((await shrinkScenario({ document, seed: 1 }, fails)).seed).toBe(5);
});

test("what is left of any scenario is one", async () => {
  for (let seed = 0; seed < 50; seed += 1) {
    const made = generateScenario(seed);
    const { document: least } = await shrinkScenario({ document: made, seed }, async ({ document }) => {
      scenarioOf(document, "test");
      return JSON.stringify(document).includes("update");
    });
    expect(least.steps.length).toBeLessThanOrEqual(made.steps.length);
  }
});

test("what fails with nothing else stays as it is", async () => {
  expect(await shrinkScenario({ document, seed: 1 }, async () => false)).toEqual({ document, seed: 1 });
});
