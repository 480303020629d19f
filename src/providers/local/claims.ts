/**
 * Which incarnation owns which path of this host.
 *
 * A path can be used again, so it identifies nothing: a claim does. It is a record in the state folder, one per path,
 * that all daemons of the host share.
 *
 * 1. A path's claim, and what is at the path, are changed only by who holds the path.
 * 2. A holder that died or stood still is fenced: everything it could still do begins with renaming something out of
 *    (or into) folders that bear its attempt's name, and fencing takes these folders away. So a late write or a late
 *    delete fails instead of hitting what a newer incarnation made; nobody waits for a process that may never go on.
 * 3. The claim is stored before the thing appears, with the identity (inode) that the thing is going to have: after a
 *    crash it can be told from somebody else's file, certainly.
 */
import { randomBytes } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { errno, ignoreMissing } from "../../servers/folder-lock.js";
import { isAlive, ownIdentity } from "../../servers/process-identity.js";
import { type CallContext, type ListContext, type Marked, ProviderError } from "../provider.js";
import { Pulse } from "../pulse.js";
import {
  fileSystemError,
  identityOf,
  kindOf,
  lookAt,
  parentMissing,
  sha256,
  syncDirectory,
  writeDurably,
} from "./file-system.js";

const maxSuperseded = 20;
/** A living holder that shows no other attempt's name for so long is taken to stand still. */
const defaultStillMs = 5000;
const waitLimitMs = 20_000;
const pollMs = 10;

export const marksSchema = z.object({
  token: z.string(),
  stack: z.string(),
  stackName: z.string(),
  resource: z.string(),
  deployment: z.string().exactOptional(),
});

const claimSchema = marksSchema.extend({
  path: z.string(),
  /** Identity of what is or was about to be put at the path. */
  made: z.string(),
  /** Identity of what it takes the place of: still there when the process died before the move. */
  replaces: z.string().optional(),
  /** Tokens of the incarnations that this one took over from, newest last. */
  superseded: z.array(z.string()),
});
export type Claim = z.infer<typeof claimSchema>;

const pointerSchema = z.object({ path: z.string() });

export class PathClaims {
  readonly #claims: string;
  readonly #tokens: string;
  readonly #holds: string;

  readonly #stillMs: number;

  constructor(stateDir: string, { stillMs = defaultStillMs } = {}) {
    this.#stillMs = stillMs;
    this.#claims = join(stateDir, "paths", "claims");
    this.#tokens = join(stateDir, "paths", "tokens");
    this.#holds = join(stateDir, "paths", "holds");
  }

  async read(path: string): Promise<Claim | undefined> {
    return readRecord(this.claimFile(path), claimSchema);
  }

  /** The claim of an incarnation, if it still owns its path. */
  async ownedBy(token: string): Promise<Claim | undefined> {
    const pointer = await readRecord(this.tokenFile(token), pointerSchema);
    if (pointer === undefined) return undefined;
    const claim = await this.read(pointer.path);
    return claim?.token === token ? claim : undefined;
  }

