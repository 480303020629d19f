import { chmod, mkdir, readdir, rename, rmdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { errno } from "../../servers/folder-lock.js";
import {
  type CallContext,
  defineResource,
  ProviderError,
  type ResourceType,
  type Thing,
} from "../provider.js";
import { Pulse } from "../pulse.js";
import { type HeldPath, notOurs, type PathClaims } from "./claims.js";
import { fileSystemError, identityOf, kindOf, lookAt, modeSchema, octal, pathSchema } from "./file-system.js";

const deadlineMs = 30_000;
const namesShown = 5;

type DirectoryProperties = { path: string; mode: string; parents: boolean };

const properties = z.strictObject({
  path: pathSchema,
  mode: modeSchema.default("0755"),
  parents: z.boolean().default(false),
});

/** A directory. It is never removed with anything in it, and never takes over one that is not ours. */
export function localDirectory(claims: PathClaims, baseDir: string): ResourceType {
  return defineResource<DirectoryProperties>({
    type: "Local::Directory",
    description: "A directory on this host; with `parents`, missing ones above it are made too, and stay",
    properties,
    updatable: ["mode"],
    // Says how to create it and nothing about the directory itself.
    ignored: (property) => property === "parents",
    attributes: { path: "absolute path" },
    idempotent: true,
    deadlinesMs: {
      create: deadlineMs,
      read: deadlineMs,
      update: deadlineMs,
      delete: deadlineMs,
      find: deadlineMs,
    },

    async create(call, wanted) {
      const path = resolve(baseDir, wanted.path);
      return claims.hold(path, new Pulse(call), async (held) => {
        held.checkMayClaim(call);
        const found = await lookAt(path);
        const ours = found?.isDirectory() && identityOf(found) === held.claim?.made;
        if (found !== undefined && !ours) {
          await held.forget(call);
          throw notOurs(path, found);
        }
        if (found === undefined) {
          if (wanted.parents) await makeParents(path);
          await put(call, held);
        } else if (!held.isOwnedBy(call)) {
          await held.adopt(call, identityOf(found));
        }
        await setMode(path, wanted.mode);
        return describe(path);
      });
    },

    async read(call, path, wanted) {
      const claim = await claims.read(path);
      if (claim !== undefined && claim.token !== call.token) return undefined;
      const found = await lookAt(path);
      if (found === undefined) return undefined;
      if (!found.isDirectory()) {
        throw new ProviderError(`${path} is ${kindOf(found)}, not a directory`, { effect: "none" });
      }
      if (claim === undefined) {
        throw new ProviderError(`${path} exists, but no record says that it was made here`, {
          effect: "none",
        });
      }
      return { ...describe(path), properties: { ...wanted, mode: octal(Number(found.mode)) } };
    },

    async update(call, path, wanted) {
      return claims.hold(path, new Pulse(call), async (held) => {
        if (!held.isOwnedBy(call)) {
          throw new ProviderError(`${path} does not belong to this incarnation any more`, { effect: "none" });
        }
        if ((await lookAt(path)) === undefined) await put(call, held);
        await held.checkHeld();
        await setMode(path, wanted.mode);
        return describe(path);
      });
    },

    async delete(call, path) {
      await claims.hold(path, new Pulse(call), async (held) => {
        if (held.isOwnedBy(call) && (await lookAt(path))?.isDirectory()) {
          await held.checkHeld();
          await removeEmpty(path);
        }
        await held.forget(call);
      });
    },

    async find(call, wanted) {
      const path = await claims.find(call, resolve(baseDir, wanted.path));
      return path === undefined ? undefined : describe(path);
    },

    list: (context) => claims.marked(context, (found) => found.isDirectory()),
  });
}

/** The mode is set afterwards: a directory without write permission cannot be moved. */
async function put(call: CallContext, held: HeldPath): Promise<void> {
  await held.put(call, (staged) => mkdir(staged, { mode: 0o700 }).then(() => undefined), rename);
}

async function makeParents(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
  } catch (error) {
    throw fileSystemError(error, `create the parents of ${path}`, "unknown");
  }
}

async function setMode(path: string, mode: string): Promise<void> {
  try {
    await chmod(path, Number.parseInt(mode, 8));
  } catch (error) {
    throw fileSystemError(error, `set the mode of ${path}`, "unknown");
  }
}

async function removeEmpty(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (error) {
    const code = errno(error);
    if (code === "ENOENT") return;
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw fileSystemError(error, `delete ${path}`);
    throw new ProviderError(`cannot delete ${path}: it is not empty (${await listing(path)})`, {
      // What is in it may be on its way out.
      retryable: true,
      effect: "none",
      cause: error,
    });
  }
}

async function listing(path: string): Promise<string> {
  const names = (await readdir(path).catch((): string[] => [])).sort();
  const more = names.length - namesShown;
  return [...names.slice(0, namesShown), ...(more > 0 ? [`${more} more`] : [])].join(", ");
}

function describe(path: string): Thing {
  return { physicalId: path, attributes: { path } };
}
