/**
 * Theory: answers go to those who did not ask for them, one that is wrong spoils those it was asked with, and what is
 * asked while an answer is on its way is never asked.
 */
import { expect, test } from "vitest";
import { Gathered } from "../../src/store/gathered.js";

function counting() {
  const calls: [place: string, questions: number[]][] = [];
  const gathered = new Gathered<number, string>(async (place, questions) => {
    calls.push([place, questions]);
    if (questions.includes(13)) throw new Error(`${place} has no 13`);
    return questions.map((question) => `${place}${question}`);
  });
  return { calls, gathered };
}

test("what is asked in one moment is asked once for each place, and everybody gets their own answer", async () => {
  const { calls, gathered } = counting();
  const answers = await Promise.all([gathered.ask("a", 1), gathered.ask("b", 1), gathered.ask("a", 2)]);
  expect(answers).toEqual(["a1", "b1", "a2"]);
  expect(calls).toEqual([
    ["a", [1, 2]],
    ["b", [1]],
  ]);
  expect(await gathered.ask("a", 3)).toBe("a3");
});

test("one script is never asked for more than it can do in a short time", async () => {
  const { calls, gathered } = counting();
  const asked = Array.from({ length: 150 }, (_, i) => 100 + i);
  const answers = await Promise.all(asked.map((question) => gathered.ask("a", question)));
  expect(answers).toEqual(asked.map((question) => `a${question}`));
  expect(calls.map(([, questions]) => questions.length)).toEqual([64, 64, 22]);
});

test("what is wrong with one is said to that one alone", async () => {
  const { gathered } = counting();
  const answers = await Promise.allSettled([12, 13, 14].map((question) => gathered.ask("a", question)));
  expect(answers.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(answers[2]).toMatchObject({ value: "a14" });
});
