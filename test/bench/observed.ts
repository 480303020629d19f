/** What it costs an observer to learn what producers saw: fetched, read, acknowledged. */
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "nats";
import { startNats } from "../support/servers.js";
import type { ObservedCalls } from "./observed-process.js";
import { Child } from "./rpc.js";
import { cpuMs } from "./servers.js";

const waiting = 200_000;
const perSecond = 20_000;
const seconds = 5;
const tickMs = 10;
const limitMs = 120_000;

export interface ObservedRun {
  messages: number;
  /** From the first message until all were seen. */
  ms: number;
  batches: number;
  /** µs of processor time per message. */
  observerUs: number;
  natsUs: number;
  /** How long after they were stored the first of each batch came, ms. */
  lateMs: { p50: number; p99: number };
}

export interface ObservedRuns {
  /** All are there when the observer comes. */
  waiting: ObservedRun;
  /** They come evenly, as many each second. */
  live: ObservedRun;
}

/** On a server of its own. */
export async function measureObserved(): Promise<ObservedRuns> {
  const nats = await startNats();
  const connection = await connect({ servers: nats.url });
  const observer = new Child<ObservedCalls>("./observed-process.js");
  let published = 0;
  const publish = (count: number) => {
    for (let i = 0; i < count; i += 1) {
      published += 1;
      connection.publish(
        "homeostat.observed.Bench_3a_3aThing",
        `{"type":"Bench::Thing","physical_id":"/srv/things/${published}"}`,
      );
    }
  };
  const run = async (work: () => Promise<void>): Promise<ObservedRun> => {
    const { hints, batches } = await observer.call("seen");
    const before = { observer: cpuMs(observer.pid), nats: cpuMs(nats.pid) };
    const began = performance.now();
    await work();
    const end = began + limitMs;
    let seen = await observer.call("seen");
    while (seen.hints < published && performance.now() < end) {
      await sleep(tickMs);
      seen = await observer.call("seen");
    }
    if (seen.hints !== published) throw new Error(`${seen.hints} of ${published} messages were seen`);
    const messages = published - hints;
    const late = (await observer.call("late")).sort((a, b) => a - b);
    const share = (of: number) => late[Math.floor(of * (late.length - 1))] ?? Number.NaN;
    return {
      messages,
      ms: performance.now() - began,
      batches: seen.batches - batches,
      observerUs: ((cpuMs(observer.pid) - before.observer) * 1_000) / messages,
      natsUs: ((cpuMs(nats.pid) - before.nats) * 1_000) / messages,
      lateMs: { p50: share(0.5), p99: share(0.99) },
    };
  };
  const publishEvenly = async () => {
    const began = performance.now();
    for (let sent = 0; sent < perSecond * seconds; ) {
      const due = Math.min(
        perSecond * seconds,
        Math.floor(((performance.now() - began) / 1_000) * perSecond),
      );
      publish(due - sent);
      sent = due;
      await sleep(tickMs);
    }
  };
  try {
    await observer.call("open", nats.url);
    publish(waiting);
    await connection.flush();
    const first = await run(() => observer.call("begin"));
    return { waiting: first, live: await run(publishEvenly) };
  } finally {
    await observer.end();
    await connection.close();
    await nats.stop();
  }
}
