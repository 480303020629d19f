/** Commands that share embedded servers: real processes, which can be killed. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const root = resolve(import.meta.dirname, "../..");

const commandScript = `
import { openServers } from "./src/servers/servers.js";
const log = { info() {}, warn(fields, message) { console.error(message, JSON.stringify(fields)); } };
const say = (what) => console.log(JSON.stringify(what));
try {
  const servers = await openServers({ dir: process.argv[2], log });
  const close = async () => { await servers.close(); process.exit(0); };
  process.stdin.resume().on("end", close);
  process.on("SIGINT", close);
  // Who reads it may interrupt at once.
  say({ redisUrl: servers.redisUrl, natsUrl: servers.natsUrl });
} catch (error) {
  say({ code: error.code, message: error.message });
  process.exit(1);
}
`;

/** Compiles src/servers; the folder that it returns is the caller's to remove. */
export async function compileServers(): Promise<string> {
  const out = await mkdtemp(join(tmpdir(), "homeostat-compiled-"));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const config = {
    extends: join(root, "tsconfig.json"),
    compilerOptions: { rootDir: root, outDir: out, typeRoots: [join(root, "node_modules/@types")] },
    files: ["servers", "folder-lock", "private-redis"].map((name) => join(root, `src/servers/${name}.ts`)),
    include: [],
  };
  await writeFile(join(out, "tsconfig.json"), JSON.stringify(config));
  await writeFile(join(out, "package.json"), '{"type":"module"}');
  await writeFile(join(out, "command.js"), commandScript);
  await symlink(join(root, "node_modules"), join(out, "node_modules"));
  await promisify(execFile)(process.execPath, [tsc, "-p", out]);
  return out;
}

interface Said {
  redisUrl?: string;
  natsUrl?: string;
  code?: string;
  message?: string;
}

export class Command {
  readonly child: ChildProcess;
  readonly said: Promise<Said>;
  warnings = "";
  readonly #exit: Promise<unknown>;

  constructor(compiled: string, dir: string, options: { env?: NodeJS.ProcessEnv; program?: string[] } = {}) {
    const [program = process.execPath, ...before] = options.program ?? [];
    const child = spawn(program, [...before, join(compiled, "command.js"), dir], {
      stdio: ["pipe", "pipe", "pipe"],
      env: options.env ?? process.env,
    });
    this.child = child;
    child.stderr.on("data", (data) => {
      this.warnings += data;
    });
    this.#exit = once(child, "exit");
    const line = once(createInterface(child.stdout), "line");
    this.said = Promise.race([line, this.#exit.then(() => line)]).then(([text]) => JSON.parse(text) as Said);
  }

  /** Its URLs; fails when it could not open. */
  async urls(): Promise<{ redisUrl: string; natsUrl: string }> {
    const { redisUrl, natsUrl, message } = await this.said;
    if (redisUrl === undefined || natsUrl === undefined) throw new Error(message);
    return { redisUrl, natsUrl };
  }

  async close(): Promise<void> {
    this.child.stdin?.end();
    await this.#exit;
  }

  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.#exit;
  }

  async interrupt(): Promise<void> {
    this.child.kill("SIGINT");
    await this.#exit;
  }
}

export interface ServerRecords {
  redis: { port: number; run: { pid: number } | null };
  nats: { port: number; run: { pid: number } | null };
  users: { pid: number }[];
}

export async function recordsOf(dir: string): Promise<ServerRecords> {
  return JSON.parse(await readFile(join(dir, "servers.json"), "utf8")) as ServerRecords;
}

/** Pids of all processes that run in the folder of a server. */
export async function processesIn(dir: string): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir("/proc")) {
    const cwd = /^\d+$/.test(name) ? await readlink(`/proc/${name}/cwd`).catch(() => "") : "";
    if (cwd.startsWith(`${dir}/`)) pids.push(Number(name));
  }
  return pids;
}

export async function until(what: string, holds: () => Promise<boolean>, limitMs = 15_000): Promise<void> {
  const began = performance.now();
  while (!(await holds())) {
    if (performance.now() - began > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await sleep(20);
  }
}

export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}
