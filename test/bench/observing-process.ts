/** An observer with a provider whose things are in memory: what it reads and mends costs nothing. */
import { Redis } from "ioredis";
import { connect, type NatsConnection } from "nats";
import { z } from "zod";
import { defineResource, ResourceTypes } from "../../src/providers/provider.js";
import { type Host, startHost } from "../../src/worker/host.js";
import { startProfile, stopProfile } from "./profile.js";
import { offer } from "./rpc.js";

/** Of things that are not as they were made. */
const drifted = new Set<string>();
/** When the repair of a thing began, ms since 1970. */
const repairs = new Map<string, number>();
let reads = 0;

function now(): number {
  return performance.timeOrigin + performance.now();
}

const watched = defineResource({
  type: "Bench::Watched",
  properties: z.object({ text: z.string() }),
  updatable: ["text"],
  idempotent: true,
  create: async ({ resource }) => ({ physicalId: resource, attributes: {} }),
  read: async (_call, physicalId, properties) => {
    reads += 1;
    return {
      physicalId,
      attributes: {},
      properties: drifted.has(physicalId) ? { text: "changed by somebody" } : properties,
    };
  },
  update: async (_call, physicalId) => {
    repairs.set(physicalId, now());
    drifted.delete(physicalId);
    return { physicalId, attributes: {} };
  },
  delete: async () => {},
});

function rssMb(): number {
  return process.memoryUsage.rss() / 1024 / 1024;
}

let host: Host | undefined;
let connection: NatsConnection | undefined;

const calls = {
  async start(redisUrl: string, natsUrl: string): Promise<void> {
    host = await startHost({
      redisUrl,
      nats: { url: natsUrl },
      types: new ResourceTypes().add(watched),
      log: {
        debug: () => {},
        info: () => {},
        warn: (fields, message) => console.error(message, JSON.stringify(fields)),
      },
    });
  },

  /** What no observer can do without: a message arrives, Redis is asked once. Answers are ms since 1970, by message. */
  async listen(redisUrl: string, natsUrl: string): Promise<void> {
    const redis = new Redis(redisUrl);
    connection = await connect({ servers: natsUrl });
    connection.subscribe("bare.*", {
      callback: (_error, message) => {
        void redis.ping().then(() => repairs.set(message.string(), now()));
      },
    });
    await connection.flush();
  },

  drift(ids: readonly string[]): void {
    for (const id of ids) drifted.add(id);
  },

  /** Since the last time it was asked. */
  repaired(): Record<string, number> {
    const times = Object.fromEntries(repairs);
    repairs.clear();
    return times;
  },

  reads: (): number => reads,

  rssMb: () => ({ now: rssMb(), most: process.resourceUsage().maxRSS / 1024 }),

  startProfile,
  stopProfile,

  stop: async (): Promise<void> => host?.drain(),
};

export type ObservingCalls = typeof calls;

offer(calls);
