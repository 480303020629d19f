/** What the API consists of, for its service metadata and its documentation. */
import { z } from "zod";
import { Subjects } from "../bus/subjects.js";
import { failure, replies, requests, type Verb } from "./schemas.js";

export interface VerbDescription {
  subject: string;
  description: string;
  /** JSON Schemas. */
  request: object;
  reply: object;
}

const descriptions: Record<Verb, string> = {
  create: "Creates a stack and sets its first goal.",
  update: "Sets a new goal: another template, other parameters, or the same once more.",
  delete: "Sets the goal that nothing is left; then the stack is gone.",
  rollback: "Goes back to the last goal that was in service, or to nothing if there was none.",
  cancel: "Stops going towards the current goal; what runs may end.",
  list: "Lists stacks by name.",
  show: "Shows one stack with its resources and outputs.",
};

export const verbs = Object.keys(requests) as Verb[];

export function describeApi(subjects: Subjects = new Subjects()): Record<Verb, VerbDescription> {
  const entries = verbs.map((verb) => [verb, describeVerb(verb, subjects)] as const);
  return Object.fromEntries(entries) as Record<Verb, VerbDescription>;
}

function describeVerb(verb: Verb, subjects: Subjects): VerbDescription {
  return {
    subject: subjects.api(verb),
    description: descriptions[verb],
    request: z.toJSONSchema(requests[verb], { io: "input" }),
    reply: z.toJSONSchema(replies[verb]),
  };
}

/** JSON Schema of what every verb replies when it fails. */
export function describeFailure(): object {
  return z.toJSONSchema(failure);
}
