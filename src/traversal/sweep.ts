/** Timers (R17): pops what is due, searches nothing, and looks at no stack that has nothing unfinished. */
import { HomeostatError, messageOf } from "../errors.js";
import { readHint } from "../store/hints.js";
import type { SweepAnswer } from "../store/store.js";
import type { Engine } from "./engine.js";
import { firstGoal } from "./goal-document.js";
import { prepareTraversal } from "./prepare.js";
import { flushOutbox, settleStack, timeOutStack } from "./settle.js";
import { ringSafely } from "./visit.js";

/** Stacks of one shard that one pass looks at before it goes on to the next shard. */
const stacksPerPass = 100;

/** Entries of one stack that one look rings for. */
const entriesPerLook = 256;

/** One pass over all shards; answers in how many ms something falls due, undefined when nothing is unfinished. */
export async function sweep(engine: Engine): Promise<number | undefined> {
  const shards = Array.from({ length: engine.store.hintShards }, (_, shard) => shard);
  const due = await Promise.all(shards.map((shard) => sweepShard(engine, shard)));
  const times = due.filter((ms) => ms !== undefined);
  return times.length === 0 ? undefined : Math.min(...times);
}

async function sweepShard(engine: Engine, shard: number): Promise<number | undefined> {
  const popped = await engine.store.popDue(shard, stacksPerPass);
  for (const [hint, score] of popped.stacks) {
    const { stack, name } = readHint(hint);
    try {
      const nextMs =
        name === undefined ? await sweepStack(engine, stack) : await sweepBirth(engine, stack, name);
      await engine.store.returnDue(hint, score, nextMs);
    } catch (error) {
      // The hint is held; the stack is looked at again when that runs out.
      engine.log.warn({ stack, error: messageOf(error) }, "could not look after a stack");
    }
  }
  if (popped.stacks.length === 0) return popped.nextMs;
  return (await engine.store.popDue(shard, 0)).nextMs;
}

/** A create that has not come by now must not come any more: its hint is about to go. */
async function sweepBirth({ store }: Engine, stack: string, name: string): Promise<undefined> {
  if (!(await store.void(stack))) return void (await store.hint(stack, 0));
  await store.dropTemplate(stack, firstGoal);
  await store.moveName(name, stack, "");
}

/** In how many ms to look again; undefined when nothing is unfinished. */
async function sweepStack(engine: Engine, stack: string): Promise<number | undefined> {
  let traversal: number | "" = "";
  let attempt = "";
  for (;;) {
    const answer: SweepAnswer = await engine.store.sweep(stack, traversal, attempt, entriesPerLook);
    switch (answer.tag) {
      case "moved":
        if (answer.traversal === traversal && answer.attempt === attempt) {
          throw new HomeostatError("internal", `${engine.store.keys.stack(stack)} is at no traversal`);
        }
        traversal = answer.traversal;
        attempt = answer.attempt;
        continue;
      case "missing":
        return undefined;
      case "purged":
        await engine.store.moveName(answer.name, stack, "");
        await engine.store.forgetPurged(stack);
        return undefined;
      case "ok":
        await ringSafely(engine, stack, answer.rings);
        if (answer.outbox) await flushOutbox(engine, stack);
        if (traversal !== "") await lookAfter(engine, stack, traversal, attempt, answer);
        return answer.nextMs;
    }
  }
}

async function lookAfter(
  engine: Engine,
  stack: string,
  traversal: number,
  attempt: string,
  due: Extract<SweepAnswer, { tag: "ok" }>,
): Promise<void> {
  if (due.timeout) await timeOutStack(engine, stack, traversal, attempt);
  if (due.begin) await prepareTraversal(engine, stack, traversal);
  if (due.settle) await settleStack(engine, stack, traversal, attempt);
  if (due.garbage) await engine.store.reap(stack);
}
