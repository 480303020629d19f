/**
 * Theory: on some path the resource machine forgets that something may exist, takes a late answer for a new one, takes
 * back what has begun to go, or has no answer for a visit. All reachable states are walked, with every event, next to a
 * ghost that knows what may really be out there.
 */
import { describe, expect, test } from "vitest";
import type {
  ResourceAction,
  ResourceContext,
  ResourceEvent,
  ResourceState,
} from "../../machines/resource.js";
import { resourceActor } from "../../src/actor/actor.js";
import { type Reached, walk } from "./walk.js";

/** What the world may hold, by the calls and answers so far. */
interface Ghost {
  /** A create was called, and nobody knows whether it made something. */
  mayExist: boolean;
  /** The same before the create in flight. */
  mightHaveExisted: boolean;
  /** A thing is known. */
  exists: boolean;
  /** Reality may not have the recorded properties. */
  differs: boolean;
  /** The call in flight, whose answer may come. */
  inFlight: "create" | "update" | "delete" | "find" | undefined;
  /** A delete was called at some time. */
  wasDoomed: boolean;
}

type Here = Reached<ResourceState, ResourceContext, ResourceAction, ResourceEvent, Ghost>;

const truths = [true, false];
const knowledge = truths.flatMap((canFind) => truths.map((idempotent) => ({ canFind, idempotent })));

const visits: ResourceEvent[] = knowledge.flatMap((known) => [
  ...truths.flatMap((late) => [
    ...(["same", "inPlace", "replace"] as const).map((fit) => ({
      type: "visit.update" as const,
      fit,
      late,
      ...known,
    })),
    ...truths.flatMap((wanted) =>
      truths.map((retain) => ({ type: "visit.cleanup" as const, wanted, retain, late, ...known })),
    ),
  ]),
  { type: "rejected" as const, reason: "no" },
]);

const resumptions: ResourceEvent[] = knowledge.flatMap((known) =>
  truths.flatMap((late) => truths.map((cleanup) => ({ type: "resume" as const, late, cleanup, ...known }))),
);

function failures(call: number): ResourceEvent[] {
  return knowledge.flatMap((known) =>
    truths.flatMap((retryable) =>
      truths.flatMap((exhausted) =>
        (["none", "unknown"] as const).map((effect) => ({
          type: "failed" as const,
          call,
          retryable,
          exhausted,
          effect,
          reason: "failed",
          ...known,
        })),
      ),
    ),
  );
}

/** What the call in flight may end in. */
function answers(call: number, operation: Ghost["inFlight"]): ResourceEvent[] {
  switch (operation) {
    case "create":
      return [{ type: "created", call }, { type: "notCalled", call }, ...failures(call)];
    case "update":
      return [{ type: "updated", call }, { type: "notCalled", call }, ...failures(call)];
    case "delete":
      return [{ type: "removed", call }, { type: "notCalled", call }, ...failures(call)];
    case "find":
      return [
        { type: "found", call },
        ...truths.map((late) => ({ type: "absent" as const, call, late })),
        ...failures(call),
      ];
    case undefined:
      return [];
  }
}

const allAnswers = (call: number) =>
  (["create", "update", "delete", "find"] as const).flatMap((operation) => answers(call, operation));

const inFlight: readonly ResourceState[] = ["creating", "updating", "deleting", "uncertain"];

/**
 * The events that visit.ts sends to a resource in this state: `resume` while an intent is stored, else the visit. An
 * intent is stored with every call but a find; `uncertain` has one until somebody was asked or the find has failed.
 */
function sent({ step: { state, context }, ghost }: Here): ResourceEvent[] {
  const here: ResourceEvent[] = [{ type: "newGoal" }, ...answers(context.call, ghost.inFlight)];
  const physical = ghost.exists;
  switch (state) {
    case "creating":
    case "updating":
    case "deleting":
      here.push(...resumptions);
      break;
    case "uncertain":
      here.push(...resumptions, ...visits);
      break;
    case "deleted":
      // Only what another traversal still had to clean up comes to a tombstone.
      here.push(...visits.filter(({ type }) => type === "visit.cleanup"));
      break;
    default:
      here.push(...visits);
  }
  // A thing is handed over to a record that has none; a tombstone refuses it.
  if (!physical && state !== "deleted" && state !== "deleting") {
    here.push(...truths.map((late) => ({ type: "handedOver" as const, late })));
  }
  return here;
}

