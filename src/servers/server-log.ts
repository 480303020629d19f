/** The log file of a server: what it ends with, and its bound. */
import { copyFile, readFile, stat, truncate } from "node:fs/promises";
import { ignoreMissing } from "./folder-lock.js";

const logLimitBytes = 4 * 1024 * 1024;
const tailLines = 5;

export async function logTail(path: string): Promise<string> {
  const text = (await ignoreMissing(readFile(path, "utf8"))) ?? "";
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .slice(-tailLines)
    .join("\n");
}

/** Servers append, so a log can be emptied while it is written; the part before is kept beside it. */
export async function boundLog(path: string): Promise<void> {
  const size = (await ignoreMissing(stat(path)))?.size ?? 0;
  if (size <= logLimitBytes) return;
  await copyFile(path, `${path}.1`);
  await truncate(path);
}
