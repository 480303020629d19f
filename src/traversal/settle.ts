/** What a traversal's milestones mean for its stack: asks the stack machine and carries out what it says. */
import { type StackEvent, statusOfState } from "../../machines/stack.js";
import { stackActor } from "../actor/actor.js";
import { HomeostatError } from "../errors.js";
import { restMs } from "../limits.js";
import { readStored } from "../store/damage.js";
import { stackPool } from "../store/hints.js";
import type { Facts, ResourceRecord } from "../store/store.js";
import type { Engine } from "./engine.js";
import { setGoal } from "./goal.js";
import { type LifecycleEvent, toOutbox } from "./lifecycle-event.js";
import { prepareTraversal } from "./prepare.js";
import { announceSafely } from "./visit.js";

type KnownFacts = Extract<Facts, { tag: "ok" }>;

/** Safe to call at any time, by several at once; whoever is late does nothing. */
export async function settleStack(
  engine: Engine,
  stack: string,
  traversal: number,
  attempt: string,
): Promise<void> {
  for (;;) {
    const facts = await engine.store.facts(stack, traversal, attempt);
    if (facts.tag !== "ok" || facts.traversal !== traversal || facts.open !== attempt || !facts.unsettled)
      return;
    const step = stepStack(engine, stack, facts, {
      type: "progress",
      traversal,
      updatesDone: facts.inService && facts.updatesLeft === 0,
      allDone: facts.updatesLeft === 0 && facts.cleanupsLeft === 0,
      stuck: facts.stuck,
      reason: facts.why,
    });
    if (step.actions.includes("purge")) return purgeStack(engine, stack, traversal, attempt);
    if (step.actions.includes("rollback")) return rollBack(engine, stack, traversal, step.context.reason);
    if (step.actions.length === 0) return;
    if (await store(engine, stack, facts, step)) return;
  }
}

/** The goal's time is over: what runs may end, nothing new begins. */
export async function timeOutStack(
  engine: Engine,
  stack: string,
  traversal: number,
  attempt: string,
): Promise<void> {
  const facts = await engine.store.facts(stack, traversal, attempt);
  if (facts.tag !== "ok" || facts.traversal !== traversal) return;
  const reason = facts.why === "" ? "timed out" : `timed out; ${facts.why}`;
  const step = stepStack(engine, stack, facts, { type: "timeout", traversal, reason });
  if (step.actions.includes("rollback")) return rollBack(engine, stack, traversal, reason);
  if (!step.actions.includes("stop")) return;
  await asIfAsked(engine, stack, traversal, "stop", reason);
}

function stepStack(engine: Engine, stack: string, { snapshot }: KnownFacts, event: StackEvent) {
  return readStored(engine.store.keys.stack(stack), () => stackActor.step(snapshot, event));
}

async function rollBack(engine: Engine, stack: string, traversal: number, reason: string): Promise<void> {
  const begun = await asIfAsked(engine, stack, traversal, "rollback", reason);
  if (begun !== undefined) await prepareTraversal(engine, stack, begun);
}

/** A goal of the engine's own; one of a person that came first wins. */
async function asIfAsked(
  engine: Engine,
  stack: string,
  traversal: number,
  kind: "rollback" | "stop",
  reason: string,
): Promise<number | undefined> {
  const record = await engine.store.stack(stack);
  if (record === undefined) return undefined;
  try {
    const set = await setGoal(engine, {
      request: `!${kind}.${stack}.${traversal}`,
      stack,
      name: record.name ?? "",
      kind,
      expected: traversal,
      reason,
    });
    return set.traversal;
  } catch (error) {
    if (error instanceof HomeostatError && (error.code === "conflict" || error.code === "not_found"))
      return undefined;
    throw error;
  }
}

/** False when something changed meanwhile. */
async function store(
  engine: Engine,
  stack: string,
  facts: KnownFacts,
  step: ReturnType<typeof stackActor.step>,
): Promise<boolean> {
  const { traversal } = facts;
  const final = ["complete", "failed", "cancelled"].includes(step.state);
  const status = statusOfState[step.state] ?? "CONVERGING";
  const record = await engine.store.stack(stack);
  const event = stackEvent(engine, stack, traversal, status.toLowerCase(), step.context.reason, record);
  // Observers try it again; what they are to look at stands before it is there.
  if (status === "FAILED")
    await engine.store.watch(stackPool, { stack }, restMs(engine.limits, record?.retries));
  const stored = await engine.store.settle(stack, traversal, {
    revision: facts.revision,
    snapshot: step.snapshot,
    status,
    final,
    event: toOutbox(event),
  });
  if (!stored) return false;
  await flushOutbox(engine, stack);
  if (final) await engine.store.reap(stack);
  return true;
}

function stackEvent(
  engine: Engine,
  stack: string,
  traversal: number,
  what: string,
  reason: string,
  record: ResourceRecord | undefined,
): LifecycleEvent {
  return {
    type: "io.homeostat.api.v1.stack",
    id: `${stack}.${traversal}.${what}`,
    time: engine.clock.timestamp(),
    stack,
    stackName: record?.name ?? "",
    traversal,
    what,
    ...(record?.action === undefined ? {} : { action: record.action }),
    ...(reason === "" ? {} : { reason }),
  };
}

/** Everything is gone: the keys, then the name. The last event goes out before, because its outbox goes too. */
async function purgeStack(engine: Engine, stack: string, traversal: number, attempt: string): Promise<void> {
  const { store } = engine;
  const event = stackEvent(engine, stack, traversal, "deleted", "", await store.stack(stack));
  if (!(await flushOutbox(engine, stack)) || !(await announceSafely(engine, [toOutbox(event)]))) return;
  await store.reap(stack, traversal);
  const record = await store.stack(stack);
  if (record === undefined || (await store.purge(stack, traversal, attempt, record)) !== "ok") return;
  await store.unwatch(stackPool, { stack });
  await store.moveName(event.stackName, stack, "");
}

/** Publishes what is in the stack's outbox; false when it stays there. */
export async function flushOutbox(engine: Engine, stack: string): Promise<boolean> {
  const events = await engine.store.outbox(stack);
  if (!(await announceSafely(engine, events))) return false;
  await engine.store.clearOutbox(
    stack,
    events.map((event) => event.id),
  );
  return true;
}
