/** The API's payloads: one schema per request and reply. The documentation and the NATS service metadata come from here. */
import { z } from "zod";

const name = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
    "a stack name has letters, digits, dot, dash and underscore, at most 128",
  )
  .describe("Stack name.");
const request = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[^!]/, "ids that begin with ! are the engine's own")
  .optional()
  .describe("Id of this request: the same id again is the same goal. Made up when absent.");
const expected = z
  .int()
  .min(1)
  .optional()
  .describe("Traversal number that the caller believes to be current; another one is a conflict.");
const template = z
  .object({
    text: z.string().describe("The template, YAML or JSON."),
    name: z.string().default("template").describe("For error messages."),
    files: z.record(z.string(), z.string()).default({}).describe("Contents for get_file, by key."),
  })
  .describe("A template with the files that it embeds.");
const parameters = z.record(z.string(), z.unknown()).describe("Parameter values by name.");
const options = z
  .object({
    rollback_on_failure: z.boolean().optional().describe("Roll back by itself when the goal fails."),
    timeout_ms: z.int().min(1).optional().describe("How long the goal may take, in milliseconds."),
  })
  .describe("How the goal is pursued.");

export const requests = {
  create: z.object({
    name,
    request,
    template,
    parameters: parameters.default({}),
    options: options.default({}),
  }),
  update: z.object({
    name,
    request,
    expected,
    template: template.optional().describe("Absent: the current template."),
    parameters: parameters.default({}).describe("Values not given keep what they were."),
    options: options.default({}),
  }),
  delete: z.object({ name, request, expected, options: options.default({}) }),
  rollback: z.object({ name, request, expected, options: options.default({}) }),
  cancel: z.object({
    name,
    request,
    expected,
    rollback: z.boolean().default(false).describe("Also roll back to the last goal that was reached."),
  }),
  list: z.object({
    offset: z.int().min(0).default(0),
    limit: z.int().min(1).max(1000).default(100),
  }),
  show: z.object({
    name: z.string().min(1).describe("Stack name or id."),
    resources: z.boolean().default(true).describe("Whether to list resources and outputs."),
  }),
} as const;

const stack = z.object({
  id: z.string(),
  name: z.string(),
  status: z.enum(["CONVERGING", "IN_SERVICE", "COMPLETE", "FAILED", "CANCELLED"]),
  action: z
    .enum(["create", "update", "rollback", "delete", "observe"])
    .describe("What it was last asked for."),
  reason: z.string().describe("Why it is in this status; empty when there is nothing to say."),
  traversal: z.int().describe("Number of the newest goal."),
  updatesLeft: z.int().describe("Update nodes of the current traversal that are not done."),
  cleanupsLeft: z.int(),
  createdAt: z.string().describe("RFC 3339, UTC."),
  updatedAt: z.string(),
});

const resource = z.object({
  id: z.string().describe("Id of this incarnation; empty while it has none."),
  name: z.string(),
  type: z.string(),
  state: z
    .string()
    .describe("declared, creating, ready, updating, replaced, deleting, uncertain, retrying, failed."),
  physicalId: z.string().nullable(),
  attributes: z.record(z.string(), z.unknown()).describe('Hidden ones read "(hidden)".'),
  requires: z.array(z.string()).describe("Names of the resources that this physical thing depends on now."),
  reason: z.string(),
  current: z.boolean().describe("False for incarnations that wait to be cleaned up."),
});

const output = z.object({
  value: z.unknown().optional(),
  error: z.string().optional(),
  hidden: z.boolean(),
  description: z.string().optional(),
});

const goal = z.object({
  stack: z.string().describe("Stack id."),
  name: z.string(),
  traversal: z.int().describe("The goal's number, or the current one when there was nothing to do."),
  begun: z.boolean().describe("False when there was nothing to do or the request had been made before."),
});

export const replies = {
  create: goal,
  update: goal,
  delete: goal,
  rollback: goal,
  cancel: goal,
  list: z.object({ total: z.int(), offset: z.int(), limit: z.int(), stacks: z.array(stack) }),
  show: z.object({ stack, resources: z.array(resource), outputs: z.record(z.string(), output) }),
} as const;

export type Verb = keyof typeof requests;
export type Request<V extends Verb> = z.input<(typeof requests)[V]>;
export type ParsedRequest<V extends Verb> = z.output<(typeof requests)[V]>;
export type Reply<V extends Verb> = z.output<(typeof replies)[V]>;
export type StackView = z.output<typeof stack>;
export type ResourceView = z.output<typeof resource>;

/** The body of a failed reply; the same code is in the Nats-Service-Error-Code header as a number. */
export const failure = z.object({
  error: z.object({
    code: z.int().describe("HTTP-like status."),
    err_code: z.string().describe("invalid, not_found, conflict, unavailable, newer_version, internal."),
    description: z.string(),
    problems: z.array(
      z.object({
        message: z.string(),
        file: z.string().optional(),
        line: z.int().optional(),
        column: z.int().optional(),
      }),
    ),
  }),
});
