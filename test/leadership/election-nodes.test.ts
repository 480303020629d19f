/** Theory: a node that is gone makes the others slow, until locks run out that most nodes hold. */
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
