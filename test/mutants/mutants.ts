/**
 * Faults, one at a time, in what keeps the rules of ARCHITECTURE.md: each must be found by the simulator's runs. What is
 * subtle is wrong only under one interleaving, one crash or one lost or repeated message.
 */
import { calls } from "./list/calls.js";
import { convergence } from "./list/convergence.js";
import { messages } from "./list/messages.js";
import { observation } from "./list/observation.js";
import { policy } from "./list/policy.js";
import { waits } from "./list/waits.js";

export interface Mutant {
  id: string;
  /** Rules, R1 to R18 and O1 to O7, and items of `protocolItems`. */
  breaks: readonly string[];
  subtle: boolean;
  /** What is wrong, in one sentence. */
  what: string;
  /** From the project's folder. */
  file: string;
  /** Occurs exactly once in the file. */
  find: string;
  replace: string;
}

/** What a model of the protocol could not do without. */
export const protocolItems = [
  "fence before read",
  "tombstones kept to the end",
  "traversal check on the decision",
  "fence check on the outcome",
  "refused commit sees the mark",
  "passing on again when done",
  "no cleanup before the name's update",
  "requires gains the new before the call",
  "pending set",
  "marks for those who wait",
  "operation set",
  "deadline before an update",
  "order of find and deadline",
  "attempts of preparation",
  "dropping the cyclic preference",
] as const;

export const mutants: readonly Mutant[] = [
  ...convergence,
  ...calls,
  ...messages,
  ...waits,
  ...observation,
  ...policy,
];
