/**
 * Theory: who loses a connection says so in plain words, connects again by itself, says that too, and misses nothing.
 * Cut, refused for a while, or half-open: to the person it is the same.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Client } from "../../src/api/client.js";
import { until } from "../servers/command.js";
import { buildProgram, type Program } from "../support/build.js";
import { chooseSeed, Site } from "./site.js";
import { TcpProxy } from "./tcp-proxy.js";

let program: Program;
beforeAll(async () => {
  program = await buildProgram();
});
afterAll(() => program.remove());

const slow = (ms: number) => {
  const delay = { create: `${ms}ms` };
  return `
resources:
  first: { type: "Brisk::Resource", properties: { $delay: ${JSON.stringify(delay)} } }
  second: { type: "Brisk::Resource", depends_on: first }
`;
};

/** A site with one daemon, and a proxy of its own for whoever asks. */
async function withSite(work: (site: Site, door: TcpProxy, url: string) => Promise<void>): Promise<void> {
  const site = await Site.open({ main: program.main, seed: chooseSeed("connections") });
  const door = await TcpProxy.open(site.nats.port, site.prng);
  try {
    await site.startDaemons(1);
    await work(site, door, `nats://127.0.0.1:${door.port}`);
    expect(site.anomalies).toEqual([]);
  } finally {
    await door.close();
    await site.close();
  }
}

function up(site: Site, url: string, ...more: string[]) {
  return site.place.start(["up", "-f", "slow.yaml", "--nats-url", url, ...more]);
}

const lost = "warn: lost the connection to NATS; trying again until it is back";
const back = "warn: NATS is back";

/** What happens, for how long the goal takes, and what is said. */
const outages: [string, (door: TcpProxy) => Promise<void>, number, string[]][] = [
  ["is reset", async (door) => door.cut(), 5_000, [lost, back]],
  [
    "is refused for a while",
    async (door) => {
      door.refuse();
      await sleep(3_000);
      door.heal();
    },
    5_000,
    [lost, back],
  ],
  [
    "is half-open",
    async (door) => door.forget(),
    22_000,
    ["no daemon answers; waiting for one, 60 s at most", lost, back, "a daemon answers again"],
  ],
];

describe("a command that waits for its goal", { concurrent: true, timeout: 90_000 }, () => {
  it.each(outages)(
    "says that its connection is lost and back, and goes on, when it %s",
    (_name, outage, ms, said) =>
      withSite(async (site, door, url) => {
        await site.place.write("slow.yaml", slow(ms));
        const command = up(site, url);
        await command.says(/first creating/);
        await outage(door);
        const { status, stdout, stderr } = await command.ended;
        expect(stderr.replaceAll(` nats=${url}`, "").trim().split("\n")).toEqual(said);
        expect(stdout).toMatch(/second ready[\s\S]*slow is COMPLETE/);
        expect(stdout.match(/second ready/g)).toHaveLength(1);
        expect(status).toBe(0);
      }),
  );

  it("says that no daemon answers, and that one does again", () =>
    withSite(async (site, _door, url) => {
      await site.place.write("slow.yaml", slow(1_000));
      const command = up(site, url);
      await command.says(/first creating/);
      await site.daemons[0]?.kill();
      await command.notes(/no daemon answers; waiting for one, 60 s at most/);
      await site.startDaemons(1);
      const { status, stdout, stderr } = await command.ended;
      expect(stderr).toBe("no daemon answers; waiting for one, 60 s at most\na daemon answers again\n");
      expect(stdout).toMatch(/slow is COMPLETE/);
      expect(status).toBe(0);
    }));
});

describe("who follows events", { concurrent: true, timeout: 90_000 }, () => {
  it("reads each once, in order, over lost connections", () =>
    withSite(async (site, door, url) => {
      await site.place.write("slow.yaml", slow(1_000));
      const followed = site.place.start(["events", "--follow", "--json", "--nats-url", url]);
      for (const name of ["one", "two", "three"]) {
        expect((await up(site, site.nats.url, name).ended).status).toBe(0);
        door.refuse();
        const meanwhile = up(site, site.nats.url, `${name}-unseen`);
        expect((await meanwhile.ended).status).toBe(0);
        door.heal();
        await followed.says(new RegExp(`"stackName":"${name}-unseen".*"what":"complete"`));
      }
      const { stdout, stderr } = await followed.interrupt();
      const told = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { id: string; stackName: string; what: string });
      expect(new Set(told.map(({ id }) => id)).size).toBe(told.length);
      const completed = told.filter(({ what }) => what === "complete").map(({ stackName }) => stackName);
      expect(completed).toEqual(["one", "one-unseen", "two", "two-unseen", "three", "three-unseen"]);
      expect(stderr.match(/NATS is back/g)).toHaveLength(3);
    }));
});

describe("a program", { concurrent: true, timeout: 90_000 }, () => {
  it("is told, and its request is answered when the connection is back", () =>
    withSite(async (site, door, url) => {
      const told: string[] = [];
      const log = {
        info: (_: object, text: string) => told.push(text),
        warn: (_: object, text: string) => told.push(text),
      };
      const client = await Client.connect({ nats: { url }, log });
      try {
        door.refuse();
        const created = client.call("create", { name: "slow", template: { text: slow(100) } });
        await until("it is told", async () => told.length === 1);
        await expect(client.call("list", {}, { timeoutMs: 500 })).rejects.toThrow(
          `the connection to NATS at ${url} is lost, and not back yet`,
        );
        door.heal();
        expect(await created).toMatchObject({ name: "slow", traversal: 1 });
        expect(told).toEqual(["lost the connection to NATS; trying again until it is back", "NATS is back"]);
      } finally {
        await client.close();
      }
      expect((await site.place.run(["delete", "slow", "--nats-url", site.nats.url])).status).toBe(0);
    }));
});

describe("a daemon", { concurrent: true, timeout: 90_000 }, () => {
  it("says which server it has lost, and that it is back; what it did goes on", () =>
    withSite(async (site) => {
      await site.place.write("slow.yaml", slow(3_000));
      const command = up(site, site.nats.url);
      await command.says(/first creating/);
      for (const proxy of [site.redisProxy, site.natsProxy]) {
        proxy.refuse();
        await sleep(500);
        proxy.heal();
      }
      expect((await command.ended).status).toBe(0);
      const log = site.daemons[0]?.log ?? "";
      const lines = log.split("\n").filter((line) => /lost the connection|is back/.test(line));
      expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg).sort()).toEqual([
        "NATS is back",
        "Redis is back",
        "lost the connection to NATS; trying again until it is back",
        "lost the connection to Redis; trying again until it is back",
      ]);
    }));
});
