/** Theory: with a daemon, a command only watches; without one, it is the engine; the change between them loses nothing. */
import { readFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { replies } from "../../src/api/schemas.js";
import { recordsOf, until } from "../servers/command.js";
import { buildProgram, type Program } from "../support/build.js";
import { documents, type Running, Workplace } from "./workplace.js";

let program: Program;
let place: Workplace;

beforeAll(async () => {
  program = await buildProgram();
});
afterAll(() => program.remove());
beforeEach(async () => {
  place = await Workplace.open(program.main);
});
afterEach(() => place.close());

const slow = (ms: number) => `
resources:
  first: { type: "Sim::Resource", properties: { $delay: { create: ${ms}ms } } }
  second: { type: "Sim::Resource", depends_on: first }
`;

async function startDev(...args: string[]): Promise<Running> {
  const dev = place.sim(["dev", ...args]);
  await dev.says(/up NAME|redisUrl/);
  return dev;
}

describe("dev", () => {
  it("says how to reach its servers, tells what happens, and ends in order", async () => {
    const dev = await startDev();
    const { redis, nats } = await recordsOf(place.path(".homeostat"));
    expect(dev.stdout).toContain(`127.0.0.1:${redis.port}`);
    expect(dev.stdout).toContain(`127.0.0.1:${nats.port}`);
    await place.write("slow.yaml", slow(100));
    expect(await place.run(["up", "-f", "slow.yaml"])).toMatchObject({ status: 0 });
    await dev.says(/slow second ready[\s\S]*slow COMPLETE/);
    expect(await dev.interrupt()).toMatchObject({ status: 130 });
    expect((await recordsOf(place.path(".homeostat"))).users).toEqual([]);
    expect((await place.run(["show", "slow"])).stdout).toMatch(/COMPLETE/);
  });

  it("tells programs too", async () => {
    const dev = await startDev("--json");
    const [first] = documents(dev.stdout) as { redisUrl: string; natsUrl: string; keyFile: string }[];
    const key = (await readFile(first?.keyFile ?? "", "utf8")).trim();
    const env = {
      HOMEOSTAT_REDIS_URL: first?.redisUrl,
      HOMEOSTAT_NATS_URL: first?.natsUrl,
      HOMEOSTAT_KEY: key,
    };
    await place.write("slow.yaml", slow(100));
    expect(await place.run(["up", "-f", "slow.yaml", "--dir", "elsewhere"], { env })).toMatchObject({
      status: 0,
    });
    expect(await place.run(["dev"], { env })).toMatchObject({ status: 2 });
  });

  it("runs what a command leaves to it", async () => {
    const dev = await startDev();
    await place.write("slow.yaml", slow(1500));
    const detached = await place.run(["up", "-f", "slow.yaml", "--detach", "--json"]);
    expect(detached.status).toBe(0);
    expect(replies.create.parse(documents(detached.stdout).at(-1))).toMatchObject({
      name: "slow",
      traversal: 1,
      begun: true,
    });
    const watched = place.start(["up", "other", "-f", "slow.yaml"]);
    await place.untilState("other", "first", "creating");
    const left = await watched.interrupt();
    expect(left.status).toBe(130);
    expect(left.stderr).toMatch(
      /detached; the daemon goes on with other.*homeostat show other.*homeostat events other --follow/,
    );
    await until("both are there", async () => (await place.things()).length === 4);
    const followed = place.start(["events", "other", "--follow"]);
    await followed.says(/other COMPLETE/);
    expect(await place.run(["delete", "other"])).toMatchObject({ status: 0 });
    const { status, stdout } = await followed.ended;
    expect(status).toBe(0);
    expect(stdout).toMatch(/other DELETED/);
    expect((await place.run(["events", "other"])).stdout).toBe(stdout);
    expect(await dev.interrupt("SIGTERM")).toMatchObject({ status: 0 });
  });

  it("that ends is replaced by who waits for it", async () => {
    const dev = await startDev();
    await place.write("slow.yaml", slow(1000));
    const waiting = place.sim(["up", "-f", "slow.yaml"]);
    await place.untilState("slow", "first", "creating");
    expect(await dev.interrupt("SIGTERM")).toMatchObject({ status: 0 });
    expect(await place.things()).toHaveLength(1);
    await waiting.notes(/the daemon is gone; going on without it/);
    const { status } = await waiting.ended;
    expect(status).toBe(0);
    expect(await place.things()).toHaveLength(2);
  });

  it("goes on with what an interrupted command left", async () => {
    await place.write("slow.yaml", slow(1500));
    const up = place.sim(["up", "-f", "slow.yaml"]);
    await place.untilState("slow", "first", "creating");
    expect((await up.interrupt()).status).toBe(130);
    expect(await place.things()).toHaveLength(1);
    await startDev();
    await until("it went on", async () => (await place.things()).length === 2);
  });
});

describe("daemon", () => {
  it("serves configured servers with others, logs JSON, drains when told, and has commands as its clients", async () => {
    const dev = await startDev("--json");
    const [first] = documents(dev.stdout) as { redisUrl: string; natsUrl: string; keyFile: string }[];
    const urls = ["--redis-url", first?.redisUrl ?? "", "--nats-url", first?.natsUrl ?? ""];
    const env = { HOMEOSTAT_KEY_FILE: first?.keyFile };
    const daemon = place.sim(["daemon", ...urls, "--state-dir", "state"], { env });
    await daemon.notes(/"msg":"ready"/);
    await place.write("slow.yaml", slow(1500));
    const up = place.start(["up", "-f", "slow.yaml", "--nats-url", first?.natsUrl ?? ""]);
    await place.untilState("slow", "first", "creating");
    const ended = await daemon.interrupt("SIGTERM");
    expect(ended).toMatchObject({ status: 0, stdout: "" });
    for (const line of documents(ended.stderr))
      expect(line).toMatchObject({ level: expect.any(Number), time: expect.any(String) });
    expect((await up.ended).status).toBe(0);
  });

  it("takes the embedded servers where none are configured, and pools of its own", async () => {
    const daemon = place.sim(["daemon", "--pool", "default", "--pool", "gpu"]);
    await daemon.notes(/"msg":"ready"/);
    await place.write("slow.yaml", slow(100));
    expect(await place.run(["up", "-f", "slow.yaml", "--detach"])).toMatchObject({ status: 0 });
    await until("it is done", async () => (await place.things()).length === 2);
    expect(await daemon.interrupt()).toMatchObject({ status: 130 });
  });
});
