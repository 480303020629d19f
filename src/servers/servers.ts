/**
 * The embedded default: a private redis-server and nats-server on loopback, with their data in one folder, shared by
 * all commands that run there.
 *
 * 1. `servers.json` says which processes serve and which commands use them. It is read and replaced only under the
 *    folder's lock, and a process is on record before it runs, so there is never a second pair on the same data.
 * 2. Who finds a server dead, on opening or while using it, starts it again on the same data, port and password.
 * 3. The last user stops the servers. Users that died without closing are struck off by the next one, which also
 *    takes over what they left running.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, stat, utimes, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { HomeostatError, messageOf } from "../errors.js";
import { type Binaries, findBinaries } from "./binaries.js";
import {
  holdServer,
  type Kind,
  kinds,
  logPath,
  ServerEnded,
  type ServerRecord,
  stopServer,
  untilReady,
  urlOf,
} from "./embedded-server.js";
import { errno, ignoreMissing, silenceMs, withFolderLock } from "./folder-lock.js";
import { freePort, isFreePort } from "./loopback.js";
import { isAlive, ownIdentity, type ProcessIdentity, placeHere } from "./process-identity.js";
import { boundLog } from "./server-log.js";

export const defaultDir = ".homeostat";

const watchMs = 500;
const maxRestartDelayMs = 30_000;
const startAttempts = 5;
const stateName = "servers.json";
const keyName = "key";
const keyBytes = 32;

export interface EmbeddedServers {
  /** With its password. */
  redisUrl: string;
  /** With user and password. */
  natsUrl: string;
  /** Leaves the servers; the last user stops them. May be called again. */
  close(): Promise<void>;
}

export interface ServersLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

const processSchema = z.object({ pid: z.number().int().positive(), start: z.string() });
const serverSchema = z.object({
  port: z.number().int().positive(),
  password: z.string(),
  run: processSchema.nullable(),
});
const stateSchema = z.object({
  format: z.literal(1),
  /** Where the pids are valid. */
  place: z.string(),
  redis: serverSchema,
  nats: serverSchema,
  users: z.array(processSchema.extend({ id: z.string() })),
});

type State = z.infer<typeof stateSchema>;
type Runs = Record<Kind, ProcessIdentity | null>;

export async function openServers(options: { dir: string; log: ServersLog }): Promise<EmbeddedServers> {
  const folder = resolve(options.dir);
  const user = new User(folder, await findBinaries(), options.log);
  await explainingFolderErrors(folder, async () => {
    await prepareFolder(folder);
    await user.open();
  });
  return user;
}

class User implements EmbeddedServers {
  redisUrl = "";
  natsUrl = "";
  readonly #id = randomUUID();
  readonly #folder: string;
  readonly #binaries: Binaries;
  readonly #log: ServersLog;
  readonly #closing = new AbortController();
  #known: Runs = { redis: null, nats: null };
  #watching: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;
  #failures = 0;
  #restartAfter = 0;

  constructor(folder: string, binaries: Binaries, log: ServersLog) {
    this.#folder = folder;
    this.#binaries = binaries;
    this.#log = log;
  }

