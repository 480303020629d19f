/**
 * Theory: whatever templates and goals people come up with, and whatever strikes meanwhile, the promises hold. A bounded
 * share of made-up scenarios runs here; `homeostat simulate --generate` runs as many more as one likes.
 */
import { expect, test } from "vitest";
import { generateScenario } from "../../src/simulator/generate.js";
import { scenarioOf } from "../../src/simulator/scenario.js";
import { runSimulate } from "../../src/simulator/simulate.js";
import { generation } from "../support/variations.js";

const { runs, seed } = generation;

test(`${runs} scenarios from seed ${seed}`, { timeout: 300_000 }, async () => {
  const lines: string[] = [];
  const status = await runSimulate([], {
    generate: runs,
    seed,
    json: false,
    out: (line) => lines.push(line),
  });
  expect(status, lines.join("\n")).toBe(0);
});

test("a seed is a scenario: the same again, and valid", () => {
  for (let seed = 0; seed < 500; seed += 1) {
    const document = generateScenario(seed);
    expect(generateScenario(seed)).toEqual(document);
    expect(scenarioOf(document, document.name).steps).toHaveLength(document.steps.length);
  }
});

test("among them is everything that a stack can meet", () => {
  const documents = Array.from({ length: 500 }, (_, seed) => JSON.stringify(generateScenario(seed)));
  const wanted = [
    ...["update", "rollback", "cancel", "delete", "race", "fail", "drift", "settle", "visits", "advance"],
    ...[
      "get_resource",
      "get_attr",
      "depends_on",
      "!fixed",
      "!of",
      "$idempotent",
      "$timeout",
      "bar",
      "timeout",
    ],
    ...["deletion_policy", "rollback_on_failure", "gone"],
  ];
  for (const what of wanted) {
    expect(
      documents.some((document) => document.includes(what)),
      what,
    ).toBe(true);
  }
});
