/**
 * Theory: what lies in Redis between two events is not quite what was there before, or running a machine does more than
 * say what follows.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ResourceEvent } from "../../machines/resource.js";
import { resourceMachineVersion } from "../../machines/resource.js";
import { type StackEvent, stackMachineVersion } from "../../machines/stack.js";
import { resourceActor, stackActor } from "../../src/actor/actor.js";
import { HomeostatError } from "../../src/errors.js";

const seed = Number(process.env.HOMEOSTAT_SEED ?? Date.now() % 2 ** 31);
console.log(`actor: seed ${seed} (HOMEOSTAT_SEED=${seed} repeats it)`);

const call = fc.integer({ min: 0, max: 4 });
const known = { canFind: fc.boolean(), idempotent: fc.boolean() };
const text = fc.string({ unit: "grapheme", maxLength: 8 });

const resourceEvent = fc.oneof(
  fc.record({
    type: fc.constant("visit.update"),
    fit: fc.constantFrom("same", "inPlace", "replace"),
    ...known,
  }),
  fc.record({ type: fc.constant("visit.cleanup"), wanted: fc.boolean(), retain: fc.boolean(), ...known }),
  fc.record({ type: fc.constant("resume"), late: fc.boolean(), cleanup: fc.boolean(), ...known }),
  fc.record({ type: fc.constantFrom("created", "updated", "removed", "found", "notCalled"), call }),
  fc.record({ type: fc.constant("absent"), call, late: fc.boolean() }),
  fc.record({
    type: fc.constant("failed"),
    call,
    retryable: fc.boolean(),
    exhausted: fc.boolean(),
    effect: fc.constantFrom("none", "unknown"),
    reason: text,
    ...known,
  }),
  fc.record({ type: fc.constant("rejected"), reason: text }),
  fc.constantFrom({ type: "newGoal" }, { type: "handedOver", late: true }),
) as fc.Arbitrary<ResourceEvent>;

const traversal = fc.integer({ min: 0, max: 3 });
const stackEvent = fc.oneof(
  fc.record({
    type: fc.constant("goal"),
    traversal,
    action: fc.constantFrom("create", "update", "rollback", "delete"),
    rollbackOnFailure: fc.boolean(),
    reason: text,
  }),
  fc.record({ type: fc.constantFrom("cancel", "stop", "timeout"), traversal, reason: text }),
  fc.record({
    type: fc.constant("progress"),
    traversal,
    updatesDone: fc.boolean(),
    allDone: fc.boolean(),
    stuck: fc.boolean(),
    reason: text,
  }),
) as fc.Arbitrary<StackEvent>;

interface Actor {
  read(snapshot: string): ReturnType<typeof resourceActor.read> | ReturnType<typeof stackActor.read>;
  step(
    snapshot: string,
    event: never,
  ): ReturnType<typeof resourceActor.step> | ReturnType<typeof stackActor.step>;
}

const actors: [name: string, actor: Actor, events: fc.Arbitrary<object>, version: number][] = [
  ["resource", resourceActor as Actor, resourceEvent, resourceMachineVersion],
  ["stack", stackActor as Actor, stackEvent, stackMachineVersion],
];

for (const [name, actor, events, version] of actors) {
  describe(`the actor of a ${name}`, () => {
    const paths = fc.array(events, { maxLength: 12 });
    const runs = { seed, numRuns: 400 };

    test("reads back exactly what a step said, however often", () => {
      fc.assert(
        fc.property(paths, (path) => {
          let snapshot = "";
          for (const event of path) {
            const step = actor.step(snapshot, event as never);
            const read = actor.read(step.snapshot);
            expect([read.snapshot, read.state, read.context]).toEqual([
              step.snapshot,
              step.state,
              step.context,
            ]);
            expect(read.actions).toEqual([]);
            snapshot = step.snapshot;
          }
        }),
        runs,
      );
    });

    test("is pure: the same snapshot and event give the same step, and neither is touched", () => {
      fc.assert(
        fc.property(paths, events, (path, event) => {
          const before = path.reduce((snapshot, each) => actor.step(snapshot, each as never).snapshot, "");
          const frozen = Object.freeze({ ...event });
          const first = actor.step(before, frozen as never);
          actor.step(first.snapshot, event as never);
          const second = actor.step(before, frozen as never);
          expect(second).toEqual(first);
        }),
        runs,
      );
    });

    test("the empty text is the initial state, and is not stored as anything else", () => {
      expect(actor.read("").actions).toEqual([]);
      expect(actor.read(actor.read("").snapshot)).toEqual(actor.read(""));
    });

    test("an event without a meaning leaves everything as it is", () => {
      fc.assert(
        fc.property(paths, (path) => {
          const before = path.reduce(
            (snapshot, each) => actor.step(snapshot, each as never).snapshot,
            actor.read("").snapshot,
          );
          const after = actor.step(before, { type: "no such event" } as never);
          expect([after.snapshot, after.actions]).toEqual([before, []]);
        }),
        runs,
      );
    });

    test("says only what is to be done, never an assignment", () => {
      fc.assert(
        fc.property(paths, (path) => {
          let snapshot = "";
          for (const event of path) {
            const step = actor.step(snapshot, event as never);
            for (const action of step.actions) {
              expect(action).not.toMatch(/^xstate\.|^(record|count|expect|soil|doom|end|adopt|forgetReason)/);
            }
            snapshot = step.snapshot;
          }
        }),
        runs,
      );
    });

    test("a snapshot carries its machine's version; a newer one is left to newer workers", () => {
      const stored = JSON.parse(actor.read("").snapshot) as { v: number };
      expect(stored.v).toBe(version);
      const newer = JSON.stringify({ ...stored, v: version + 1 });
      for (const use of [() => actor.read(newer), () => actor.step(newer, { type: "newGoal" } as never)]) {
        expect(use).toThrow(HomeostatError);
        expect(use).toThrow(expect.objectContaining({ code: "newer_version" }));
        expect(use).toThrow(new RegExp(`^${name} was stored by version ${version + 1}`));
      }
    });

    test("a snapshot is small", () => {
      fc.assert(
        fc.property(paths, (path) => {
          const last = path.reduce((snapshot, each) => actor.step(snapshot, each as never).snapshot, "");
          expect(last.length).toBeLessThan(512);
        }),
        runs,
      );
    });
  });
}
