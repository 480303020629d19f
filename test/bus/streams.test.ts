/** Theory: daemons that start at once, where there is just room for the streams of one deployment, are in each other's way. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { connectNats } from "../../src/bus/connect.js";
import { defaultStreamLimits, Streams } from "../../src/bus/streams.js";
import { Subjects } from "../../src/bus/subjects.js";
import { startNats } from "../support/servers.js";

const mebibyte = 2 ** 20;
const limits = { ...defaultStreamLimits, eventMaxBytes: 6 * mebibyte, observedMaxBytes: 6 * mebibyte };
const rounds = 20;

test("those who make the same streams at once all get them, with room for one of each", {
  timeout: 120_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), "homeostat-streams-"));
  const config = join(folder, "nats.conf");
  await writeFile(config, `jetstream { max_file_store: ${16 * mebibyte} }`);
  const nats = await startNats({ args: ["-c", config] });
  const links = await Promise.all(Array.from({ length: 4 }, () => connectNats({ url: nats.url }, "test")));
  try {
    const manager = await links[0]?.connection.jetstreamManager();
    for (let round = 0; round < rounds; round += 1) {
      await Promise.all(
        links.map((link) => new Streams(link, new Subjects("deploy.test"), limits, 30_000).ensure()),
      );
      const made = (await manager?.streams.list().next()) ?? [];
      expect(made.length).toBeGreaterThanOrEqual(3);
      for (const stream of made) await manager?.streams.delete(stream.config.name);
    }
  } finally {
    await Promise.all(links.map(({ connection }) => connection.close()));
    await nats.stop();
    await rm(folder, { recursive: true });
  }
});
