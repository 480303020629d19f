/**
 * Which process is meant by a recorded pid.
 *
 * A pid alone is reused; a pid with its start time is not. Both only mean something in their place (a boot of a
 * machine and a pid namespace): elsewhere nobody can tell by looking whether the process lives.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile, readlink } from "node:fs/promises";
import { promisify } from "node:util";

export interface ProcessIdentity {
  pid: number;
  /** Opaque, fixed for the life of the process, unchanged by exec. */
  start: string;
}

/** Start of a running process; undefined when there is none, or only its zombie. */
export async function startOf(pid: number): Promise<string | undefined> {
  return process.platform === "linux" ? startFromProc(pid) : startFromPs(pid);
}

export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  return (await startOf(identity.pid)) === identity.start;
}

let ownStart: string | undefined;

export async function ownIdentity(): Promise<ProcessIdentity> {
  ownStart ??= await startOf(process.pid);
  if (ownStart === undefined) throw new Error(`cannot read the start time of process ${process.pid}`);
  return { pid: process.pid, start: ownStart };
}

let ownPlace: string | undefined;

/** Where this process's pids are valid: a short word without dots. */
export async function placeHere(): Promise<string> {
  ownPlace ??= process.platform === "linux" ? await linuxPlace() : process.platform;
  return ownPlace;
}

async function linuxPlace(): Promise<string> {
  const parts = await Promise.all([
    readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => ""),
    readlink("/proc/self/ns/pid").catch(() => ""),
  ]);
  return createHash("sha256").update(parts.join("\n")).digest("hex").slice(0, 16);
}

async function startFromProc(pid: number): Promise<string | undefined> {
  let stat: string;
  try {
    stat = await readFile(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The second field is the command in brackets, which may hold blanks and brackets itself.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const state = fields[0];
  return state === "Z" || state === "X" ? undefined : fields[19];
}

async function startFromPs(pid: number): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)("ps", ["-o", "stat=", "-o", "lstart=", "-p", String(pid)], {
      env: { PATH: "/bin:/usr/bin", LC_ALL: "C", TZ: "UTC" },
    });
    const [state = "Z", ...start] = stdout.trim().split(/\s+/);
    return state.startsWith("Z") || start.length === 0 ? undefined : start.join("_");
  } catch {
    return undefined;
  }
}
