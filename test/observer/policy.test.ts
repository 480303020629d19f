/** Theory: what is no policy is refused with the place of every fault; of several parts the more specific wins, key by key. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { parse } from "yaml";
import type { Json, JsonObject } from "../../src/json.js";
import { matchesPath } from "../../src/observer/drift.js";
import { readPattern } from "../../src/observer/paths.js";
import {
  defaultPolicy,
  isPolicyDocument,
  isPolicyPart,
  mergeParts,
  type Policy,
  type PolicyPart,
  parsePolicyDocument,
  partOf,
  resolvePolicy,
} from "../../src/observer/policy.js";
import { builtinTypes } from "../../src/providers/builtin.js";
import { stackTemplate } from "../../src/template/builder.js";
import { checkAgainstTypes, parameterValues, parseTemplateValue } from "../../src/template/template.js";
import { problemsOf, template } from "../template/refusals.js";

const full = {
  policy: "report",
  ignore: ["labels.*", "env.**"],
  poll: "30s",
  grace: 0,
  retry: false,
  budget: { burst: 1, per_minute: 0.5 },
  incident: { missing: 2, within: "1m" },
  fight: { repairs: 5, within: "1h" },
  orphans: "remove",
} as const satisfies Required<PolicyPart>;

const { retry: _retry, ...ofType } = full;
const { budget: _budget, ...ofResource } = ofType;

describe("a document", () => {
  test.each<[Json]>([
    [{}],
    [full],
    [
      {
        ...full,
        types: { "Local::File": ofType, constructor: {} },
        resources: { web: ofResource, "a.b": {} },
      },
    ],
  ] as unknown as [Json][])("%j is one", (value) => {
    expect(parsePolicyDocument(value)).toBe(value);
  });

  test.each<[Json, string[]]>([
    ["repair", ["policy: a policy must be a map"]],
    [[], ["policy: a policy must be a map"]],
    [
      { polcy: "report" },
      [
        'policy: unknown key "polcy" (there are: policy, ignore, poll, grace, retry, budget, incident, fight, orphans, types, resources); did you mean "policy"?',
      ],
    ],
    [{ policy: "repiar" }, ['policy: policy: must be one of repair, report, ignore; did you mean "repair"?']],
    [{ policy: null }, ["policy: policy: must be one of repair, report, ignore"]],
    [
      { resources: { web: { types: {} } } },
      [
        'policy: resources.web: unknown key "types" (there are: policy, ignore, poll, grace, incident, fight, orphans)',
      ],
    ],
    [
      {
        types: { T: { retry: false, budget: {} } },
        resources: { r: { poll: "1s", retry: true, budget: { burst: 1 } } },
      },
      [
        "policy: types.T: retry counts for a whole stack only: say it there (homeostat_policy, homeostat policy)",
        "policy: resources.r: retry counts for a whole stack only: say it there (homeostat_policy, homeostat policy)",
        "policy: resources.r: budget counts for a whole stack or a type only: say it there (homeostat_policy, homeostat policy)",
      ],
    ],
    [
      { types: { "A::B": { fight: { repair: 3 } } } },
      [
        'policy: types.A::B.fight: unknown key "repair" (there are: repairs, within); did you mean "repairs"?',
      ],
    ],
    [{ poll: "soon" }, ["policy: poll: must be a duration such as 200ms, 30s, 5m or 1h"]],
    [{ poll: true }, ["policy: poll: must be a duration such as 200ms, 30s, 5m or 1h"]],
    [{ poll: "99ms" }, ["policy: poll: must be from 100ms to 8760h"]],
    [{ grace: "9000h" }, ["policy: grace: must be from 0s to 8760h"]],
    [{ grace: `${"9".repeat(400)}h` }, ["policy: grace: must be from 0s to 8760h"]],
    [{ incident: { within: 0 } }, ["policy: incident.within: must be from 1ms to 8760h"]],
    [{ incident: 5 }, ["policy: incident: must be a map"]],
    [
      { ignore: ["a", "b*"] },
      [
        'policy: ignore[1]: must be a path such as env.PATH, labels.* or spec.** (quote a step that has a dot, a star or a quote: labels."a.b")',
      ],
    ],
    [
      { budget: { burst: 0 }, retry: "no" },
      [
        "policy: retry: Invalid input: expected boolean, received string",
        "policy: budget.burst: Too small: expected number to be >=1",
      ],
    ],
  ])("%j is none", (value, problems) => {
    expect(problemsOf(() => parsePolicyDocument(value))).toEqual(problems);
  });

  it("speaks only of types and resources that there are", () => {
    const names = { types: ["Local::File", "Local::Process"], resources: new Set(["web", "db"]) };
    const document = { types: { "Local::File": {}, "Local::Flie": {} }, resources: { web: {}, wbe: {} } };
    expect(problemsOf(() => parsePolicyDocument(document, names))).toEqual([
      'policy: types: no resource in the template is of type "Local::Flie"; did you mean "Local::File"?',
      'policy: resources: the template has no resource "wbe"; did you mean "web"?',
    ]);
    expect(problemsOf(() => parsePolicyDocument(document))).toEqual([]);
  });

  it("of an earlier version is one still, once it is stored", () => {
    const earlier = {
      types: { T: { retry: false } },
      resources: { r: { retry: false, budget: { burst: 1 } } },
    };
    expect(isPolicyDocument(earlier)).toBe(true);
    expect(isPolicyPart(full)).toBe(true);
  });

  it("is told from anything else without a throw", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(isPolicyDocument(value)).toBe(
          problemsOf(() => parsePolicyDocument(value as Json)).length === 0,
        );
      }),
    );
  });
});

describe("of several parts", () => {
  it("none leaves the defaults", () => {
    expect(resolvePolicy()).toEqual(defaultPolicy);
    expect(resolvePolicy({}, {})).toEqual(defaultPolicy);
  });

  it("one is taken as it is, numbers of durations being seconds", () => {
    expect(resolvePolicy(full)).toEqual({
      mode: "report",
      ignore: ["labels.*", "env.**"],
      pollMs: 30_000,
      graceMs: 0,
      retry: false,
      budget: { burst: 1, perMinute: 0.5 },
      incident: { missing: 2, withinMs: 60_000 },
      fight: { repairs: 5, withinMs: 3_600_000 },
      orphans: "remove",
    } satisfies Policy);
    expect(resolvePolicy({ poll: 1.5 }).pollMs).toBe(1_500);
  });

  it("the resource goes over the type and the type over the stack; what is ignored adds up", () => {
    const document = {
      policy: "report",
      poll: "1s",
      grace: "1s",
      ignore: ["a", "b"],
      budget: { burst: 1, per_minute: 1 },
      types: { T: { poll: "2s", grace: "2s", ignore: ["b", "c"], budget: { burst: 2 } } },
      resources: { r: { grace: "3s", ignore: ["d"] }, constructor: { poll: "9s" } },
    } as const;
    expect(partOf(document, "T", "r")).toEqual({
      policy: "report",
      poll: "2s",
      grace: "3s",
      ignore: ["a", "b", "c", "d"],
      budget: { burst: 2, per_minute: 1 },
    });
    const { types, resources, ...stack } = document;
    expect(partOf(document, "toString", "valueOf")).toEqual(stack);
    expect(partOf({ types: {}, resources: {} }, "T", "r")).toEqual({});
  });

  const key = fc.constantFrom("policy", "poll", "grace", "retry", "orphans") as fc.Arbitrary<
    keyof PolicyPart
  >;
  const part = fc.record(
    {
      policy: fc.constantFrom("repair", "report", "ignore"),
      ignore: fc.uniqueArray(fc.constantFrom("a", "b", "c.*", "d.**")),
      poll: fc.constantFrom("1s", 2, "3m"),
      grace: fc.constantFrom("1s", 2, "3m"),
      retry: fc.boolean(),
      budget: fc.record(
        { burst: fc.integer({ min: 1 }), per_minute: fc.integer({ min: 1 }) },
        { requiredKeys: [] },
      ),
      orphans: fc.constantFrom("report", "remove"),
    },
    { requiredKeys: [] },
  ) as fc.Arbitrary<PolicyPart>;

  it("the last that has a key says what it is, and it does not matter how they are put together", () => {
    fc.assert(
      fc.property(part, part, part, key, (one, two, three, name) => {
        const merged = mergeParts(one, two, three);
        expect(merged[name]).toBe(three[name] ?? two[name] ?? one[name]);
        expect(merged.budget?.burst).toBe(three.budget?.burst ?? two.budget?.burst ?? one.budget?.burst);
        expect(new Set(merged.ignore)).toEqual(
          new Set([one, two, three].flatMap(({ ignore = [] }) => ignore)),
        );
        expect(mergeParts(mergeParts(one, two), three)).toEqual(merged);
        expect(resolvePolicy(mergeParts(one, two, three))).toEqual(resolvePolicy(one, two, three));
      }),
    );
  });
});

describe("docs/OBSERVATION.md", () => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/OBSERVATION.md"), "utf8");
  const section = page.slice(page.indexOf("\n## Policy\n")).split(/\n## (?!Policy\n)/)[0] ?? "";
  const examples = [...section.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text = ""]) => text);
  const rows = [...section.matchAll(/^\|(.*)\|$/gm)].map(([, row = ""]) =>
    row.split("|").map((cell) => cell.trim()),
  );
  const code = (cell = "") => [...cell.matchAll(/`([^`]+)`/g)].map(([, text = ""]) => text);

  it("has examples that are taken as they are", () => {
    expect(examples.length).toBeGreaterThan(2);
    for (const text of examples) {
      if (!text.includes("heat_template_version")) {
        parsePolicyDocument(parse(text) as Json);
        continue;
      }
      const parsed = template(text);
      expect(checkAgainstTypes(parsed, builtinTypes({ stateDir: "/nowhere" }))).toEqual([]);
      parameterValues(parsed, {}, { stackName: "s", stackId: "i" });
    }
  });

  it("builds what its example in TypeScript, which is JavaScript too, says", () => {
    const [, code = ""] = /^```ts\n(.*?);\n```$/ms.exec(section) ?? [];
    const built = new Function("stackTemplate", `return ${code}`)(stackTemplate) as { build(): JsonObject };
    const parsed = parseTemplateValue(built.build(), "example");
    expect(checkAgainstTypes(parsed, builtinTypes({ stateDir: "/nowhere" }))).toEqual([]);
    expect(parsed.parameters.get("homeostat_policy")?.default).toHaveProperty("resources.scratch");
  });

  it("lists every key with its default", () => {
    const given = new Map(rows.map(([key, value]) => [code(key)[0] ?? "", code(value)[0] ?? ""]));
    const keys = Object.entries(full).flatMap(([key, value]) =>
      typeof value === "object" && !Array.isArray(value)
        ? Object.keys(value).map((each) => `${key}.${each}`)
        : [key],
    );
    const listed: { [key: string]: Json } = {};
    for (const key of keys) {
      const [outer = "", inner] = key.split(".");
      const value = parse(given.get(key) ?? "") as Json;
      expect(value, key).not.toBeNull();
      listed[outer] = inner === undefined ? value : { ...(listed[outer] as object), [inner]: value };
    }
    expect(resolvePolicy(parsePolicyDocument(listed))).toEqual(defaultPolicy);
    expect(Object.keys(full).sort()).toEqual(Object.keys(listed).sort());
  });

  it("says what patterns take", () => {
    const patterns = rows.filter((row) => row.length === 3 && code(row[0]).length === 1);
    expect(patterns.length).toBe(6);
    for (const [cell, taken, others] of patterns) {
      const [pattern = ""] = code(cell);
      expect(readPattern(pattern)).toBeDefined();
      for (const path of code(taken))
        expect([pattern, path, matchesPath(pattern, path)]).toEqual([pattern, path, true]);
      for (const path of code(others))
        expect([pattern, path, matchesPath(pattern, path)]).toEqual([pattern, path, false]);
    }
  });

  it("tells what comes of its two documents together", () => {
    const [first, second] = examples.map((text) => parse(text) as Json);
    const policy = (type: string, name: string) =>
      resolvePolicy(...[first, second].map((each) => partOf(parsePolicyDocument(each ?? null), type, name)));
    expect(policy("Local::Process", "web")).toMatchObject({ pollMs: 10_000, ignore: ["labels.**", "mode"] });
    expect(policy("Local::File", "scratch")).toMatchObject({ mode: "repair", pollMs: 300_000 });
  });
});
