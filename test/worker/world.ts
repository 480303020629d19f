/** A world in memory, a resource type that acts on it, and hosts with short limits on private servers. */
import { z } from "zod";
import type { ClientOptions } from "../../src/api/client.js";
import { Client } from "../../src/api/client.js";
import type { Reply } from "../../src/api/schemas.js";
import type { Limits } from "../../src/limits.js";
import {
  type CallContext,
  defineResource,
  ProviderError,
  type ProviderLog,
  ResourceTypes,
} from "../../src/providers/provider.js";
import { type Host, type HostOptions, startHost } from "../../src/worker/host.js";
import { startNats, startRedis, type TestNats, type TestRedis } from "../support/servers.js";

interface Thing {
  token: string;
  stack: string;
  size: number;
  text: string;
}

export class World {
  readonly things = new Map<string, Thing>();
  /** "operation resource", in order of their effect. */
  readonly effects: string[] = [];
  /** How long each call takes; a function may wait for what a test wants. */
  pause: (operation: string, resource: string) => Promise<void> = async () => {};
  #made = 0;

  get type() {
    return defineResource({
      type: "Test::Thing",
      properties: z.object({
        size: z.number().default(1),
        text: z.string().default(""),
        fixed: z.string().default(""),
      }),
      updatable: ["size", "text"],
      idempotent: true,
      deadlinesMs: { create: 3_000, update: 3_000, delete: 3_000 },
      create: (call, properties) => this.#create(call, properties),
      read: async (_call, physicalId) => {
        const thing = this.things.get(physicalId);
        if (thing === undefined) return undefined;
        const { size, text } = thing;
        return { physicalId, attributes: { size, text }, properties: { size, text, fixed: "" } };
      },
      update: async (call, physicalId, properties) => {
        await this.pause("update", call.resource);
        const thing = this.things.get(physicalId);
        if (thing === undefined) throw new ProviderError(`no ${physicalId}`);
        Object.assign(thing, properties);
        this.effects.push(`update ${call.resource}`);
        return { physicalId, attributes: { size: thing.size, text: thing.text } };
      },
      delete: async (call, physicalId) => {
        await this.pause("delete", call.resource);
        if (this.things.delete(physicalId)) this.effects.push(`delete ${call.resource}`);
      },
      find: async (call) => this.#byToken(call),
    });
  }

  get types(): ResourceTypes {
    return new ResourceTypes().add(this.type);
  }

  async #create(call: CallContext, properties: { size: number; text: string }) {
    await this.pause("create", call.resource);
    const known = this.#byToken(call);
    if (known !== undefined) return known;
    this.#made += 1;
    const physicalId = `thing-${this.#made}`;
    this.things.set(physicalId, { ...properties, token: call.token, stack: call.stack });
    this.effects.push(`create ${call.resource}`);
    return { physicalId, attributes: { size: properties.size, text: properties.text } };
  }

  #byToken({ token }: CallContext) {
    for (const [physicalId, thing] of this.things) {
      if (thing.token === token) return { physicalId, attributes: { size: thing.size, text: thing.text } };
    }
    return undefined;
  }
}

const shortLimits: Partial<Limits> = {
  leaseMs: 2_000,
  renewMs: 500,
  graceMs: 100,
  ringMs: 1_500,
  beginMs: 1_000,
  earlyAckMs: 500,
  sweepMs: 1_000,
  holdMs: 2_000,
  backoffMs: 100,
};

export class RecordingLog implements ProviderLog {
  readonly lines: string[] = [];
  debug(): void {}
  info(fields: object, message: string): void {
    this.lines.push(`${message} ${JSON.stringify(fields)}`);
  }
  warn(fields: object, message: string): void {
    this.lines.push(`${message} ${JSON.stringify(fields)}`);
  }
  has(text: string): boolean {
    return this.lines.some((line) => line.includes(text));
  }
}

/** Servers, hosts and clients of one test; `close` ends all of them. */
export class Site {
  readonly world = new World();
  readonly log = new RecordingLog();
  readonly hosts: Host[] = [];
  readonly #clients: Client[] = [];

  private constructor(
    readonly redis: TestRedis,
    readonly nats: TestNats,
  ) {}

  static async open(nats: Promise<TestNats> = startNats()): Promise<Site> {
    return new Site(await startRedis({ appendfsync: "everysec" }), await nats);
  }

  async host(options: Partial<HostOptions> = {}): Promise<Host> {
    const host = await startHost({
      redisUrl: this.redis.url,
      nats: { url: this.nats.url },
      types: this.world.types,
      log: this.log,
      ...options,
      limits: { ...shortLimits, ...options.limits },
    });
    this.hosts.push(host);
    return host;
  }

  async client(options: Partial<ClientOptions> = {}): Promise<Client> {
    const client = await Client.connect({ nats: { url: this.nats.url }, ...options });
    this.#clients.push(client);
    return client;
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
    for (const host of this.hosts) host.kill();
    await Promise.all([this.redis.stop(), this.nats.stop()]);
  }
}

export function template(resources: Record<string, object>) {
  return { text: JSON.stringify({ resources }) };
}

/** A resource of a template. */
export function thing(properties: object = {}, ...dependsOn: string[]) {
  return { type: "Test::Thing", properties, ...(dependsOn.length === 0 ? {} : { depends_on: dependsOn }) };
}

/** Waits until the stack is as wanted. */
export async function until(
  client: Client,
  name: string,
  status: string,
  limitMs = 30_000,
): Promise<Reply<"show">> {
  const end = performance.now() + limitMs;
  for (;;) {
    const view = await client.call("show", { name });
    if (view.stack.status === status) return view;
    if (performance.now() > end)
      throw new Error(`${name} is ${JSON.stringify(view, null, 1)}, not ${status}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function untilGone(client: Client, name: string, limitMs = 30_000): Promise<void> {
  const end = performance.now() + limitMs;
  while ((await client.call("list", {})).stacks.some((stack) => stack.name === name)) {
    if (performance.now() > end) throw new Error(`${name} is still there`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
