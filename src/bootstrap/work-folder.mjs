/** Where something is made before it is moved to its place: on the same file system, ignored by git. */
import * as fs from "node:fs";
import { join } from "node:path";

const parentName = ".homeostat";
const prefix = "bootstrap-";

/** Runs `work` with a new folder, which is gone afterwards; those of runs that were killed go too. */
export function withWorkFolder(root, work) {
  const parent = join(root, parentName);
  fs.mkdirSync(parent, { recursive: true, mode: 0o700 });
  for (const name of fs.readdirSync(parent)) {
    const [, pid] = /^bootstrap-(\d+)-/.exec(name) ?? [];
    if (pid !== undefined && !isRunning(Number(pid))) remove(join(parent, name));
  }
  const folder = fs.mkdtempSync(join(parent, `${prefix}${process.pid}-`));
  try {
    return work(folder);
  } finally {
    remove(folder);
  }
}

function remove(folder) {
  fs.rmSync(folder, { recursive: true, force: true });
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}
