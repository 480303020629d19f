/** What Redis holds under a key and this version cannot use: the error names the key, never what it holds. */
import { ReplyError } from "ioredis";
import { HomeostatError } from "../errors.js";
import { schemaVersion } from "./keys.js";

export function damaged(key: string, cause: unknown): HomeostatError {
  return new HomeostatError("internal", `what Redis holds under ${key} cannot be used`, { cause });
}

export function newerSchema(stack: string, schema: unknown): HomeostatError {
  return new HomeostatError(
    "newer_version",
    `stack ${stack} was stored with schema ${String(schema)}; this version knows ${schemaVersion}`,
  );
}

/** @throws HomeostatError what `read` throws, or `internal` with the key for any other error. */
export function readStored<T>(key: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof HomeostatError ? error : damaged(key, error);
  }
}

/** The answer of a command on one key. @throws HomeostatError `internal` when the key holds another type. */
export async function typed<T>(key: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw isMisfit(error) ? damaged(key, error) : error;
  }
}

/** An error that comes from what is stored, not from the server's state or from permissions. */
export function isMisfit(error: unknown): error is Error {
  const causes =
    /WRONGTYPE|attempt to |bad argument|not an integer|not a valid float|Expected value but found/;
  return error instanceof ReplyError && causes.test((error as Error).message);
}
