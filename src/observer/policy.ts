/**
 * What is to be done about reality that differs from what was applied.
 *
 * A part is what somebody says of it in one place; a document is a part for a stack, with parts for types and resources.
 * docs/OBSERVATION.md has the keys, their defaults and which of several parts wins.
 */
import { z } from "zod";
import type { Json } from "../json.js";
import { type Duration, durationMs, durationSchema } from "../providers/duration.js";
import { Problems } from "../template/problems.js";
import { pathText } from "../template/read-value.js";
import type { Path } from "../template/types.js";
import { readPattern } from "./paths.js";

/** As it is written. Every key may be absent, also within `budget`, `incident` and `fight`. */
export interface PolicyPart {
  policy?: Policy["mode"];
  /** Patterns of paths that are not compared; what is below them is not compared either. */
  ignore?: readonly string[];
  /** Durations: text such as `30s`, or a number of seconds. */
  poll?: Duration;
  grace?: Duration;
  retry?: boolean;
  budget?: { burst?: number; per_minute?: number };
  incident?: { missing?: number; within?: Duration };
  fight?: { repairs?: number; within?: Duration };
  orphans?: Policy["orphans"];
}

/** What can be said of a type. */
type TypePolicyPart = Omit<PolicyPart, "retry">;

/** What can be said of a resource. */
export type ResourcePolicyPart = Omit<TypePolicyPart, "budget">;

/** A part for all of a stack, with parts for its types and resources by their names. */
export interface PolicyDocument<Resource extends string = string> extends PolicyPart {
  types?: { readonly [type: string]: TypePolicyPart };
  resources?: { readonly [name in Resource]?: ResourcePolicyPart };
}

/** What holds for one resource. */
export interface Policy {
  readonly mode: "repair" | "report" | "ignore";
  readonly ignore: readonly string[];
  readonly pollMs: number;
  /** How long after a create nothing is concluded. */
  readonly graceMs: number;
  readonly retry: boolean;
  /** Repairs. */
  readonly budget: { readonly burst: number; readonly perMinute: number };
  readonly incident: { readonly missing: number; readonly withinMs: number };
  readonly fight: { readonly repairs: number; readonly withinMs: number };
  readonly orphans: "report" | "remove";
}

export const defaultPolicy: Policy = {
  mode: "repair",
  ignore: [],
  pollMs: 60_000,
  graceMs: 5_000,
  retry: true,
  budget: { burst: 20, perMinute: 60 },
  incident: { missing: 5, withinMs: 60_000 },
  fight: { repairs: 3, withinMs: 600_000 },
  orphans: "report",
};

/** The names that a document may speak of. */
export interface PolicyNames {
  types: Iterable<string>;
  resources: Iterable<string>;
}

const longestDuration = "8760h";

/** The range is looked at only once it is a duration. */
const durationFrom = (least: string) => {
  const [leastMs, mostMs] = [durationMs(least, "s"), durationMs(longestDuration, "s")];
  const inRange = (value: unknown) => {
    const ms = durationMs(value as Duration, "s");
    return ms >= leastMs && ms <= mostMs;
  };
  return durationSchema.pipe(z.custom<Duration>(inRange, `must be from ${least} to ${longestDuration}`));
};
const count = (most: number) => z.int().min(1).max(most);

const pattern = z
  .string()
  .max(1000)
  .refine(
    (text) => readPattern(text) !== undefined,
    'must be a path such as env.PATH, labels.* or spec.** (quote a step that has a dot, a star or a quote: labels."a.b")',
  );

const partShape = {
  policy: z.enum(["repair", "report", "ignore"]).optional(),
  ignore: z.array(pattern).max(100).optional(),
  poll: durationFrom("100ms").optional(),
  grace: durationFrom("0s").optional(),
  retry: z.boolean().optional(),
  budget: z
    .strictObject({
      burst: count(1_000_000).optional(),
      per_minute: z.number().positive().max(1_000_000).optional(),
    })
    .optional(),
  incident: z
    .strictObject({ missing: count(1_000_000).optional(), within: durationFrom("1ms").optional() })
    .optional(),
  fight: z
    .strictObject({ repairs: count(100).optional(), within: durationFrom("1ms").optional() })
    .optional(),
  orphans: z.enum(["report", "remove"]).optional(),
};

const partSchema = z.strictObject(partShape);
const typePartSchema = partSchema.omit({ retry: true });
const resourcePartSchema = typePartSchema.omit({ budget: true });

const documentOf = (typePart: z.ZodType, resourcePart: z.ZodType) =>
  z.strictObject({
    ...partShape,
    types: z.record(z.string(), typePart).optional(),
    resources: z.record(z.string(), resourcePart).optional(),
  });

const policyDocumentSchema = documentOf(typePartSchema, resourcePartSchema);
/** Goals of earlier versions say things of types and resources that have no effect there. */
const storedDocumentSchema = documentOf(partSchema, partSchema);

/** Of whom those keys are that are not everybody's. */
const ownersOf: Readonly<Record<string, string>> = {
  retry: "a whole stack",
  budget: "a whole stack or a type",
};

/** @throws InvalidError with all problems, each with the place in the document. */
export function parsePolicyDocument(value: Json, names?: PolicyNames): PolicyDocument {
  const problems = new Problems(() => ({ file: "policy" }));
  checkPolicyDocument(problems, [], value, names);
  problems.throwIfAny();
  return value as unknown as PolicyDocument;
}

export function checkPolicyPart(problems: Problems, path: Path, value: Json): void {
  check(resourcePartSchema, problems, path, value);
}

