/**
 * Theory: the id of a stack that is gone may be barred, like one that never came to be; whoever read its record before
 * and asks for another goal is told that there is no such stack, as if they had come a moment later.
 */
import { expect, test } from "vitest";
import { withScripts } from "./run-text.js";

const scripts = withScripts();

for (const goal of ["delete", "rollback", "cancel"]) {
  test(`${goal} of a stack whose id is barred`, async () => {
    const steps = `
  - create: {stack: foo, template: {resources: {A: {type: Sim::Resource}}}}
  - settle: true
  - ${goal}: {stack: foo, error: not_found}`;
    const { failure } = await scripts.run(steps, {
      plant: ({ store }) => {
        const begin = store.begin.bind(store);
        store.begin = async (given) => (given.kind === goal ? { tag: "void" } : begin(given));
      },
    });
    expect(failure?.message).toBeUndefined();
  });
}
