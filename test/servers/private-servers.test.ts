/** Theory: a private server serves until its owner stops it or dies, and then neither process nor folder is left. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Redis } from "ioredis";
import { connect } from "nats";
import { expect, it } from "vitest";
import { startOf } from "../../src/servers/process-identity.js";
import { startNats, startRedis } from "../support/servers.js";
import { compileServers, removeFolder, until } from "./command.js";

it("redis-server: on its port and its socket, gone after stop", async () => {
  const server = await startRedis({ unixSocket: true });
  const [byPort, bySocket] = [new Redis(server.url), new Redis(server.socketPath)];
  await byPort.set("a", "1");
  expect(await bySocket.get("a")).toBe("1");
  expect(await byPort.config("GET", "appendonly")).toEqual(["appendonly", "no"]);
  byPort.disconnect();
  bySocket.disconnect();
  await server.stop();
  await server.stop();
  expect(await startOf(server.pid)).toBeUndefined();
  expect(existsSync(server.folder)).toBe(false);
});

it("redis-server: killed and restarted on its port, with its append-only data", async () => {
  const server = await startRedis({ appendfsync: "always", args: ["--maxclients", "77"] });
  const redis = new Redis(server.url);
  redis.on("error", () => undefined);
  await redis.set("a", "1");
  const { pid, url } = server;
  await server.kill();
  expect(await startOf(pid)).toBeUndefined();
  await server.restart();
  expect(server.pid).not.toBe(pid);
  expect(server.url).toBe(url);
  expect(await redis.get("a")).toBe("1");
  await redis.set("b", "2");
  await server.restart();
  expect(await redis.get("b")).toBe("2");
  expect(await redis.config("GET", "maxclients")).toEqual(["maxclients", "77"]);
  redis.disconnect();
  await server.stop();
});

it("redis-server: a wrong argument is told", async () => {
  await expect(startRedis({ args: ["--no-such-thing", "1"] })).rejects.toThrow("no-such-thing");
});

it("nats-server: with JetStream, restarted with its streams", async () => {
  const server = await startNats();
  const before = await connect({ servers: server.url });
  await (await before.jetstreamManager()).streams.add({ name: "kept", subjects: ["kept"] });
  await before.close();
  await server.restart();
  const after = await connect({ servers: server.url });
  expect((await (await after.jetstreamManager()).streams.info("kept")).config.name).toBe("kept");
  await after.close();
  await server.stop();
  expect(await startOf(server.pid)).toBeUndefined();
  expect(existsSync(server.folder)).toBe(false);
});

it.each(["SIGKILL", "SIGINT"] as const)("its owner ends by %s", async (signal) => {
  const compiled = await compileServers();
  await writeFile(
    join(compiled, "owner.js"),
    `import { startPrivateRedis } from "./src/servers/private-redis.js";
     const { pid, folder } = await startPrivateRedis({ unixSocket: true });
     console.log(JSON.stringify({ pid, folder }));
     setInterval(() => {}, 1000);`,
  );
  const owner = spawn(process.execPath, [join(compiled, "owner.js")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(owner, "exit");
  const [line] = await once(createInterface(owner.stdout), "line");
  const { pid, folder } = JSON.parse(line) as { pid: number; folder: string };
  expect(await startOf(pid)).toBeDefined();
  owner.kill(signal);
  await ended;
  await until("its server is gone", async () => (await startOf(pid)) === undefined);
  await until("its folder is gone", async () => !existsSync(folder));
  await removeFolder(compiled);
});

it("does not keep its owner alive", async () => {
  const compiled = await compileServers();
  await writeFile(
    join(compiled, "owner.js"),
    `import { startPrivateRedis } from "./src/servers/private-redis.js";
     await startPrivateRedis();`,
  );
  const owner = spawn(process.execPath, [join(compiled, "owner.js")], { stdio: "inherit" });
  expect(await once(owner, "exit")).toEqual([0, null]);
  await removeFolder(compiled);
});
