/**
 * Theory: no order of what happens at the seams, and no few faults there, bring a stack to a wrong end; without faults
 * nothing even waits for a timer. A bounded share of seeds runs here; `homeostat simulate --explore` runs as many more as
 * one likes.
 */
import { expect, test } from "vitest";
import { runSimulate } from "../../src/simulator/simulate.js";
import { exploration, exploredScenarios } from "../support/variations.js";

const { runs, seed, workers } = exploration;

for (const faults of [exploration.faults, []]) {
  for (const name of exploredScenarios) {
    test(`${name}: ${runs} runs from seed ${seed} ${faults.length > 0 ? "with" : "without"} faults`, async () => {
      const file = new URL(`../scenarios/${name}.yaml`, import.meta.url).pathname;
      const lines: string[] = [];
      const options = { explore: runs, seed, workers, faults, json: false };
      const status = await runSimulate([file], { ...options, out: (line) => lines.push(line) });
      expect(status, lines.join("\n")).toBe(0);
    });
  }
}
