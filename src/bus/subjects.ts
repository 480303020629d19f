/**
 * Subjects and names on NATS. Every variable part is one token of `[A-Za-z0-9_-]`: other bytes become `_hh`, `_` becomes
 * `__`, the empty text becomes `_`. What would be too long is cut and ends in a hash; only that cannot be read back.
 */
import { createHash } from "node:crypto";
import { HomeostatError } from "../errors.js";

export const defaultPrefix = "homeostat";

/** Characters of one token. */
export const maxTokenLength = 160;

const hashLength = 22;

export function encodeToken(text: string): string {
  if (text === "") return "_";
  const encoded = text.replace(/[^A-Za-z0-9-]/gu, escapeCharacter);
  if (encoded.length <= maxTokenLength) return encoded;
  const hash = createHash("sha256").update(text).digest("base64url").slice(0, hashLength);
  return `${encoded.slice(0, maxTokenLength - hashLength - 2)}_-${hash}`;
}

function escapeCharacter(character: string): string {
  if (character === "_") return "__";
  return [...Buffer.from(character)].map((byte) => `_${byte.toString(16).padStart(2, "0")}`).join("");
}

/** Undefined for what encodeToken did not make, or had to cut. */
export function decodeToken(token: string): string | undefined {
  if (token === "_") return "";
  if (!/^(?:[A-Za-z0-9-]|__|_[0-9a-f]{2})+$/.test(token)) return undefined;
  const bytes = token.replace(/__|_([0-9a-f]{2})/g, (_match, hex?: string) => `%${hex ?? "5f"}`);
  try {
    return decodeURIComponent(bytes);
  } catch {
    return undefined;
  }
}

/** All subjects and stream names of one deployment; several with different prefixes can share a server. */
export class Subjects {
  readonly prefix: string;
  readonly #streamPrefix: string;

  /** @throws HomeostatError `invalid` */
  constructor(prefix: string = defaultPrefix) {
    if (!/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(prefix) || prefix.length > 64) {
      throw new HomeostatError(
        "invalid",
        `"${prefix}" cannot be a subject prefix: letters, digits, dash and underscore, parted by dots, at most 64`,
      );
    }
    this.prefix = prefix;
    this.#streamPrefix = prefix === defaultPrefix ? "HOMEOSTAT" : `HOMEOSTAT_${encodeToken(prefix)}`;
  }

  get convergeStream() {
    return `${this.#streamPrefix}_CONVERGE`;
  }
  get eventStream() {
    return `${this.#streamPrefix}_EVENT`;
  }
  get observedStream() {
    return `${this.#streamPrefix}_OBSERVED`;
  }
  /** Name of the consumer that all observers share. */
  get observers() {
    return "observers";
  }
  /** Bucket for bodies that are larger than a message may be. */
  get bodyBucket() {
    return `${this.#streamPrefix}_BODIES`;
  }

  /** Name of the consumer that the workers of a pool share. */
  consumer(pool: string) {
    return encodeToken(pool);
  }

  api(verb: string) {
    return `${this.prefix}.api.${verb}`;
  }

  get allConverge() {
    return `${this.prefix}.converge.>`;
  }
  get allEvents() {
    return `${this.prefix}.event.>`;
  }
  get allObserved() {
    return `${this.prefix}.observed.>`;
  }

  get bell() {
    return `${this.prefix}.bell`;
  }

  /** What follows `PREFIX.observed.` in a subject of that kind. */
  topicOf(observed: string) {
    return observed.slice(this.allObserved.length - 1);
  }

  convergeOf(pool: string) {
    return `${this.prefix}.converge.${encodeToken(pool)}.>`;
  }

  /** `node` is empty when an unfinished call is to be ended. */
  converge(ring: { pool: string; node: string; resource: string; traversal: number }, stack: string) {
    const what = ring.node === "" ? `operation:${ring.resource}` : ring.node;
    const tokens = [ring.pool, stack, what].map(encodeToken).join(".");
    return `${this.prefix}.converge.${tokens}.${ring.traversal}`;
  }

  eventsOf(stack: string) {
    return `${this.prefix}.event.${encodeToken(stack)}.>`;
  }

  /** Events of the stack itself have `_stack` as resource, and those of no stack `_orphans`: no name is encoded to these. */
  event(event: { stack: string; resource?: string | undefined; what: string }) {
    const resource = event.resource === undefined ? "_stack" : encodeToken(event.resource);
    const stack = event.stack === "" ? "_orphans" : encodeToken(event.stack);
    return `${this.prefix}.event.${stack}.${resource}.${encodeToken(event.what)}`;
  }
}
