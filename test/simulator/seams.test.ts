/**
 * Theory: production code comes to lean on the simulator, or a durable machine on something that does not survive its
 * process. Every import is looked at in the syntax of the sources.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { leadershipMachine } from "../../machines/leadership.js";
import { resourceMachine } from "../../machines/resource.js";
import { stackMachine } from "../../machines/stack.js";
import { workerMachine } from "../../machines/worker.js";

const root = resolve(import.meta.dirname, "../..");

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.(ts|mjs)$/.test(entry.name) && !entry.name.endsWith(".d.ts"))
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Without comments, so that none of them counts as code. */
function codeOf(file: string): string {
  return readFileSync(file, "utf8")
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/^\s*\/\/.*$/gm, "");
}

interface Import {
  file: string;
  /** Relative to the root for our own files, else the package. */
  from: string;
  dynamic: boolean;
}

function importsOf(file: string): Import[] {
  const code = codeOf(file);
  const found = [
    ...[...code.matchAll(/\b(?:from|import)\s*["']([^"']+)["']/g)].map((match) => [match[1], false] as const),
    ...[...code.matchAll(/\bimport\s*\(\s*["'`]([^"'`]+)["'`]/g)].map((match) => [match[1], true] as const),
  ];
  return found.map(([from = "", dynamic]) => ({
    file: relative(root, file),
    from: from.startsWith(".") ? relative(root, join(dirname(file), from)) : from,
    dynamic,
  }));
}

const imports = [...sources("src"), ...sources("machines")].flatMap(importsOf);

describe("the simulator stands in the seams", () => {
  test("the imports are seen at all", () => {
    expect(imports.length).toBeGreaterThan(200);
    expect(imports).toContainEqual({
      file: "src/simulator/simulation.ts",
      from: "src/traversal/visit.js",
      dynamic: false,
    });
  });

  test("no production file knows of it, except for the command that loads it", () => {
    const known = imports.filter(
      ({ file, from }) => from.startsWith("src/simulator/") && !file.startsWith("src/simulator/"),
    );
    expect(known).toEqual([
      { file: "src/cli/commands/simulate.ts", from: "src/simulator/simulate.js", dynamic: true },
    ]);
  });

  test("no production file asks whether it is simulated", () => {
    const asking = [...sources("src"), ...sources("machines")].filter(
      (file) =>
        !/src\/(simulator|cli|providers\/sim)\//.test(file) && /\bsimulat(or|ion|ed)\b/i.test(codeOf(file)),
    );
    // The Redis clock that a simulation passes, and who may start a private server, are said in comments alone.
    expect(asking.map((file) => relative(root, file))).toEqual([]);
  });
});

describe("machines", () => {
  test("import only xstate and each other", () => {
    const others = imports.filter(
      ({ file, from }) =>
        file.startsWith("machines/") && from !== "xstate" && !/^machines\/\w+\.js$/.test(from),
    );
    expect(others).toEqual([]);
    expect(new Set(imports.map(({ file }) => file).filter((file) => file.startsWith("machines/"))).size).toBe(
      readdirSync(join(root, "machines")).length,
    );
  });

  test("are run through src/actor alone when they are durable", () => {
    const users = imports.filter(({ from, file }) => from === "xstate" && !file.startsWith("machines/"));
    const files = new Set(users.map(({ file }) => file));
    const ofProcesses = ["src/leadership/leadership.ts", "src/worker/worker.ts", "src/worker/host.ts"];
    expect([...files].filter((file) => !ofProcesses.includes(file))).toEqual(["src/actor/actor.ts"]);
  });

  const machines = { resourceMachine, stackMachine, workerMachine, leadershipMachine };

  /** Every value in a configuration, with its path. */
  function* walk(value: unknown, path: string): Generator<[string, unknown]> {
    yield [path, value];
    if (value !== null && typeof value === "object") {
      for (const [key, inner] of Object.entries(value)) yield* walk(inner, `${path}.${key}`);
    }
  }

  for (const [name, machine] of Object.entries(machines)) {
    test(`${name} has no inline functions: what it decides has a name`, () => {
      const values = [...walk(machine.config, name)];
      expect(values.length).toBeGreaterThan(10);
      const inline = values.filter(([, value]) => typeof value === "function").map(([path]) => path);
      // A machine of a process may be told at its start what it is for.
      expect(inline.filter((path) => path !== "leadershipMachine.context")).toEqual([]);
    });
  }

  for (const [name, machine] of Object.entries({ resourceMachine, stackMachine })) {
    test(`${name} is durable: no invoke, no after, nothing spawned, no final state, flat`, () => {
      const keys = [...walk(machine.config, name)].map(([path]) => path);
      expect(keys.filter((path) => /\.(invoke|after|always|entry|exit|type)(\.|$)/.test(path))).toEqual([]);
      for (const state of Object.values(machine.config.states ?? {})) {
        expect(Object.keys(state)).not.toContain("states");
      }
      expect(codeOf(join(root, "machines", `${name.replace("Machine", "")}.ts`))).not.toMatch(
        /\b(fromPromise|fromCallback|spawn\w*|sendTo|raise|setTimeout|Date|Math\.random|process|console)\b/,
      );
    });

    test(`${name} uses every guard and action that it names, and names every one that it uses`, () => {
      const implemented = machine.implementations as { guards: object; actions: object };
      const values = [...walk(machine.config, name)];
      const used = (kind: "guard" | "actions") =>
        new Set(
          values
            .filter(
              ([path, value]) => typeof value === "string" && new RegExp(`\\.${kind}(\\.\\d+)?$`).test(path),
            )
            .map(([, value]) => value as string),
        );
      expect([...used("guard")].sort()).toEqual(Object.keys(implemented.guards).sort());
      expect([...used("actions")].sort()).toEqual(Object.keys(implemented.actions).sort());
    });
  }
});
