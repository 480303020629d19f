/**
 * One command's way to the engine: the daemons of configured servers, the daemon of a folder, or the engine in this
 * process on the folder's embedded servers.
 *
 * 1. An engine in this process ends its calls in flight before its servers are left.
 * 2. When the folder's daemon goes away meanwhile, this process takes over.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "../api/client.js";
import type { Reply, Request, Verb } from "../api/schemas.js";
import { HomeostatError } from "../errors.js";
import { type EmbeddedServers, openServers } from "../servers/servers.js";
import type { Host } from "../worker/host.js";
import { recordedDaemons } from "./daemon-record.js";
import { type Endpoints, embeddedEndpoints, remoteEndpoints } from "./endpoints.js";
import type { Log } from "./log.js";
import type { Remote, Settings } from "./settings.js";

/** `engine`: goals make progress. `daemon`: they do without this process. `views`: the API answers. */
export type Need = "engine" | "daemon" | "views";

const daemonStartMs = 10_000;
const pollMs = 100;
const pingMs = 1500;
/** A daemon that restarts is waited for, also when another one is stopped and swallows what it is asked. */
const remotePingMs = 20_000;
const attempts = 3;
const callMs = 10_000;

export class Session {
  readonly client: Client;
  readonly #settings: Settings;
  readonly #endpoints: Endpoints;
  readonly #servers: EmbeddedServers | undefined;
  readonly #need: Need;
  readonly #log: Log;
  #host: Host | undefined;

  /** @throws HomeostatError `unavailable` */
  static async open(settings: Settings, need: Need, log: Log): Promise<Session> {
    if (settings.remote !== undefined) return Session.#remote(settings, settings.remote, need, log);
    if (need === "daemon" && (await recordedDaemons(settings.dir)).length === 0) throw noDaemon(settings.dir);
    const servers = await openServers({ dir: settings.dir, log });
    try {
      return await Session.#embedded(settings, servers, need, log);
    } catch (error) {
      await servers.close();
      throw error;
    }
  }

  static async #remote(settings: Settings, remote: Remote, need: Need, log: Log): Promise<Session> {
    const endpoints = await remoteEndpoints(remote);
    // Who reads that it was lost wants to read that it is back.
    const told = (fields: object, message: string) => log.warn(fields, message);
    const client = await Client.connect({ nats: endpoints.nats, log: { info: told, warn: told } });
    try {
      await client.call("list", { limit: 1 }, { timeoutMs: remotePingMs });
    } catch (error) {
      await client.close();
      throw error;
    }
    return new Session({ settings, endpoints, servers: undefined, client, need, log });
  }

  static async #embedded(
    settings: Settings,
    servers: EmbeddedServers,
    need: Need,
    log: Log,
  ): Promise<Session> {
    const endpoints = await embeddedEndpoints(settings.dir, servers);
    const client = await Client.connect({ nats: endpoints.nats });
    const session = new Session({ settings, endpoints, servers, client, need, log });
    try {
      await session.ensureEngine();
      return session;
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  private constructor(parts: {
    settings: Settings;
    endpoints: Endpoints;
    servers: EmbeddedServers | undefined;
    client: Client;
    need: Need;
    log: Log;
  }) {
    this.#settings = parts.settings;
    this.#endpoints = parts.endpoints;
    this.#servers = parts.servers;
    this.client = parts.client;
    this.#need = parts.need;
    this.#log = parts.log;
  }

  /** Whether goals make progress in this process only. */
  get isHosting(): boolean {
    return this.#host !== undefined;
  }

  get isRemote(): boolean {
    return this.#servers === undefined;
  }

  /** Hosts the engine here unless a daemon does. True: it was not there before. */
  async ensureEngine(): Promise<boolean> {
    if (this.isRemote || this.#host !== undefined) return false;
    if (await this.#daemonAnswers()) return false;
    if (this.#need === "daemon") throw noDaemon(this.#settings.dir);
    const { startHere } = await import("./engine.js");
    const options = this.#need === "engine" ? {} : { roles: ["api" as const] };
    this.#host = await startHere(this.#settings, this.#endpoints, this.#log, options);
    return true;
  }

  /** A daemon that is on record may still be starting. */
  async #daemonAnswers(): Promise<boolean> {
    const giveUp = performance.now() + daemonStartMs;
    while ((await recordedDaemons(this.#settings.dir)).length > 0) {
      if (await this.#apiAnswers()) return true;
      if (performance.now() > giveUp) {
        throw new HomeostatError("unavailable", `the daemon of ${this.#settings.dir} does not answer`);
      }
      await sleep(pollMs);
    }
    return false;
  }

  async #apiAnswers(): Promise<boolean> {
    try {
      await this.client.call("list", { limit: 1 }, { timeoutMs: pingMs });
      return true;
    } catch (error) {
      if (error instanceof HomeostatError && error.code === "unavailable") return false;
      throw error;
    }
  }

  /** Asks again when nobody answers, with the request's own id: it stays one goal (R6). */
  async call<V extends Verb>(verb: V, request: Request<V>): Promise<Reply<V>> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.client.call(verb, request, { timeoutMs: callMs });
      } catch (error) {
        const unavailable = error instanceof HomeostatError && error.code === "unavailable";
        if (!unavailable || attempt === attempts) throw error;
        await this.ensureEngine();
      }
    }
  }

  /** Ends what this process does for the engine, lets go of the servers. May be called again. */
  async close(): Promise<void> {
    const host = this.#host;
    this.#host = undefined;
    try {
      await host?.drain();
      await this.client.close();
    } finally {
      await this.#servers?.close();
    }
  }
}

function noDaemon(dir: string): HomeostatError {
  return new HomeostatError(
    "invalid",
    `--detach needs a daemon that goes on, and none runs in ${dir}: start one with homeostat dev, or leave out --detach`,
  );
}

export function newRequestId(): string {
  return randomUUID();
}
