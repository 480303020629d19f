/** What the types of this folder share in dealing with the file system: its errors, paths and modes. */
import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { lstat, open } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { errno, ignoreMissing } from "../../servers/folder-lock.js";
import { ProviderError } from "../provider.js";

const retryableCodes = new Set([
  "ENOSPC",
  "EDQUOT",
  "EMFILE",
  "ENFILE",
  "EBUSY",
  "EAGAIN",
  "ENOMEM",
  "EINTR",
  "EIO",
]);

const reasons: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "not permitted",
  EROFS: "the file system is read-only",
  ENAMETOOLONG: "the name is too long",
  ENOTDIR: "a part of the path is a file, not a directory",
  EISDIR: "it is a directory",
  E2BIG: "the command and its environment are too long",
  ELOOP: "it is a symbolic link, or leads through a loop of them",
  ENOSPC: "no space is left",
  EDQUOT: "the disk quota is used up",
  EMFILE: "too many files are open",
  ENFILE: "too many files are open on this host",
  EBUSY: "it is busy",
};

/** The error of a system call as a provider's error; anything else is passed through. */
export function fileSystemError(error: unknown, doing: string, effect: "none" | "unknown" = "none"): unknown {
  const code = errno(error);
  if (error instanceof ProviderError || code === undefined) return error;
  const reason = reasons[code] ?? (error as Error).message;
  // A code that is not known here says nothing about what a second try would do, so it gets one.
  const retryable = retryableCodes.has(code) || reasons[code] === undefined;
  return new ProviderError(`cannot ${doing}: ${reason}`, { retryable, effect, cause: error });
}

export function parentMissing(path: string): ProviderError {
  return new ProviderError(
    `cannot create ${path}: the directory ${dirname(path)} does not exist; ` +
      "declare it as a Local::Directory that this resource depends on",
    { effect: "none" },
  );
}

/** What is at a path, links not followed; undefined when certainly nothing is. */
export async function lookAt(path: string): Promise<BigIntStats | undefined> {
  try {
    return await ignoreMissing(lstat(path, { bigint: true }));
  } catch (error) {
    if (errno(error) === "ENOTDIR") return undefined;
    throw fileSystemError(error, `look at ${path}`);
  }
}

/** Tells a file from another one that took its path, also where inode numbers are used again at once. */
export function identityOf(stats: BigIntStats): string {
  return `${stats.ino}:${stats.birthtimeNs}`;
}

export function kindOf(stats: BigIntStats): string {
  if (stats.isFile()) return "a file";
  if (stats.isDirectory()) return "a directory";
  if (stats.isSymbolicLink()) return "a symbolic link";
  return "a special file";
}

export function sha256(data: string | Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

export async function writeDurably(path: string, data: string, mode: number): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(data);
    // After the write and apart from open, where the umask would take bits away.
    await file.chmod(mode);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes the names in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

export const pathSchema = z
  .string()
  .min(1, "must not be empty")
  .refine((path) => !path.includes("\0"), "must not contain a NUL character");

/** Mode bits as octal text of four digits. Numbers are taken where they can mean only one thing. */
export const modeSchema = z
  .union([z.string().regex(/^(0o)?[0-7]{3,4}$/, "must be octal text such as '0644'"), z.number().int()])
  .transform((mode, context) => {
    const bits = typeof mode === "string" ? [Number.parseInt(mode.replace("0o", ""), 8)] : readings(mode);
    const [first, second] = bits;
    if (first !== undefined && second === undefined) return octal(first);
    context.addIssue({
      code: "custom",
      message: `${mode} can be read in several ways; write the mode as text, like '0644'`,
    });
    return z.NEVER;
  });

/** `0644` in YAML arrives as 644, `0o644` as 420: the reading that gives an owner at least what others get. */
function readings(mode: number): number[] {
  const asDigits = /^[0-7]{1,4}$/.test(String(mode)) ? [Number.parseInt(String(mode), 8)] : [];
  const asBits = mode >= 0 && mode <= 0o7777 ? [mode] : [];
  return [...new Set([...asDigits, ...asBits])].filter((bits) => {
    const [owner, group, other] = [(bits >> 6) & 7, (bits >> 3) & 7, bits & 7];
    return (owner & 4) !== 0 && (owner & group) === group && (group & other) === other;
  });
}

export function octal(bits: number): string {
  return (bits & 0o7777).toString(8).padStart(4, "0");
}
