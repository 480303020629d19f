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
import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { z } from "zod";
import { ignoreMissing } from "../../servers/folder-lock.js";
import type { ProcessIdentity } from "../../servers/process-identity.js";
import { type CallContext, ProviderError } from "../provider.js";
import { type Marks, marksOf, marksSchema } from "./claims.js";
import { fileSystemError, sha256, writeDurably } from "./file-system.js";
import { environmentOf, tokenVariable } from "./process-group.js";

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

const marksFile = "marks.json";

/** Absolute: the wrapper runs elsewhere, and people look for the log. */
function processesIn(stateDir: string): string {
  return resolve(stateDir, "processes");
}

async function readMarks(folder: string): Promise<Marks | undefined> {
  const text = await ignoreMissing(readFile(join(folder, marksFile), "utf8"));
  try {
    return text === undefined ? undefined : marksSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Older versions left marks nowhere else. */
async function marksInEnvironments(folder: string): Promise<Marks | undefined> {
  for (const name of (await ignoreMissing(readdir(folder))) ?? []) {
    if (!/^\d+\.json$/.test(name)) continue;
    const text = await ignoreMissing(readFile(join(folder, name), "utf8"));
    const pid = /"pid":(\d+)/.exec(text ?? "")?.[1];
    const given = pid === undefined ? undefined : await environmentOf(Number(pid));
    const token = given?.get(tokenVariable);
    if (given === undefined || token === undefined) continue;
    const [stack = "", resource = ""] = [given.get("HOMEOSTAT_STACK"), given.get("HOMEOSTAT_RESOURCE")];
    return { token, stack, stackName: "", resource };
  }
  return undefined;
}

/** What was started under one token. */
export class Launches {
  readonly #folder: string;
  readonly #trash: string;

  constructor(stateDir: string, token: string) {
    this.#folder = join(processesIn(stateDir), sha256(token));
    this.#trash = join(processesIn(stateDir), `old-${sha256(token)}-`);
  }

  /** The marks of everything that was ever started and is not removed. */
  static async *marks(stateDir: string): AsyncGenerator<Marks> {
    const processes = processesIn(stateDir);
    for (const name of (await ignoreMissing(readdir(processes))) ?? []) {
      if (!/^[0-9a-f]{64}$/.test(name)) continue;
      const folder = join(processes, name);
      const marks = (await readMarks(folder)) ?? (await marksInEnvironments(folder));
      if (marks !== undefined && sha256(marks.token) === name) yield marks;
    }
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
      const marks = join(this.#folder, `marks.${randomUUID()}`);
      await writeDurably(marks, JSON.stringify(marksOf(call)), 0o600);
      await rename(marks, join(this.#folder, marksFile));
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