  async open(): Promise<void> {
    await withFolderLock(this.#folder, async () => {
      const state = await this.#takeOver((await loadState(this.#folder)) ?? (await freshState()));
      state.users.push({ id: this.#id, ...(await ownIdentity()) });
      try {
        await this.#ensureRunning(state, true);
        await saveState(this.#folder, state);
      } catch (error) {
        await this.#leave(state).catch(() => undefined);
        throw error;
      }
      this.redisUrl = urlOf("redis", state.redis);
      this.natsUrl = urlOf("nats", state.nats);
      this.#known = runsOf(state);
    });
    this.#watching = this.#watch();
  }

  close(): Promise<void> {
    this.#closed ??= explainingFolderErrors(this.#folder, () => this.#close());
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    await this.#watching;
    const onRecord = await ignoreMissing(
      withFolderLock(this.#folder, async () => {
        const state = await loadState(this.#folder);
        if (state === undefined) return undefined;
        const runs = runsOf(state);
        await this.#leave(state);
        return runs;
      }),
    );
    // Whoever removed the folder took the record of these along: nobody else will stop them.
    for (const kind of kinds) {
      const run = this.#known[kind];
      if (run !== null && !sameProcess(run, onRecord?.[kind] ?? null)) await this.#stop(kind, run);
    }
  }

  /** Makes the record one of this place, without the users that died. */
  async #takeOver(state: State): Promise<State> {
    const here = await placeHere();
    if (state.place === here) return { ...state, users: await livingUsers(state) };
    if (state.users.length > 0) {
      this.#log.info({ dir: this.#folder }, "seeing whether the folder is in use from elsewhere");
      await refuseIfUsedElsewhere(this.#folder);
    }
    return {
      ...state,
      place: here,
      users: [],
      redis: { ...state.redis, run: null },
      nats: { ...state.nats, run: null },
    };
  }

  /** Strikes this user off, and stops the servers if it was the last. */
  async #leave(state: State): Promise<void> {
    state.users = (await livingUsers(state)).filter((user) => user.id !== this.#id);
    if (state.users.length === 0) {
      await Promise.all(
        kinds.map(async (kind) => {
          const { run } = state[kind];
          if (run !== null) await this.#stop(kind, run);
          state[kind].run = null;
        }),
      );
    }
    await saveState(this.#folder, state);
  }

  async #stop(kind: Kind, run: ProcessIdentity): Promise<void> {
    await stopServer(run, () =>
      this.#log.warn({ server: kind, pid: run.pid }, "server does not end when asked; killing it"),
    );
  }

  /** `movable`: a port that somebody else took meanwhile may be given up; who is attached cannot follow. */
  async #ensureRunning(state: State, movable: boolean): Promise<void> {
    let down = await filterAsync(kinds, async (kind) => !(await this.#isServing(kind, state[kind])));
    for (let attempt = 1; down.length > 0; attempt++) {
      for (const kind of down) await this.#choosePort(kind, state[kind], movable);
      const lost = await this.#start(state, down, attempt < startAttempts);
      down = lost;
    }
  }

  async #isServing(kind: Kind, record: ServerRecord): Promise<boolean> {
    if (record.run === null || !(await isAlive(record.run))) return false;
    try {
      await untilReady(this.#folder, kind, record);
      return true;
    } catch (error) {
      if (error instanceof ServerEnded) return false;
      throw error;
    }
  }

  async #choosePort(kind: Kind, record: ServerRecord, movable: boolean): Promise<void> {
    if (await isFreePort(record.port)) return;
    if (!movable) {
      throw new HomeostatError(
        "unavailable",
        `${kind}-server died and its port ${record.port} is in use by something else now`,
      );
    }
    record.port = await freePort();
  }

  /** Starts servers; returns those that lost their port to somebody else in the last moment, if `again` allows. */
  async #start(state: State, down: readonly Kind[], again: boolean): Promise<Kind[]> {
    const held = [];
    try {
      for (const kind of down) {
        const server = await holdServer(this.#folder, kind, state[kind], this.#binaries[kind]);
        held.push(server);
        state[kind].run = server.run;
      }
      await saveState(this.#folder, state);
    } catch (error) {
      for (const server of held) server.cancel();
      throw error;
    }
    for (const server of held) server.go();
    const outcomes = await Promise.allSettled(
      down.map(async (kind) => await untilReady(this.#folder, kind, state[kind])),
    );
    const lost: Kind[] = [];
    for (const [index, kind] of down.entries()) {
      const outcome = outcomes[index];
      if (outcome?.status !== "rejected") continue;
      const portTaken = outcome.reason instanceof ServerEnded && !(await isFreePort(state[kind].port));
      if (!portTaken || !again) throw outcome.reason;
      lost.push(kind);
    }
    return lost;
  }

  async #watch(): Promise<void> {
    const pause = { ref: false, signal: this.#closing.signal };
    while (await sleep(watchMs, true, pause).catch(() => false)) {
      try {
        await this.#look();
      } catch (error) {
        this.#failures++;
        this.#restartAfter = performance.now() + Math.min(watchMs * 2 ** this.#failures, maxRestartDelayMs);
        this.#log.warn(
          { dir: this.#folder, error: messageOf(error) },
          "embedded servers cannot be restarted",
        );
      }
    }
  }

  async #look(): Promise<void> {
    const now = new Date();
    await utimes(join(this.#folder, stateName), now, now).catch(() => undefined);
    const dead = await filterAsync(kinds, async (kind) => {
      const run = this.#known[kind];
      return run === null || !(await isAlive(run));
    });
    for (const kind of kinds) await boundLog(logPath(this.#folder, kind));
    if (dead.length > 0 && performance.now() >= this.#restartAfter) await this.#revive();
  }

  async #revive(): Promise<void> {
    await withFolderLock(this.#folder, async () => {
      const state = await loadState(this.#folder);
      if (state === undefined) throw new Error("the folder of the servers was removed");
      const before = runsOf(state);
      await this.#ensureRunning(state, false);
      this.#failures = 0;
      this.#known = runsOf(state);
      for (const kind of kinds) {
        if (sameProcess(before[kind], this.#known[kind])) continue;
        this.#log.warn({ server: kind, pid: this.#known[kind]?.pid }, "server had died; started it again");
      }
      if (urlOf("redis", state.redis) !== this.redisUrl || urlOf("nats", state.nats) !== this.natsUrl) {
        throw new Error("the servers moved to other ports; start this command again");
      }
    });
  }
}

/** The key that seals hidden values at rest, in base64; made on first use. */
export async function embeddedKey(dir: string): Promise<string> {
  const folder = resolve(dir);
  return await explainingFolderErrors(folder, async () => {
    await prepareFolder(folder);
    return (await readKey(folder)) ?? (await withFolderLock(folder, () => makeKey(folder)));
  });
}

async function makeKey(folder: string): Promise<string> {
  const present = await readKey(folder);
  if (present !== undefined) return present;
  const key = randomBytes(keyBytes).toString("base64");
  await replaceFile(join(folder, keyName), `${key}\n`);
  return key;
}

async function readKey(folder: string): Promise<string | undefined> {
  const path = join(folder, keyName);
  const key = (await ignoreMissing(readFile(path, "utf8")))?.trim();
  if (key !== undefined && Buffer.from(key, "base64").length !== keyBytes) {
    throw new HomeostatError(
      "invalid",
      `${path} is not a key (${keyBytes} bytes in base64); put the right one back, values sealed with it depend on it`,
    );
  }
  return key;
}

async function prepareFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  try {
    await writeFile(join(folder, ".gitignore"), "*\n", { flag: "wx" });
  } catch (error) {
    if (errno(error) !== "EEXIST") throw error;
  }
}

async function loadState(folder: string): Promise<State | undefined> {
  const path = join(folder, stateName);
  const text = await ignoreMissing(readFile(path, "utf8"));
  if (text === undefined) return undefined;
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new HomeostatError(
      "unavailable",
      `${path} cannot be used. End the redis-server and nats-server that run with data in ${folder}, then remove it`,
      { cause },
    );
  }
}

async function freshState(): Promise<State> {
  const server = async () => ({
    port: await freePort(),
    password: randomBytes(24).toString("hex"),
    run: null,
  });
  return { format: 1, place: await placeHere(), redis: await server(), nats: await server(), users: [] };
}

async function saveState(folder: string, state: State): Promise<void> {
  await replaceFile(join(folder, stateName), `${JSON.stringify(state, null, 2)}\n`);
}

/** Only under the folder's lock. Whole, private and on disk before it takes its name. */
async function replaceFile(path: string, text: string): Promise<void> {
  const file = await open(`${path}.new`, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
}

/** The users here touch the record all the time; nobody can look at a process of another container or machine. */
async function refuseIfUsedElsewhere(folder: string): Promise<void> {
  const touched = async () => (await ignoreMissing(stat(join(folder, stateName))))?.mtimeMs;
  const before = await touched();
  await sleep(silenceMs);
  if ((await touched()) === before) return;
  throw new HomeostatError(
    "unavailable",
    `${folder} is in use from another container or machine; use another folder, ` +
      "or shared servers (HOMEOSTAT_REDIS_URL, HOMEOSTAT_NATS_URL)",
  );
}

async function livingUsers(state: State): Promise<State["users"]> {
  return await filterAsync(state.users, isAlive);
}

function runsOf(state: State): Runs {
  return { redis: state.redis.run, nats: state.nats.run };
}

function sameProcess(a: ProcessIdentity | null, b: ProcessIdentity | null): boolean {
  return a?.pid === b?.pid && a?.start === b?.start;
}

async function filterAsync<T>(items: readonly T[], keep: (item: T) => Promise<boolean>): Promise<T[]> {
  const kept = await Promise.all(items.map(keep));
  return items.filter((_, index) => kept[index]);
}

const folderProblems: Readonly<Record<string, string>> = {
  EACCES: "may not be used by this user",
  EPERM: "may not be used by this user",
  EROFS: "is on a read-only file system",
  ENOSPC: "is on a full disk",
  EDQUOT: "is on a disk whose quota is used up",
  ENOTDIR: "is not a folder",
  EEXIST: "is not a folder",
  ENAMETOOLONG: "has too long a name",
};

async function explainingFolderErrors<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof HomeostatError) throw cause;
    const problem = folderProblems[errno(cause) ?? ""] ?? "cannot be used";
    throw new HomeostatError(
      "unavailable",
      `the folder of the embedded servers, ${folder}, ${problem}: ${messageOf(cause)}`,
      { cause },
    );
  }
}