  /**
   * Where the thing is that an incarnation has made, undefined when there is none. What a call of it that died has left
   * at `path` is cleared away: nobody else may ever come there again.
   */
  async find(call: CallContext, path: string): Promise<string | undefined> {
    const claim = await this.ownedBy(call.token);
    const made = claim !== undefined && (await isMade(claim)) ? claim.path : undefined;
    const place = claim?.path ?? path;
    const holder = (await ignoreMissing(readdir(this.#hold(place))))?.[0];
    const isClaimLeft = claim !== undefined && made === undefined;
    const isLeft = holder === undefined ? isClaimLeft : !(await isHolderAlive(holder));
    if (!isLeft) return made;
    return this.hold(place, new Pulse(call), async (held) => {
      if (held.isOwnedBy(call) && held.claim !== undefined && (await isMade(held.claim))) return place;
      if ((await lookAt(place)) === undefined) await held.forget(call);
      return undefined;
    });
  }

  #hold(path: string): string {
    return join(this.#holds, sha256(path));
  }

  /** What stands at the claimed paths and is what was put there. */
  async *marked(
    { log, signal }: ListContext,
    isOfKind: (found: BigIntStats) => boolean,
  ): AsyncGenerator<Marked> {
    for (const name of (await ignoreMissing(readdir(this.#claims))) ?? []) {
      signal.throwIfAborted();
      try {
        const claim = await readRecord(join(this.#claims, name), claimSchema);
        const found = claim && (await lookAt(claim.path));
        if (found === undefined || identityOf(found) !== claim?.made || !isOfKind(found)) continue;
        yield { physicalId: claim.path, ...marksOf(claim) };
      } catch (error) {
        if (!(error instanceof ProviderError)) throw error;
        log.warn({ error: error.message }, "a path cannot be listed");
      }
    }
  }

  async hold<T>(path: string, pulse: Pulse, work: (held: HeldPath) => Promise<T>): Promise<T> {
    const hold = this.#hold(path);
    await Promise.all(
      [this.#claims, this.#tokens, this.#holds].map((folder) =>
        mkdir(folder, { recursive: true, mode: 0o700 }),
      ),
    );
    const attempt = await this.#acquire(hold, path, pulse);
    try {
      return await work(new HeldPath(this, join(hold, attempt), path, attempt, await this.read(path), pulse));
    } finally {
      await this.#end(hold, attempt, path, "own");
    }
  }

  claimFile(path: string): string {
    return join(this.#claims, `${sha256(path)}.json`);
  }

  tokenFile(token: string): string {
    return join(this.#tokens, `${sha256(token)}.json`);
  }

  /** Renaming a folder onto another succeeds only while the other is empty: that is the lock. */
  async #acquire(hold: string, path: string, pulse: Pulse): Promise<string> {
    const { pid, start } = await ownIdentity();
    const attempt = `${pid}.${start}.${randomBytes(8).toString("hex")}`;
    const prepared = join(this.#holds, `new-${attempt}`);
    await mkdir(join(prepared, attempt), { recursive: true });
    try {
      const giveUp = performance.now() + waitLimitMs;
      let watched = { attempt: "", since: 0 };
      for (;;) {
        pulse.beat();
        if (await renamed(prepared, hold, ["ENOTEMPTY", "EEXIST"])) return attempt;
        const now = performance.now();
        const holder = (await ignoreMissing(readdir(hold)))?.[0];
        if (holder !== undefined && holder !== watched.attempt) watched = { attempt: holder, since: now };
        if (holder !== undefined && (now - watched.since > this.#stillMs || !(await isHolderAlive(holder)))) {
          await this.#end(hold, holder, path, "fenced");
        } else if (now > giveUp) {
          throw new ProviderError(`${path} is in use by other calls`, { retryable: true, effect: "none" });
        } else {
          await pulse.sleep(pollMs * (0.5 + Math.random()));
        }
      }
    } finally {
      await rm(prepared, { recursive: true, force: true });
    }
  }

  /** Named by attempt, so that who comes late ends nobody else's. */
  async #end(hold: string, attempt: string, path: string, whose: "own" | "fenced"): Promise<void> {
    const staging = stagingFolder(path, attempt);
    const ended = join(this.#holds, `old-${attempt}`);
    const unstage = () =>
      rm(staging, { recursive: true, force: true }).catch((error: unknown) => {
        // One's own is out of use whether or not it can be removed.
        if (whose === "fenced") throw fileSystemError(error, `remove ${staging}`);
      });
    // Twice: what is staged must be gone even if this process dies next, and what was staged meanwhile too.
    await unstage();
    await renamed(join(hold, attempt), ended, ["ENOENT"]);
    await unstage();
    await rm(ended, { recursive: true, force: true });
    await rmdir(hold).catch(() => undefined);
  }
}

/** A path whose claim cannot change but through this object. */
export class HeldPath {
  readonly path: string;
  #claim: Claim | undefined;
  readonly #claims: PathClaims;
  readonly #attemptFolder: string;
  readonly #staging: string;
  readonly #pulse: Pulse;

  constructor(
    claims: PathClaims,
    attemptFolder: string,
    path: string,
    attempt: string,
    claim: Claim | undefined,
    pulse: Pulse,
  ) {
    this.#claims = claims;
    this.#attemptFolder = attemptFolder;
    this.path = path;
    this.#claim = claim;
    this.#staging = stagingFolder(path, attempt);
    this.#pulse = pulse;
  }

  get claim(): Claim | undefined {
    return this.#claim;
  }

  isOwnedBy(call: CallContext): boolean {
    return this.claim?.token === call.token;
  }

  /**
   * Throws unless this incarnation may make the path its own: nobody else owns it, or an earlier incarnation of the
   * same resource does. One that was itself taken over from is not the later one.
   */
  checkMayClaim(call: CallContext): void {
    const { claim } = this;
    if (claim === undefined || claim.token === call.token) return;
    const owner = `resource ${claim.resource} of stack ${claim.stackName}`;
    if (claim.stack === call.stack && claim.resource === call.resource) {
      if (!claim.superseded.includes(call.token)) return;
      throw new ProviderError(`${this.path} now belongs to a newer incarnation of ${owner}`, {
        effect: "none",
      });
    }
    throw new ProviderError(`${this.path} is owned by ${owner}`, {
      // A resource that was renamed in its template: the old name's is about to be cleaned up.
      retryable: claim.stack === call.stack,
      effect: "none",
    });
  }

  /** Makes a thing out of sight, claims the path for it, and moves it there. */
  async put(
    call: CallContext,
    make: (staged: string) => Promise<void>,
    move: (staged: string, path: string) => Promise<void>,
  ): Promise<void> {
    const staged = join(this.#staging, "new");
    await this.#stage();
    try {
      await make(staged);
      const stats = await lookAt(staged);
      if (stats === undefined) throw this.#fenced();
      await this.#writeClaim(call, identityOf(stats));
      this.#pulse.beat();
      await move(staged, this.path);
    } catch (error) {
      const code = errno(error);
      if (code === "ENOENT") throw this.#fenced();
      if (code !== "EEXIST" && code !== "ENOTEMPTY") throw fileSystemError(error, `create ${this.path}`);
      await this.forget(call);
      throw notOurs(this.path);
    }
    await syncDirectory(dirname(this.path)).catch((error: unknown) => {
      throw fileSystemError(error, `sync ${dirname(this.path)}`, "unknown");
    });
  }

  /** Makes the claim of an earlier incarnation one's own, with what is at the path. */
  async adopt(call: CallContext, made: string): Promise<void> {
    this.#pulse.beat();
    await this.#writeClaim(call, made);
  }

  /** Removes the file at the path; only to be called when the claim is one's own. */
  async removeFile(): Promise<void> {
    await this.#stage();
    // Who was fenced before it staged anything is stopped here, who is fenced from now on by the rename.
    await this.checkHeld();
    try {
      await rename(this.path, join(this.#staging, "old"));
    } catch (error) {
      if (errno(error) !== "ENOENT") throw fileSystemError(error, `delete ${this.path}`);
      if ((await lookAt(this.path)) !== undefined) throw this.#fenced();
    }
    await rm(this.#staging, { recursive: true, force: true });
    await syncDirectory(dirname(this.path));
  }

  /** Where the effect itself cannot be fenced, the moment between this and the effect is the remaining risk. */
  async checkHeld(): Promise<void> {
    this.#pulse.beat();
    if ((await lookAt(this.#attemptFolder)) === undefined) throw this.#fenced();
  }

  /** Gives up what the incarnation claimed here, if anything. */
  async forget(call: CallContext): Promise<void> {
    if (this.isOwnedBy(call)) {
      const gone = await renamed(this.#claims.claimFile(this.path), join(this.#attemptFolder, "old"), [
        "ENOENT",
      ]);
      if (!gone && (await this.#claims.read(this.path)) !== undefined) throw this.#fenced();
    }
    await rm(this.#claims.tokenFile(call.token), { force: true });
  }

  async #stage(): Promise<void> {
    try {
      await mkdir(this.#staging, { mode: 0o700 });
    } catch (error) {
      if (errno(error) === "ENOENT") throw parentMissing(this.path);
      throw fileSystemError(error, `change ${dirname(this.path)}`);
    }
  }

  async #writePointer(call: CallContext): Promise<void> {
    const text = JSON.stringify({ path: this.path } satisfies z.infer<typeof pointerSchema>);
    const written = join(this.#attemptFolder, "pointer");
    await writeDurably(written, text, 0o600);
    await rename(written, this.#claims.tokenFile(call.token));
  }

  async #writeClaim(call: CallContext, made: string): Promise<void> {
    const present = await lookAt(this.path);
    const { superseded = [], token } = this.#claim ?? {};
    const claim: Claim = {
      path: this.path,
      ...marksOf(call),
      made,
      ...(present === undefined ? {} : { replaces: identityOf(present) }),
      superseded:
        token === undefined || token === call.token
          ? superseded
          : [...superseded, token].slice(-maxSuperseded),
    };
    const written = join(this.#attemptFolder, "claim");
    await writeDurably(written, JSON.stringify(claim), 0o600);
    const file = this.#claims.claimFile(this.path);
    await rename(written, file);
    await syncDirectory(dirname(file));
    this.#claim = claim;
    await this.#writePointer(call);
  }

  #fenced(): ProviderError {
    return new ProviderError(`another call took over ${this.path} while this one stood still`, {
      retryable: true,
      effect: "none",
    });
  }
}

export type Marks = z.infer<typeof marksSchema>;

export function marksOf({ token, stack, stackName, resource, deployment }: Marks): Marks {
  return { token, stack, stackName, resource, ...(deployment === undefined ? {} : { deployment }) };
}

async function isMade(claim: Claim): Promise<boolean> {
  const found = await lookAt(claim.path);
  return found !== undefined && identityOf(found) === claim.made;
}

/** Something is at the path that this resource did not make. */
export function notOurs(path: string, found?: BigIntStats): ProviderError {
  const kind = found === undefined ? "something" : kindOf(found);
  return new ProviderError(
    `${path} already exists: ${kind} that this resource did not make. Move it away, or choose another path`,
    { effect: "none" },
  );
}

/** Beside the path: a rename is atomic only within a file system. */
function stagingFolder(path: string, attempt: string): string {
  return join(dirname(path), `.homeostat-${attempt.split(".").at(-1)}`);
}

async function isHolderAlive(attempt: string): Promise<boolean> {
  const [pid = "", start = ""] = attempt.split(".");
  return isAlive({ pid: Number(pid), start });
}

async function readRecord<T>(file: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await ignoreMissing(readFile(file, "utf8"));
  if (text === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new ProviderError(`the ownership record ${file} cannot be read`, { effect: "none", cause: error });
  }
}

/** False when the rename failed in one of the expected ways. */
async function renamed(from: string, to: string, expected: readonly string[]): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (expected.includes(errno(error) ?? "")) return false;
    throw error;
  }
}
