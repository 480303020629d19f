/** One run of each contender: a fresh process, warmed up, on servers that were cleaned. */
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "../../src/api/client.js";
import type { BareCalls } from "./bare-process.js";
import type { BullmqCalls } from "./bullmq-process.js";
import type { HostCalls } from "./host-process.js";
import type { Profile } from "./profile.js";
import { Child } from "./rpc.js";
import { cpuMs, type Servers, type Sums } from "./servers.js";
import { lastOf, type Shape, templateOf, tree } from "./shapes.js";

/** Visits, jobs or rounds of input and output at once. */
const atOnce = 64;
const warmUpNodes = 500;
const limitMs = 240_000;

export interface Goal {
  /** From the request until the stack is COMPLETE. */
  ms: number;
  /** Until the API has answered: the goal is durable. */
  answeredMs: number;
  /** Until the graph is written and open. */
  openMs: number;
  visits: number;
  providerCalls: number;
}

export interface Created extends Goal {
  nodes: number;
  cpuMs: CpuMs;
}

/** Processor time, which says more than the clock while the machine does other things too. */
interface CpuMs {
  worker: number;
  redis: number;
  nats: number;
}

/** One process with all roles. `update`: then also one leaf is changed. */
export async function runHost(
  servers: Servers,
  shape: Shape,
  { update = false } = {},
): Promise<{ created: Created; updated: Goal | undefined }> {
  await servers.clean();
  const host = new Child<HostCalls>("./host-process.js");
  const client = await Client.connect({ nats: { url: servers.nats.url } });
  try {
    await host.call("start", servers.redis.url, servers.nats.url, ["api", "worker", "sweeper"]);
    const pursue = (verb: "create" | "update", name: string, text: string) =>
      reach(servers, client, host, verb, name, text);
    await pursue("create", "warm-up", templateOf(tree(warmUpNodes)));
    const text = templateOf(shape);
    const { answer, cpuMs } = await withCpu(servers, host, () => pursue("create", "bench", text));
    const created = { ...answer, nodes: shape.nodes.size, cpuMs };
    const updated = update ? await pursue("update", "bench", templateOf(shape, lastOf(shape))) : undefined;
    return { created, updated };
  } finally {
    await client.close();
    await host.end();
  }
}

async function reach(
  servers: Servers,
  client: Client,
  host: Child<HostCalls>,
  verb: "create" | "update",
  name: string,
  text: string,
): Promise<Goal> {
  const complete = statusOf(servers, name, "complete");
  await host.call("reached");
  const began = performance.timeOrigin + performance.now();
  await client.call(verb, { name, template: { text } }, { timeoutMs: limitMs });
  const answered = performance.timeOrigin + performance.now();
  await complete;
  const ended = performance.timeOrigin + performance.now();
  const reached = await host.call("reached");
  return {
    ms: ended - began,
    answeredMs: answered - began,
    openMs: (reached["after-open"]?.last ?? Number.NaN) - began,
    visits: reached["before-ack"]?.count ?? 0,
    providerCalls: reached["before-call"]?.count ?? 0,
  };
}

/** Resolves at the event of the stack itself. */
async function statusOf({ connection }: Servers, stackName: string, what: string): Promise<void> {
  const subscription = connection.subscribe(`homeostat.event.*._stack.*`);
  const timer = setTimeout(() => subscription.unsubscribe(), limitMs);
  for await (const message of subscription) {
    const event = message.json<{ stackName: string; what: string; reason?: string }>();
    if (event.stackName !== stackName) continue;
    if (event.what === "failed") throw new Error(`${stackName} has failed: ${event.reason}`);
    if (event.what === what) break;
  }
  clearTimeout(timer);
  if (subscription.isClosed() && subscription.getProcessed() === 0)
    throw new Error(`${stackName}: no ${what}`);
}

