/** `homeostat daemon` and `homeostat dev`: the engine until it is told to stop. */
import { join } from "node:path";
import { Client } from "../../api/client.js";
import { HomeostatError } from "../../errors.js";
import { type EmbeddedServers, openServers } from "../../servers/servers.js";
import type { Host } from "../../worker/host.js";
import type { Context } from "../context.js";
import { recordDaemon } from "../daemon-record.js";
import { type Endpoints, embeddedEndpoints, remoteEndpoints } from "../endpoints.js";
import { type EngineOptions, startHere } from "../engine.js";
import { exitStatus } from "../exit-status.js";
import type { Interruption } from "../interruption.js";
import { daemonLog, type Log } from "../log.js";
import { eventLine } from "../progress.js";
import { orphansOf } from "../settings.js";

export interface DaemonOptions {
  pool?: string[];
  orphans?: string;
}

/** Logs are JSON. Without configured servers, it is a daemon of the folder's embedded ones. */
export async function daemon(context: Context, { pool = [], orphans: said }: DaemonOptions): Promise<number> {
  const { settings } = context;
  const log = daemonLog(settings);
  const orphans = orphansOf(said);
  const engine = {
    ...(pool.length === 0 ? {} : { pools: pool }),
    ...(orphans === undefined ? {} : { orphans }),
  };
  if (settings.remote === undefined) return embedded(context, log, engine, async () => undefined);
  const host = await startHere(settings, await remoteEndpoints(settings.remote), log, engine);
  log.info({ pools: pool }, "ready");
  return untilTold(context.interruption, log, host);
}

/** For people: says how to reach the servers, then what happens. */
export async function dev(context: Context): Promise<number> {
  const { settings, terminal, log } = context;
  if (settings.remote !== undefined) {
    throw new HomeostatError(
      "invalid",
      "homeostat dev runs on its own embedded servers, and others are configured: use homeostat daemon, or unset them",
    );
  }
  return embedded(context, log, {}, async (endpoints, servers) => {
    introduce(context, servers);
    const client = await Client.connect({ nats: endpoints.nats });
    const stream = client.events({ since: "now" });
    void (async () => {
      for await (const event of stream) {
        if (terminal.json) terminal.data(event);
        else terminal.say(eventLine(event, terminal.colors, { withStack: true }));
      }
    })().catch(() => undefined);
    return async () => {
      await stream.close();
      await client.close();
    };
  });
}

type WhileRunning = (
  endpoints: Endpoints,
  servers: EmbeddedServers,
) => Promise<(() => Promise<void>) | undefined>;

async function embedded(
  { settings, interruption, terminal }: Context,
  log: Log,
  engine: EngineOptions,
  whileRunning: WhileRunning,
): Promise<number> {
  const servers = await openServers({ dir: settings.dir, log });
  const undo: (() => Promise<void>)[] = [() => servers.close()];
  try {
    const endpoints = await embeddedEndpoints(settings.dir, servers);
    const host = await startHere(settings, endpoints, log, engine);
    undo.push(await recordDaemon(settings.dir));
    log.info({ dir: settings.dir }, "ready");
    const stop = await whileRunning(endpoints, servers);
    if (stop !== undefined) undo.push(stop);
    if (!interruption.signal.aborted) await once(interruption.signal);
    if (!terminal.json) terminal.note("letting calls in flight end … (Ctrl-C again ends at once)");
    return await untilTold(interruption, log, host);
  } finally {
    for (const step of undo.reverse()) await step();
  }
}

async function untilTold(interruption: Interruption, log: Log, host: Host): Promise<number> {
  if (!interruption.signal.aborted) await once(interruption.signal);
  log.info({ signal: interruption.received }, "draining");
  await host.drain();
  log.info({}, "stopped");
  // Who runs a service asks for its end with SIGTERM: that is no failure.
  return interruption.received === "SIGTERM" ? exitStatus.reached : interruption.status;
}

function once(signal: AbortSignal): Promise<void> {
  return new Promise((done) => signal.addEventListener("abort", () => done(), { once: true }));
}

function introduce({ settings, terminal }: Context, { redisUrl, natsUrl }: EmbeddedServers): void {
  const { dir } = settings;
  if (terminal.json) {
    terminal.data({ dir, redisUrl, natsUrl, keyFile: join(dir, "key") });
    return;
  }
  const { bold, dim } = terminal.colors;
  terminal.say(`${bold("homeostat dev")} is running in ${dir}; stop it with Ctrl-C`);
  terminal.say(`  redis-cli -u ${redisUrl}`);
  terminal.say(`  nats --server ${natsUrl} sub 'homeostat.event.>'`);
  terminal.say(dim(`  passwords: ${join(dir, "servers.json")}; key of hidden values: ${join(dir, "key")}`));
  terminal.say(`In another terminal, in this folder: ${bold("homeostat up NAME -f FILE")}`);
}
