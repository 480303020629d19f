/**
 * Theory: a script's header says something else than its code: a key or argument that nobody uses, one that is used and
 * not declared, a result that never comes, one that nobody foresees.
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadScripts, ScriptRunner } from "../../src/store/script.js";

const folder = new URL("../../src/store/lua/", import.meta.url);
const scripts = [...loadScripts().values()];

function namesIn(text: string, table: "K" | "A"): string[] {
  return [
    ...new Set([...text.matchAll(new RegExp(`\\b${table}\\.(\\w+)`, "g"))].map(([, name = ""]) => name)),
  ];
}

/** What may run: without comments, and functions that nobody calls. */
function codeOf(text: string): string {
  const code = text.replace(/--.*$/gm, "");
  const functions = new Map<string, string>();
  let live = code.replace(/^local function (\w+)\([\s\S]*?^end$/gm, (body, name: string) => {
    functions.set(name, body.replace(`function ${name}(`, "function ("));
    return "";
  });
  for (let grew = true; grew; ) {
    grew = false;
    for (const [name, body] of functions) {
      if (!new RegExp(`\\b${name}\\(`).test(live)) continue;
      live += `\n${body}`;
      functions.delete(name);
      grew = true;
    }
  }
  return live;
}

test("every Lua file is a script with a header, or a part that some script includes", () => {
  const files = readdirSync(folder).filter((file) => file.endsWith(".lua"));
  expect(scripts.map(({ name }) => `${name}.lua`).sort()).toEqual(files.sort());
  expect(files.length).toBeGreaterThan(10);
  const sources = files.map((file) => readFileSync(new URL(file, folder), "utf8"));
  const included = new Set(
    sources.flatMap((source) =>
      [...source.matchAll(/^--@include (.*)$/gm)].flatMap(([, parts = ""]) => parts.split(" ")),
    ),
  );
  const parts = readdirSync(new URL("lib/", folder)).map((file) => file.replace(".lua", ""));
  expect([...included].sort()).toEqual(parts.sort());
});

for (const { name, keys, args, results, named, text } of scripts) {
  describe(`${name}.lua`, () => {
    const code = codeOf(named);
    test("uses exactly the keys that it declares", () => {
      expect(namesIn(code, "K").sort()).toEqual(keys.map((key) => key.replace("…", "")).sort());
    });
    test("uses exactly the arguments that it declares", () => {
      expect(namesIn(code, "A").sort()).toEqual([...args].sort());
    });
    test("runs with each name in its place", () => {
      expect(namesIn(text, "K")).toEqual([]);
      expect(namesIn(text, "A")).toEqual([]);
      const placed = (list: "KEYS" | "ARGV") => (_: string, name: string) => {
        const names = list === "KEYS" ? keys : args;
        const rest = names.indexOf(`${name}…`) + 1;
        return rest > 0 ? `{ unpack(${list}, ${rest}) }` : `${list}[${names.indexOf(name) + 1}]`;
      };
      const expected = code.replace(/\bK\.(\w+)/g, placed("KEYS")).replace(/\bA\.(\w+)/g, placed("ARGV"));
      const running = new Set(codeOf(text).split("\n"));
      expect(expected.split("\n").filter((line) => !running.has(line))).toEqual([]);
    });
    test("touches keys by their declared names alone", () => {
      const calls = [...code.matchAll(/redis\.call\(\s*'(\w+)'\s*(?:,\s*([^,)]+))?/g)];
      expect(calls.length).toBeGreaterThan(0);
      for (const [call, command, first] of calls) {
        // `key` is a parameter of a local function, which is given a K, or one of those that a K stands for.
        if (command !== "TIME") expect(first, call).toMatch(/^(K\.\w+|key)$/);
      }
      expect(code).not.toMatch(/\bKEYS\b|\bARGV\b/);
    });
    test("answers exactly the tags that it documents, none of them a number", () => {
      const answered = [...code.matchAll(/return \{ '(\w+)'/g)].map(([, tag = ""]) => tag);
      // A variable part of the lib returns no tag of its own.
      expect([...new Set(answered)].sort()).toEqual([...new Set(results)].sort());
      for (const tag of results) expect(tag).toMatch(/^[a-z]+[A-Za-z]*$/);
    });
    test("says why it must be atomic", () => {
      const source = readFileSync(new URL(`${name}.lua`, folder), "utf8");
      expect(source).toMatch(/^ATOMIC because \S.{20,}/m);
    });
    test("is deterministic but for the clock: no random, no other source of time", () => {
      expect(code).not.toMatch(/math\.random|os\.|RANDOMKEY|SPOP|SRANDMEMBER|\bKEYS\b|'SCAN'/);
    });
  });
}

describe("the wrapper", () => {
  const calls: unknown[][] = [];
  const redis = {
    evalsha: async (_sha: string, _keys: number, ...values: unknown[]) => {
      calls.push(values);
      return ["ok"];
    },
  };
  const runner = new ScriptRunner(redis as never);

  test("gives keys and arguments in the header's order, whatever the caller's", async () => {
    await runner.run("name", { names: "k" }, { to: "t", name: "n", from: "f" });
    expect(calls.at(-1)).toEqual(["k", "n", "f", "t"]);
  });

  const wrong: [why: string, keys: Record<string, string>, args: Record<string, string>, says: RegExp][] = [
    ["a key is missing", {}, { name: "n", from: "f", to: "t" }, /^name\.lua: KEYS lacks names$/],
    ["an argument is missing", { names: "k" }, { name: "n", from: "f" }, /^name\.lua: ARGV lacks to$/],
    [
      "there is a key too many",
      { names: "k", more: "k" },
      { name: "n", from: "f", to: "t" },
      /^name\.lua: KEYS has names/,
    ],
    [
      "there is an argument too many",
      { names: "k" },
      { name: "n", from: "f", to: "t", by: "b" },
      /^name\.lua: ARGV has names/,
    ],
  ];
  for (const [why, keys, args, says] of wrong) {
    test(`refuses when ${why}`, async () => {
      await expect(runner.run("name", keys, args)).rejects.toThrow(says);
    });
  }
});
