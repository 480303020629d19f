/**
 * A lock in a folder that several processes share.
 *
 * The lock is a symbolic link whose target names its owner: made exclusively, and with its content, by one system
 * call, so that no moment exists at which a killed owner leaves a lock that nobody can judge.
 *
 * 1. Only its owner removes a lock, or, once the owner is dead, who holds the lock `<lock>.<id of the owner>`.
 * 2. An id never returns. So the breaker that still reads the dead owner's id removes the dead owner's lock, and
 *    one that comes late reads another id and removes nothing.
 * 3. A breaker that dies is broken by the same rule, one name further.
 */
import { randomBytes } from "node:crypto";
import { lstat, lutimes, readdir, readlink, symlink, unlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { HomeostatError } from "../errors.js";
import { isAlive, ownIdentity, placeHere } from "./process-identity.js";

const lockName = "lock";
const waitLimitMs = 60_000;
const pollMs = 10;
const heartbeatMs = 1000;
/** An owner in another place (a container, a machine) is dead when its heartbeat has stood still this long. */
export const silenceMs = 3500;

interface Owner {
  target: string;
  pid: number;
  start: string;
  place: string;
  id: string;
}

export async function withFolderLock<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const path = join(folder, lockName);
  const target = await acquire(path, performance.now() + waitLimitMs);
  const heartbeat = setInterval(() => void beat(path), heartbeatMs);
  heartbeat.unref();
  try {
    await removeBreakers(folder);
    return await work();
  } finally {
    clearInterval(heartbeat);
    await release(path, target);
  }
}

async function acquire(path: string, deadline: number): Promise<string> {
  const { pid, start } = await ownIdentity();
  const target = [pid, start, await placeHere(), randomBytes(8).toString("hex")].join(".");
  const silence = new Silence();
  for (;;) {
    try {
      await symlink(target, path);
      return target;
    } catch (error) {
      if (errno(error) !== "EEXIST") throw error;
    }
    const owner = await readOwner(path);
    if (owner === undefined) continue;
    if (await isDead(path, owner, silence)) {
      await breakLock(path, owner, deadline);
      continue;
    }
    if (performance.now() > deadline) throw waitedTooLong(path, owner);
    await sleep(pollMs * (0.5 + Math.random()));
  }
}

async function breakLock(path: string, owner: Owner, deadline: number): Promise<void> {
  const breaker = `${path}.${owner.id}`;
  const target = await acquire(breaker, deadline);
  try {
    if ((await readOwner(path))?.target === owner.target) await unlink(path);
  } finally {
    await release(breaker, target);
  }
}

async function release(path: string, target: string): Promise<void> {
  // The folder may have been removed, and even made again, meanwhile.
  if ((await readOwner(path))?.target === target) await ignoreMissing(unlink(path));
}

/** Left by breakers that died. While the lock is held by a living owner, none of them can guard anything. */
async function removeBreakers(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith(`${lockName}.`)) await ignoreMissing(unlink(join(folder, name)));
  }
}

async function readOwner(path: string): Promise<Owner | undefined> {
  const target = await ignoreMissing(readlink(path));
  if (target === undefined) return undefined;
  const [pid = "", start = "", place = "", id = target] = target.split(".");
  return { target, pid: Number(pid), start, place, id };
}

async function isDead(path: string, owner: Owner, silence: Silence): Promise<boolean> {
  if (owner.place === (await placeHere())) return !(await isAlive(owner));
  const found = await ignoreMissing(lstat(path));
  return found !== undefined && silence.sinceMs(`${owner.target} ${found.mtimeMs}`) > silenceMs;
}

/** How long something has looked the same, by this process's own clock. */
class Silence {
  #last = "";
  #since = 0;

  sinceMs(value: string): number {
    if (value !== this.#last) {
      this.#last = value;
      this.#since = performance.now();
    }
    return performance.now() - this.#since;
  }
}

async function beat(path: string): Promise<void> {
  const now = new Date();
  await lutimes(path, now, now).catch(() => undefined);
}

function waitedTooLong(path: string, owner: Owner): HomeostatError {
  return new HomeostatError(
    "unavailable",
    `process ${owner.pid} has held ${path} for more than ${waitLimitMs / 1000} s; ` +
      "wait for it, or end it, and try again",
  );
}

export function errno(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

export async function ignoreMissing<T>(result: Promise<T>): Promise<T | undefined> {
  try {
    return await result;
  } catch (error) {
    if (errno(error) === "ENOENT") return undefined;
    throw error;
  }
}
