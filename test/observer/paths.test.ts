/** Theory: a path is told apart from every other one by its text, and a pattern means the paths that its text says. */
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { matchesPath } from "../../src/observer/drift.js";
import { matchesSteps, propertyPath, readPattern } from "../../src/observer/paths.js";

const steps = fc.array(fc.oneof(fc.string(), fc.constantFrom("a", "b", "*", "**", "a.b", '"', "…", "ß")), {
  minLength: 1,
  maxLength: 5,
});

describe("a path", () => {
  test.each<[(string | number)[], string]>([
    [["env", "PATH"], "env.PATH"],
    [["ports", 0], "ports.0"],
    [["labels", "app.example/name"], 'labels."app.example/name"'],
    [["Local::File", "$a-b_c/d"], "Local::File.$a-b_c/d"],
    [["a", ""], 'a.""'],
    [["a", "*", "**"], 'a."*"."**"'],
    [["a b", 'say "x"\\', "ü\n"], '"a b"."say \\"x\\"\\\\"."ü\\n"'],
  ])("%j is %s", (path, text) => {
    expect(propertyPath(path)).toBe(text);
  });

  it("is a pattern that means itself alone", () => {
    fc.assert(
      fc.property(steps, steps, (one, other) => {
        const equal = JSON.stringify(one) === JSON.stringify(other);
        expect(matchesPath(propertyPath(one), propertyPath(other))).toBe(equal);
        expect(matchesPath(propertyPath(one), propertyPath(one))).toBe(true);
      }),
    );
  });
});

describe("a pattern", () => {
  test.each<[string, string, boolean]>([
    ["env.PATH", "env.PATH", true],
    ["env.PATH", "env.path", false],
    ["env.PATH", "env", false],
    ["env", "env.PATH", false],
    ["env.*", "env.PATH", true],
    ["env.*", "env", false],
    ["env.*", "env.a.b", false],
    ["env.**", "env", true],
    ["env.**", "env.a.b", true],
    ["**", "a.b.c", true],
    ["**.c", "c", true],
    ["**.c", "a.b.c", true],
    ["**.c", "a.c.b", false],
    ["a.**.c.*", "a.c.c.d", true],
    ["*.*", "a.b", true],
    ["*.*", "a", false],
    ["ports.0", "ports.0", true],
    ["ports.*", "ports.12", true],
    ['labels."a.b"', 'labels."a.b"', true],
    ["labels.a.b", 'labels."a.b"', false],
    ['labels."*"', "labels.x", false],
    ['labels."*"', 'labels."*"', true],
    ['"env"."\\u0050ATH"', "env.PATH", true],
    ["a b.ü", '"a b"."ü"', true],
  ])("%s, path %s: %s", (pattern, path, matches) => {
    expect(matchesPath(pattern, path)).toBe(matches);
  });

  test.each(["", ".", "a.", ".a", "a..b", "a*", "*a", "***", 'a"b"', '"a"b', '"a', '"\\x"', "a.*b.c"])(
    "%j is none and matches nothing",
    (text) => {
      expect(readPattern(text)).toBeUndefined();
      expect(matchesPath(text, "a")).toBe(false);
    },
  );

  it("matches as a plain search through all ways to match says", () => {
    const small = fc.array(fc.constantFrom("a", "b"), { maxLength: 6 });
    const pattern = fc.array(fc.constantFrom("a", "b", "*", "**"), { minLength: 1, maxLength: 6 });
    const plainly = (left: readonly string[], right: readonly string[]): boolean => {
      const [first, ...rest] = left;
      if (first === undefined) return right.length === 0;
      if (first === "**") return plainly(rest, right) || (right.length > 0 && plainly(left, right.slice(1)));
      return right.length > 0 && (first === "*" || first === right[0]) && plainly(rest, right.slice(1));
    };
    fc.assert(
      fc.property(pattern, small, (taken, path) => {
        expect(matchesSteps(readPattern(taken.join(".")) ?? [], path)).toBe(plainly(taken, path));
      }),
      { numRuns: 1000 },
    );
  });

  it("takes no more than the product of the lengths", () => {
    const pattern = `${"**.a.".repeat(150)}b`;
    const path = Array(2000).fill("a").join(".");
    const begun = performance.now();
    expect(matchesPath(pattern, path)).toBe(false);
    expect(performance.now() - begun).toBeLessThan(2_000);
  });
});
