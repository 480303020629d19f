/** The program as users run it: dist when it is up to date (`npm test` sees to that), else compiled for the test. */
import { execFile } from "node:child_process";
import { copyFile, cp, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

const root = resolve(import.meta.dirname, "../..");
const main = "dist/src/cli/main.js";
const lua = "src/store/lua";

export interface Program {
  /** The command line's file. */
  main: string;
  remove(): Promise<void>;
}

export async function buildProgram(): Promise<Program> {
  if (await isBuilt()) return { main: join(root, main), remove: async () => undefined };
  const out = await mkdtemp(join(tmpdir(), "homeostat-build-"));
  await compile(join(out, "dist"));
  await cp(join(root, lua), join(out, "dist", lua), { recursive: true });
  await copyFile(join(root, "package.json"), join(out, "package.json"));
  await symlink(join(root, "node_modules"), join(out, "node_modules"));
  return { main: join(out, main), remove: () => rm(out, { recursive: true, force: true }) };
}

async function isBuilt(): Promise<boolean> {
  const build: string = pathToFileURL(join(root, "src/bootstrap/build.mjs")).href;
  return ((await import(build)) as { isBuilt(): boolean }).isBuilt();
}

async function compile(outDir: string): Promise<void> {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const plain = ["--sourceMap", "false", "--declaration", "false"];
  const args = [tsc, "-p", "tsconfig.build.json", "--outDir", outDir, ...plain];
  await promisify(execFile)(process.execPath, args, { cwd: root });
}
