/** Real servers for tests: private, on free ports, gone with the test process. */
import { installAdvice, lookForBinaries } from "../../src/servers/binaries.js";
import { askNats, host, type NatsCredentials } from "../../src/servers/loopback.js";
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

/** With JetStream, for anybody unless there are `credentials`; `args` are further arguments of nats-server. */
export async function startNats(
  options: { args?: readonly string[]; credentials?: NatsCredentials } = {},
): Promise<TestNats> {
  const { args = [], credentials } = options;
  const login = credentials === undefined ? [] : ["--user", credentials.user, "--pass", credentials.pass];
  const { found } = await lookForBinaries();
  if (found.nats === undefined) throw new Error(installAdvice(["nats-server"]).join("\n"));
  const server = await startPrivateServer({
    name: "nats",
    program: found.nats,
    args: (port) => ["-a", host, "-p", String(port), "-js", "-sd", ".", ...login, ...args],
    ask: (port) => askNats(port, credentials),
  });
  return Object.assign(server, { url: `nats://${host}:${server.port}` });
}
