/** What continuous observation costs: from an event to its repair, events that tell nothing new, reading everything. */
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "../../src/api/client.js";
import { median } from "./figures.js";
import type { ObservingCalls } from "./observing-process.js";
import type { Profile } from "./profile.js";
import { Child } from "./rpc.js";
import { cpuMs, Servers } from "./servers.js";
import { nameOf } from "./shapes.js";

const things = Number(process.env.BENCH_THINGS ?? 100_000);
const driftsPerSecond = 1_000;
const drifts = Math.min(10 * driftsPerSecond, things);
const unchangedEvents = 100_000;
/** Ahead of what has been acknowledged, so that memory is measured and not the length of a queue. */
const eventsAhead = 20_000;
const idleMs = 20_000;
const tickMs = 10;
const limitMs = 300_000;
const subject = "homeostat.observed.Bench_3a_3aWatched";

interface Latency {
  p50: number;
  p99: number;
  worst: number;
}

/** Of a while. Processor time in ms. */
interface Cost {
  ms: number;
  hostMs: number;
  redisMs: number;
  natsMs: number;
  scripts: number;
  reads: number;
}

export interface Observing {
  things: number;
  /** Nothing is due, nothing happens. */
  idle: Cost;
  /** Message and one Redis command, at the same pace. */
  bare: Latency;
  /** From the event until the repair's call. */
  repair: Latency & { repairs: number; cost: Cost };
  unchanged: { events: number; cost: Cost; profile: Profile };
  sweep: Cost;
  rssMb: { start: number; made: number; end: number; most: number };
}

export async function measureObserving(note: (text: string) => void): Promise<Observing> {
  const servers = await Servers.start("everysec");
  const host = new Child<ObservingCalls>("./observing-process.js");
  const client = await Client.connect({ nats: { url: servers.nats.url } });
  try {
    await host.call("start", servers.redis.url, servers.nats.url);
    const start = (await host.call("rssMb")).now;
    note(`observing: making ${things} things`);
    await client.call("create", { name: "watched", template: { text: template() } }, { timeoutMs: limitMs });
    await until(async () => {
      const { stack } = await client.call("show", { name: "watched", resources: false });
      if (stack.status === "FAILED") throw new Error(stack.reason);
      return stack.status === "COMPLETE";
    });
    note("observing: first looks");
    // What the schedule says of them, and then of those that came up while they were being made.
    await sleep(6_000);
    await lookAtAll(host, client);
    const made = (await host.call("rssMb")).now;
    note("observing: nothing");
    await sleep(2_000);
    const idle = await costOf(servers, host, () => sleep(idleMs));
    note("observing: bare messages");
    await host.call("listen", servers.redis.url, servers.nats.url);
    const bare = await paced(servers, host, async (ids) => {
      for (const id of ids) servers.connection.publish("bare.x", id);
    });
    note("observing: drift");
    let repaired: Latency | undefined;
    const repairCost = await costOf(servers, host, async () => {
      repaired = await paced(servers, host, async (ids) => {
        await host.call("drift", ids);
        for (const id of ids) tell(servers, id);
      });
    });
    const repair = { ...(repaired as unknown as Latency), repairs: drifts, cost: repairCost };
    note("observing: events that tell nothing new");
    const cost = await costOf(servers, host, () => storm(servers));
    note("observing: the same, profiled");
    await host.call("startProfile");
    await storm(servers);
    const unchanged = { events: unchangedEvents, cost, profile: await host.call("stopProfile") };
    note("observing: everything");
    const sweep = await costOf(servers, host, () => lookAtAll(host, client));
    const { now: end, most } = await host.call("rssMb");
    return { things, idle, bare, repair, unchanged, sweep, rssMb: { start, made, end, most } };
  } finally {
    await client.close();
    await host.end();
    await servers.stop();
  }
}

async function costOf(
  servers: Servers,
  host: Child<ObservingCalls>,
  work: () => Promise<void>,
): Promise<Cost> {
  const used = async () => ({
    hostMs: cpuMs(host.pid),
    redisMs: cpuMs(servers.redis.pid),
    natsMs: cpuMs(servers.nats.pid),
    scripts: (await servers.sums()).scripts,
    reads: await host.call("reads"),
  });
  const before = await used();
  const began = performance.now();
  await work();
  const ms = performance.now() - began;
  const after = await used();
  return {
    ms,
    hostMs: after.hostMs - before.hostMs,
    redisMs: after.redisMs - before.redisMs,
    natsMs: after.natsMs - before.natsMs,
    scripts: after.scripts - before.scripts,
    reads: after.reads - before.reads,
  };
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

function tell(servers: Servers, id: string): void {
  servers.connection.publish(subject, JSON.stringify({ type: "Bench::Watched", physical_id: id }));
}

/** A thousand a second, each about another thing. */
async function paced(
  servers: Servers,
  host: Child<ObservingCalls>,
  send: (ids: readonly string[]) => Promise<void>,
): Promise<Latency> {
  const told = new Map<string, number>();
  const began = performance.now();
  while (told.size < drifts) {
    const due = Math.min(drifts, Math.floor(((performance.now() - began) / 1_000) * driftsPerSecond));
    const ids = Array.from({ length: due - told.size }, (_, k) => nameOf(told.size + k));
    for (const id of ids) told.set(id, performance.timeOrigin + performance.now());
    if (ids.length > 0) await send(ids);
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

/** As fast as they are looked at. */
async function storm(servers: Servers): Promise<void> {
  for (let sent = 0; sent < unchangedEvents; ) {
    const portion = Math.min(500, unchangedEvents - sent);
    for (let i = 0; i < portion; i += 1) tell(servers, nameOf((sent + i) % things));
    sent += portion;
    await servers.connection.flush();
    if (sent % (eventsAhead / 2) === 0)
      await until(async () => (await unacknowledged(servers)) < eventsAhead);
  }
  await until(async () => (await unacknowledged(servers)) === 0);
}

async function unacknowledged({ connection }: Servers): Promise<number> {
  const manager = await connection.jetstreamManager();
  const { num_pending, num_ack_pending } = await manager.consumers.info("HOMEOSTAT_OBSERVED", "observers");
  return num_pending + num_ack_pending;
}

async function lookAtAll(host: Child<ObservingCalls>, client: Client): Promise<void> {
  const before = await host.call("reads");
  await client.call("observe", { name: "watched" }, { timeoutMs: limitMs });
  await until(async () => (await host.call("reads")) - before >= things);
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not in ${limitMs} ms`);
    await sleep(5 * tickMs);
  }
}