async function withCpu<T>(
  { redis, nats }: Servers,
  worker: { pid: number },
  work: () => Promise<T>,
): Promise<{ answer: T; cpuMs: CpuMs }> {
  const used = () => ({ worker: cpuMs(worker.pid), redis: cpuMs(redis.pid), nats: cpuMs(nats.pid) });
  const before = used();
  const answer = await work();
  const after = used();
  return {
    answer,
    cpuMs: {
      worker: after.worker - before.worker,
      redis: after.redis - before.redis,
      nats: after.nats - before.nats,
    },
  };
}

export interface Counted {
  nodes: number;
  visits: number;
  ms: number;
  sums: Sums;
  cpuMs: CpuMs;
  profile: Profile;
  times: Map<string, { calls: number; us: number }>;
}

/**
 * The visits of a create alone: another process has written and opened the graph before, nobody sweeps.
 * `times`: Redis notes the time of every command, which costs some.
 */
export async function countVisits(servers: Servers, shape: Shape, { times = false } = {}): Promise<Counted> {
  await servers.clean();
  const api = new Child<HostCalls>("./host-process.js");
  const worker = new Child<HostCalls>("./host-process.js");
  const client = await Client.connect({ nats: { url: servers.nats.url } });
  try {
    await api.call("start", servers.redis.url, servers.nats.url, ["api"]);
    await worker.call("start", servers.redis.url, servers.nats.url, ["worker"]);
    const warm = statusOf(servers, "warm-up", "complete");
    await client.call("create", { name: "warm-up", template: { text: templateOf(tree(warmUpNodes)) } });
    await warm;
    await worker.end();
    await api.call("reached");
    const complete = statusOf(servers, "bench", "complete");
    await client.call(
      "create",
      { name: "bench", template: { text: templateOf(shape) } },
      { timeoutMs: limitMs },
    );
    while ((await api.call("reached"))["after-open"] === undefined) await sleep(20);
    await sleep(200);
    return await visitsOf(servers, shape, complete, times);
  } finally {
    await client.close();
    await api.end();
    await worker.end();
  }
}

async function visitsOf(
  servers: Servers,
  shape: Shape,
  complete: Promise<void>,
  times: boolean,
): Promise<Counted> {
  const worker = new Child<HostCalls>("./host-process.js");
  try {
    await worker.call("startProfile");
    if (times) await servers.noteTimes();
    const before = await servers.sums();
    const { answer: ms, cpuMs } = await withCpu(servers, worker, async () => {
      const began = performance.now();
      await worker.call("start", servers.redis.url, servers.nats.url, ["worker"]);
      await complete;
      return performance.now() - began;
    });
    const profile = await worker.call("stopProfile");
    const noted = times ? await servers.notedTimes() : new Map();
    const after = await servers.sums();
    const { "before-ack": visits } = await worker.call("reached");
    return {
      nodes: shape.nodes.size,
      visits: visits?.count ?? 0,
      ms,
      sums: Object.fromEntries(
        Object.entries(after).map(([name, value]) => [name, value - before[name as keyof Sums]]),
      ) as unknown as Sums,
      cpuMs,
      profile,
      times: noted,
    };
  } finally {
    await worker.end();
  }
}

export interface Run {
  ms: number;
  cpuMs: CpuMs;
}

export async function runBullmq(servers: Servers, size: number): Promise<Run & { addedMs: number }> {
  await servers.clean();
  const child = new Child<BullmqCalls>("./bullmq-process.js");
  try {
    await child.call("start", servers.redis.port, atOnce);
    await child.call("run", warmUpNodes);
    const { answer, cpuMs } = await withCpu(servers, child, () => child.call("run", size));
    return { ...answer, cpuMs };
  } finally {
    await child.end();
  }
}

export async function runBare(servers: Servers, size: number): Promise<Run> {
  await servers.clean();
  const child = new Child<BareCalls>("./bare-process.js");
  try {
    await child.call("start", servers.redis.url, servers.nats.url);
    await child.call("run", warmUpNodes, atOnce);
    const { answer, cpuMs } = await withCpu(servers, child, () => child.call("run", size, atOnce));
    return { ms: answer, cpuMs };
  } finally {
    await child.end();
  }
}
