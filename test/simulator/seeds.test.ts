/** Theory: whoever takes them and in whatever order they end, seeds are counted as if explored one after the other. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Explored, Seeds, Tally } from "../../src/simulator/seeds.js";

test("each seed is taken once, in ascending order, by all who share them", () => {
  const seeds = Seeds.of(5);
  const other = new Seeds(seeds.buffer);
  const taken = [seeds.take(), other.take(), other.take(), seeds.take(), seeds.take()];
  expect(taken).toEqual([0, 1, 2, 3, 4]);
  expect([seeds.take(), other.take(), seeds.take()]).toEqual([undefined, undefined, undefined]);
});

test("those after the end are not taken, and the end only comes nearer", () => {
  const seeds = Seeds.of(10);
  seeds.end(3);
  seeds.end(7);
  expect([seeds.take(), seeds.take(), seeds.take(), seeds.take()]).toEqual([0, 1, 2, undefined]);
});

test("whatever comes after the first that failed does not count", () => {
  const explored = fc
    .array(fc.record({ visits: fc.nat(9), ok: fc.boolean() }), { minLength: 1 })
    .map((all) => all.map((one, index): Explored => ({ ...one, index })))
    .chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })));
  fc.assert(
    fc.property(explored, ([inOrder, ended]) => {
      const tally = new Tally();
      for (const one of ended) tally.add(one);
      const failed = inOrder.find(({ ok }) => !ok)?.index;
      const counted = failed === undefined ? inOrder : inOrder.slice(0, failed + 1);
      const visits = counted.reduce((sum, one) => sum + one.visits, 0);
      expect(tally).toMatchObject({ runs: counted.length, visits, failed });
    }),
  );
});
