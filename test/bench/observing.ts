/** What continuous observation costs: from an event to its repair, events that tell nothing new, reading everything. */
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "../../src/api/client.js";
import { median } from "./figures.js";
import type { ObservingCalls } from "./observing-process.js";
import { Child } from "./rpc.js";
import { cpuMs, Servers } from "./servers.js";
import { nameOf } from "./shapes.js";

const things = Number(process.env.BENCH_THINGS ?? 100_000);
const driftsPerSecond = 1_000;
const driftSeconds = 10;
const unchangedEvents = 100_000;
const tickMs = 10;
const limitMs = 300_000;
const subject = "homeostat.observed.Bench_3a_3aWatched";

interface Latency {
  p50: number;
  p99: number;
  worst: number;
}

export interface Observing {
  /** Message and one Redis command, at the same pace. */
  bare: Latency;
  /** From the event until the repair's call. */
  repair: Latency & { repairs: number; cpuUs: number };
  unchanged: { events: number; reads: number; ms: number; cpuUs: number; redisUs: number };
  sweep: { things: number; ms: number; cpuUs: number; redisUs: number; rssMb: number };
}

export async function measureObserving(note: (text: string) => void): Promise<Observing> {
  const servers = await Servers.start("everysec");
  const host = new Child<ObservingCalls>("./observing-process.js");
  const client = await Client.connect({ nats: { url: servers.nats.url } });
  try {
    await host.call("start", servers.redis.url, servers.nats.url);
    note(`observing: making ${things} things`);
    await client.call("create", { name: "watched", template: { text: template() } }, { timeoutMs: limitMs });
    await until(async () => {
      const { stack } = await client.call("show", { name: "watched", resources: false });
      if (stack.status === "FAILED") throw new Error(stack.reason);
      return stack.status === "COMPLETE";
    });
    note("observing: bare messages");
    await host.call("listen", servers.redis.url, servers.nats.url);
    const bare = await paced(servers, host, async (id) => servers.connection.publish("bare.x", id));
    note("observing: drift");
    const before = cpuMs(host.pid);
    const repaired = await paced(servers, host, async (id) => {
      servers.connection.publish(subject, JSON.stringify({ type: "Bench::Watched", physical_id: id }));
    });
    const repairs = driftsPerSecond * driftSeconds;
    const repair = { ...repaired, repairs, cpuUs: ((cpuMs(host.pid) - before) * 1_000) / repairs };
    note("observing: events that tell nothing new");
    const unchanged = await storm(servers, host);
    note("observing: everything");
    const sweep = await lookAtAll(servers, host, client);
    return { bare, repair, unchanged, sweep };
  } finally {
    await client.close();
    await host.end();
    await servers.stop();
  }
}

function template(): string {
  const resources = Object.fromEntries(
    Array.from({ length: things }, (_, i) => [
      nameOf(i),
      { type: "Bench::Watched", properties: { text: "as declared" } },
    ]),
  );
  const policy = { poll: "8760h", grace: "0s", budget: { burst: 1_000_000, per_minute: 1_000_000 } };
  const parameters = { homeostat_policy: { type: "json", default: policy } };
  return JSON.stringify({ parameters, resources });
}

/** A thousand a second, each about another thing, which has changed. */
async function paced(
  servers: Servers,
  host: Child<ObservingCalls>,
  tell: (id: string) => Promise<void>,
): Promise<Latency> {
  const total = driftsPerSecond * driftSeconds;
  const told = new Map<string, number>();
  const began = performance.now();
  while (told.size < total) {
    const due = Math.min(total, Math.floor(((performance.now() - began) / 1_000) * driftsPerSecond));
    const ids = Array.from({ length: due - told.size }, (_, k) => nameOf((told.size + k) % things));
    if (ids.length > 0) await host.call("drift", ids);
    for (const id of ids) {
      told.set(id, performance.timeOrigin + performance.now());
      await tell(id);
    }
    await sleep(tickMs);
  }
  await servers.connection.flush();
  const times = new Map<string, number>();
  await until(async () => {
    for (const [id, at] of Object.entries(await host.call("repaired"))) times.set(id, at);
    return times.size >= told.size;
  });
  const late = [...told].map(([id, at]) => (times.get(id) ?? Number.NaN) - at).sort((a, b) => a - b);
  const share = (of: number) => late[Math.floor(of * (late.length - 1))] ?? Number.NaN;
  return { p50: median(late), p99: share(0.99), worst: share(1) };
}

async function storm(servers: Servers, host: Child<ObservingCalls>): Promise<Observing["unchanged"]> {
  const readsBefore = await host.call("reads");
  const used = () => ({ host: cpuMs(host.pid), redis: cpuMs(servers.redis.pid) });
  const before = used();
  const began = performance.now();
  for (let i = 0; i < unchangedEvents; i += 1) {
    const body = JSON.stringify({ type: "Bench::Watched", physical_id: nameOf(i % things) });
    servers.connection.publish(subject, body);
    if (i % 500 === 0) await servers.connection.flush();
  }
  await servers.connection.flush();
  await until(async () => (await unacknowledged(servers)) === 0);
  const ms = performance.now() - began;
  const after = used();
  return {
    events: unchangedEvents,
    reads: (await host.call("reads")) - readsBefore,
    ms,
    cpuUs: ((after.host - before.host) * 1_000) / unchangedEvents,
    redisUs: ((after.redis - before.redis) * 1_000) / unchangedEvents,
  };
}

async function unacknowledged({ connection }: Servers): Promise<number> {
  const manager = await connection.jetstreamManager();
  const { num_pending, num_ack_pending } = await manager.consumers.info("HOMEOSTAT_OBSERVED", "observers");
  return num_pending + num_ack_pending;
}

async function lookAtAll(
  servers: Servers,
  host: Child<ObservingCalls>,
  client: Client,
): Promise<Observing["sweep"]> {
  const readsBefore = await host.call("reads");
  const used = () => ({ host: cpuMs(host.pid), redis: cpuMs(servers.redis.pid) });
  const before = used();
  const began = performance.now();
  await client.call("observe", { name: "watched" }, { timeoutMs: limitMs });
  await until(async () => (await host.call("reads")) - readsBefore >= things);
  const ms = performance.now() - began;
  const after = used();
  return {
    things,
    ms,
    cpuUs: ((after.host - before.host) * 1_000) / things,
    redisUs: ((after.redis - before.redis) * 1_000) / things,
    rssMb: await host.call("rssMb"),
  };
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not in ${limitMs} ms`);
    await sleep(5 * tickMs);
  }
}
