import { constants } from "node:fs";
import { type FileHandle, link, open, rename } from "node:fs/promises";
import { resolve } from "node:path";
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
import {
  fileSystemError,
  identityOf,
  kindOf,
  lookAt,
  modeSchema,
  octal,
  pathSchema,
  sha256,
  writeDurably,
} from "./file-system.js";

const deadlineMs = 30_000;
/** A longer file is reported by its length: it cannot be what was declared. */
const maxContentBytes = 16 * 1024 * 1024;

type FileProperties = { path: string; content: string; mode: string };

const properties = z.strictObject({
  path: pathSchema,
  content: z
    .string()
    .refine((content) => Buffer.byteLength(content) <= maxContentBytes, "must not be longer than 16 MiB")
    .default(""),
  mode: modeSchema.default("0644"),
});

/** A regular file. It appears and changes as a whole, and never takes the place of one that is not ours. */
export function localFile(claims: PathClaims, baseDir: string): ResourceType {
  return defineResource<FileProperties>({
    type: "Local::File",
    description: "A regular file on this host",
    properties,
    updatable: ["content", "mode"],
    attributes: {
      path: "absolute path",
      size: "length in bytes",
      sha256: "SHA-256 of the content, in hexadecimal",
    },
    idempotent: true,
    deadlinesMs: {
      create: deadlineMs,
      read: deadlineMs,
      update: deadlineMs,
      delete: deadlineMs,
      find: deadlineMs,
    },

    async create(call, wanted) {
      const pulse = new Pulse(call);
      const path = resolve(baseDir, wanted.path);
      return claims.hold(path, pulse, async (held) => {
        held.checkMayClaim(call);
        const found = await lookAt(path);
        const identity = found === undefined ? undefined : identityOf(found);
        if (identity !== undefined && identity === held.claim?.made && held.isOwnedBy(call)) {
          return readThing(path);
        }
        if (found !== undefined && identity !== held.claim?.made && identity !== held.claim?.replaces) {
          await held.forget(call);
          throw notOurs(path, found);
        }
        await put(call, held, wanted, found === undefined ? "new" : "over");
        return describe(path, Buffer.from(wanted.content));
      });
    },

    async read(call, path, wanted) {
      const claim = await claims.read(path);
      if (claim !== undefined && claim.token !== call.token) return undefined;
      const seen = await readFile(path);
      if (seen === undefined) return undefined;
      if (claim === undefined) {
        throw new ProviderError(`${path} exists, but no record says that it was made here`, {
          effect: "none",
        });
      }
      return {
        ...describe(path, seen.data),
        properties: { path: wanted.path, content: seen.content, mode: seen.mode },
      };
    },

    async update(call, path, wanted) {
      return claims.hold(path, new Pulse(call), async (held) => {
        if (!held.isOwnedBy(call)) {
          throw new ProviderError(`${path} does not belong to this incarnation any more`, { effect: "none" });
        }
        await put(call, held, wanted, "over");
        return describe(path, Buffer.from(wanted.content));
      });
    },

    async delete(call, path) {
      await claims.hold(path, new Pulse(call), async (held) => {
        if (held.isOwnedBy(call)) {
          const found = await lookAt(path);
          if (found?.isFile()) await held.removeFile();
          else if (found !== undefined)
            call.log.warn({}, "something else took the file's path; it is left alone");
        }
        await held.forget(call);
      });
    },

    async find(call, wanted) {
      const path = await claims.find(call, resolve(baseDir, wanted.path));
      return path === undefined ? undefined : readThing(path);
    },

    list: (context) => claims.marked(context, (found) => found.isFile()),
  });
}

async function put(
  call: CallContext,
  held: HeldPath,
  wanted: FileProperties,
  how: "new" | "over",
): Promise<void> {
  await held.put(
    call,
    (staged) => writeDurably(staged, wanted.content, Number.parseInt(wanted.mode, 8)),
    how === "over" ? rename : linkNew,
  );
}

/** Unlike a rename, a link never takes the place of a file that somebody else made a moment ago. */
async function linkNew(staged: string, path: string): Promise<void> {
  try {
    await link(staged, path);
  } catch (error) {
    const code = errno(error);
    // File systems without hard links.
    if (code === "EPERM" || code === "ENOTSUP" || code === "ENOSYS") await rename(staged, path);
    else throw error;
  }
}

async function readThing(path: string): Promise<Thing> {
  const seen = await readFile(path);
  if (seen === undefined) throw new ProviderError(`${path} vanished`, { retryable: true });
  return describe(path, seen.data);
}

function describe(path: string, data: Buffer): Thing {
  return { physicalId: path, attributes: { path, size: data.length, sha256: sha256(data) } };
}

interface Seen {
  data: Buffer;
  content: string;
  mode: string;
}

async function readFile(path: string): Promise<Seen | undefined> {
  let file: FileHandle;
  try {
    // Not blocking: what took the path may be a pipe.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = errno(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw fileSystemError(error, `read ${path}`);
  }
  try {
    const stats = await file.stat({ bigint: true });
    if (!stats.isFile()) {
      throw new ProviderError(`${path} is ${kindOf(stats)}, not a file`, { effect: "none" });
    }
    const mode = octal(Number(stats.mode));
    if (stats.size > maxContentBytes) {
      const content = `(${stats.size} bytes, longer than any content that can be declared)`;
      return { data: Buffer.alloc(0), content, mode };
    }
    const data = await file.readFile();
    return { data, content: data.toString("utf8"), mode };
  } catch (error) {
    throw fileSystemError(error, `read ${path}`);
  } finally {
    await file.close();
  }
}
