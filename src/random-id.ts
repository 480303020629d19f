/** Ids of 20 characters of `[A-Za-z0-9]`: unguessable, and safe in NATS subjects and Redis keys. */
import { randomFillSync } from "node:crypto";

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const idLength = 20;
/** The largest multiple of the alphabet's size that a byte can hold; greater bytes would favour some characters. */
const fairBytes = 248;

const pool = Buffer.alloc(8192);
let used = pool.length;

/** Random bytes, never given twice; one call to the system for many. */
export function freshBytes(count: number): Buffer {
  if (used + count > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += count;
  return Buffer.from(pool.subarray(used - count, used));
}

export function randomId(): string {
  let id = "";
  while (id.length < idLength) {
    for (const byte of freshBytes(idLength)) {
      if (byte < fairBytes && id.length < idLength) id += alphabet[byte % alphabet.length];
    }
  }
  return id;
}
