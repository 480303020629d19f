/** Theory: while NATS is away everybody who has something to tell waits; what was to be told then comes twice or never. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { NatsBus } from "../../src/bus/bus.js";
import { connectNats, type NatsLink, watchConnection } from "../../src/bus/connect.js";
import { defaultStreamLimits, Streams } from "../../src/bus/streams.js";
import { Subjects } from "../../src/bus/subjects.js";
import { startNats, type TestNats } from "../support/servers.js";
import { RecordingLog } from "../worker/world.js";

const within = { timeout: 20_000, interval: 50 };
const subjects = new Subjects("deploy.test");

let nats: TestNats;
let link: NatsLink;
let bus: NatsBus;

beforeAll(async () => {
  nats = await startNats();
  link = await connectNats({ url: nats.url }, "test");
  const log = new RecordingLog();
  const streams = new Streams(link, subjects, defaultStreamLimits, 30_000);
  await streams.ensure();
  bus = new NatsBus(link, streams, subjects, log);
  void watchConnection(link, log, { lost: () => bus.connectionLost(), back: () => bus.connectionBack() });
});
afterAll(async () => {
  await link.connection.close();
  await nats.stop();
});

function announce(id: string): Promise<void> {
  const event = { type: "io.homeostat.api.v1.stack", id, stack: "s", stackName: "web", what: "complete" };
  return bus.announce([{ id, text: JSON.stringify(event) }]);
}

async function told(): Promise<string[]> {
  const manager = await link.connection.jetstreamManager();
  const { state } = await manager.streams.info(subjects.eventStream);
  const ids: string[] = [];
  for (let seq = state.first_seq; seq <= state.last_seq; seq += 1) {
    const { data } = await manager.streams.getMessage(subjects.eventStream, { seq });
    ids.push((JSON.parse(Buffer.from(data).toString()) as { id: string }).id);
  }
  return ids;
}

test("a short break is waited for; in a long one nobody waits, and afterwards all is as before", async () => {
  await announce("before");
  await nats.kill();
  const during = announce("during");
  await nats.restart();
  await during;

  await nats.kill();
  const first = performance.now();
  await expect(announce("long")).rejects.toThrow();
  expect(performance.now() - first).toBeLessThan(6_000);
  await sleep(1_000);
  const began = performance.now();
  await expect(announce("long")).rejects.toThrow("NATS is away");
  const ring = { traversal: 1, attempt: "a", node: "n", resource: "r", pool: "default" };
  await expect(bus.ring("s", [ring])).rejects.toThrow("NATS is away");
  expect(performance.now() - began).toBeLessThan(1_000);

  await nats.restart();
  await vi.waitFor(() => announce("long"), within);
  await announce("after");
  expect(await told()).toEqual(["before", "during", "long", "after"]);
}, 60_000);
