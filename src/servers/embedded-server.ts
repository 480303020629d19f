/**
 * One embedded server: its configuration, its start, its end.
 *
 * 1. A server runs only after its pid is on record: it is started as a shell that waits for a word, and becomes the
 *    server on hearing it. If the process that starts it dies before, the shell reads the end of its input and ends.
 * 2. It is in a session of its own, so that the Ctrl-C which ends a command leaves it to that command's orderly end.
 * 3. Paths of the data folder never reach a server: it runs in its folder and is given relative names, so that long
 *    and unusual ones work.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdir, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { HomeostatError } from "../errors.js";
import { type Answer, askNats, askRedis, host } from "./loopback.js";
import { isAlive, type ProcessIdentity, startOf } from "./process-identity.js";
import { boundLog, logTail } from "./server-log.js";

export type Kind = "redis" | "nats";
export const kinds: readonly Kind[] = ["redis", "nats"];

/** A server as it is recorded; `run` is its process, if it was started and not stopped since. */
export interface ServerRecord {
  port: number;
  password: string;
  run: ProcessIdentity | null;
}

const natsUser = "homeostat";
const silentLimitMs = 10_000;
const loadingLimitMs = 600_000;
const stopLimitMs = 10_000;
const firstPollMs = 4;
const maxPollMs = 50;

/** Well above any use on one machine: without a limit the server takes one from the free space at its start. */
const natsMemoryLimit = "256MB";
const natsFileLimit = "64GB";

interface Plan {
  configuration(record: ServerRecord): string;
  /** Shell commands that become the server; its program is "$0". */
  run: string;
  url(record: ServerRecord): string;
  ask(record: ServerRecord): Promise<Answer>;
  repair: string;
}

const plans: Record<Kind, Plan> = {
  redis: {
    configuration: ({ port, password }) =>
      [
        `bind ${host}`,
        `port ${port}`,
        "protected-mode yes",
        `requirepass ${password}`,
        "dir .",
        "daemonize no",
        "appendonly yes",
        // An intent that is lost is a leak (R10).
        "appendfsync always",
        'save ""',
        "maxmemory-policy noeviction",
        "",
      ].join("\n"),
    run: 'exec "$0" - <redis.conf',
    url: ({ port, password }) => `redis://default:${password}@${host}:${port}`,
    ask: ({ port, password }) => askRedis(port, password),
    repair: "repair it with redis-check-aof --fix",
  },
  nats: {
    configuration: ({ port, password }) =>
      [
        `listen: "${host}:${port}"`,
        'server_name: "homeostat-embedded"',
        `authorization { user: "${natsUser}", password: "${password}" }`,
        'ping_interval: "5s"',
        `jetstream { store_dir: ".", max_mem: ${natsMemoryLimit}, max_file: ${natsFileLimit} }`,
        "",
      ].join("\n"),
    run: 'exec "$0" -c nats.conf </dev/null',
    url: ({ port, password }) => `nats://${natsUser}:${password}@${host}:${port}`,
    ask: ({ port, password }) => askNats(port, { user: natsUser, pass: password }),
    repair: "it holds notifications only, which are made again",
  },
};

export function urlOf(kind: Kind, record: ServerRecord): string {
  return plans[kind].url(record);
}

export function logPath(folder: string, kind: Kind): string {
  return join(folder, kind, `${kind}.log`);
}

/** The server process ended instead of answering. */
export class ServerEnded extends HomeostatError {}

/** A server whose pid is known and which has not begun to run. */
export interface HeldServer {
  run: ProcessIdentity;
  go(): void;
  cancel(): void;
}

export async function holdServer(
  folder: string,
  kind: Kind,
  record: ServerRecord,
  program: string,
): Promise<HeldServer> {
  const home = join(folder, kind);
  await mkdir(home, { recursive: true, mode: 0o700 });
  await writeSecret(join(home, `${kind}.conf`), plans[kind].configuration(record));
  await boundLog(logPath(folder, kind));
  const child = await spawnInto(
    logPath(folder, kind),
    home,
    `read -r word && [ "$word" = go ] && ${plans[kind].run}`,
    program,
  );
  const start = child.pid === undefined ? undefined : await startOf(child.pid);
  if (child.pid === undefined || start === undefined) throw new Error("/bin/sh ended at once");
  return {
    run: { pid: child.pid, start },
    go: () => child.stdin?.end("go\n"),
    cancel: () => child.stdin?.destroy(),
  };
}

async function spawnInto(log: string, cwd: string, script: string, program: string): Promise<ChildProcess> {
  const output = await open(log, "a", 0o600);
  try {
    return await new Promise((resolve, reject) => {
      const child = spawn("/bin/sh", ["-c", script, program], {
        cwd,
        detached: true,
        stdio: ["pipe", output.fd, output.fd],
        env: serverEnvironment(),
      });
      child.once("error", reject);
      child.once("spawn", () => resolve(child));
      child.stdin?.on("error", () => undefined);
      child.unref();
    });
  } finally {
    await output.close();
  }
}

/** Only what a server needs: keys and passwords in the environment of a command stay there. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  const { PATH, HOME, TZ, TMPDIR } = process.env;
  return { ...(PATH && { PATH }), ...(HOME && { HOME }), ...(TZ && { TZ }), ...(TMPDIR && { TMPDIR }) };
}

async function writeSecret(path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: 0o600 });
  await chmod(path, 0o600);
}

/** Resolves when the server answers; a ServerEnded error when its process is gone. */
export async function untilReady(folder: string, kind: Kind, record: ServerRecord): Promise<void> {
  const began = performance.now();
  for (let pollMs = firstPollMs; ; pollMs = Math.min(pollMs * 1.3, maxPollMs)) {
    const answer = await plans[kind].ask(record);
    if (record.run === null || !(await isAlive(record.run))) throw await serverEnded(folder, kind);
    if (answer === "ready") return;
    if (performance.now() - began > (answer === "loading" ? loadingLimitMs : silentLimitMs)) {
      throw new HomeostatError(
        "unavailable",
        `${kind}-server (process ${record.run.pid}) does not answer on ${host}:${record.port}. ` +
          `Its log is ${logPath(folder, kind)}; if it hangs, end it (kill -9 ${record.run.pid}) and try again`,
      );
    }
    await sleep(pollMs);
  }
}

async function serverEnded(folder: string, kind: Kind): Promise<ServerEnded> {
  const log = logPath(folder, kind);
  const tail = (await logTail(log)).replace(/^/gm, "  ");
  return new ServerEnded(
    "unavailable",
    `${kind}-server ended as soon as it was started. Its log, ${log}, ends with:\n${tail}\n` +
      `If the disk is full, make room. If the data in ${join(folder, kind)} is damaged: ${plans[kind].repair}, ` +
      "or move that folder away to begin afresh.",
  );
}

/** Asks it to end and waits until it has; what it acknowledged is on disk then. */
export async function stopServer(run: ProcessIdentity, onKill: () => void): Promise<void> {
  if (!(await isAlive(run))) return;
  signalProcess(run, "SIGTERM");
  const began = performance.now();
  while (await isAlive(run)) {
    if (performance.now() - began > stopLimitMs) {
      onKill();
      signalProcess(run, "SIGKILL");
      while (await isAlive(run)) await sleep(maxPollMs);
      return;
    }
    await sleep(firstPollMs);
  }
}

function signalProcess(run: ProcessIdentity, signal: NodeJS.Signals): void {
  try {
    process.kill(run.pid, signal);
  } catch {
    // It ended between the look and the signal.
  }
}
