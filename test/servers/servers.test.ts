/**
 * Theory: however many commands share a folder, and however they or the servers die, at most one pair of servers works
 * on its data, what Redis acknowledged is there afterwards, and nothing runs once the last command has left.
 */
import { chmod, mkdir, mkdtemp, readFile, realpath, stat, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { connect } from "nats";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { embeddedKey, openServers } from "../../src/servers/servers.js";
import { Command, compileServers, processesIn, recordsOf, removeFolder, until } from "./command.js";

let compiled: string;
let home: string;
let dir: string;
const commands: Command[] = [];
const log = { info() {}, warn() {} };

beforeAll(async () => {
  compiled = await compileServers();
});
afterAll(() => removeFolder(compiled));

beforeEach(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), "homeostat-servers-")));
  dir = join(home, ".homeostat");
});

afterEach(async () => {
  await Promise.all(commands.splice(0).map((command) => command.kill()));
  for (const pid of await processesIn(home)) process.kill(pid, "SIGKILL");
  await until("the servers of the test are gone", async () => (await processesIn(home)).length === 0);
  await removeFolder(home);
});

function command(options: ConstructorParameters<typeof Command>[2] = {}, folder = dir): Command {
  const started = new Command(compiled, folder, options);
  commands.push(started);
  return started;
}

async function withRedis<T>(url: string, work: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { lazyConnect: true, maxRetriesPerRequest: 1 });
  redis.on("error", () => undefined);
  try {
    await redis.connect();
    return await work(redis);
  } finally {
    redis.disconnect();
  }
}

const read = (url: string, key: string) => withRedis(url, (redis) => redis.get(key));
const write = (url: string, key: string, value: string) => withRedis(url, (redis) => redis.set(key, value));

async function connectNats(url: string) {
  const { hostname, port, username, password } = new URL(url);
  return await connect({ servers: `${hostname}:${port}`, user: username, pass: password });
}

describe("one command", () => {
  it("gets both servers, durable and closed to others, and leaves nothing behind", async () => {
    const began = performance.now();
    const servers = await openServers({ dir, log });
    const tookMs = performance.now() - began;
    expect(tookMs, "a start is quick").toBeLessThan(3000);
    const config = await withRedis(servers.redisUrl, (redis) => redis.config("GET", "append*"));
    expect(config).toEqual(expect.arrayContaining(["appendonly", "yes", "appendfsync", "always"]));
    const nats = await connectNats(servers.natsUrl);
    expect(nats.info?.jetstream).toBe(true);
    expect(nats.info?.max_payload).toBe(1024 * 1024);
    const manager = await nats.jetstreamManager();
    await manager.streams.add({ name: "kept", subjects: ["kept"] });
    await nats.close();

    const { port } = new URL(servers.redisUrl);
    await expect(read(`redis://127.0.0.1:${port}`, "x")).rejects.toThrow();
    await expect(connect({ servers: `127.0.0.1:${new URL(servers.natsUrl).port}` })).rejects.toThrow();
    for (const file of ["servers.json", "redis/redis.conf", "nats/nats.conf"]) {
      expect((await stat(join(dir, file))).mode & 0o777, file).toBe(0o600);
    }
    expect(await readFile(join(dir, ".gitignore"), "utf8")).toBe("*\n");

    await servers.close();
    await servers.close();
    expect(await processesIn(dir)).toEqual([]);
    expect((await recordsOf(dir)).users).toEqual([]);
  });

  it("finds its data, ports and passwords again", async () => {
    const first = await openServers({ dir, log });
    await write(first.redisUrl, "kept", "yes");
    const nats = await connectNats(first.natsUrl);
    await (await nats.jetstreamManager()).streams.add({ name: "kept", subjects: ["kept"] });
    await nats.close();
    await first.close();
    const second = await openServers({ dir, log });
    expect(second.redisUrl).toBe(first.redisUrl);
    expect(second.natsUrl).toBe(first.natsUrl);
    expect(await read(second.redisUrl, "kept")).toBe("yes");
    const again = await connectNats(second.natsUrl);
    expect((await (await again.jetstreamManager()).streams.info("kept")).config.name).toBe("kept");
    await again.close();
    await second.close();
  });

  it("takes other ports when its own were taken meanwhile", async () => {
    const first = await openServers({ dir, log });
    await write(first.redisUrl, "kept", "yes");
    await first.close();
    const port = Number(new URL(first.redisUrl).port);
    const intruder = createServer().listen(port, "127.0.0.1");
    const second = await openServers({ dir, log });
    expect(second.redisUrl).not.toBe(first.redisUrl);
    expect(await read(second.redisUrl, "kept")).toBe("yes");
    await second.close();
    intruder.close();
  });

  it("works in a folder with a long and unusual path", async () => {
    const part = `it's "odd" #1 é ${"x".repeat(150)}`;
    const long = join(home, ...Array.from({ length: 10 }, () => part), ".homeostat");
    expect(long.length).toBeGreaterThan(1600);
    const servers = await openServers({ dir: long, log });
    await write(servers.redisUrl, "kept", "yes");
    await servers.close();
    const again = await openServers({ dir: long, log });
    expect(await read(again.redisUrl, "kept")).toBe("yes");
    await again.close();
    expect(await processesIn(long)).toEqual([]);
  });

  it("closes in order on Ctrl-C, which the servers are spared", async () => {
    const group = command({ program: ["/usr/bin/env", "setsid", process.execPath] });
    const { redisUrl } = await group.urls();
    await write(redisUrl, "kept", "yes");
    const before = await recordsOf(dir);
    process.kill(-(group.child.pid ?? 0), "SIGINT");
    await until("all have ended", async () => (await processesIn(dir)).length === 0);
    expect(await readFile(join(dir, "redis/redis.log"), "utf8")).toContain("Received SIGTERM");
    expect(before.redis.run).not.toBeNull();
    const next = await openServers({ dir, log });
    expect(await read(next.redisUrl, "kept")).toBe("yes");
    await next.close();
  });
});

