/**
 * Theory: with the limits that everybody has, who dies in the middle of calls, or stands still for longer than its
 * lease, is followed within a lease and a deadline; each thing is there once, as it should be.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Client } from "../../src/api/client.js";
import { until } from "../servers/command.js";
import { buildProgram, type Program } from "../support/build.js";
import { differences, readReality } from "./goals.js";
import { chooseSeed, type Daemon, leaseMs, recoveryMs, Site } from "./site.js";

let program: Program;
beforeAll(async () => {
  program = await buildProgram();
});
afterAll(() => program.remove());

const $delay = { create: "6s", update: "6s", delete: "6s" };

function request(site: Site, stack: string, properties: object) {
  const resources = {
    thing: { type: "Sim::Resource", properties: { stack, ...properties } },
    file: {
      type: "Local::File",
      properties: { path: site.place.path("real", stack), content: JSON.stringify(properties) },
      depends_on: "thing",
    },
  };
  return { name: stack, template: { text: JSON.stringify({ resources }) } };
}

/** A create, an update, a replacement and a delete, each in the middle of its call. */
async function beginAll(site: Site, client: Client): Promise<void> {
  const state = async (name: string) =>
    (await client.call("show", { name })).resources.map((resource) => `${resource.name} ${resource.state}`);
  await site.place.write("real/keep", "");
  for (const stack of ["updated", "replaced", "deleted"]) {
    await client.call("create", request(site, stack, { v: 1, "!r": 1, $delay: { delete: "6s" } }));
  }
  for (const stack of ["updated", "replaced", "deleted"]) {
    await until(`${stack} is there`, async () =>
      (await state(stack)).every((each) => each.endsWith("ready")),
    );
  }
  await client.call("create", request(site, "created", { v: 2, $delay }));
  await client.call("update", request(site, "updated", { v: 2, "!r": 1, $delay }));
  await client.call("update", request(site, "replaced", { v: 2, "!r": 2, $delay }));
  await client.call("delete", { name: "deleted" });
  const busy = { created: "creating", updated: "updating", replaced: "creating", deleted: "deleting" };
  for (const [stack, expected] of Object.entries(busy)) {
    await until(`${stack} is ${expected}`, async () => (await state(stack)).includes(`thing ${expected}`));
  }
}

async function untilReached(site: Site, client: Client): Promise<void> {
  const line = (stack: string, more: string) => `thing thing: {${more}"stack":"${stack}","v":2}`;
  const content = (properties: object) => JSON.stringify({ v: 2, ...properties, $delay });
  const wanted = [
    line("created", ""),
    line("replaced", '"!r":2,'),
    line("updated", '"!r":1,'),
    `file created: ${content({})}`,
    "file keep: ",
    `file replaced: ${content({ "!r": 2 })}`,
    `file updated: ${content({ "!r": 1 })}`,
  ];
  const wrong = async () => {
    const { stacks } = await client.call("list", {});
    const left = stacks.filter(({ name, status }) => status !== "COMPLETE" || name === "deleted");
    return [...differences(await readReality(site), wanted), ...left.map((stack) => JSON.stringify(stack))];
  };
  await until("all goals are reached", async () => (await wrong()).length === 0, recoveryMs.usual).catch(
    async () => expect(await wrong()).toEqual([]),
  );
}

async function disturbed(name: string, disturb: (site: Site, first: Daemon) => Promise<void>): Promise<void> {
  const site = await Site.open({ main: program.main, seed: chooseSeed(name), pace: "usual" });
  try {
    const first = await site.daemon();
    await first.ready();
    const client = await site.client();
    await beginAll(site, client);
    const began = performance.now();
    await disturb(site, first);
    await untilReached(site, client);
    console.log(`${name}: ${Math.round((performance.now() - began) / 1000)} s after the fault`);
    expect(site.anomalies).toEqual([]);
  } finally {
    await site.close();
  }
}

describe("a daemon with the usual limits", { concurrent: true, timeout: 250_000 }, () => {
  it("that is killed in the middle of its calls is followed by another", () =>
    disturbed("killed", async (site, first) => {
      await first.kill();
      await site.startDaemons(1);
    }));

  it("that stands still for longer than its lease is followed by another, and does no harm when it goes on", () =>
    disturbed("stands still", async (site, first) => {
      first.stop();
      await (await site.daemon()).ready();
      await sleep(leaseMs.usual + 4_000);
      first.goOn();
    }));
});
