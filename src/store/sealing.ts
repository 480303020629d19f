/** Hidden values at rest: sealed with AES-256-GCM under a key from the environment or a file. */
import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes } from "node:crypto";
import { HomeostatError } from "../errors.js";

const mark = "sealed:1:";

export class Sealing {
  readonly #key: Buffer | undefined;

  /**
   * `key`: 32 bytes in base64; without one, hidden values are refused.
   * @throws HomeostatError `invalid` when the key has another size.
   */
  constructor(key?: string) {
    this.#key = key === undefined ? undefined : Buffer.from(key, "base64");
    if (this.#key !== undefined && this.#key.length !== 32) {
      throw new HomeostatError(
        "invalid",
        "the sealing key must be 32 bytes in base64 (openssl rand -base64 32)",
      );
    }
  }

  /** @throws HomeostatError `invalid` without a key. */
  requireKey(): Buffer {
    if (this.#key !== undefined) return this.#key;
    throw new HomeostatError(
      "invalid",
      "hidden values need a sealing key: set HOMEOSTAT_KEY to 32 bytes in base64 (openssl rand -base64 32), the same for every daemon",
    );
  }

  /** @throws HomeostatError `invalid` without a key. */
  seal(text: string): string {
    const nonce = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", this.requireKey(), nonce);
    const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
    return mark + Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString("base64");
  }

  /** Plain text passes. @throws HomeostatError `unavailable` when the key is missing or another one. */
  open(text: string): string {
    if (!text.startsWith(mark)) return text;
    if (this.#key === undefined) {
      throw new HomeostatError(
        "unavailable",
        "this value is sealed; set HOMEOSTAT_KEY to the key of the other daemons",
      );
    }
    const bytes = Buffer.from(text.slice(mark.length), "base64");
    const decipher = createDecipheriv("aes-256-gcm", this.#key, bytes.subarray(0, 12));
    decipher.setAuthTag(bytes.subarray(12, 28));
    try {
      return decipher.update(bytes.subarray(28), undefined, "utf8") + decipher.final("utf8");
    } catch (error) {
      throw new HomeostatError("unavailable", "this value was sealed with another key than HOMEOSTAT_KEY", {
        cause: error,
      });
    }
  }

  sealIf(hidden: boolean, text: string): string {
    return hidden ? this.seal(text) : text;
  }

  /** Short and equal for equal texts; keyed, so that a hidden value cannot be guessed from it. */
  fingerprint(text: string): string {
    const hash = this.#key === undefined ? createHash("sha256") : createHmac("sha256", this.#key);
    return hash.update(text).digest("base64url").slice(0, 16);
  }
}
