/**
 * A server in a temporary folder that belongs to one process and dies with it, however that process ends.
 *
 * Its guard is a shell that reads from this process: when the input ends it kills the server and removes the folder.
 * Both are in a session of their own, so that Ctrl-C ends them in that order too.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { HomeostatError } from "../errors.js";
import { serverEnvironment } from "./embedded-server.js";
import { type Answer, freePort, isFreePort } from "./loopback.js";
import { isAlive, type ProcessIdentity, startOf } from "./process-identity.js";
import { logTail } from "./server-log.js";

export interface PrivateServer {
  readonly port: number;
  readonly pid: number;
  readonly folder: string;
  /** Ends it and removes its folder. May be called again. */
  stop(): Promise<void>;
  /** SIGKILL; folder and port stay its own. */
  kill(): Promise<void>;
  /** Starts it again on its port and data, after an orderly end if it still runs. */
  restart(): Promise<void>;
}

export interface PrivateServerPlan {
  name: string;
  program: string;
  /** It runs in its folder. */
  args(port: number): string[];
  ask(port: number): Promise<Answer>;
}

const startAttempts = 5;
const readyLimitMs = 20_000;
const pollMs = 4;
/** Unix sockets have names of some 100 bytes at most. */
const maxFolderLength = 80;

const guardScript = `
"$@" >>server.log 2>&1 </dev/null &
server=$!
echo "$server"
read -r word
kill -9 "$server" 2>/dev/null
wait "$server" 2>/dev/null
[ "$word" = keep ] || { folder=$PWD; cd / && rm -rf "$folder"; }
`;

export async function startPrivateServer(plan: PrivateServerPlan): Promise<PrivateServer> {
  const parent = tmpdir().length > maxFolderLength - plan.name.length ? "/tmp" : tmpdir();
  const folder = await mkdtemp(join(parent, `homeostat-${plan.name}-`));
  for (let attempt = 1; ; attempt++) {
    const server = new Guarded(plan, folder, await freePort());
    if (await server.start(attempt < startAttempts)) return server;
  }
}

class Guarded implements PrivateServer {
  readonly folder: string;
  readonly port: number;
  readonly #plan: PrivateServerPlan;
  #guard: ChildProcess | undefined;
  #run: ProcessIdentity = { pid: 0, start: "" };

  constructor(plan: PrivateServerPlan, folder: string, port: number) {
    this.#plan = plan;
    this.folder = folder;
    this.port = port;
  }

  get pid(): number {
    return this.#run.pid;
  }

  /** False when somebody else took the port and another may be tried; the folder stays then. */
  async start(otherPort: boolean): Promise<boolean> {
    const guard = spawn(
      "/bin/sh",
      ["-c", guardScript, "sh", this.#plan.program, ...this.#plan.args(this.port)],
      {
        cwd: this.folder,
        detached: true,
        stdio: ["pipe", "pipe", "ignore"],
        env: serverEnvironment(),
      },
    );
    this.#guard = guard;
    guard.stdin.on("error", () => undefined);
    const [line] = (await once(createInterface(guard.stdout), "line")) as [string];
    guard.unref();
    guard.stdout.destroy();
    this.#run = { pid: Number(line), start: (await startOf(Number(line))) ?? "" };
    if (await this.#answers()) return true;
    const lostPort = otherPort && !(await isFreePort(this.port));
    const tail = await logTail(join(this.folder, "server.log"));
    await this.#endGuard(lostPort);
    if (lostPort) return false;
    throw new HomeostatError("unavailable", `a private ${this.#plan.name} does not start:\n${tail}`);
  }

  async stop(): Promise<void> {
    await this.#endGuard(false);
  }

  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async restart(): Promise<void> {
    await this.#end("SIGTERM");
    await this.#endGuard(true);
    await this.start(false);
  }

  async #answers(): Promise<boolean> {
    const began = performance.now();
    while (performance.now() - began < readyLimitMs && (await isAlive(this.#run))) {
      if ((await this.#plan.ask(this.port)) === "ready") return await isAlive(this.#run);
      await sleep(pollMs);
    }
    return false;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (await isAlive(this.#run)) process.kill(this.#run.pid, signal);
    while (await isAlive(this.#run)) await sleep(pollMs);
  }

  async #endGuard(keepFolder: boolean): Promise<void> {
    const guard = this.#guard;
    if (guard === undefined) return;
    this.#guard = undefined;
    guard.ref();
    const ended = once(guard, "exit");
    guard.stdin?.end(keepFolder ? "keep\n" : "");
    await ended;
  }
}
