/** Bodies that are larger than a message may be: they travel through the object store, the message names them. */
import { type NatsConnection, nanos, type ObjectStore, StorageType } from "nats";
import { HomeostatError } from "../errors.js";
import type { NatsLink } from "./connect.js";

/** Names the object that holds the body of this message. */
export const bodyHeader = "Homeostat-Body";

/** Of a message, for headers and subject. */
const headerRoom = 8 * 1024;
const defaultMaxPayload = 1024 * 1024;
const maxBodyBytes = 64 * 1024 * 1024;

export class Bodies {
  readonly #link: NatsLink;
  readonly #bucket: string;
  readonly #maxAgeMs: number;

  constructor(link: NatsLink, bucket: string, maxAgeMs: number) {
    this.#link = link;
    this.#bucket = bucket;
    this.#maxAgeMs = maxAgeMs;
  }

  fitsMessage(body: Uint8Array): boolean {
    return body.length <= maxPayload(this.#link.connection) - headerRoom;
  }

  /** @throws HomeostatError `invalid` when it is larger than any body may be. */
  async put(name: string, body: Uint8Array): Promise<void> {
    if (body.length > maxBodyBytes) throw tooLarge(body.length);
    await (await this.#open()).putBlob({ name }, body);
  }

  /** @throws HomeostatError `invalid` when there is none, or it is too large. */
  async get(name: string): Promise<Uint8Array> {
    const bucket = await this.#open();
    const info = await bucket.info(name);
    if (info !== null && info.size > maxBodyBytes) throw tooLarge(info.size);
    const body = info === null || info.deleted ? null : await bucket.getBlob(name);
    if (body === null) throw new HomeostatError("invalid", `there is no body ${name} in the object store`);
    return body;
  }

  /** Those that nobody removes expire. */
  async remove(name: string): Promise<void> {
    await (await this.#open()).delete(name);
  }

  #open(): Promise<ObjectStore> {
    const { connection, jetstreamDomain } = this.#link;
    const domain = jetstreamDomain === undefined ? {} : { domain: jetstreamDomain };
    return connection.jetstream(domain).views.os(this.#bucket, {
      description: "Bodies that are larger than a message may be.",
      ttl: nanos(this.#maxAgeMs),
      storage: StorageType.File,
    });
  }
}

function maxPayload(connection: NatsConnection): number {
  return connection.info?.max_payload ?? defaultMaxPayload;
}

function tooLarge(bytes: number): HomeostatError {
  return new HomeostatError("invalid", `the body has ${bytes} bytes; at most ${maxBodyBytes} are possible`);
}
