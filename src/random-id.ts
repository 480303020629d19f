/** Ids of 20 characters of `[A-Za-z0-9]`: unguessable, and safe in NATS subjects and Redis keys. */
import { randomBytes } from "node:crypto";

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const idLength = 20;
/** The largest multiple of the alphabet's size that a byte can hold; greater bytes would favour some characters. */
const fairBytes = 248;

export function randomId(): string {
  let id = "";
  while (id.length < idLength) {
    for (const byte of randomBytes(idLength)) {
      if (byte < fairBytes && id.length < idLength) id += alphabet[byte % alphabet.length];
    }
  }
  return id;
}
