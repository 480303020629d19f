/** Traversals of the observer: over the same goal, when nothing is under way, and never against a newer goal (R6, R15). */
import { HomeostatError } from "../errors.js";
import { restMs } from "../limits.js";
import type { ResourceRecord } from "../store/store.js";
import type { Engine } from "../traversal/engine.js";
import { readOptions, setGoal } from "../traversal/goal.js";
import { prepareTraversal } from "../traversal/prepare.js";
import { flushOutbox } from "../traversal/settle.js";
import { hintAwaited } from "./hints.js";
import { documentsOf } from "./look.js";
import { resolvePolicy } from "./policy.js";

/**
 * Begins one if it is wished for, or if the goal failed and is to be tried again; has looked at what waited for the end
 * of one. Answers when to ask again, ms; undefined when there is nothing to ask for. `nowMs`: Redis's clock.
 */
export async function reconverge(engine: Engine, stack: string, nowMs: number): Promise<number | undefined> {
  const { store, limits } = engine;
  const record = await store.stack(stack);
  if ((record?.awaited ?? "") !== "") {
    if ((record?.unsettled ?? "") !== "") return limits.lookAgainMs;
    await hintAwaited(engine, stack, Number(record?.askedAt || 0));
  }
  if (record === undefined || record.status === "CANCELLED" || (record.paused ?? "") !== "") return undefined;
  const wished = (record.wish ?? "") !== "";
  const failed = record.status === "FAILED";
  if (!wished && !(failed && isTriedAgain(record))) return undefined;
  if ((record.unsettled ?? "") !== "") return limits.lookAgainMs;
  const dueMs = wished ? 0 : Number(record.updatedAt) + restMs(limits, record.retries) - nowMs;
  if (dueMs > 0) return dueMs;
  const traversal = Number(record.traversal);
  // What was to be replaced by hand still is.
  const { replace } = readOptions(record);
  try {
    const set = await setGoal(engine, {
      request: `!observe.${stack}.${traversal}`,
      stack,
      name: record.name ?? "",
      kind: record.action === "delete" ? "delete" : "observe",
      expected: traversal,
      idle: true,
      ...(failed && replace !== undefined ? { purpose: { replace } } : {}),
      reason: wished ? "what is there differs" : "tried again after it failed",
    });
    await flushOutbox(engine, stack);
    await prepareTraversal(engine, stack, set.traversal);
    return undefined;
  } catch (error) {
    if (!(error instanceof HomeostatError) || !["conflict", "not_found"].includes(error.code)) throw error;
    return limits.lookAgainMs;
  }
}

function isTriedAgain(record: ResourceRecord): boolean {
  const documents = documentsOf({ goalPolicy: record.goalPolicy ?? "", policy: record.policy ?? "" });
  const { retry, mode } = resolvePolicy(...documents);
  return retry && mode === "repair";
}
