/**
 * Builds dist: the compiled TypeScript and, beside it, the Lua files.
 *
 * Compiled elsewhere first, then each file that differs is renamed into place: a program that runs from dist, or a
 * second build at the same time, never meets a file that is missing or half written.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { withWorkFolder } from "./work-folder.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const dist = join(root, "dist");
/** In dist once it is complete: what it was built from. */
const stamp = join(dist, ".built-from");
const program = "src/cli/main.js";

/** Whether dist is what the sources make. */
export function isBuilt() {
  return fs.existsSync(stamp) && fs.readFileSync(stamp, "utf8") === sourcesHash();
}

/** Exit status: 0, or the compiler's after it has said what is wrong. */
export function build() {
  const hash = sourcesHash();
  return withWorkFolder(root, (work) => {
    const compiled = join(work, "dist");
    const status = compile(compiled);
    if (status !== 0) return status;
    for (const file of filesIn(compiled).filter((name) => name.endsWith(".map"))) moveSources(compiled, file);
    for (const file of filesIn(join(root, "src")).filter((name) => name.endsWith(".lua"))) {
      const target = join(compiled, "src", file);
      fs.mkdirSync(dirname(target), { recursive: true });
      fs.copyFileSync(join(root, "src", file), target);
    }
    if (fs.existsSync(join(compiled, program))) fs.chmodSync(join(compiled, program), 0o755);
    publish(compiled);
    fs.writeFileSync(join(work, "stamp"), hash);
    fs.renameSync(join(work, "stamp"), stamp);
    return 0;
  });
}

function compile(outDir) {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const args = [tsc, "-p", "tsconfig.build.json", "--outDir", outDir];
  const { status, error } = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" });
  if (error) throw error;
  return status ?? 1;
}

/** Source maps name their sources relative to where they are, which is not where they were made. */
function moveSources(compiled, file) {
  const path = join(compiled, file);
  const map = JSON.parse(fs.readFileSync(path, "utf8"));
  map.sources = map.sources.map((source) =>
    relative(dirname(join(dist, file)), resolve(dirname(path), source)),
  );
  fs.writeFileSync(path, JSON.stringify(map));
}

function publish(compiled) {
  const wanted = filesIn(compiled);
  const present = fs.existsSync(dist) ? filesIn(dist).filter((file) => join(dist, file) !== stamp) : [];
  const changed = wanted.filter((file) => !sameFile(join(compiled, file), join(dist, file)));
  const superfluous = present.filter((file) => !wanted.includes(file));
  if (changed.length + superfluous.length > 0) fs.rmSync(stamp, { force: true });
  fs.mkdirSync(dist, { recursive: true });
  for (const file of changed) {
    fs.mkdirSync(dirname(join(dist, file)), { recursive: true });
    fs.renameSync(join(compiled, file), join(dist, file));
  }
  for (const file of superfluous) fs.rmSync(join(dist, file), { force: true });
}

function sameFile(a, b) {
  if (!fs.existsSync(b) || fs.statSync(a).mode !== fs.statSync(b).mode) return false;
  return fs.readFileSync(a).equals(fs.readFileSync(b));
}

function sourcesHash() {
  const hash = createHash("sha256");
  const sources = ["src", "machines"].flatMap((folder) =>
    fs.existsSync(join(root, folder)) ? filesIn(join(root, folder)).map((file) => join(folder, file)) : [],
  );
  const settings = ["package-lock.json", "tsconfig.json", "tsconfig.build.json"];
  for (const file of [...sources.filter((name) => /\.(ts|lua)$/.test(name)), ...settings]) {
    const text = fs.readFileSync(join(root, file));
    hash.update(`${file} ${text.length}\n`).update(text);
  }
  return hash.digest("hex");
}

/** Relative paths of all files below a folder, sorted. */
function filesIn(folder, below = "") {
  return fs
    .readdirSync(join(folder, below), { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(below, entry.name);
      return entry.isDirectory() ? filesIn(folder, path) : [path];
    })
    .sort();
}

if (process.argv[1] !== undefined && fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = build();
}
