/** Templates that grow, shrink, change in place and replace; and what reality must be when they are reached. */
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import type { JsonObject } from "../../src/json.js";
import { canonicalJson } from "../../src/json.js";
import type { Prng } from "../../src/simulator/prng.js";
import type { Site } from "./site.js";

/** One line per thing; two equal lines are two things. */
export type Reality = readonly string[];

export interface Goal {
  text: string;
  reality: Reality;
}

/** Simulated things in a tree, and a directory, a file and a process that depend on some of them. */
export function goalOf(site: Site, stack: string, generation: number, prng: Prng): Goal {
  const { sim, local } = site.families;
  const delay = () => `${50 + prng.below(800)}ms`;
  const names = Array.from({ length: 3 + prng.below(5) }, (_, i) => `thing${i}`);
  const things = names.map((name, i): [string, JsonObject] => [
    name,
    {
      stack,
      generation,
      ...(i % 2 === 1 ? { "!kind": prng.below(2) } : {}),
      ...(i % 3 === 2 ? { "!always": generation } : {}),
    },
  ]);
  const simulated = things.map(([name, properties], i) => {
    const $delay = { create: delay(), update: delay(), delete: delay() };
    const upstream = i === 0 ? {} : { depends_on: names[prng.below(i)] };
    return [name, { type: `${sim}::Resource`, properties: { ...properties, $delay }, ...upstream }];
  });
  const folder = site.place.path("real", stack);
  const file = prng.chance(0.5) ? "one" : "other";
  const real = {
    folder: {
      type: `${local}::Directory`,
      properties: { path: folder, parents: true },
      depends_on: "thing0",
    },
    file: {
      type: `${local}::File`,
      properties: { path: join(folder, file), content: `${stack} ${generation}` },
      depends_on: ["folder", prng.pick(names)],
    },
    process: {
      type: `${local}::Process`,
      properties: {
        command: ["sleep", "3600"],
        cwd: folder,
        env: {
          FAULT_HOME: site.place.home,
          FAULT_STACK: stack,
          FAULT_GENERATION: String(prng.chance(0.5) ? generation : 0),
        },
      },
      depends_on: ["file"],
    },
  };
  const resources = { ...Object.fromEntries(simulated), ...(prng.chance(0.8) ? real : {}) };
  const reality = [
    ...things.map(([name, properties]) => thingLine(name, properties)),
    ...("process" in resources
      ? [
          `directory ${stack}`,
          `file ${stack}/${file}: ${stack} ${generation}`,
          processLine(stack, real.process.properties.env.FAULT_GENERATION),
        ]
      : []),
  ];
  return { text: JSON.stringify({ resources }), reality: reality.sort() };
}

/** What there is of a stack, sorted. */
export function realityOf(all: Reality, stack: string): Reality {
  return all.filter((line) => line.includes(`"stack":"${stack}"`) || line.split(/[ /:]/)[1] === stack);
}

/** Everything there is, sorted: simulated things, files, directories and processes. */
export async function readReality(site: Site): Promise<Reality> {
  const lines = [
    ...(await simulatedThings(site.place.path("world"))),
    ...(await realThings(site.place.path("real"))),
    ...(await processes(site.place.home)),
  ];
  return lines.sort();
}

/** "missing …" and "too many …", one per thing. */
export function differences(there: Reality, wanted: Reality): string[] {
  const left = [...there];
  const missing = wanted.filter((line) => {
    const found = left.indexOf(line);
    if (found >= 0) left.splice(found, 1);
    return found < 0;
  });
  return [...missing.map((line) => `missing ${line}`), ...left.map((line) => `too many ${line}`)];
}

function thingLine(name: string, properties: JsonObject): string {
  return `thing ${name}: ${canonicalJson(properties)}`;
}

function processLine(stack: string, generation: string): string {
  return `process ${stack}: ${generation}`;
}

async function simulatedThings(folder: string): Promise<string[]> {
  const files = (await readdir(folder).catch((): string[] => [])).filter((name) => name.endsWith(".json"));
  const texts = await Promise.all(files.map((name) => readFile(join(folder, name), "utf8").catch(() => "")));
  return texts
    .filter((text) => text !== "")
    .map((text) => JSON.parse(text) as { name: string; properties: JsonObject })
    .map(({ name, properties }) => thingLine(name, properties));
}

async function realThings(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const lines = entries.map(async (entry) => {
    const path = join(entry.parentPath, entry.name);
    const name = relative(folder, path);
    if (entry.isDirectory()) return `directory ${name}`;
    return `file ${name}: ${await readFile(path, "utf8").catch(() => "")}`;
  });
  return Promise.all(lines);
}

/** Those that run, by what they were given; wherever they are, and whoever their parent is. */
async function processes(home: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const read = (pid: string, what: string) => readFile(`/proc/${pid}/${what}`, "utf8").catch(() => "");
  const lines = pids.map(async (pid) => {
    if (!(await read(pid, "cmdline")).startsWith("sleep\0")) return [];
    const env = Object.fromEntries(
      (await read(pid, "environ")).split("\0").map((pair) => pair.split("=", 2)),
    );
    return env.FAULT_HOME === home ? [processLine(env.FAULT_STACK, env.FAULT_GENERATION)] : [];
  });
  return (await Promise.all(lines)).flat();
}
