/**
 * Starting a command so that it can be found again, whoever dies in between.
 *
 * 1. The record of a process is written by the process itself, before it becomes the command (exec keeps the pid).
 *    So no process runs the command without a record, and the worker that started it may die at any moment.
 * 2. A record is made by link(2), which only one can do: of several starts of one generation, one becomes the
 *    command, and the others end.
 * 3. The folder of a token belongs to one incarnation and goes with it. A start that comes later finds no folder.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { z } from "zod";
import { ignoreMissing } from "../../servers/folder-lock.js";
import type { ProcessIdentity } from "../../servers/process-identity.js";
import { type CallContext, ProviderError } from "../provider.js";
import { fileSystemError, sha256 } from "./file-system.js";
import { tokenVariable } from "./process-group.js";

const lastLines = 5;
const lastCharacters = 500;
const tailBytes = 4096;

const inherited = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];

const recordSchema = z.object({ pid: z.number().int(), start: z.string().min(1), launch: z.string() });

export interface Launched extends ProcessIdentity {
  /** 1 for the first start under a token, and so on. */
  generation: number;
  /** Hash of what was started. */
  launch: string;
}

export interface Command {
  argv: readonly string[];
  env: Readonly<Record<string, string>>;
  cwd: string;
  launch: string;
}

/** The start time is field 22 of stat: the twentieth behind the name in brackets, which may hold anything. */
const wrapper = `
folder=$1 generation=$2 launch=$3 search=$4
shift 4
path=$PATH
PATH=$search:/usr/bin:/bin
twentieth() { shift 19; printf %s "$1"; }
joined() { IFS=_; printf %s "$*"; }
if [ -r "/proc/$$/stat" ]; then
  read -r stat < "/proc/$$/stat"
  start=$(twentieth \${stat##*) })
else
  start=$(joined $(TZ=UTC LC_ALL=C ps -o lstart= -p "$$"))
fi
claim=$folder/$generation.$$
printf '{"pid":%s,"start":"%s","launch":"%s"}\\n' "$$" "$start" "$launch" > "$claim" || exit 126
ln "$claim" "$folder/$generation.json" 2> /dev/null || { rm -f "$claim"; exit 126; }
rm -f "$claim"
PATH=$path
exec "$@"
`;

/** What was started under one token. */
export class Launches {
  readonly #folder: string;
  readonly #trash: string;

  constructor(stateDir: string, token: string) {
    // Absolute: the wrapper runs elsewhere, and people look for the log.
    const processes = resolve(stateDir, "processes");
    this.#folder = join(processes, sha256(token));
    this.#trash = join(processes, `old-${sha256(token)}-`);
  }

  /** All that have a record, newest first; dead or alive. */
  async all(): Promise<Launched[]> {
    const names = (await ignoreMissing(readdir(this.#folder))) ?? [];
    const generations = names
      .map((name) => /^(\d+)\.json$/.exec(name)?.[1])
      .filter((generation) => generation !== undefined)
      .map(Number)
      .sort((left, right) => right - left);
    const found = await Promise.all(generations.map((generation) => this.read(generation)));
    return found.filter((launched) => launched !== undefined);
  }

  async read(generation: number): Promise<Launched | undefined> {
    const file = join(this.#folder, `${generation}.json`);
    const text = await ignoreMissing(readFile(file, "utf8"));
    if (text === undefined) return undefined;
    try {
      return { ...recordSchema.parse(JSON.parse(text)), generation };
    } catch (error) {
      throw new ProviderError(`the process record ${file} cannot be read`, { effect: "none", cause: error });
    }
  }

  logFile(generation: number): string {
    return join(this.#folder, `${generation}.log`);
  }

  /** Resolves once the wrapper runs; it holds none of this process's files and does not keep it from ending. */
  async start(generation: number, command: Command, call: CallContext): Promise<ChildProcess> {
    const isDirectory = (await stat(command.cwd).catch(() => undefined))?.isDirectory() ?? false;
    if (!isDirectory)
      throw new ProviderError(`the working directory ${command.cwd} does not exist`, { effect: "none" });
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      const log = await open(this.logFile(generation), "a", 0o600);
      try {
        return await this.#spawn(generation, command, call, log.fd);
      } finally {
        await log.close();
      }
    } catch (error) {
      throw fileSystemError(error, "start the process");
    }
  }

  async #spawn(generation: number, command: Command, call: CallContext, log: number): Promise<ChildProcess> {
    const search = process.env.PATH ?? "";
    const words = [
      wrapper,
      "homeostat",
      this.#folder,
      String(generation),
      command.launch,
      search,
      ...command.argv,
    ];
    const child = spawn("/bin/sh", ["-c", ...words], {
      cwd: command.cwd,
      env: environment(command, call),
      stdio: ["ignore", log, log],
      detached: true,
    });
    await new Promise<void>((spawned, reject) => {
      child.once("spawn", spawned);
      child.once("error", reject);
    });
    child.unref();
    return child;
  }

  /** The end of the log: few lines, for a person. */
  async tail(generation: number): Promise<string> {
    const file = await ignoreMissing(open(this.logFile(generation), "r"));
    if (file === undefined) return "";
    try {
      const { size } = await file.stat();
      const buffer = Buffer.alloc(Math.min(size, tailBytes));
      await file.read(buffer, 0, buffer.length, size - buffer.length);
      return buffer
        .toString("utf8")
        .trimEnd()
        .split("\n")
        .slice(-lastLines)
        .join("\n")
        .slice(-lastCharacters);
    } finally {
      await file.close();
    }
  }

  /** Removes records and logs. Away first, then removed: what is half removed must not look like a younger state. */
  async remove(): Promise<void> {
    const away = `${this.#trash}${process.pid}-${performance.now()}`;
    await ignoreMissing(rename(this.#folder, away));
    await rm(away, { recursive: true, force: true });
  }
}

function environment(command: Command, call: CallContext): Record<string, string> {
  const base: Record<string, string> = {};
  for (const name of inherited) {
    const value = process.env[name];
    if (value !== undefined) base[name] = value;
  }
  return {
    ...base,
    ...command.env,
    [tokenVariable]: call.token,
    HOMEOSTAT_STACK: call.stack,
    HOMEOSTAT_RESOURCE: call.resource,
  };
}
