/** A redis-server of this process alone: empty at its start, gone with the process. For simulation and tests. */
import { join } from "node:path";
import { HomeostatError } from "../errors.js";
import { installAdvice, lookForBinaries } from "./binaries.js";
import { askRedis, host } from "./loopback.js";
import { type PrivateServer, startPrivateServer } from "./private-server.js";

export interface PrivateRedisOptions {
  /** Also listen on a unix socket, which is faster. */
  unixSocket?: boolean;
  /** Keep an append-only file in its folder, for the time until `stop`; without it nothing is kept. */
  appendfsync?: "always" | "everysec" | "no";
  /** Further arguments of redis-server. */
  args?: readonly string[];
}

export interface PrivateRedis extends PrivateServer {
  readonly url: string;
  /** Empty without `unixSocket`. */
  readonly socketPath: string;
}

const socketName = "redis.sock";

export async function startPrivateRedis(options: PrivateRedisOptions = {}): Promise<PrivateRedis> {
  const { found, missing } = await lookForBinaries();
  if (found.redis === undefined) {
    const wanted = missing.filter((name) => name === "redis-server");
    throw new HomeostatError("unavailable", installAdvice(wanted).join("\n"));
  }
  const server = await startPrivateServer({
    name: "redis",
    program: found.redis,
    args: (port) => redisArguments(port, options),
    ask: (port) => askRedis(port),
  });
  return Object.assign(server, {
    url: `redis://${host}:${server.port}`,
    socketPath: options.unixSocket === true ? join(server.folder, socketName) : "",
  });
}

function redisArguments(port: number, options: PrivateRedisOptions): string[] {
  return [
    ...["--bind", host, "--port", String(port), "--dir", ".", "--save", "", "--daemonize", "no"],
    ...(options.unixSocket === true ? ["--unixsocket", socketName, "--unixsocketperm", "700"] : []),
    ...(options.appendfsync === undefined
      ? ["--appendonly", "no"]
      : ["--appendonly", "yes", "--appendfsync", options.appendfsync]),
    ...(options.args ?? []),
  ];
}
