/**
 * A simulated world in a folder: each thing is one file, `<physical id>.json` = {name, properties, token}, that anybody
 * may count, change or remove by hand. What the simulation needs besides is in a dot-folder.
 *
 * 1. A file appears and changes as a whole: written in the dot-folder, then moved.
 * 2. A token's list of physical ids is written before the file of each, with the other marks of its things. So the list
 *    is complete, and what it says is checked against the files: finding one thing among 100,000 takes no search.
 * 3. A write that comes after a removal does not bring the thing back.
 */
import { createHash, randomBytes } from "node:crypto";
import {
  access,
  appendFile,
  link,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  unlink,
  writeFile,
} from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import type { JsonObject } from "../../json.js";
import { errno, ignoreMissing } from "../../servers/folder-lock.js";
import { durationMs } from "../duration.js";
import { type Marked, type Operation, ProviderError } from "../provider.js";
import { Pulse } from "../pulse.js";
import {
  type Failure,
  failureOf,
  type NewSimThing,
  type SimThing,
  type SimWorld,
  type Steering,
} from "./sim-resource.js";

const longestNameInId = 100;
const idBytes = 6;

const thingSchema = z.object({
  name: z.string(),
  properties: z.record(z.string(), z.json()),
  token: z.string(),
});

export function ownFolderOf(folder: string): string {
  const path = resolve(folder);
  return join(dirname(path), `.${basename(path)}.homeostat`);
}

export class FolderWorld implements SimWorld {
  readonly #things: string;
  readonly #tokens: string;
  readonly #drafts: string;
  readonly #failures: string;

  constructor(folder: string) {
    this.#things = folder;
    // Beside the folder, so that it holds the things and nothing else.
    const own = ownFolderOf(folder);
    this.#tokens = join(own, "tokens");
    this.#drafts = join(own, "drafts");
    this.#failures = join(own, "failures");
  }

