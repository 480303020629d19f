/** Theory: whatever is asked of Redis is answered, however often a connection breaks in the middle of its answers. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { Prng } from "../../src/simulator/prng.js";
import { connectRedis } from "../../src/store/connection.js";
import { startRedis, type TestRedis } from "../support/servers.js";
import { chooseSeed } from "./site.js";
import { TcpProxy } from "./tcp-proxy.js";

let server: TestRedis;
let proxy: TcpProxy;

beforeEach(async () => {
  server = await startRedis();
  proxy = await TcpProxy.open(server.port, new Prng(chooseSeed("replies")));
});
afterEach(async () => {
  await proxy.close();
  await server.stop();
});

it("asks again for what a broken connection left without an answer, also in the middle of a batch", async () => {
  const redis = connectRedis(`redis://127.0.0.1:${proxy.port}`);
  redis.on("error", () => undefined);
  try {
    for (let round = 0; round < 20; round += 1) {
      await redis.ping();
      proxy.loseReplies(0.7);
      const batch = Promise.all(Array.from({ length: 50 }, (_, i) => redis.set(`${round}.${i}`, i)));
      const healed = setTimeout(() => proxy.heal(), 100);
      expect(new Set(await batch)).toEqual(new Set(["OK"]));
      clearTimeout(healed);
      proxy.heal();
    }
    expect(await redis.dbsize()).toBe(1_000);
    expect(proxy.lost).toBeGreaterThan(5);
  } finally {
    redis.disconnect();
  }
});

it("connects anew to a server that says nothing any more", { timeout: 30_000 }, async () => {
  const redis = connectRedis(`redis://127.0.0.1:${proxy.port}`);
  redis.on("error", () => undefined);
  try {
    await redis.set("key", "value");
    proxy.forget();
    const began = performance.now();
    expect(await redis.get("key")).toBe("value");
    expect(performance.now() - began).toBeLessThan(15_000);
  } finally {
    redis.disconnect();
  }
});
