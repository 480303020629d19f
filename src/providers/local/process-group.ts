/**
 * The processes that belong to a started command: those of its process group, and, where the system shows it
 * (Linux), every other one whose environment carries the token, so that what left the group does not leak.
 */
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { errno } from "../../servers/folder-lock.js";
import { type ProcessIdentity, startOf } from "../../servers/process-identity.js";
import { ProviderError } from "../provider.js";
import type { Pulse } from "../pulse.js";

const killLimitMs = 10_000;
const firstPollMs = 10;
const lastPollMs = 200;

export const tokenVariable = "HOMEOSTAT_TOKEN";

interface Row {
  pid: number;
  group: number;
  zombie: boolean;
  /** As in ProcessIdentity, also of a zombie; undefined where it costs a call of its own. */
  start: string | undefined;
}

/** Leaders of sessions whose environment carries the token; empty where the system does not show environments. */
export async function leadersWithToken(token: string): Promise<ProcessIdentity[]> {
  const leaders: ProcessIdentity[] = [];
  for (const row of await listProcesses()) {
    if (row.pid !== row.group || row.zombie || !(await carriesToken(row.pid, token))) continue;
    const start = await startOf(row.pid);
    if (start !== undefined) leaders.push({ pid: row.pid, start });
  }
  return leaders;
}

/**
 * Ends all of them: the signal, time to comply, then SIGKILL; returns when none is left.
 *
 * @throws ProviderError (retryable) when the call is aborted, or something survives SIGKILL.
 */
export async function endProcesses(
  roots: readonly ProcessIdentity[],
  token: string,
  signal: NodeJS.Signals,
  patienceMs: number,
  pulse: Pulse,
): Promise<void> {
  const living = await livingTargets(roots, token);
  if (living.length === 0) return;
  send(living, signal);
  // A stopped process sees the signal only when it goes on.
  send(living, "SIGCONT");
  if (await endedWithin(roots, token, patienceMs, pulse, () => undefined)) return;
  if (await endedWithin(roots, token, killLimitMs, pulse, (targets) => send(targets, "SIGKILL"))) return;
  throw new ProviderError("processes are left that SIGKILL does not end", { retryable: true });
}

async function endedWithin(
  roots: readonly ProcessIdentity[],
  token: string,
  limitMs: number,
  pulse: Pulse,
  eachTime: (living: number[]) => void,
): Promise<boolean> {
  const end = performance.now() + limitMs;
  for (let pollMs = firstPollMs; ; pollMs = Math.min(pollMs * 1.5, lastPollMs)) {
    const living = await livingTargets(roots, token);
    if (living.length === 0) return true;
    if (performance.now() > end) return false;
    pulse.beat("unknown");
    eachTime(living);
    await pulse.sleep(pollMs, "unknown");
  }
}

/** As `kill` takes them: a group as its negative number, who is in no group of ours by its pid. */
async function livingTargets(roots: readonly ProcessIdentity[], token: string): Promise<number[]> {
  const rows = await listProcesses();
  const ours = new Set(roots.filter((root) => isOwnGroup(root, rows)).map((root) => root.pid));
  const targets = new Set<number>();
  for (const row of rows) {
    if (row.zombie) continue;
    if (ours.has(row.group)) targets.add(-row.group);
    else if (await carriesToken(row.pid, token)) targets.add(row.pid);
  }
  return [...targets];
}

/**
 * A group keeps its leader's pid from being used again, also once the leader is gone. So a group whose leader is
 * somebody else is not ours; one without a leader may be, and its members show the token where the system lets them.
 */
function isOwnGroup(root: ProcessIdentity, rows: readonly Row[]): boolean {
  const leader = rows.find((row) => row.pid === root.pid);
  if (leader === undefined) return process.platform !== "linux";
  return leader.start === undefined || leader.start === root.start;
}

function send(targets: readonly number[], signal: NodeJS.Signals): void {
  for (const target of targets) {
    try {
      process.kill(target, signal);
    } catch (error) {
      if (errno(error) === "ESRCH") continue;
      throw new ProviderError(`cannot send ${signal} to ${target}: ${errno(error) ?? "unknown reason"}`, {
        cause: error,
      });
    }
  }
}

async function carriesToken(pid: number, token: string): Promise<boolean> {
  const environment = await rawEnvironmentOf(pid);
  return environment.includes(token) && environment.split("\0").includes(`${tokenVariable}=${token}`);
}

export async function environmentOf(pid: number): Promise<ReadonlyMap<string, string>> {
  const entries = (await rawEnvironmentOf(pid)).split("\0").map((entry) => /^([^=]*)=(.*)$/s.exec(entry));
  return new Map(entries.flatMap((entry) => (entry === null ? [] : [[entry[1] ?? "", entry[2] ?? ""]])));
}

/** Empty where the system does not show it, when the process is gone, or is another user's. */
async function rawEnvironmentOf(pid: number): Promise<string> {
  if (process.platform !== "linux") return "";
  return readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
}

async function listProcesses(): Promise<Row[]> {
  return process.platform === "linux" ? listFromProc() : listFromPs();
}

async function listFromProc(): Promise<Row[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const rows = await Promise.all(
    pids.map(async (pid): Promise<Row | undefined> => {
      const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => undefined);
      if (stat === undefined) return undefined;
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const [state = "", , group] = fields;
      return {
        pid: Number(pid),
        group: Number(group),
        zombie: state === "Z" || state === "X",
        start: fields[19],
      };
    }),
  );
  return rows.filter((row) => row !== undefined);
}

async function listFromPs(): Promise<Row[]> {
  const { stdout } = await promisify(execFile)("ps", ["-A", "-o", "pid=", "-o", "pgid=", "-o", "stat="], {
    env: { PATH: "/bin:/usr/bin", LC_ALL: "C" },
  });
  return stdout
    .trim()
    .split("\n")
    .map((line) => {
      const [pid, group, state = ""] = line.trim().split(/\s+/);
      return { pid: Number(pid), group: Number(group), zombie: state.startsWith("Z"), start: undefined };
    });
}
