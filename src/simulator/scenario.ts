/** Scenario files: their shape, and where in the file something is wrong. */
import { readFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { type Document, isMap, isNode, LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import { InvalidError, messageOf, type Problem } from "../errors.js";
import { tooDeepAt, tooDeepMessage } from "../template/read-text.js";
import type { Milestone } from "../traversal/engine.js";

const durationPattern = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const unitsMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

const durationMs = z
  .string()
  .regex(durationPattern, "a duration looks like 200ms, 30s, 5m or 1h")
  .transform((text) => {
    const [, amount = "0", unit = "ms"] = durationPattern.exec(text) ?? [];
    return Number(amount) * unitsMs[unit as keyof typeof unitsMs];
  });

export const visitPoints = [
  "before-intent",
  "after-intent",
  "before-call",
  "after-call",
  "before-commit",
  "after-commit",
  "before-publish",
  "after-publish",
  "before-ack",
] as const satisfies readonly Milestone[];
const beginPoints = [
  "before-fence",
  "after-fence",
  "after-graph",
  "before-open",
  "after-open",
] as const satisfies readonly Milestone[];

/** Points of a look; a repair in place has those of a visit. */
export const lookPoints = [
  "before-read",
  "after-read",
  "before-finding",
  "after-finding",
  "before-ack",
] as const;

const operation = z.enum(["create", "read", "update", "delete", "find", "none"]);
const target = z.string().min(1);
const matching = {
  resource: target.optional(),
  op: operation.optional(),
  optional: z.boolean().default(false),
};
const template = z.union([z.string(), z.record(z.string(), z.unknown())]);
const parameters = z.record(z.string(), z.unknown()).default({});
const error = z.enum(["invalid", "not_found", "conflict", "unavailable"]).optional();
const options = z
  .strictObject({ rollback_on_failure: z.boolean().optional(), timeout: durationMs.optional() })
  .default({});
const stackOnly = { stack: z.string(), error };

const counts = z.record(z.string(), z.int().min(0));

const expectation = z.strictObject({
  reality: z
    .union([z.string(), z.looseObject({ parameters: z.record(z.string(), z.unknown()).optional() })])
    .optional(),
  physical: counts.optional(),
  total: z.int().min(0).optional(),
  status: z.record(z.string(), z.string()).optional(),
  state: z.record(z.string(), z.string()).optional(),
  calls: z.record(z.string(), z.partialRecord(operation, z.int().min(0))).optional(),
  same: z.record(z.string(), z.string()).optional(),
  differs: z.record(z.string(), z.string()).optional(),
  gone: z.union([z.string(), z.array(z.string())]).optional(),
});

const duringBegin = {
  at: z.enum(beginPoints),
  during: z.literal("begin"),
  optional: z.boolean().default(false),
};
const duringLook = {
  at: z.enum(lookPoints),
  during: z.literal("look"),
  resource: target.optional(),
  optional: z.boolean().default(false),
};
const duringVisit = { at: z.enum(visitPoints), ...matching };

/** Of a crash or a pause: which points there are depends on what is interrupted. */
const interruptions = {
  begin: { crash: z.strictObject(duringBegin), pause: z.strictObject({ ...duringBegin, for: durationMs }) },
  look: { crash: z.strictObject(duringLook), pause: z.strictObject({ ...duringLook, for: durationMs }) },
  visit: { crash: z.strictObject(duringVisit), pause: z.strictObject({ ...duringVisit, for: durationMs }) },
};

const goalSchemas = {
  create: z.strictObject({ stack: z.string(), template, parameters, options, error }),
  update: z.strictObject({ stack: z.string(), template: template.optional(), parameters, options, error }),
  delete: z.strictObject({ ...stackOnly, options }),
  rollback: z.strictObject({ ...stackOnly, options }),
  cancel: z.strictObject({ ...stackOnly, rollback: z.boolean().default(false) }),
} as const;

const stepSchemas = {
  ...goalSchemas,
  visits: z.int().min(0),
  until: expectation,
  settle: z.literal(true),
  advance: durationMs,
  expect: expectation,
  remember: z.strictObject({ as: z.string(), resource: target }),
  fail: z.strictObject({
    resource: target.optional(),
    op: operation.default("create"),
    times: z.int().min(1).default(1),
    retryable: z.boolean().default(false),
    after: z.boolean().default(false),
    error: z.string().default("simulated failure"),
    optional: z.boolean().default(false),
  }),
  hold: z.strictObject(matching),
  release: z.strictObject({ resource: target.optional(), op: operation.optional() }),
  crash: z.union([interruptions.begin.crash, interruptions.look.crash, interruptions.visit.crash]),
  pause: z.union([
    interruptions.begin.pause,
    interruptions.look.pause,
    interruptions.visit.pause,
    z.strictObject(stackOnly),
  ]),
  resume: z.strictObject(stackOnly),
  notify: z.strictObject({ resource: target }),
  observe: z.strictObject({ ...stackOnly, resource: target.optional() }),
  policy: z.strictObject({ ...stackOnly, document: z.record(z.string(), z.unknown()) }),
  replace: z.strictObject({ ...stackOnly, resource: target }),
  approve: z.strictObject(stackOnly),
  dismiss: z.strictObject(stackOnly),
  drift: z
    .strictObject({
      resource: target,
      set: z.record(z.string(), z.unknown()).optional(),
      missing: z.literal(true).optional(),
    })
    .refine(
      ({ set, missing }) => (set === undefined) !== (missing === undefined),
      "give either set or missing: true",
    ),
  duplicate: z.int().min(0),
  lose: z.int().min(0),
} as const;

const goalKinds = Object.keys(goalSchemas);

/** Goals that several callers set at once. */
const raceSchema = z.array(z.record(z.string(), z.unknown())).min(2);

type StepSchemas = typeof stepSchemas;
type StepKind = keyof StepSchemas;
export type StepOf<K extends StepKind> = z.output<StepSchemas[K]>;
export type Expectation = z.output<typeof expectation>;

interface Placed {
  line: number;
  path: readonly PropertyKey[];
}

type SimpleStep = { [K in StepKind]: { kind: K; with: StepOf<K> } & Placed }[StepKind];
export type GoalStep = Extract<SimpleStep, { kind: keyof typeof goalSchemas }>;

/** One step with where it stands. */
export type Step = SimpleStep | ({ kind: "race"; with: GoalStep[] } & Placed);

export interface Scenario {
  name: string;
  description: string;
  file: string;
  workers: number;
  steps: Step[];
}

/** @throws InvalidError with line and column of everything that is wrong. */
export function readScenario(file: string): Scenario {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new InvalidError([{ file, line: 1, column: 1, message: `cannot be read: ${messageOf(cause)}` }]);
  }
  return parseScenario(text, file);
}

export function parseScenario(text: string, file: string): Scenario {
  const deep = tooDeepAt(text);
  if (deep !== undefined) {
    const before = text.slice(0, deep).split("\n");
    const at = { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
    throw new InvalidError([{ file, ...at, message: tooDeepMessage }]);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, merge: true });
  const problems: Problem[] = document.errors.map((issue) => {
    const at = lines.linePos(issue.pos[0]);
    return { file, line: at.line, column: at.col, message: issue.message.split("\n")[0] ?? issue.message };
  });
  if (problems.length > 0) throw new InvalidError(problems);
  return scenarioOf(document.toJS({ maxAliasCount: 1000 }), file, (path) =>
    locationOf(document, lines, path),
  );
}

type Locate = (path: readonly PropertyKey[]) => { line: number; column: number };

/** A scenario that was never text has its steps for lines. */
const byStep: Locate = ([, step]) => ({ line: Number(step ?? 0) + 1, column: 1 });

/** @throws InvalidError with the place of everything that is wrong. */
export function scenarioOf(value: unknown, file: string, locate: Locate = byStep): Scenario {
  const problems: Problem[] = [];
  const refuse: Refuse = (path, message) => {
    problems.push({ file, ...locate(path), message });
  };

  const head = z
    .strictObject({
      name: z.string().default(basename(file).replace(/\.[^.]*$/, "")),
      description: z.string().default(""),
      workers: z.int().min(1).max(64).default(1),
      steps: z.array(z.record(z.string(), z.unknown())).min(1),
    })
    .safeParse(value);
  if (!head.success) {
    for (const issue of head.error.issues) refuse(issue.path, describe(issue));
    throw new InvalidError(problems);
  }
  const steps = readSteps(head.data.steps, ["steps"], { locate, refuse });
  const simple = steps.flatMap((step) => (step.kind === "race" ? step.with : [step]));
  loadTemplates(simple, file, refuse);
  refuseAmbiguousNames(simple, refuse);
  if (problems.length > 0) throw new InvalidError(problems);
  const { name, description, workers } = head.data;
  return { name, description, workers, file, steps };
}

type Refuse = (path: readonly PropertyKey[], message: string) => void;

function readSteps(
  given: readonly Record<string, unknown>[],
  within: readonly PropertyKey[],
  { locate, refuse }: { locate: Locate; refuse: Refuse },
): Step[] {
  return given.flatMap((one, i): Step[] => {
    const keys = Object.keys(one);
    const kind = keys[0] ?? "";
    if (keys.length !== 1) {
      refuse([...within, i], "a step has exactly one key, which says what to do");
      return [];
    }
    const path = [...within, i, kind];
    const schema = kind === "race" ? raceSchema : stepSchemas[kind as StepKind];
    if (schema === undefined) {
      const known = [...Object.keys(stepSchemas), "race"].join(", ");
      refuse(path, `unknown step ${kind}; known are ${known}`);
      return [];
    }
    const parsed = narrowed(kind, one[kind], schema).safeParse(one[kind]);
    if (!parsed.success) {
      for (const issue of parsed.error.issues) {
        const key = issue.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
        refuse([...path, ...issue.path, ...key], describe(issue));
      }
      return [];
    }
    const placed = { line: locate(path).line, path };
    if (kind !== "race") return [{ kind, ...placed, with: parsed.data } as Step];
    const goals = readSteps(parsed.data as Record<string, unknown>[], path, { locate, refuse });
    for (const { kind: other, path: at } of goals) {
      if (!(other in goalSchemas)) refuse(at, `${other} is no goal; these can race: ${goalKinds.join(", ")}`);
    }
    return [{ kind, ...placed, with: goals as GoalStep[] }];
  });
}

/** A template given as a path is read when the scenario is. */
function loadTemplates(steps: readonly SimpleStep[], file: string, refuse: Refuse): void {
  const load = (path: string, at: readonly PropertyKey[]): string => {
    try {
      return readFileSync(resolve(dirname(file), path), "utf8");
    } catch (cause) {
      refuse(at, `template ${path} cannot be read: ${messageOf(cause)}`);
      return "";
    }
  };
  for (const step of steps) {
    if (step.kind === "create" || step.kind === "update") {
      if (typeof step.with.template === "string") {
        step.with.template = load(step.with.template, [...step.path, "template"]);
      }
    } else if ((step.kind === "expect" || step.kind === "until") && typeof step.with.reality === "string") {
      step.with.reality = load(step.with.reality, [...step.path, "reality"]);
    }
  }
}

/** A bare name that several stacks of the file have could mean any of them. */
function refuseAmbiguousNames(steps: readonly SimpleStep[], refuse: Refuse): void {
  const stacks = new Map<string, Set<string>>();
  for (const step of steps) {
    if (step.kind !== "create" && step.kind !== "update") continue;
    for (const name of resourceNames(step.with.template)) {
      stacks.set(name, (stacks.get(name) ?? new Set()).add(step.with.stack));
    }
  }
  for (const step of steps) {
    for (const { name, path } of bareNames(step)) {
      const owners = stacks.get(name);
      if (owners === undefined || owners.size < 2) continue;
      const all = [...owners].join(", ");
      refuse([...step.path, ...path], `${name} is in the stacks ${all}: say which, as in stack/${name}`);
    }
  }
}

function resourceNames(template: unknown): string[] {
  const document: unknown = typeof template === "string" ? parseDocument(template).toJS() : template;
  const { resources } = (document ?? {}) as { resources?: unknown };
  return resources !== null && typeof resources === "object" ? Object.keys(resources) : [];
}

function bareNames(step: SimpleStep): { name: string; path: string[] }[] {
  const given = step.with as Record<string, unknown>;
  const isExpectation = step.kind === "expect" || step.kind === "until";
  const named = isExpectation
    ? (["physical", "state", "calls", "same", "differs"] as const).flatMap((key) =>
        Object.keys((given[key] as object | undefined) ?? {}).map((name) => ({ name, path: [key, name] })),
      )
    : typeof given === "object" && typeof given.resource === "string"
      ? [{ name: given.resource, path: ["resource"] }]
      : [];
  return named.filter(({ name }) => !name.includes("/"));
}

/** The one of a step's shapes that its author meant, so that the message is about that one. */
function narrowed(kind: string, given: unknown, schema: z.ZodType): z.ZodType {
  if (kind !== "crash" && kind !== "pause") return schema;
  const { during, stack } = (given ?? {}) as { during?: unknown; stack?: unknown };
  if (kind === "pause" && stack !== undefined) return z.strictObject(stackOnly);
  return interruptions[during === "look" ? "look" : during === undefined ? "visit" : "begin"][kind];
}

function describe(issue: z.core.$ZodIssue): string {
  const where = issue.path.map(String).join(".");
  return where === "" ? issue.message : `${where}: ${issue.message}`;
}

/** Of the deepest node on the path that the file has. */
function locationOf(
  document: Document,
  lines: LineCounter,
  path: readonly PropertyKey[],
): { line: number; column: number } {
  for (let length = path.length; length >= 0; length -= 1) {
    const part = path.slice(0, length);
    const parent = document.getIn(part.slice(0, -1), true);
    const key = part.at(-1);
    const pair =
      isMap(parent) && key !== undefined
        ? parent.items.find((item) => String(item.key) === String(key))
        : undefined;
    const node = isNode(pair?.key) ? pair.key : document.getIn(part, true);
    if (isNode(node) && node.range) {
      const at = lines.linePos(node.range[0]);
      return { line: at.line, column: at.col };
    }
  }
  return { line: 1, column: 1 };
}
