/**
 * Theory: no order of what happens at the seams, and no few faults there, bring a stack to a wrong end. A bounded share
 * of seeds runs here; `homeostat simulate --explore` runs as many more as one likes.
 */
import { expect, test } from "vitest";
import { faultKinds } from "../../src/simulator/explorer.js";
import { runSimulate } from "../../src/simulator/simulate.js";

/** Those whose outcome does not depend on when exactly a goal arrives. */
const scenarios = [
  "create",
  "create-delete",
  "create-then-add",
  "delete-rollback",
  "empty",
  "invert-in-place",
  "invert-replaced",
  "racing-updates",
  "recreate",
  "rename",
  "rename-rollback-update",
  "replace",
  "replace-delete",
  "replace-missed-cleanup",
  "retain",
  "rollback-on-failure",
  "three-updates",
  "update-add",
  "update-remove",
];
const runs = Number(process.env.HOMEOSTAT_EXPLORE_RUNS ?? 20);
const seed = Number(process.env.HOMEOSTAT_EXPLORE_SEED ?? 20_000);

for (const name of scenarios) {
  test(`${name}: ${runs} runs from seed ${seed}`, async () => {
    const file = new URL(`../scenarios/${name}.yaml`, import.meta.url).pathname;
    const lines: string[] = [];
    const options = { explore: runs, seed, workers: 3, faults: [...faultKinds], json: false };
    const status = await runSimulate([file], { ...options, out: (line) => lines.push(line) });
    expect(status, lines.join("\n")).toBe(0);
  });
}
