/** The API's payloads: one schema per request and reply. The documentation and the NATS service metadata come from here. */
import { z } from "zod";
import { waitKinds } from "./explain.js";

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

const either = z.string().min(1).describe("Stack name or id.");
const incident = z
  .string()
  .min(1)
  .optional()
  .describe("Id of the incident: the same answer again is no error. Absent: the one that is open.");

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
    name: either,
    resources: z.boolean().default(true).describe("Whether to list resources and outputs."),
  }),
  observe: z.object({
    name: either,
    resource: z.string().min(1).optional().describe("Name of a resource. Absent: all of the stack."),
    asked: z
      .int()
      .min(1)
      .optional()
      .describe(
        "The askedAt of an earlier reply: nothing is asked for now, and the reply tells what was seen since.",
      ),
  }),
  replace: z.object({
    name: either,
    request,
    expected,
    resource: z.string().min(1).describe("Name of the resource."),
    options: options.default({}).describe("What is not given stays as it is for a goal that is under way."),
  }),
  pause: z.object({ name: either, reason: z.string().max(1000).default("").describe("For people.") }),
  resume: z.object({ name: either }),
  incidents: z.object({ name: either.optional().describe("Stack name or id. Absent: all stacks.") }),
  approve: z.object({ name: either, incident }),
  dismiss: z.object({ name: either, incident }),
  resolve: z.object({
    name: either,
    resource: z.string().min(1).describe("Name of the resource, which is uncertain."),
    made: z
      .string()
      .min(1)
      .max(4_096)
      .nullable()
      .describe("Physical id of the thing that its last call made; null: it made none, and never will."),
  }),
  policy: z.object({
    name: either,
    document: z
      .json()
      .optional()
      .describe("The policy document to set (docs/OBSERVATION.md); null: none. Absent: nothing is changed."),
  }),
  watched: z.object({
    type: z.string().min(1).optional().describe("Only things of this type."),
    pool: z.string().min(1).optional().describe("Only things of this pool."),
    offset: z.int().min(0).default(0),
    limit: z.int().min(1).max(1000).default(1000),
  }),
  drift: z.object({
    name: z
      .string()
      .min(1)
      .optional()
      .describe("Stack name or id. Absent: what is not in line, of all stacks."),
    resource: z.string().optional().describe("Only this resource; also when it is in line."),
    all: z.boolean().default(false).describe("Also resources and properties that do not differ."),
    after: z.string().default("").describe("What the former page said as `next`; the first one: empty."),
    limit: z.int().min(1).max(200).default(50).describe("Resources of one page."),
  }),
  why: z.object({
    name: z.string().min(1).describe("Stack name or id."),
    resource: z.string().optional().describe("Only this resource; also when it is at its goal."),
    limit: z.int().min(0).max(200).default(20).describe("How many resources are explained."),
  }),
  orphans: z.object({
    remove: z.array(z.string()).max(1000).default([]).describe("Ids of those that an observer is to remove."),
  }),
} as const;

const stack = z.object({
  id: z.string(),
  name: z.string(),
  status: z.enum(["CONVERGING", "IN_SERVICE", "COMPLETE", "FAILED", "CANCELLED"]),
  action: z
    .enum(["create", "update", "rollback", "delete", "replace", "observe"])
    .describe("What it was last asked for."),
  reason: z.string().describe("Why it is in this status; empty when there is nothing to say."),
  traversal: z.int().describe("Number of the newest goal."),
  updatesLeft: z.int().describe("Update nodes of the current traversal that are not done."),
  cleanupsLeft: z.int(),
  heldMissing: z
    .int()
    .optional()
    .describe("How many things are missing under an incident that waits for an answer. Absent: none."),
  paused: z
    .string()
    .optional()
    .describe("Why nothing is mended by itself; empty: nobody said. Absent: it is not paused."),
  createdAt: z.string().describe("RFC 3339, UTC."),
  updatedAt: z.string(),
});

