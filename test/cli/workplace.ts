/** A person's folder, with commands run in it as child processes. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { Client } from "../../src/api/client.js";
import { processesIn, until } from "../servers/command.js";

export interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  input?: string;
}

export class Workplace {
  readonly home: string;
  readonly #main: string;
  readonly #running = new Set<Running>();

  private constructor(home: string, main: string) {
    this.home = home;
    this.#main = main;
  }

  static async open(main: string): Promise<Workplace> {
    return new Workplace(await realpath(await mkdtemp(join(tmpdir(), "homeostat-cli-"))), main);
  }

  path(...parts: string[]): string {
    return join(this.home, ...parts);
  }

  async write(file: string, text: string): Promise<void> {
    await mkdir(dirname(this.path(file)), { recursive: true });
    await writeFile(this.path(file), text);
  }

  /** Names of the things in the simulated world, sorted. */
  async things(): Promise<string[]> {
    const files = await readdir(this.path("world")).catch((): string[] => []);
    return files.filter((file) => file.endsWith(".json")).sort();
  }

  start(args: readonly string[], { env = {}, input }: RunOptions = {}): Running {
    const child = spawn(process.execPath, [this.#main, ...args], {
      cwd: this.home,
      env: { ...cleanEnvironment(), ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(input ?? "");
    const running = new Running(child);
    this.#running.add(running);
    return running;
  }

  /** With the simulated world. */
  sim(args: readonly string[], options: RunOptions = {}): Running {
    return this.start([...args, "--sim-world", "world"], options);
  }

  run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    return this.start(args, options).ended;
  }

  runSim(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    return this.sim(args, options).ended;
  }

  /** Until a resource is in this state. Asks without a command, which would take its time. */
  async untilState(stack: string, resource: string, state: string): Promise<void> {
    const client = await this.#client();
    const show = () => client.call("show", { name: stack }, { timeoutMs: 1000 }).catch(() => undefined);
    try {
      await until(`${resource} is ${state}`, async () => {
        const resources = (await show())?.resources ?? [];
        return resources.some((each) => each.name === resource && each.state === state);
      });
    } finally {
      await client.close();
    }
  }

  async #client(): Promise<Client> {
    const file = this.path(".homeostat/servers.json");
    const read = () => readFile(file, "utf8").catch(() => '{"nats":{"run":null}}');
    await until("there are servers", async () => JSON.parse(await read()).nats.run !== null);
    const { port, password } = JSON.parse(await read()).nats;
    const nats = { url: `nats://homeostat:${password}@127.0.0.1:${port}` };
    let client: Client | undefined;
    await until("NATS answers", async () => {
      client = await Client.connect({ nats }).catch(() => undefined);
      return client !== undefined;
    });
    return client as Client;
  }

  async close(): Promise<void> {
    for (const { child } of this.#running) child.kill("SIGKILL");
    await Promise.all([...this.#running].map(({ ended }) => ended));
    for (const pid of await processesIn(this.home)) process.kill(pid, "SIGKILL");
    await until("the servers of the test are gone", async () => (await processesIn(this.home)).length === 0);
    await rm(this.home, { recursive: true, force: true });
  }
}

export class Running {
  readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly ended: Promise<Ended>;
  stdout = "";
  stderr = "";

  constructor(child: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.child = child;
    child.stdout.on("data", (data) => {
      this.stdout += data;
    });
    child.stderr.on("data", (data) => {
      this.stderr += data;
    });
    this.ended = once(child, "close").then(([status]) => ({
      status: status as number | null,
      stdout: this.stdout,
      stderr: this.stderr,
    }));
  }

  /** Until its results match. */
  async says(pattern: RegExp): Promise<void> {
    await until(`it says ${pattern}: ${this.stdout}${this.stderr}`, async () => pattern.test(this.stdout));
  }

  async notes(pattern: RegExp): Promise<void> {
    await until(`it notes ${pattern}: ${this.stdout}${this.stderr}`, async () => pattern.test(this.stderr));
  }

  async interrupt(signal: NodeJS.Signals = "SIGINT"): Promise<Ended> {
    this.child.kill(signal);
    return this.ended;
  }
}

/** What the person who runs the tests has configured must not matter. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const names = Object.keys(process.env).filter(
    (name) => !/^(HOMEOSTAT_|NATS_|FORCE_COLOR|NO_COLOR)/.test(name),
  );
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}

export function documents(text: string): unknown[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}