  async create(thing: NewSimThing, beforeEffect: () => void): Promise<string> {
    const { name, properties, token, idempotent, stack, deployment } = thing;
    const line = JSON.stringify({ stack, deployment });
    const first = idempotent ? await this.findByToken(token) : undefined;
    if (first !== undefined) return first;
    const suffix = idempotent ? hash(token).slice(0, idBytes * 2) : randomBytes(idBytes).toString("hex");
    const physicalId = `${fileSafe(name).slice(0, longestNameInId)}-${suffix}`;
    const draft = await this.#draft(physicalId, { name, properties, token });
    try {
      await this.#list(token, `${line}\n${physicalId}`);
      beforeEffect();
      await (idempotent ? linkOnce : rename)(draft, this.#file(physicalId));
    } finally {
      await this.#discard(draft);
    }
    // The removal of an earlier thing with this token may have taken the list away meanwhile.
    if (!(await this.#listed(token)).includes(physicalId)) await this.#list(token, `${line}\n${physicalId}`);
    return physicalId;
  }

  async get(physicalId: string): Promise<SimThing | undefined> {
    const file = this.#file(physicalId);
    try {
      const text = await ignoreMissing(readFile(file, "utf8"));
      return text === undefined ? undefined : thingSchema.parse(JSON.parse(text));
    } catch (error) {
      throw new ProviderError(`unreadable: ${file} does not hold {name, properties, token}`, {
        retryable: true,
        effect: "none",
        cause: error,
      });
    }
  }

  async findByToken(token: string): Promise<string | undefined> {
    for (const physicalId of await this.#listed(token)) {
      if ((await this.get(physicalId))?.token === token) return physicalId;
    }
    return undefined;
  }

  async update(physicalId: string, properties: JsonObject, beforeEffect: () => void): Promise<void> {
    const before = await this.get(physicalId);
    if (before === undefined) throw gone(physicalId);
    const draft = await this.#draft(physicalId, { ...before, properties });
    try {
      // With the draft in place: a removal from now on takes the draft away too.
      if (!(await exists(this.#file(physicalId)))) throw gone(physicalId);
      beforeEffect();
      await rename(draft, this.#file(physicalId));
    } catch (error) {
      throw errno(error) === "ENOENT" ? gone(physicalId) : error;
    } finally {
      await this.#discard(draft);
    }
  }

  async remove(physicalId: string, beforeEffect: () => void): Promise<void> {
    const token = (await this.get(physicalId).catch(() => undefined))?.token;
    beforeEffect();
    await ignoreMissing(unlink(this.#file(physicalId)));
    await rm(join(this.#drafts, fileSafe(physicalId)), { recursive: true, force: true });
    // An update that was about to move its draft may have done so in between.
    await ignoreMissing(unlink(this.#file(physicalId)));
    if (token === undefined || (await this.findByToken(token).catch(() => physicalId)) !== undefined) return;
    await rm(join(this.#tokens, hash(token)), { force: true });
    await rm(join(this.#failures, hash(token)), { recursive: true, force: true });
  }

  async *list(): AsyncGenerator<Marked> {
    for (const file of (await ignoreMissing(readdir(this.#things))) ?? []) {
      if (!file.endsWith(".json")) continue;
      const physicalId = file.slice(0, -".json".length);
      // What somebody else put there, or cannot be read, has no marks.
      const thing = await this.get(physicalId).catch(() => undefined);
      if (thing === undefined) continue;
      const { name: resource, token } = thing;
      yield { physicalId, resource, token, ...(await this.#otherMarks(token)) };
    }
  }

  /** Whether this call is one of those that shall fail; counted in the folder, so any daemon goes on counting. */
  async countFailure(token: string, operation: Operation, times: number): Promise<boolean> {
    const folder = join(this.#failures, hash(token));
    const file = join(folder, operation);
    const failed = (await ignoreMissing(readFile(file)))?.length ?? 0;
    if (failed >= times) return false;
    await mkdir(folder, { recursive: true });
    await appendFile(file, ".");
    return true;
  }

  async #draft(physicalId: string, thing: SimThing): Promise<string> {
    const folder = join(this.#drafts, fileSafe(physicalId));
    await mkdir(this.#things, { recursive: true });
    await mkdir(folder, { recursive: true });
    const draft = join(folder, randomBytes(idBytes).toString("hex"));
    const { name, properties, token } = thing;
    await writeFile(draft, `${JSON.stringify({ name, properties, token }, undefined, 2)}\n`, { flag: "wx" });
    return draft;
  }

  async #discard(draft: string): Promise<void> {
    await ignoreMissing(unlink(draft));
    // Stays while another draft of the same thing is in it.
    await rmdir(dirname(draft)).catch(() => undefined);
  }

  async #list(token: string, lines: string): Promise<void> {
    await mkdir(this.#tokens, { recursive: true });
    await appendFile(join(this.#tokens, hash(token)), `${lines}\n`);
  }

  async #listed(token: string): Promise<string[]> {
    return [...new Set((await this.#lines(token)).filter((line) => line !== "" && !isMarks(line)))];
  }

  async #lines(token: string): Promise<string[]> {
    const text = (await ignoreMissing(readFile(join(this.#tokens, hash(token)), "utf8"))) ?? "";
    return text.split("\n");
  }

  async #otherMarks(token: string): Promise<OtherMarks> {
    const line = (await this.#lines(token)).findLast(isMarks);
    return line === undefined ? { stack: "" } : (JSON.parse(line) as OtherMarks);
  }

  #file(physicalId: string): string {
    return join(this.#things, `${fileSafe(physicalId)}.json`);
  }
}

/** Those that are not in the thing's file. */
type OtherMarks = Pick<Marked, "stack" | "deployment">;

/** No physical id begins like that. */
function isMarks(line: string): boolean {
  return line.startsWith("{");
}

/** `$delay` and `$fail` for a world of real time. */
export function folderSteering(world: FolderWorld): Steering {
  return async (call, operation, properties, effect) => {
    const pulse = new Pulse(call);
    const delays = properties.$delay as Partial<Record<Operation, string | number>> | undefined;
    await pulse.sleep(durationMs(delays?.[operation] ?? 0, "ms"));
    const failure = failureOf(properties, operation);
    const fails = failure !== undefined && (await world.countFailure(call.token, operation, failure.times));
    if (fails && !failure.after) throw simulated(failure, "none");
    const result = await effect(() => pulse.beat());
    if (fails) throw simulated(failure, "unknown");
    return result;
  };
}

function simulated(failure: Failure, effect: "none" | "unknown"): ProviderError {
  return new ProviderError(failure.error, { retryable: failure.retryable, effect });
}

function gone(physicalId: string): ProviderError {
  return new ProviderError(`${physicalId} is not there any more`, { effect: "none" });
}

async function exists(file: string): Promise<boolean> {
  return (await ignoreMissing(access(file).then(() => true))) ?? false;
}

function fileSafe(name: string): string {
  return name.replace(/[^A-Za-z0-9._-]/g, "_").replace(/^\.+/, "_");
}

/** Of two idempotent creates at once, one makes the thing. */
async function linkOnce(draft: string, file: string): Promise<void> {
  await link(draft, file).catch((error: unknown) => {
    if (errno(error) !== "EEXIST") throw error;
  });
}

function hash(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}
