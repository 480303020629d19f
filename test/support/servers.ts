/** Real servers for tests: private, on free ports, gone with the test process. */
import { installAdvice, lookForBinaries } from "../../src/servers/binaries.js";
import { askNats, host } from "../../src/servers/loopback.js";
import {
  type PrivateRedis,
  type PrivateRedisOptions,
  startPrivateRedis,
} from "../../src/servers/private-redis.js";
import { type PrivateServer, startPrivateServer } from "../../src/servers/private-server.js";

export type TestRedis = PrivateRedis;

export async function startRedis(options: PrivateRedisOptions = {}): Promise<TestRedis> {
  return await startPrivateRedis(options);
}

export interface TestNats extends PrivateServer {
  readonly url: string;
}

/** With JetStream, without authorization; `args` are further arguments of nats-server. */
export async function startNats(options: { args?: readonly string[] } = {}): Promise<TestNats> {
  const { found } = await lookForBinaries();
  if (found.nats === undefined) throw new Error(installAdvice(["nats-server"]).join("\n"));
  const server = await startPrivateServer({
    name: "nats",
    program: found.nats,
    args: (port) => ["-a", host, "-p", String(port), "-js", "-sd", ".", ...(options.args ?? [])],
    ask: (port) => askNats(port),
  });
  return Object.assign(server, { url: `nats://${host}:${server.port}` });
}
