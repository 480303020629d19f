/** Theory: who sleeps until something is due sleeps past it; what others publish there does harm; storms of rings. */
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type NatsConnection } from "nats";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Bell, earshotMs } from "../../src/bus/bell.js";
import { Subjects } from "../../src/bus/subjects.js";
import { startNats, type TestNats } from "../support/servers.js";

const subjects = new Subjects("deploy.test");

let nats: TestNats;
let connection: NatsConnection;
let other: NatsConnection;

beforeAll(async () => {
  nats = await startNats();
  [connection, other] = await Promise.all([connect({ servers: nats.url }), connect({ servers: nats.url })]);
});
afterAll(async () => {
  await Promise.all([connection.close(), other.close()]);
  await nats.stop();
});

function bellOn(of: NatsConnection): Bell {
  return new Bell(
    { connection: of, jetstreamDomain: undefined, inboxPrefix: undefined, where: "" },
    subjects,
  );
}

async function listening(): Promise<string[]> {
  const woken: string[] = [];
  bellOn(other).listen((place) => woken.push(place));
  await other.flush();
  return woken;
}

test("who listens is woken when it is due, once for what comes thick and fast", async () => {
  const woken = await listening();
  const bell = bellOn(connection);
  const began = performance.now();
  for (let i = 0; i < 1_000; i += 1) bell.ring("a", 0);
  bell.ring("b", 300);
  await vi.waitFor(() => expect(woken).toContain("b"), { timeout: 5_000, interval: 10 });
  expect(performance.now() - began).toBeGreaterThan(290);
  expect(woken.filter((place) => place === "a").length).toBeLessThan(10);
  expect(woken).toContain("a");
});

test("after every ring somebody is woken who comes after it, and not much later than it is due", async () => {
  const woken: [place: string, at: number][] = [];
  bellOn(other).listen((place) => woken.push([place, performance.now()]));
  await other.flush();
  const bell = bellOn(connection);
  const rings: { at: number; due: number }[] = [];
  for (let i = 0; i < 200; i += 1) {
    const [at, ms] = [performance.now(), (i * 37) % 90];
    bell.ring("c", ms);
    rings.push({ at, due: at + ms });
    await sleep(3);
  }
  await sleep(200);
  const wakes = woken.filter(([place]) => place === "c").map(([, at]) => at);
  for (const { at, due } of rings) {
    const next = wakes.find((wake) => wake > at) ?? Number.POSITIVE_INFINITY;
    // Whoever wakes too early sees when it is due.
    expect(next - due).toBeLessThan(500);
  }
});

test("what is due when they look anyway is not rung for, and what is no ring is passed over", async () => {
  const woken = await listening();
  bellOn(connection).ring("late", earshotMs);
  for (const text of ["", "null", "[1]", '{"place":1,"ms":1}', '{"place":"x"}', '{"place":"x","ms":"1"}'])
    connection.publish(subjects.bell, text);
  connection.publish(subjects.bell, JSON.stringify({ place: "y".repeat(2_000), ms: 1 }));
  connection.publish(subjects.bell, JSON.stringify({ place: "soon", ms: -5 }));
  await vi.waitFor(() => expect(woken).toEqual(["soon"]), { timeout: 5_000 });
  await sleep(100);
  expect(woken).toEqual(["soon"]);
});