function follow({ ghost }: Here, event: ResourceEvent, after: Here["step"]): Ghost {
  const next = { ...ghost };
  switch (event.type) {
    case "handedOver":
    case "created":
    case "found":
      if (event.type === "handedOver" && !event.late) {
        next.inFlight = undefined;
        break;
      }
      Object.assign(next, { mayExist: false, exists: true, differs: false, inFlight: undefined });
      break;
    case "updated":
      Object.assign(next, { differs: false, inFlight: undefined });
      break;
    case "removed":
      Object.assign(next, { mayExist: false, exists: false, differs: false, inFlight: undefined });
      break;
    case "notCalled":
      if (ghost.inFlight === "create") next.mayExist = ghost.mightHaveExisted;
      next.inFlight = undefined;
      break;
    case "absent":
      if (event.late) next.mayExist = false;
      next.inFlight = undefined;
      break;
    case "failed":
      if (ghost.inFlight === "create" && event.effect === "none") next.mayExist = ghost.mightHaveExisted;
      next.inFlight = undefined;
      break;
    default:
      if (event.type !== "newGoal") next.inFlight = undefined;
  }
  const command = after.actions.at(-1);
  if (command === "create") {
    next.mightHaveExisted = next.mayExist;
    next.mayExist = true;
  }
  if (command === "update") next.differs = true;
  if (command === "delete") next.wasDoomed = true;
  if (command === "create" || command === "update" || command === "delete" || command === "find") {
    next.inFlight = command;
  }
  return next;
}

const reached = walk<ResourceState, ResourceContext, ResourceAction, ResourceEvent, Ghost>({
  actor: resourceActor,
  start: {
    mayExist: false,
    mightHaveExisted: false,
    exists: false,
    differs: false,
    inFlight: undefined,
    wasDoomed: false,
  },
  events: sent,
  follow,
  key: ({ step: { state, context }, ghost }) => {
    const { failures, reason, call, ...rest } = context;
    const cut = { failures: Math.min(failures, 1), reason: reason !== "", first: call === 0 };
    return JSON.stringify([state, rest, cut, ghost]);
  },
});

/** For messages: the path that leads there. */
function told({ path, step: { state, context } }: Here): string {
  return `${path.map((event) => JSON.stringify(event)).join("\n")}\n=> ${state} ${JSON.stringify(context)}`;
}

function each(check: (here: Here) => void): void {
  for (const here of reached) {
    try {
      check(here);
    } catch (error) {
      throw new Error(`${told(here)}\n${(error as Error).message}`);
    }
  }
}

