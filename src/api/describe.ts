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
  observe: "Has the things of a stack looked at now, and tells what was seen.",
  replace:
    "Sets the goal that a resource is another thing, and that what depends on it follows; all else stays.",
  pause: "Nothing of a stack is repaired or tried again by itself; looks go on, and so do goals of people.",
  resume: "Ends a pause; what is not in line is looked at at once.",
  incidents: "Lists the incidents that wait for an answer: many things of a stack that went missing at once.",
  approve: "Answers an incident: what is missing is made again.",
  dismiss: "Answers an incident: what is missing is left so, until it is there again or a goal makes it.",
  resolve:
    "Says what became of a create of which only a person can tell: what it made, or that it made nothing.",
  policy: "Shows what holds for the observation of a stack; with a document, changes it without a traversal.",
  watched: "Lists what there is to watch, for observers elsewhere. A page reads the indexes of all stacks.",
  drift: "Shows property by property what is desired, what was applied last and what was observed.",
  why: "Says why a stack or a resource is not at its goal: what it waits for, what was tried, what comes next.",
  orphans: "Lists things that no record knows, and has some of them removed.",
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