const resource = z.object({
  id: z.string().describe("Id of this incarnation; empty while it has none."),
  name: z.string(),
  type: z.string(),
  state: z
    .string()
    .describe(
      "declared, creating, ready, updating, replaced, deleting, uncertain, retrying, failed, drifted, missing, contested, unreadable.",
    ),
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

const orphan = z.object({
  id: z.string(),
  type: z.string(),
  physicalId: z.string(),
  stack: z.string().describe("Stack id, as it is marked; empty when it is not."),
  stackName: z.string(),
  resource: z.string(),
  token: z.string(),
  ours: z.boolean().describe("False: an older version made it, so it does not say for which deployment."),
  why: z.string(),
  certain: z.boolean().describe("It was seen for longer than any call can last."),
  decided: z.boolean().describe("Somebody asked for its removal."),
  failure: z.string().describe("Why it could not be removed; empty when nobody tried."),
  firstSeen: z.string().describe("RFC 3339, UTC."),
  lastSeen: z.string(),
});

const goal = z.object({
  stack: z.string().describe("Stack id."),
  name: z.string(),
  traversal: z.int().describe("The goal's number, or the current one when there was nothing to do."),
  begun: z.boolean().describe("False when there was nothing to do or the request had been made before."),
});

const stackRef = { stack: z.string().describe("Stack id."), name: z.string() };

const seen = z.object({
  id: z.string(),
  name: z.string(),
  type: z.string(),
  finding: z
    .enum(["inLine", "repaired", "drifted", "missing", "contested", "unreadable", "failed"])
    .describe(
      "repaired: something was applied since it was asked for. failed: its own update or create has.",
    ),
  paths: z.array(z.string()).describe("What differs."),
  reason: z.string(),
});

const openIncident = z.object({
  ...stackRef,
  id: z.string(),
  since: z.string().describe("RFC 3339, UTC."),
  missing: z.int().describe("How many things are missing."),
  resources: z.array(z.string()).describe("Names of the first 100 of them, those that went missing first."),
});

const answeredIncident = z.object({
  ...stackRef,
  incident: z.string(),
  resources: z.int().describe("How many missing things this answers for."),
});

const effectivePolicy = z
  .object({
    policy: z.enum(["repair", "report", "ignore"]),
    ignore: z.array(z.string()),
    poll_ms: z.number(),
    grace_ms: z.number(),
    retry: z.boolean(),
    budget: z.object({ burst: z.int(), per_minute: z.number() }),
    incident: z.object({ missing: z.int(), within_ms: z.number() }),
    fight: z.object({ repairs: z.int(), within_ms: z.number() }),
    orphans: z.enum(["report", "remove"]),
  })
  .describe("Its keys are those of a policy document; durations are in milliseconds.");

const watched = z.object({
  type: z.string(),
  physical_id: z.string(),
  pool: z.string(),
  stack: z.string().describe("Stack id."),
  stack_name: z.string(),
  resource: z.string().describe("Resource id."),
  name: z.string().describe("Resource name."),
});

const moment = z.string().optional().describe("RFC 3339, UTC, by Redis's clock.");

const driftOfResource = z.object({
  ...{
    stack: z.string().describe("Stack id."),
    stackName: z.string(),
    resource: z.string(),
    type: z.string(),
  },
  id: z.string().describe("Id of this incarnation; empty while it has none."),
  state: z.string(),
  reason: z.string(),
  since: moment.describe("Since when it is in this state, or not in line; RFC 3339, UTC, by Redis's clock."),
  differs: z.boolean().describe("Whether it is not in line: its state says so, or a property does."),
  policy: z.enum(["repair", "report", "ignore"]),
  paused: z.boolean(),
  contested: z
    .array(z.string())
    .describe("Paths that are left alone because something else keeps changing them."),
  desiredAt: moment.describe("When the current goal was set."),
  appliedAt: moment.describe("When its properties were last applied. Absent: never."),
  observedAt: moment.describe("When it was last looked at. Absent: not since they were applied."),
  problem: z.string().describe("Why what is desired, or what is stored, cannot be told; empty when it can."),
  properties: z
    .array(
      z.object({
        path: z.string(),
        ...{
          desired: z.unknown().optional(),
          applied: z.unknown().optional(),
          observed: z.unknown().optional(),
        },
        differs: z.boolean(),
        ignored: z.boolean().describe("The policy says that reality may differ here."),
      }),
    )
    .describe(
      'Leaves. A side that has nothing there is absent; hidden values read "(hidden)"; long texts are cut.',
    ),
  more: z.int().describe("Further properties that are not told."),
});

const wait = z.object({
  kind: z.enum(waitKinds),
  text: z.string(),
  since: moment,
  until: moment,
  on: z.array(z.string()).optional().describe("Names of resources, or paths of properties."),
});

const explanation = z.object({
  ...{ name: z.string(), id: z.string(), type: z.string(), state: z.string(), atGoal: z.boolean() },
  current: z.boolean().describe("False for incarnations that wait to be cleaned up."),
  since: moment,
  reason: z.string(),
  failures: z.int().describe("Failures in a row."),
  lastCall: z
    .object({
      operation: z.string(),
      began: z.string(),
      inFlight: z.boolean(),
      deadline: moment.describe("Until when it can have an effect, for a call in flight."),
    })
    .optional(),
  waits: z.array(wait).describe("What it waits for; the first comes first."),
  text: z.string().describe("All of it for people."),
});

export const replies = {
  create: goal,
  update: goal,
  delete: goal,
  rollback: goal,
  cancel: goal,
  list: z.object({ total: z.int(), offset: z.int(), limit: z.int(), stacks: z.array(stack) }),
  orphans: z.object({
    orphans: z.array(orphan),
    held: z
      .array(z.string())
      .describe("Types of which so many have no record that none is removed by itself."),
  }),
  show: z.object({ stack, resources: z.array(resource), outputs: z.record(z.string(), output) }),
  observe: z.object({
    ...stackRef,
    askedAt: z.int().describe("When it was asked for, in milliseconds of the engine's clock."),
    resources: z.int().describe("How many are looked at."),
    waiting: z.int().describe("How many of them were not looked at since, or are being mended."),
    seen: z.array(seen).describe("The others; empty in the reply that asks."),
  }),
  replace: goal,
  pause: z.object({ ...stackRef, paused: z.string().describe("Why; empty when it is not paused.") }),
  resume: z.object({ ...stackRef, paused: z.string() }),
  incidents: z.object({ incidents: z.array(openIncident) }),
  approve: answeredIncident,
  dismiss: answeredIncident,
  resolve: z.object({
    ...stackRef,
    resource: z.string(),
    id: z.string().describe("Id of the incarnation."),
    made: z.string().nullable(),
  }),
  policy: z.object({
    ...stackRef,
    template: z.json().describe("What the template says of the stack; without the parts of its resources."),
    runtime: z.json().describe("The document that was set at run time; null when there is none."),
    effective: z.record(z.string(), effectivePolicy).describe("What holds, by the resource's name."),
  }),
  watched: z.object({
    total: z.int().describe("Of that type and pool."),
    offset: z.int(),
    limit: z.int(),
    watched: z
      .array(watched)
      .describe("By the stack's name, then by resource id. Fewer than limit when some went away meanwhile."),
  }),
  drift: z.object({
    now: z.string().describe("RFC 3339, UTC, by Redis's clock: what the ages count from."),
    resources: z.array(driftOfResource),
    next: z.string().describe("Ask again with this as `after`; empty: there is no more."),
  }),
  why: z.object({
    now: z.string().describe("RFC 3339, UTC, by Redis's clock."),
    stack,
    atGoal: z.boolean(),
    since: moment,
    text: z.string().describe("For people."),
    waits: z.array(wait),
    paused: z.boolean(),
    incident: z.string().describe("Id of the incident that is held; empty when there is none."),
    states: z
      .record(z.string(), z.int())
      .describe("How many resources are in which state; `declared` is not made yet."),
    total: z.int().describe("Resources of the goal, and leftovers."),
    notAtGoal: z.int(),
    resources: z
      .array(explanation)
      .describe("Those that are not at their goal; what is most in need of a person comes first."),
  }),
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