describe("the resource machine", () => {
  test("every state is reached, on paths of some length", () => {
    const states = new Set(reached.map(({ step }) => step.state));
    expect([...states].sort()).toEqual(
      [
        ...["creating", "declared", "deleted", "deleting", "failed", "ready", "replaced", "retrying"],
        ...["uncertain", "updating"],
      ].sort(),
    );
    expect(reached.length).toBeGreaterThan(60);
    console.log(`${reached.length} situations, the longest path has ${reached.at(-1)?.path.length} events`);
  });

  test("every state has an answer for every event that a visit sends it there", () => {
    each((here) => {
      for (const event of sent(here)) {
        if (event.type === "newGoal" || event.type === "handedOver") continue;
        const { actions } = resourceActor.step(here.step.snapshot, event);
        expect(actions.at(-1), event.type).toBeDefined();
        expect(actions, event.type).toHaveLength(1);
      }
    });
  });

  test("a thing that is handed over is taken up in every state that has none", () => {
    each((here) => {
      if (here.ghost.exists || here.step.state === "deleting" || here.step.state === "deleted") return;
      const { state, context } = resourceActor.step(here.step.snapshot, { type: "handedOver", late: true });
      expect({ state, physical: context.physical }).toEqual({ state: "ready", physical: true });
    });
  });

  test("R10: while an earlier create may take effect, nothing is taken up, and nothing repeated", () => {
    each((here) => {
      if (here.ghost.exists || here.step.state === "deleting" || here.step.state === "deleted") return;
      const { state, actions } = resourceActor.step(here.step.snapshot, { type: "handedOver", late: false });
      expect([state, actions]).toEqual(["uncertain", ["wait"]]);
      for (const event of sent(here)) {
        if (!here.ghost.mayExist || !("late" in event) || event.late) continue;
        const after = resourceActor.step(here.step.snapshot, event);
        expect(after.actions, JSON.stringify(event)).not.toContain("create");
      }
    });
  });

  test("an answer of another call than the newest changes nothing, in every state", () => {
    each((here) => {
      const { call } = here.step.context;
      for (const other of [call - 1, call + 1, 0].filter((number) => number !== call)) {
        for (const event of allAnswers(other)) {
          const after = resourceActor.step(here.step.snapshot, event);
          expect(after.snapshot, event.type).toBe(here.step.snapshot);
          expect(after.actions, event.type).toEqual([]);
        }
      }
    });
  });

  test("every call has a number of its own, higher than all before", () => {
    each((here) => {
      for (const event of sent(here)) {
        const after = resourceActor.step(here.step.snapshot, event);
        const calls = after.actions.some((action) => ["create", "update", "delete", "find"].includes(action));
        expect(after.context.call - here.step.context.call, event.type).toBe(calls ? 1 : 0);
      }
    });
  });

  test("1: an answer has a meaning only while a call is in flight or its outcome is unknown", () => {
    each((here) => {
      if (here.ghost.inFlight !== undefined) expect(inFlight).toContain(here.step.state);
      if (inFlight.includes(here.step.state)) return;
      for (const event of allAnswers(here.step.context.call)) {
        expect(resourceActor.step(here.step.snapshot, event).snapshot, event.type).toBe(here.step.snapshot);
      }
    });
  });

  test("2: unsure holds whenever a create may have made something that is not known", () => {
    each((here) => {
      if (here.ghost.mayExist && here.step.state !== "deleted") expect(here.step.context.unsure).toBe(true);
      if (here.ghost.exists && here.step.state !== "deleted") expect(here.step.context.physical).toBe(true);
    });
  });

  test("2: nothing concludes that there is nothing while something may exist", () => {
    each((here) => {
      if (here.step.state === "declared") {
        expect([here.ghost.mayExist, here.ghost.exists]).toEqual([false, false]);
      }
      for (const event of sent(here)) {
        const { actions } = resourceActor.step(here.step.snapshot, event);
        if (actions.at(-1) !== "forget") continue;
        const retained = event.type === "visit.cleanup" && event.retain;
        if (!retained) expect([here.ghost.mayExist, here.ghost.exists], event.type).toEqual([false, false]);
      }
    });
  });

  test("2: nothing is made again while something may exist, unless the provider repeats by token", () => {
    each((here) => {
      for (const event of sent(here)) {
        if (!("idempotent" in event) || event.idempotent) continue;
        const { actions } = resourceActor.step(here.step.snapshot, event);
        if (actions.at(-1) !== "create") continue;
        expect([here.ghost.mayExist, here.ghost.exists], event.type).toEqual([false, false]);
      }
    });
  });

  test("3: dirty holds whenever reality may differ; an unchanged goal is then not enough", () => {
    each((here) => {
      if (!here.ghost.differs || here.step.state === "deleted" || here.step.state === "deleting") return;
      expect(here.step.context.dirty).toBe(true);
      for (const event of sent(here)) {
        if (event.type !== "visit.update") continue;
        expect(resourceActor.step(here.step.snapshot, event).actions, event.type).not.toContain("pass");
      }
    });
  });

  test("4: doomed holds from the first delete on, for ever", () => {
    each((here) => {
      expect(here.step.context.doomed).toBe(here.ghost.wasDoomed);
    });
  });

  test("deleted is final: only a thing that turns up afterwards is deleted again", () => {
    const everything: ResourceEvent[] = [...visits, ...resumptions, { type: "newGoal" }];
    each((here) => {
      if (here.step.state !== "deleted") return;
      for (const event of [...everything, ...allAnswers(here.step.context.call)]) {
        expect(resourceActor.step(here.step.snapshot, event).state, event.type).toBe("deleted");
      }
      const again = resourceActor.step(here.step.snapshot, { type: "handedOver", late: true });
      expect([again.state, again.actions]).toEqual(["deleting", ["delete"]]);
    });
  });

  test("R16: a new goal starts the retries anew", () => {
    each((here) => {
      const { context } = resourceActor.step(here.step.snapshot, { type: "newGoal" });
      expect(context.failures).toBe(0);
    });
  });

  test("R16: a retryable failure is tried again, an exhausted or terminal one fails", () => {
    each((here) => {
      for (const event of answers(here.step.context.call, here.ghost.inFlight)) {
        if (event.type !== "failed") continue;
        const command = resourceActor.step(here.step.snapshot, event).actions.at(-1);
        if (!event.retryable) expect(["fail"], event.type).toContain(command);
        else if (event.exhausted) expect(["fail", "ask"], event.type).toContain(command);
        else expect(["retryLater", "ask"], event.type).toContain(command);
      }
    });
  });

  test("what is kept needs no call: a wanted or a retained thing is never deleted", () => {
    each((here) => {
      for (const event of visits) {
        if (event.type !== "visit.cleanup" || (!event.wanted && !event.retain)) continue;
        const { actions } = resourceActor.step(here.step.snapshot, event);
        expect(actions, event.type).not.toContain("delete");
      }
    });
  });
});
