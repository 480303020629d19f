/** Theory: a JetStream whose storage is full costs time and nothing else. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "nats";
import { afterEach, beforeEach, expect, it } from "vitest";
import { startNats } from "../support/servers.js";
import { Site, template, thing, until } from "./world.js";

const storeBytes = 2 * 1024 * 1024;
const streamLimits = { eventMaxBytes: 512 * 1024, observedMaxBytes: 256 * 1024 };

let folder: string;
let site: Site;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "homeostat-full-"));
  const config = join(folder, "nats.conf");
  await writeFile(config, `jetstream { max_file_store: ${storeBytes} }\n`);
  site = await Site.open(startNats({ args: ["-c", config] }));
});

afterEach(async () => {
  await site.close();
  await rm(folder, { recursive: true });
});

it("is told at start when there is no room for the streams", async () => {
  const refused = site.host();
  await expect(refused).rejects.toMatchObject({ code: "unavailable" });
  await expect(refused).rejects.toThrow(/does not give us the stream HOMEOSTAT_\w+: insufficient storage/);
});

it("is survived: all goes on once there is room again", async () => {
  const host = await site.host({ streamLimits });
  const client = await site.client();
  const nats = await connect({ servers: site.nats.url });
  const manager = await nats.jetstreamManager();
  await manager.streams.add({ name: "FILLER", subjects: ["filler.>"] });
  const filler = nats.jetstream();
  let full = false;
  for (let i = 0; i < 500 && !full; i += 1) {
    full = await filler.publish("filler.x", "x".repeat(64 * 1024)).then(
      () => false,
      () => true,
    );
  }
  expect(full).toBe(true);
  await client.call("create", { name: "web", template: template({ a: thing(), b: thing({}, "a") }) });
  await sleep(2_500);
  expect((await client.call("show", { name: "web" })).stack.status).toBe("CONVERGING");
  await manager.streams.delete("FILLER");
  await until(client, "web", "COMPLETE");
  expect(host.status()).toBe("running");
  expect(site.log.has("could not notify")).toBe(true);
  const events = client.events({ since: "all" });
  for await (const event of events) if (event.what === "complete") break;
  await nats.close();
});
