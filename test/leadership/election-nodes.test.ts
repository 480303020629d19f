/** Theory: a node that is gone makes the others slow, until locks run out that most nodes hold. */
import { Redis } from "ioredis";
import type { Lock } from "redlock";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ElectionNodes } from "../../src/leadership/election-nodes.js";
import { startRedis, type TestRedis } from "../support/servers.js";

let servers: TestRedis[];
beforeAll(async () => {
  servers = await Promise.all([startRedis(), startRedis(), startRedis()]);
});
afterAll(async () => {
  for (const server of servers) await server.stop();
});

/** The longest of so many, in ms. */
async function longest(times: number, act: () => Promise<unknown>): Promise<number> {
  let most = 0;
  for (let i = 0; i < times; i++) {
    const began = performance.now();
    await act();
    most = Math.max(most, performance.now() - began);
  }
  return most;
}

test("one that lost a lock, or never had it, has it again; what was released stays so", async () => {
  const nodes = new ElectionNodes(servers.map(({ url }) => url));
  const second = new Redis(servers[1]?.url ?? "");
  try {
    const lock = await nodes.acquire("hs:leader:y", 30_000);
    await second.del("hs:leader:y");
    await nodes.extend(lock, 30_000, 100);
    expect(await second.get("hs:leader:y")).toBe(lock.value);
    const late = nodes.extend(lock, 30_000, 100);
    await lock.release();
    await expect(late).rejects.toThrow("released");
    expect(await second.exists("hs:leader:y")).toBe(0);
    const other = await nodes.acquire("hs:leader:y", 30_000);
    await expect(
      nodes.extend(Object.create(lock, { expiration: { value: 1 } }) as Lock, 30_000, 100),
    ).rejects.toThrow("not held");
    expect(await second.get("hs:leader:y")).toBe(other.value);
  } finally {
    second.disconnect();
    nodes.close();
  }
});

test("one that is gone keeps nobody waiting", async () => {
  const nodes = new ElectionNodes(servers.map(({ url }) => url));
  try {
    const lock = await nodes.acquire("hs:leader:x", 30_000);
    await servers[0]?.kill();
    // Waiting for it would take each until the next attempt to connect, or a second.
    expect(await longest(20, () => nodes.extend(lock, 30_000, 100))).toBeLessThan(600);
    expect(await longest(5, () => nodes.mostAnswer())).toBeLessThan(400);
    await servers[1]?.kill();
    await expect(nodes.extend(lock, 30_000, 100)).rejects.toThrow("not held on most nodes");
    expect(await nodes.mostAnswer()).toBe(false);
  } finally {
    nodes.close();
  }
});
