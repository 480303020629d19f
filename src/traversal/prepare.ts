/**
 * From a goal to an open traversal: read what exists, compute the graph, write it, open it (PREPARE, OPEN).
 *
 * Invariants
 * 1. It runs only after the fence, so what it reads can no longer be changed by an older traversal (R8).
 * 2. Anybody may do it at any time, several at once: each writes under its own attempt, one is opened.
 */
import { type PlannedNode, planTraversal, type Wanted } from "../graph/plan.js";
import { bindDefinition, definitionText, templatePolicy } from "../template/template.js";
import type { Engine } from "./engine.js";
import { readOptions } from "./goal.js";
import { type GoalDocument, readGoal, templateOf } from "./goal-document.js";
import { writeNodeGoal } from "./node-goal.js";
import { settleStack } from "./settle.js";
import { ringSafely } from "./visit.js";

/** Fields of one write; bounds how long the script runs. */
const fieldsPerWrite = 400;

export async function prepareTraversal(engine: Engine, stack: string, traversal: number): Promise<void> {
  const { store, random } = engine;
  const record = await store.stack(stack);
  if (record === undefined || record.traversal !== String(traversal) || record.open !== "") return;
  const goal = await readGoal(engine, stack, record.goal ?? "");
  if (goal === undefined) return;
  const { replace = [], mend } = readOptions(record);
  const plan = planTraversal(wantedBy(engine, goal), await store.index(stack), () => random.id(), {
    observing: record.action === "observe" || (record.action === "replace" && mend !== true),
    condemned: new Set(replace),
  });
  const attempt = random.id();
  await engine.trace.reach("after-graph", { stack });
  const ready = await writePlan(engine, stack, traversal, attempt, plan.nodes);
  if (ready === undefined) return;
  const { resources: _, ...stackPolicy } = templatePolicy(goal.parameters);
  await engine.trace.reach("before-open", { stack });
  const opened = await store.open(
    stack,
    traversal,
    attempt,
    {
      updates: plan.updates,
      cleanups: plan.cleanups,
      ready,
    },
    JSON.stringify(stackPolicy),
  );
  if (!opened.opened) return;
  await engine.trace.reach("after-open", { stack });
  await ringSafely(engine, stack, opened.rings);
  if (opened.milestone) await settleStack(engine, stack, traversal, attempt);
  await store.reap(stack);
}

export function wantedBy(engine: Engine, goal: GoalDocument): Map<string, Wanted> {
  const { resources } = templateOf(goal);
  const policy = templatePolicy(goal.parameters);
  const wanted = new Map<string, Wanted>();
  for (const [name, definition] of resources) {
    const bound = bindDefinition(definition, goal.parameters, policy);
    wanted.set(name, {
      bound,
      definition: engine.sealing.fingerprint(definitionText(bound)),
      pool: engine.types.get(definition.type)?.pool ?? "default",
    });
  }
  return wanted;
}

/** How many nodes are ready; undefined when the attempt came too late. */
async function writePlan(
  engine: Engine,
  stack: string,
  traversal: number,
  attempt: string,
  nodes: readonly PlannedNode[],
): Promise<number | undefined> {
  const order = new Map(nodes.map((node, i) => [node.node, i]));
  let fields: string[] = [];
  let ready: (string | number)[] = [];
  let readyCount = 0;
  const flush = async () => {
    const written = await engine.store.writeGraph(stack, traversal, attempt, fields, ready);
    fields = [];
    ready = [];
    return written;
  };
  for (const node of nodes) {
    fields.push(...nodeFields(engine, node, order));
    if (node.predecessors.length === 0) {
      readyCount += 1;
      ready.push(readyCount, node.node);
    }
    if (fields.length >= fieldsPerWrite && !(await flush())) return undefined;
  }
  return (await flush()) ? readyCount : undefined;
}

/** i: about, c: predecessors, p: inputs, j: goal, w: standing, s0 s1 …: successors in chunks. */
function nodeFields(engine: Engine, node: PlannedNode, order: ReadonlyMap<string, number>): string[] {
  const { chunkNodes } = engine.limits;
  const id = node.node;
  const fields = [
    `i:${id}`,
    [node.pool, node.resource, node.name, node.type].join("\n"),
    `c:${id}`,
    String(node.predecessors.length),
  ];
  if (node.goal !== undefined) {
    fields.push(`j:${id}`, writeNodeGoal(engine.sealing, node.goal));
    if (node.predecessors.length > 0) fields.push(`p:${id}`, node.predecessors.join("\n"));
  }
  if (node.standing !== undefined) fields.push(`w:${id}`, node.standing);
  const successors = node.successors.sort((a, b) => (order.get(a) ?? 0) - (order.get(b) ?? 0));
  for (let chunk = 0; chunk * chunkNodes < successors.length; chunk += 1) {
    const part = successors.slice(chunk * chunkNodes, (chunk + 1) * chunkNodes);
    fields.push(`s${chunk}:${id}`, part.join("\n"));
  }
  return fields;
}
