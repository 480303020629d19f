/** A private copy of the program with one fault planted, compiled; and a hunt in it. */
import { execFile, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import type { Sighting } from "./hunt.js";
import type { Mutant } from "./mutants.js";

/** A run takes a fraction of a second. Without a word for so long, the process hangs, ms. */
const silenceMs = 60_000;

const parts = ["package.json", "tsconfig.json", "src", "machines", "test/support", "test/scenarios"];
const huntFile = "test/mutants/hunt";

export interface Catch {
  /** Undefined when it survived. */
  found?: { phase: string; run: number; what: string; message: string };
  /** Runs of all phases. */
  runs: number;
  seconds: number;
}

/** @throws Error unless `find` is there exactly once. */
export function planted(text: string, { id, file, find, replace }: Mutant): string {
  const pieces = text.split(find);
  if (pieces.length !== 2)
    throw new Error(`${id}: ${file} has ${pieces.length - 1} times what is to be replaced`);
  return pieces.join(replace);
}

export interface HuntOptions {
  /** Of the first exploring run; by default the tests'. */
  seed?: string | undefined;
  /** Separated by commas; by default all. */
  phases?: string | undefined;
}

/** Without a mutant: of the program as it is. `root`: the project's folder. */
export async function hunted(
  root: string,
  mutant: Mutant | undefined,
  options: HuntOptions = {},
): Promise<Catch> {
  const folder = await mkdtemp(join(tmpdir(), "homeostat-mutant-"));
  try {
    await copyTree(root, folder);
    if (mutant !== undefined) {
      const file = join(folder, mutant.file);
      await writeFile(file, planted(await readFile(file, "utf8"), mutant));
    }
    await compile(root, folder);
    return await hunt(folder, options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function copyTree(root: string, folder: string): Promise<void> {
  for (const part of [...parts, `${huntFile}.ts`]) {
    await mkdir(dirname(join(folder, part)), { recursive: true });
    await cp(join(root, part), join(folder, part), { recursive: true });
  }
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
}

/** Beside the sources. A fault may leave something unused or badly typed: nothing is checked. */
async function compile(root: string, folder: string): Promise<void> {
  const settings = {
    extends: "./tsconfig.json",
    compilerOptions: { outDir: ".", noCheck: true, declaration: false, sourceMap: false },
    include: ["src/**/*.ts", "machines/**/*.ts", `${huntFile}.ts`],
    exclude: [],
  };
  await writeFile(join(folder, "tsconfig.mutant.json"), JSON.stringify(settings));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  await promisify(execFile)(process.execPath, [tsc, "-p", "tsconfig.mutant.json"], { cwd: folder });
}

async function hunt(folder: string, { seed = "", phases = "" }: HuntOptions): Promise<Catch> {
  const began = performance.now();
  const args = [join(folder, `${huntFile}.js`), seed, phases];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  let last: Sighting = { phase: "start", run: 0, what: "nothing yet" };
  let runs = 0;
  let errors = "";
  child.stderr.on("data", (text: Buffer) => {
    errors = (errors + text.toString()).slice(0, 4_000);
  });
  let hangs = false;
  const kill = () => {
    hangs = true;
    child.kill("SIGKILL");
  };
  let silence = setTimeout(kill, silenceMs);
  for await (const line of createInterface({ input: child.stdout })) {
    clearTimeout(silence);
    silence = setTimeout(kill, silenceMs);
    last = JSON.parse(line) as Sighting;
    runs += 1;
  }
  const status = await ended;
  clearTimeout(silence);
  const seconds = (performance.now() - began) / 1000;
  const { phase, run, what, message } = last;
  if (message !== undefined) return { found: { phase, run, what, message }, runs, seconds };
  if (!hangs && status === 0) return { runs, seconds };
  const found = { phase, run: run + 1, what: `after ${what}`, message: hangs ? "it hangs" : errors };
  return { found, runs, seconds };
}
