/** Private copies of the program with one fault planted each, compiled; and hunts in them. */
import { execFile, spawn } from "node:child_process";
import { cp, link, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, extname, join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import type { Hunt, Known, Sighting } from "./hunt.js";
import type { Mutant } from "./mutants.js";

/** A run takes a fraction of a second. Without a word for so long, the process hangs, ms. */
const silenceMs = 60_000;

const parts = ["package.json", "tsconfig.json", "src", "machines", "test/support", "test/scenarios"];
const huntFile = "test/mutants/hunt";
/** What a hunt runs from. */
const needed: ReadonlySet<string> = new Set([".js", ".json", ".lua", ".yaml"]);

/**
 * Ends the program it is given when its input ends. Without a last word, whoever started it has died: then the grounds, in
 * which its working folder is, are nobody's, and go too.
 */
const guardScript = `
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
{ read -r word; kill -9 "$program"; [ "$word" = end ] || rm -rf "\${PWD%/*}"; } <&3 >/dev/null 2>&1 &
guard=$!
exec 3<&-
wait "$program"
status=$?
kill "$guard" 2>/dev/null
exit "$status"
`;

export interface Catch {
  /** Undefined when it survived. `run` is 0 when a known run, or one that is like it, has found it. */
  found?: { phase: string; run: number; what: string; message: string };
  /** The run that failed; undefined also when the process hung or died, of which no run tells. */
  by?: Known;
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

export interface HuntOptions extends Hunt {
  /** The hunt ends then; by default when all runs are made. */
  limitMs?: number;
  /** Without a run for so long, it hangs; 60 s by default. */
  silenceMs?: number;
}

/** The program, compiled once; every copy with a fault shares what it leaves as it is. */
export class Grounds {
  readonly #root: string;
  readonly #folder: string;
  readonly #files: readonly string[];

  private constructor(root: string, folder: string, files: readonly string[]) {
    this.#root = root;
    this.#folder = folder;
    this.#files = files;
  }

  /** `root`: the project's folder. */
  static async prepare(root: string): Promise<Grounds> {
    const folder = await mkdtemp(join(tmpdir(), "homeostat-mutants-"));
    for (const part of [...parts, `${huntFile}.ts`]) {
      await mkdir(dirname(join(folder, part)), { recursive: true });
      await cp(join(root, part), join(folder, part), { recursive: true });
    }
    const include = ["src/**/*.ts", "machines/**/*.ts", "test/support/*.ts", `${huntFile}.ts`];
    await symlink(join(root, "node_modules"), join(folder, "node_modules"));
    await compile(root, folder, { include });
    const files = await Promise.all(
      ["src", "machines", "test"].map(async (part) =>
        (await readdir(join(folder, part), { recursive: true })).map((file) => join(part, file)),
      ),
    );
    const all = ["package.json", "tsconfig.json", ...files.flat()];
    return new Grounds(
      root,
      folder,
      all.filter((file) => needed.has(extname(file))),
    );
  }

  /** Without a mutant: of the program as it is. */
  async hunted(mutant: Mutant | undefined, options: HuntOptions = {}): Promise<Catch> {
    const folder = await mkdtemp(join(this.#folder, "copy-"));
    try {
      await this.#copyTo(folder);
      if (mutant !== undefined) await this.#plant(mutant, folder);
      return await hunt(folder, options);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async remove(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #copyTo(folder: string): Promise<void> {
    for (const part of new Set(this.#files.map(dirname)))
      await mkdir(join(folder, part), { recursive: true });
    for (const file of this.#files) await link(join(this.#folder, file), join(folder, file));
  }

  async #plant(mutant: Mutant, folder: string): Promise<void> {
    const text = planted(await readFile(join(this.#folder, mutant.file), "utf8"), mutant);
    // The file's name alone is this copy's, its content is shared: never written into.
    await rm(join(folder, mutant.file.replace(/\.ts$/, ".js")));
    await writeFile(join(folder, mutant.file), text);
    if (mutant.file.endsWith(".ts")) await compile(this.#root, folder, { files: [mutant.file], include: [] });
  }
}

/** Beside the sources. A fault may leave something unused or badly typed: nothing is checked. */
async function compile(root: string, folder: string, what: object): Promise<void> {
  const settings = {
    extends: "./tsconfig.json",
    compilerOptions: {
      outDir: ".",
      noCheck: true,
      noResolve: true,
      types: [],
      declaration: false,
      sourceMap: false,
    },
    exclude: [],
    ...what,
  };
  await writeFile(join(folder, "tsconfig.mutant.json"), JSON.stringify(settings));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  await promisify(execFile)(process.execPath, [tsc, "-p", "tsconfig.mutant.json"], { cwd: folder });
}

async function hunt(
  folder: string,
  { limitMs, silenceMs: silentMs = silenceMs, ...hunt }: HuntOptions,
): Promise<Catch> {
  const began = performance.now();
  const program = [process.execPath, join(folder, `${huntFile}.js`), JSON.stringify(hunt)];
  const child = spawn("/bin/sh", ["-c", guardScript, "sh", ...program], { cwd: folder });
  child.stdin.on("error", () => undefined);
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  let last: Sighting = { phase: "start", run: 0, what: "nothing yet" };
  let runs = 0;
  let errors = "";
  child.stderr.on("data", (text: Buffer) => {
    errors = (errors + text.toString()).slice(0, 4_000);
  });
  let hangs = false;
  let cut = false;
  const kill = () => {
    hangs = !cut;
    child.stdin.end("end\n");
  };
  const limit = setTimeout(
    () => {
      cut = true;
      kill();
    },
    limitMs ?? 2 ** 31 - 1,
  );
  let silence = setTimeout(kill, silentMs);
  for await (const line of createInterface({ input: child.stdout })) {
    clearTimeout(silence);
    silence = setTimeout(kill, silentMs);
    last = JSON.parse(line) as Sighting;
    runs += 1;
  }
  const status = await ended;
  clearTimeout(silence);
  clearTimeout(limit);
  const seconds = (performance.now() - began) / 1000;
  const { phase, run, what, message } = last;
  if (message !== undefined) {
    return { found: { phase, run, what, message }, by: { phase, what }, runs, seconds };
  }
  if (cut || (!hangs && status === 0)) return { runs, seconds };
  const found = { phase, run: run + 1, what: `after ${what}`, message: hangs ? "it hangs" : errors };
  return { found, runs, seconds };
}
