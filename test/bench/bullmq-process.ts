/** BullMQ: a flow of the same graph, and one worker that does nothing. */
import { FlowProducer, Worker } from "bullmq";
import { offer } from "./rpc.js";
import { nameOf, tree } from "./shapes.js";

let flows: FlowProducer | undefined;
let worker: Worker | undefined;
let done: (name: string) => void = () => {};

interface Flow {
  name: string;
  queueName: string;
  data: { text: string };
  children: Flow[];
}

function flowOf(nodes: ReadonlyMap<string, readonly string[]>, name: string): Flow {
  const children = (nodes.get(name) ?? []).map((child) => flowOf(nodes, child));
  return { name, queueName: "bench", data: { text: "as declared" }, children };
}

const calls = {
  async start(port: number, concurrency: number): Promise<void> {
    const connection = { host: "127.0.0.1", port };
    flows = new FlowProducer({ connection });
    worker = new Worker("bench", async () => null, {
      connection: { ...connection, maxRetriesPerRequest: null },
      concurrency,
    });
    worker.on("completed", (job) => done(job.name));
    await Promise.all([flows.waitUntilReady(), worker.waitUntilReady()]);
  },

  /** Milliseconds until the flow is stored, and until its root is done. */
  async run(size: number): Promise<{ addedMs: number; ms: number }> {
    const { nodes } = tree(size);
    const flow = flowOf(nodes, nameOf(0));
    const began = performance.now();
    const rootDone = new Promise<void>((resolve) => {
      done = (name) => {
        if (name === flow.name) resolve();
      };
    });
    await flows?.add(flow);
    const addedMs = performance.now() - began;
    await rootDone;
    return { addedMs, ms: performance.now() - began };
  },
};

export type BullmqCalls = typeof calls;

offer(calls);