/** Also says which names in `types` and `resources` are not among the given ones. */
export function checkPolicyDocument(problems: Problems, path: Path, value: Json, names?: PolicyNames): void {
  if (!check(policyDocumentSchema, problems, path, value) || names === undefined) return;
  const document = value as unknown as PolicyDocument;
  for (const section of ["types", "resources"] as const) {
    const known = new Set(names[section]);
    for (const name of Object.keys(document[section] ?? {})) {
      if (known.has(name)) continue;
      const what =
        section === "types" ? "no resource in the template is of type" : "the template has no resource";
      problems.addUnknown([...path, section, name], `${section}: ${what} "${name}"`, name, known, "key");
    }
  }
}

function check(schema: z.ZodType, problems: Problems, path: Path, value: Json): boolean {
  const issues = schema.safeParse(value).error?.issues ?? [];
  for (const issue of issues) {
    const place = issue.path as (string | number)[];
    const where = place.length === 0 ? "" : `${pathText(place)}: `;
    const subject = place.length === 0 ? "a policy " : where;
    if (issue.code === "unrecognized_keys") {
      const known = keysAt(schema, place);
      for (const key of issue.keys) {
        const owner = Object.hasOwn(ownersOf, key) ? ownersOf[key] : undefined;
        if (owner !== undefined && !known.includes(key)) {
          const message = `${where}${key} counts for ${owner} only: say it there (homeostat_policy, homeostat policy)`;
          problems.add([...path, ...place, key], message, "key");
          continue;
        }
        const message = `${where}unknown key "${key}" (there are: ${known.join(", ")})`;
        problems.addUnknown([...path, ...place, key], message, key, known, "key");
      }
    } else if (issue.code === "invalid_value") {
      const known = issue.values.map(String);
      const message = `${where}must be one of ${known.join(", ")}`;
      problems.addUnknown([...path, ...place], message, String(valueAt(value, place)), known);
    } else {
      problems.add([...path, ...place], subject + messageOf(issue));
    }
  }
  return issues.length === 0;
}

/** The only unions are durations. */
function messageOf(issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_union") return "must be a duration such as 200ms, 30s, 5m or 1h";
  if (issue.code === "invalid_type" && issue.expected === "object") return "must be a map";
  return issue.message;
}

function keysAt(schema: z.ZodType, place: Path): string[] {
  const [step, ...rest] = place;
  if (schema instanceof z.ZodOptional) return keysAt(schema.unwrap() as z.ZodType, place);
  if (schema instanceof z.ZodRecord) return keysAt(schema.valueType as z.ZodType, rest);
  if (!(schema instanceof z.ZodObject)) return [];
  return step === undefined ? Object.keys(schema.shape) : keysAt(schema.shape[step] as z.ZodType, rest);
}

function valueAt(value: Json | undefined, place: Path): Json | undefined {
  return place.reduce<Json | undefined>(
    (at, step) => (at as { [key: string]: Json } | undefined)?.[step],
    value,
  );
}

/** What a document says of one resource: of the stack, of the resource's type, of the resource itself. */
export function partOf(document: PolicyDocument, type: string, name: string): PolicyPart {
  const { types = {}, resources = {}, ...stack } = document;
  return mergeParts(stack, own(types, type), own(resources, name));
}

function own(parts: { readonly [name: string]: PolicyPart | undefined }, name: string): PolicyPart {
  return (Object.hasOwn(parts, name) ? parts[name] : undefined) ?? {};
}

/** One part that says what all of them say, the later ones going over the earlier. */
export function mergeParts(...parts: readonly PolicyPart[]): PolicyPart {
  const merged: PolicyPart = Object.assign({}, ...parts);
  const ignore = [...new Set(parts.flatMap((part) => part.ignore ?? []))];
  if (ignore.length > 0) merged.ignore = ignore;
  else delete merged.ignore;
  for (const key of ["budget", "incident", "fight"] as const) {
    const joined: object = Object.assign({}, ...parts.map((part) => part[key]));
    if (Object.keys(joined).length > 0) Object.assign(merged, { [key]: joined });
    else delete merged[key];
  }
  return merged;
}

/** Least specific first: what the template says, then what was said at run time. */
export function resolvePolicy(...parts: readonly PolicyPart[]): Policy {
  const { policy, ignore, poll, grace, retry, budget, incident, fight, orphans } = mergeParts(...parts);
  const ms = (given: Duration | undefined, otherwise: number) =>
    given === undefined ? otherwise : durationMs(given, "s");
  const normal = defaultPolicy;
  return {
    mode: policy ?? normal.mode,
    ignore: ignore ?? normal.ignore,
    pollMs: ms(poll, normal.pollMs),
    graceMs: ms(grace, normal.graceMs),
    retry: retry ?? normal.retry,
    budget: {
      burst: budget?.burst ?? normal.budget.burst,
      perMinute: budget?.per_minute ?? normal.budget.perMinute,
    },
    incident: {
      missing: incident?.missing ?? normal.incident.missing,
      withinMs: ms(incident?.within, normal.incident.withinMs),
    },
    fight: {
      repairs: fight?.repairs ?? normal.fight.repairs,
      withinMs: ms(fight?.within, normal.fight.withinMs),
    },
    orphans: orphans ?? normal.orphans,
  };
}

/** Also of an earlier version. */
export function isPolicyPart(value: unknown): value is PolicyPart {
  return partSchema.safeParse(value).success;
}

/** Also of an earlier version. */
export function isPolicyDocument(value: unknown): value is PolicyDocument {
  return storedDocumentSchema.safeParse(value).success;
}
