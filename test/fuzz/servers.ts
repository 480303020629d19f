/** A running daemon in this process, what Redis holds, and whether everything still goes on. */
import { createConnection } from "node:net";
import { Redis } from "ioredis";
import { connect, type MsgHdrs, type NatsConnection } from "nats";
import { expect } from "vitest";
import type { Client } from "../../src/api/client.js";
import { failure } from "../../src/api/schemas.js";
import { errorCodes } from "../../src/errors.js";
import type { HostOptions } from "../../src/worker/host.js";
import { Site, template, thing, until, untilGone } from "../worker/world.js";
import { expectPlain } from "./support.js";

export class Daemon {
  /** Errors that nothing in this process caught. */
  readonly uncaught: unknown[] = [];
  readonly #note = (error: unknown) => void this.uncaught.push(error);
  #stacks = 0;

  private constructor(
    readonly site: Site,
    readonly redis: Redis,
    readonly nats: NatsConnection,
    readonly client: Client,
  ) {
    process.on("unhandledRejection", this.#note);
    process.on("uncaughtException", this.#note);
  }

  static async open(options: Partial<HostOptions> = {}): Promise<Daemon> {
    const site = await Site.open();
    await site.host(options);
    const nats = await connect({ servers: site.nats.url });
    return new Daemon(site, new Redis(site.redis.url), nats, await site.client());
  }

  async close(): Promise<void> {
    this.redis.disconnect();
    await this.nats.close();
    await this.site.close();
    process.off("unhandledRejection", this.#note);
    process.off("uncaughtException", this.#note);
    expect(this.uncaught).toEqual([]);
  }

  /** One that has reached its goal; answers its id. */
  async settledStack(name: string): Promise<string> {
    const resources = { a: thing({ size: 1 }), b: thing({ text: "x" }, "a") };
    const { stack } = await this.client.call("create", { name, template: template(resources) });
    await until(this.client, name, "COMPLETE");
    return stack;
  }

  /** A whole life of another stack, soon. */
  async works(): Promise<void> {
    this.#stacks += 1;
    const name = `works-${this.#stacks}`;
    await this.settledStack(name);
    await this.client.call("update", { name, template: template({ a: thing({ size: 2 }) }) });
    await until(this.client, name, "COMPLETE");
    await this.client.call("delete", { name });
    await untilGone(this.client, name);
    expect(this.site.hosts.map((host) => host.status())).toEqual(this.site.hosts.map(() => "running"));
    expect(this.uncaught).toEqual([]);
  }

  /** All that is stored, but for who leads, what was answered, what expires by itself, and what a look changes. */
  async stored(): Promise<Record<string, unknown>> {
    const keys = (await this.redis.keys("*"))
      .filter((key) => !/leader:|:clock$|\}:q$|\{watch:|\{heard\}|observers:|:orphans/.test(key))
      .sort();
    const contents = await Promise.all(keys.map(async (key) => [key, await this.#contents(key)] as const));
    return Object.fromEntries(contents.filter(([, content]) => content !== undefined));
  }

  async #contents(key: string): Promise<unknown> {
    if ((await this.redis.pttl(key)) > 0) return undefined;
    switch (await this.redis.type(key)) {
      case "hash": {
        const { revision: _, clock: __, observedAt: ___, ...fields } = await this.redis.hgetall(key);
        return fields;
      }
      case "zset":
        return this.redis.zrange(key, "0", "-1", "WITHSCORES");
      default:
        return this.redis.get(key).catch(String);
    }
  }

  /** Until no stack is on its way and nothing waits for the timers. */
  async rest(): Promise<void> {
    const end = performance.now() + 30_000;
    while ((await this.redis.keys("*{due:*}:z")).length > 0) {
      if (performance.now() > end) throw new Error(`still due: ${JSON.stringify(await this.stored())}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async ask(subject: string, body: string | Uint8Array, headers?: MsgHdrs): Promise<Answer> {
    const message = await this.nats.request(subject, body, {
      timeout: 60_000,
      ...(headers === undefined ? {} : { headers }),
    });
    return readAnswer(Buffer.from(message.data).toString("utf8"), message.headers);
  }

  /** Sends lines of the protocol, as only a careless or hostile client would. */
  async sendRaw(...commands: (string | Uint8Array)[]): Promise<void> {
    const { hostname, port } = new URL(this.site.nats.url);
    const socket = createConnection(Number(port), hostname);
    socket.on("error", () => undefined);
    socket.resume();
    await new Promise((resolve) => socket.once("connect", resolve));
    socket.write('CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n');
    for (const command of commands) socket.write(command);
    socket.write("PING\r\n");
    await Promise.race([
      new Promise((resolve) => setTimeout(resolve, 100)),
      new Promise((resolve) => socket.once("close", resolve)),
    ]);
    socket.destroy();
  }
}

type Answer = { reply: Record<string, unknown> } | { code: string; description: string };

/** A failure is complete and plain; "internal" is for damaged keys, and names them. */
function readAnswer(text: string, headers: MsgHdrs | undefined): Answer {
  const reply = JSON.parse(text) as Record<string, unknown>;
  if (headers?.has("Nats-Service-Error-Code") !== true) return { reply };
  const { error } = failure.parse(reply);
  expect(Object.keys(errorCodes)).toContain(error.err_code);
  if (error.err_code === "internal")
    expect(error.description).toMatch(/^what Redis holds under hs:\{.*cannot be used$/);
  expect(headers.get("Nats-Service-Error-Code")).toBe(String(errorCodes[error.err_code as "invalid"].status));
  expect(headers.get("Nats-Service-Error")).toMatch(/^[\x20-\x7e]+$/);
  expectPlain(error.description);
  expect(error.description).not.toBe("");
  for (const { message } of error.problems) expectPlain(message);
  return { code: error.err_code, description: error.description };
}
