/** An observer that reads what was published and does nothing about it. */
import { z } from "zod";
import { connectNats } from "../../src/bus/connect.js";
import { readObservations } from "../../src/bus/observation.js";
import { ObservedQueue } from "../../src/bus/observed-queue.js";
import { defaultStreamLimits, Streams } from "../../src/bus/streams.js";
import { Subjects } from "../../src/bus/subjects.js";
import { defineResource, ResourceTypes } from "../../src/providers/provider.js";
import { offer } from "./rpc.js";

/** Messages at once that are not acknowledged. */
const bound = Number(process.env.BENCH_OBSERVED_BOUND ?? 2_000);

const types = new ResourceTypes().add(
  defineResource({
    type: "Bench::Thing",
    properties: z.object({}),
    updatable: [],
    create: async () => ({ physicalId: "x", attributes: {} }),
    read: async () => undefined,
    delete: async () => {},
  }),
);

const log = {
  debug() {},
  info() {},
  warn: (fields: object, message: string) => console.error(message, fields),
};
let hints = 0;
let batches = 0;
let open = 0;
const lateMs: number[] = [];

let queue: ObservedQueue | undefined;

const calls = {
  /** Stream and consumer are there. */
  async open(natsUrl: string): Promise<void> {
    const link = await connectNats({ url: natsUrl }, "bench");
    const subjects = new Subjects();
    const streams = new Streams(link, subjects, defaultStreamLimits, 30_000);
    await streams.ensureObservers();
    queue = new ObservedQueue({
      link,
      streams,
      subjects,
      log,
      room: () => bound - open,
      take: (batch) => {
        batches += 1;
        open += batch.length;
        for (const message of batch) {
          for (const { kind } of readObservations(message, types)) if (kind === "hint") hints += 1;
          message.acknowledge();
        }
        const [first] = batch;
        if (first !== undefined) lateMs.push(Date.now() - first.storedAt);
        open -= batch.length;
        queue?.more();
      },
      onLoss: () => {},
    });
  },

  async begin(): Promise<void> {
    await queue?.start();
  },

  seen: () => ({ hints, batches }),

  /** How long after they were stored the first of each batch came, since the last time it was asked. */
  late: () => lateMs.splice(0),
};

export type ObservedCalls = typeof calls;

offer(calls);