describe("several commands at once", () => {
  it("start one pair between them, and the last one out stops it", async () => {
    const all = Array.from({ length: 8 }, () => command());
    const urls = await Promise.all(all.map((one) => one.urls()));
    expect(new Set(urls.map((one) => JSON.stringify(one))).size).toBe(1);
    expect(await processesIn(dir)).toHaveLength(2);
    const [last, ...others] = all;
    await Promise.all(others.map((one) => one.close()));
    expect(await processesIn(dir)).toHaveLength(2);
    await write(urls[0]?.redisUrl ?? "", "kept", "yes");
    await last?.close();
    expect(await processesIn(dir)).toEqual([]);
  });

  it("share them within a process too", async () => {
    const [a, b] = await Promise.all([openServers({ dir, log }), openServers({ dir, log })]);
    expect(a.redisUrl).toBe(b.redisUrl);
    await a.close();
    expect(await read(b.redisUrl, "x")).toBeNull();
    await b.close();
    expect(await processesIn(dir)).toEqual([]);
  });

  it("keep one pair and all acknowledged data while they come, go and are killed at random moments", async () => {
    const seed = Date.now() % 1_000_000;
    const random = mulberry(seed);
    const acknowledged = new Set<string>();
    let pairs = 0;
    const visitor = async (name: string) => {
      for (let visit = 0; visit < 5; visit++) {
        const one = command();
        if (random() < 0.3) {
          await sleep(random() * 250);
          await one.kill();
          continue;
        }
        const { redisUrl } = await one.urls();
        const key = `${name}.${visit}`;
        await write(redisUrl, key, "yes");
        acknowledged.add(key);
        pairs = Math.max(pairs, (await processesIn(dir)).length);
        await (random() < 0.5 ? one.close() : one.kill());
      }
    };
    await Promise.all(["a", "b", "c", "d"].map(visitor));
    const last = await openServers({ dir, log });
    for (const key of acknowledged)
      expect(await read(last.redisUrl, key), `${key}, seed ${seed}`).toBe("yes");
    expect(pairs, `seed ${seed}`).toBeLessThanOrEqual(2);
    await last.close();
    expect(await processesIn(dir), `seed ${seed}`).toEqual([]);
  });
});

describe("after a death", () => {
  it("the next command adopts the servers of a killed one, and stops them", async () => {
    const killed = command();
    const { redisUrl } = await killed.urls();
    const pids = await processesIn(dir);
    await killed.kill();
    const next = await openServers({ dir, log });
    expect(next.redisUrl).toBe(redisUrl);
    expect(await processesIn(dir)).toEqual(pids);
    await next.close();
    expect(await processesIn(dir)).toEqual([]);
  });

  it.each([
    ["pid reused by a process that started later", () => ({ pid: process.pid, start: "1" })],
    ["pid of no process", () => ({ pid: 2 ** 22 + 7, start: "1" })],
  ])("a record is not mistaken: %s", async (_, stale) => {
    const servers = await openServers({ dir, log });
    await servers.close();
    const records = JSON.parse(await readFile(join(dir, "servers.json"), "utf8"));
    records.users = [{ id: "gone", ...stale() }];
    records.redis.run = stale();
    await writeFile(join(dir, "servers.json"), JSON.stringify(records));
    const next = await openServers({ dir, log });
    expect((await recordsOf(dir)).users).toHaveLength(1);
    await next.close();
    expect(await processesIn(dir)).toEqual([]);
  });

  it.each(["redis", "nats"] as const)(
    "a killed %s-server is started again by the next command",
    async (kind) => {
      const killed = command();
      const { redisUrl } = await killed.urls();
      await write(redisUrl, "kept", "yes");
      await killed.kill();
      process.kill((await recordsOf(dir))[kind].run?.pid ?? 0, "SIGKILL");
      const next = await openServers({ dir, log });
      expect(next.redisUrl).toBe(redisUrl);
      expect(await read(next.redisUrl, "kept")).toBe("yes");
      expect(await processesIn(dir)).toHaveLength(2);
      await next.close();
    },
  );

  it("servers killed under their users come back on their ports, once", async () => {
    const users = [command(), command(), command()];
    const [urls] = await Promise.all(users.map((one) => one.urls()));
    const redisUrl = urls?.redisUrl ?? "";
    await write(redisUrl, "kept", "yes");
    for (const round of [1, 2]) {
      const before = await recordsOf(dir);
      process.kill(before.redis.run?.pid ?? 0, "SIGKILL");
      process.kill(before.nats.run?.pid ?? 0, "SIGKILL");
      await until(`servers are back, round ${round}`, async () => {
        const now = await recordsOf(dir);
        return now.redis.run?.pid !== before.redis.run?.pid && now.nats.run?.pid !== before.nats.run?.pid;
      });
      await until("redis answers", () =>
        read(redisUrl, "kept").then(
          (value) => value === "yes",
          () => false,
        ),
      );
      expect(await processesIn(dir)).toHaveLength(2);
    }
    await Promise.all(users.map((one) => one.close()));
    expect(await processesIn(dir)).toEqual([]);
  });

  it("a command whose folder was removed still stops its servers", async () => {
    const user = command();
    await user.urls();
    const pids = await processesIn(dir);
    await removeFolder(dir);
    await user.close();
    await until("servers ended", async () => pids.every((pid) => !runs(pid)));
  });
});

