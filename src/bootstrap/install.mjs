/**
 * node_modules as package-lock.json wants them.
 *
 * Installed beside and renamed into place, so that of two runs at once each finds a whole tree.
 */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { withWorkFolder } from "./work-folder.mjs";

/** npm writes what it installed, when it is done, in the form of the lock file. */
export function isInstalled(root) {
  const wanted = packagesOf(join(root, "package-lock.json"));
  const present = packagesOf(join(root, "node_modules/.package-lock.json"));
  if (wanted === undefined || present === undefined) return false;
  return Object.entries(wanted).every(([path, { version, integrity, optional, devOptional }]) => {
    if (path === "") return true;
    const found = present[path];
    // What is optional may be for another platform.
    if (found === undefined) return optional === true || devOptional === true;
    return found.version === version && found.integrity === integrity;
  });
}

/** Exit status: 0, or npm's after it has said what is wrong. */
export function install(root) {
  return withWorkFolder(root, (work) => {
    for (const file of ["package.json", "package-lock.json", ".npmrc"]) {
      if (fs.existsSync(join(root, file))) fs.copyFileSync(join(root, file), join(work, file));
    }
    const { status, error } = spawnSync("npm", ["ci", "--no-audit", "--no-fund"], {
      cwd: work,
      stdio: "inherit",
      env: withoutProject(process.env),
    });
    if (error) {
      console.error(`npm cannot be run: ${error.message}`);
      return 2;
    }
    if (status !== 0) return status ?? 1;
    // Another run may have been quicker.
    if (!isInstalled(root)) swap(root, work);
    return 0;
  });
}

function swap(root, work) {
  const place = join(root, "node_modules");
  try {
    if (fs.existsSync(place)) fs.renameSync(place, join(work, "replaced"));
    fs.renameSync(join(work, "node_modules"), place);
  } catch (error) {
    if (!isInstalled(root)) throw error;
  }
}

/** npm tells its scripts which project they belong to; an npm that they start would work on that one. */
function withoutProject(env) {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^npm_(config_local_prefix|package_)/.test(name)),
  );
}

function packagesOf(lockFile) {
  try {
    return JSON.parse(fs.readFileSync(lockFile, "utf8")).packages;
  } catch {
    return undefined;
  }
}
