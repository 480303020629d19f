/** A daemon with a provider that does nothing. */
import { z } from "zod";
import { defineResource, ResourceTypes } from "../../src/providers/provider.js";
import { type Host, type HostOptions, startHost } from "../../src/worker/host.js";
import { startProfile, stopProfile } from "./profile.js";
import { offer } from "./rpc.js";

const nothing = defineResource({
  type: "Bench::Nothing",
  properties: z.object({ text: z.string() }),
  updatable: ["text"],
  idempotent: true,
  create: async ({ token }) => ({ physicalId: token, attributes: {} }),
  read: async (_call, physicalId, properties) => ({ physicalId, attributes: {}, properties }),
  update: async (_call, physicalId) => ({ physicalId, attributes: {} }),
  delete: async () => {},
});

let host: Host | undefined;
const reached = new Map<string, { count: number; last: number }>();

const calls = {
  async start(redisUrl: string, natsUrl: string, roles: NonNullable<HostOptions["roles"]>): Promise<void> {
    host = await startHost({
      redisUrl,
      nats: { url: natsUrl },
      roles,
      types: new ResourceTypes().add(nothing),
      log: {
        debug: (_fields, milestone) => {
          const { count } = reached.get(milestone) ?? { count: 0 };
          reached.set(milestone, { count: count + 1, last: performance.timeOrigin + performance.now() });
        },
        info: () => {},
        warn: (fields, message) => console.error(message, JSON.stringify(fields)),
      },
    });
  },

  /** How often each point of the engine was reached, and when the last time was (ms since 1970). */
  reached(): Record<string, { count: number; last: number }> {
    const figures = Object.fromEntries(reached);
    reached.clear();
    return figures;
  },

  startProfile,
  stopProfile,

  stop: async (): Promise<void> => host?.drain(),
};

export type HostCalls = typeof calls;

offer(calls);