describe("what cannot work is said", () => {
  it("missing programs: what to install, or to set", async () => {
    const { code, message } = await command({ env: { PATH: "" } }).said;
    expect(code).toBe("unavailable");
    expect(message).toContain("redis-server");
    expect(message).toContain("apt-get install redis-server");
    expect(message).toContain("brew install redis");
    expect(message).toContain("docker compose up");
    expect(message).toContain("HOMEOSTAT_REDIS_URL and HOMEOSTAT_NATS_URL");
  });

  it("a damaged append-only file: where the log is, and how to repair", async () => {
    const first = await openServers({ dir, log });
    await write(first.redisUrl, "kept", "yes");
    await first.close();
    const manifest = await readFile(join(dir, "redis/appendonlydir/appendonly.aof.manifest"), "utf8");
    const increment = manifest.split(/\s+/).find((word) => word.endsWith(".incr.aof")) ?? "";
    const path = join(dir, "redis/appendonlydir", increment);
    await writeFile(path, `garbage\r\n${await readFile(path, "latin1")}`);
    const failure = await openServers({ dir, log }).catch((error: Error) => error);
    expect(failure).toMatchObject({ code: "unavailable" });
    expect(String(failure)).toContain(join(dir, "redis/redis.log"));
    expect(String(failure)).toContain("Bad file format");
    expect(String(failure)).toContain("redis-check-aof --fix");
    expect(await processesIn(dir), "nothing stays half open").toEqual([]);
  });

  it("a file in place of the folder", async () => {
    await writeFile(dir, "");
    await expect(openServers({ dir, log })).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("is not a folder"),
    });
  });

  it.skipIf(process.getuid?.() === 0)("a folder that may not be written", async () => {
    await mkdir(dir);
    await chmod(dir, 0o500);
    await expect(openServers({ dir, log })).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("may not be used"),
    });
    await chmod(dir, 0o700);
  });

  it("an unreadable record", async () => {
    await mkdir(dir);
    await writeFile(join(dir, "servers.json"), "{");
    await expect(openServers({ dir, log })).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining(join(dir, "servers.json")),
    });
  });

  it("a folder in use from another container, told by its living record; a dead one is taken over", async () => {
    const servers = await openServers({ dir, log });
    await servers.close();
    const path = join(dir, "servers.json");
    const records = JSON.parse(await readFile(path, "utf8"));
    await writeFile(
      path,
      JSON.stringify({ ...records, place: "elsewhere", users: [{ id: "u", pid: 1, start: "1" }] }),
    );
    const touching = setInterval(() => void utimes(path, new Date(), new Date()), 200);
    await expect(openServers({ dir, log })).rejects.toMatchObject({
      message: expect.stringContaining("another container or machine"),
    });
    clearInterval(touching);
    const next = await openServers({ dir, log });
    expect((await recordsOf(dir)).users).toHaveLength(1);
    await next.close();
  });
});

describe("the sealing key", () => {
  it("is made once, whoever asks at the same time, and private", async () => {
    const keys = await Promise.all(Array.from({ length: 10 }, () => embeddedKey(dir)));
    expect(new Set(keys).size).toBe(1);
    expect(Buffer.from(keys[0] ?? "", "base64")).toHaveLength(32);
    expect((await stat(join(dir, "key"))).mode & 0o777).toBe(0o600);
    expect(await embeddedKey(dir)).toBe(keys[0]);
  });

  it("is never replaced when damaged", async () => {
    await mkdir(dir);
    await writeFile(join(dir, "key"), "c2hvcnQ=\n");
    await expect(embeddedKey(dir)).rejects.toMatchObject({ code: "invalid" });
    expect(await readFile(join(dir, "key"), "utf8")).toBe("c2hvcnQ=\n");
  });
});

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** A small seeded generator. */
function mulberry(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
