/** What an update node says: the definition to bring its resource to, and where its inputs come from. */
import type { Dependency, PlannedNode, Wanted } from "../graph/plan.js";
import type { Sealing } from "../store/sealing.js";
import type { BoundDefinition } from "../template/types.js";

export interface NodeGoal {
  bound: BoundDefinition;
  /** Hash of the bound definition. */
  definition: string;
  dependencies: Dependency[];
  /** Other incarnations of the name that could be taken back. */
  alternates: string[];
  /** Absent: whatever differs is mended. False: drift is left to those whose business it is. */
  repair?: false;
  /** The incarnation that is to be replaced whether it fits or not. */
  condemned?: string;
}

export function writeNodeGoal(
  sealing: Sealing,
  goal: { wanted: Wanted } & NonNullable<PlannedNode["goal"]>,
): string {
  const { wanted, dependencies, alternates, repair, condemned } = goal;
  const text: NodeGoal = {
    bound: wanted.bound,
    definition: wanted.definition,
    dependencies,
    alternates,
    ...(repair === undefined ? {} : { repair }),
    ...(condemned === undefined ? {} : { condemned }),
  };
  return sealing.sealIf(wanted.bound.hidden.length > 0, JSON.stringify(text));
}

/** @throws Error when it is none. */
export function readNodeGoal(sealing: Sealing, text: string): NodeGoal {
  const goal = JSON.parse(sealing.open(text)) as NodeGoal;
  const { definition, dependencies, alternates } = goal;
  const isGoal =
    typeof definition === "string" &&
    Array.isArray(dependencies) &&
    Array.isArray(alternates) &&
    isBound(goal.bound);
  if (!isGoal) throw new Error("not a node's goal");
  return goal;
}

function isBound(bound: unknown): boolean {
  const definition = (bound as BoundDefinition | undefined)?.definition;
  return definition !== null && typeof definition === "object" && typeof definition.properties === "object";
}
