/** Real folders, and providers that run in processes of their own, to be killed or stopped at any step. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, afterEach } from "vitest";
import type { CallContext, ProviderError } from "../../src/providers/provider.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

const folders: string[] = [];
const workers = new Set<ChildProcess>();

export function tempFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "homeostat-providers-"));
  folders.push(folder);
  return folder;
}

afterEach(() => {
  for (const worker of workers) worker.kill("SIGKILL");
  workers.clear();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

export function callOf(given: Partial<CallContext> = {}): CallContext {
  const silent = () => undefined;
  return {
    stack: "stack-1",
    stackName: "shop",
    resource: "thing",
    token: "token-1",
    signal: new AbortController().signal,
    deadlineMs: 60_000,
    log: { debug: silent, info: silent, warn: silent },
    ...given,
  };
}

/** The ProviderError of a call that has to fail. */
export async function failureOfCall(call: Promise<unknown>): Promise<ProviderError> {
  try {
    await call;
  } catch (error) {
    return error as ProviderError;
  }
  throw new Error("the call should have failed");
}

export async function until(condition: () => boolean | Promise<boolean>, limitMs = 10_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not in time: ${condition}`);
    await sleep(5);
  }
}

let compiled: string | undefined;

/** The providers as JavaScript, for processes that know no TypeScript. */
function compile(): string {
  if (compiled !== undefined) return compiled;
  compiled = mkdtempSync(join(tmpdir(), "homeostat-compiled-"));
  const out = join(compiled, "out");
  mkdirSync(out);
  const config = join(compiled, "tsconfig.json");
  const options = { rootDir: root, outDir: out, declaration: false, sourceMap: false, noCheck: true };
  const typeRoots = [join(root, "node_modules", "@types")];
  writeFileSync(
    config,
    JSON.stringify({
      extends: join(root, "tsconfig.json"),
      compilerOptions: { ...options, typeRoots },
      include: [],
      files: [join(root, "src", "providers", "builtin.ts"), join(root, "src", "providers", "load.ts")],
    }),
  );
  symlinkSync(join(root, "node_modules"), join(compiled, "node_modules"));
  writeFileSync(join(compiled, "package.json"), JSON.stringify({ type: "module" }));
  execFileSync(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", config]);
  return compiled;
}

afterAll(() => {
  if (compiled !== undefined) rmSync(compiled, { recursive: true, force: true });
});

export interface WorkerScript {
  /** Module text; `modules` has what is to be imported from src/providers, as `url(path)`. `input` is given to it. */
  text: string;
  input: unknown;
  /** Right before this file system call (the first is 1), the process sends itself the signal. */
  at?: { step: number; signal: "SIGKILL" | "SIGSTOP" };
}

export interface Worker {
  child: ChildProcess;
  pid: number;
  /** What it printed as JSON in its last line, once it has ended; undefined when it was killed first. */
  result: Promise<{ steps: number; value?: unknown; error?: string } | undefined>;
}

/** Runs `async (input, load) => value` in a process of its own; `load` imports a module of src/providers. */
export function startWorker({ text, input, at }: WorkerScript): Worker {
  const base = pathToFileURL(join(compile(), "out", "src", "providers")).href;
  const script = `
    import fs from "node:fs";
    import { syncBuiltinESMExports } from "node:module";
    const at = ${JSON.stringify(at ?? null)};
    let steps = 0;
    let counting = false;
    for (const name of Object.keys(fs.promises)) {
      const real = fs.promises[name];
      if (typeof real !== "function") continue;
      fs.promises[name] = (...args) => {
        // Looking at processes changes nothing, and takes hundreds of reads.
        const counts = counting && !String(args[0]).startsWith("/proc");
        if (counts && ++steps === at?.step) process.kill(process.pid, at.signal);
        return real(...args);
      };
    }
    syncBuiltinESMExports();
    const load = (path) => import(${JSON.stringify(base)} + "/" + path);
    const call = (given) => ({
      stack: "stack-1", stackName: "shop", resource: "thing", token: "token-1",
      signal: new AbortController().signal, deadlineMs: 60000,
      log: { debug() {}, info() {}, warn() {} }, ...given,
    });
    const run = await (${text})(load, call);
    counting = true;
    const out = {};
    try { out.value = await run(${JSON.stringify(input)}); } catch (error) { out.error = error.message; }
    console.log(JSON.stringify({ steps, ...out }));
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    cwd: join(compile()),
    stdio: ["ignore", "pipe", "inherit"],
  });
  workers.add(child);
  let printed = "";
  child.stdout?.on("data", (data) => {
    printed += data;
  });
  const result = once(child, "close").then(() => {
    workers.delete(child);
    const last = printed.trim().split("\n").at(-1);
    return last === undefined || last === "" ? undefined : JSON.parse(last);
  });
  return { child, pid: child.pid ?? 0, result };
}

/** R running, S sleeping, T stopped, Z zombie; undefined when there is no such process. */
export function stateOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2)[0];
  } catch {
    return undefined;
  }
}

export function isRunning(pid: number): boolean {
  const state = stateOf(pid);
  return state !== undefined && state !== "Z";
}

/** Resolves once the worker has stopped itself, or has ended without. */
export async function untilStopped(worker: Worker): Promise<"stopped" | "ended"> {
  let ended = false;
  void worker.result.then(() => {
    ended = true;
  });
  await until(() => ended || stateOf(worker.pid) === "T");
  return ended ? "ended" : "stopped";
}
