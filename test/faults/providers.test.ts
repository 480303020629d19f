/**
 * Theory: whatever a provider does, its daemon lives; its resource fails with a reason that people can read or is tried
 * again, and other stacks go on.
 */
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import type { Client } from "../../src/api/client.js";
import { until } from "../servers/command.js";
import { buildProgram, type Program } from "../support/build.js";
import { chooseSeed, Site } from "./site.js";

const bad = join(import.meta.dirname, "bad-types.mjs");

let program: Program;
let site: Site;
let client: Client;

beforeAll(async () => {
  program = await buildProgram();
});
afterAll(() => program.remove());
beforeEach(async () => {
  site = await Site.open({ main: program.main, seed: chooseSeed("providers"), providers: [bad] });
  await site.startDaemons(1);
  client = await site.client();
});
afterEach(() => site.close());

const habits = (await import(join(import.meta.dirname, "bad-habits.mjs"))) as Record<string, object>;
const names: Record<string, string[]> = {
  "Bad::Garbage": Object.keys(habits.garbage ?? {}),
  "Bad::Throw": Object.keys(habits.odd ?? {}),
  "Bad::Late": Object.keys(habits.late ?? {}),
};

const wayward = (...types: string[]) => {
  const resources = types.flatMap((type) =>
    (names[type] ?? [""]).map((what) => [
      `${type.slice(5)} ${what}`.trim().replaceAll(" ", "-"),
      { type, properties: { what } },
    ]),
  );
  return { text: JSON.stringify({ resources: Object.fromEntries(resources) }) };
};

async function settled(name: string) {
  let view = await client.call("show", { name });
  await until(
    `${name} settles`,
    async () => {
      view = await client.call("show", { name });
      return !["CONVERGING", "IN_SERVICE"].includes(view.stack.status);
    },
    50_000,
  );
  return view;
}

async function untilGone(name: string): Promise<void> {
  await client.call("delete", { name });
  await until(
    `${name} is gone`,
    async () => (await client.call("list", {})).stacks.every((s) => s.name !== name),
    50_000,
  );
}

/** One line per resource of a stack. */
async function outcomes(name: string): Promise<string[]> {
  const { resources } = await settled(name);
  return resources.map((resource) => `${resource.name}: ${resource.state}: ${resource.reason}`);
}

/** It answers, and makes and removes things, while all that goes on. */
async function goesOn(): Promise<void> {
  const resources = { a: { type: "Brisk::Resource" }, b: { type: "Brisk::Resource", depends_on: "a" } };
  await client.call("create", { name: "good", template: { text: JSON.stringify({ resources }) } });
  const began = performance.now();
  expect((await settled("good")).stack.status).toBe("COMPLETE");
  await untilGone("good");
  expect(performance.now() - began).toBeLessThan(10_000);
}

it("is told why a resource fails that returns or throws what it should not", {
  timeout: 120_000,
}, async () => {
  const template = wayward("Bad::Garbage", "Bad::Throw", "Bad::SyncThrow");
  await client.call("create", { name: "wrong", template });
  await goesOn();
  const lines = await outcomes("wrong");
  expect(lines).toHaveLength(28);
  expect(lines.map((line) => line.split(": ")[1])).toEqual(lines.map(() => "failed"));
  const returned = lines.filter((line) => line.startsWith("Garbage"));
  expect(
    returned.filter((line) => !/returned (something unusable|a physical id of|attributes)/.test(line)),
  ).toEqual([]);
  expect(lines).toContainEqual(expect.stringMatching(/^Garbage-huge: .*attributes of 50000008 characters/));
  expect(lines).toContain("Throw-text: failed: create: a text");
  expect(lines).toContain("Throw-nothing: failed: create: an error without a message");
  expect(lines).toContain("SyncThrow: failed: create: before there is a promise");
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(2_100);
  await untilGone("wrong");
  expect(site.anomalies).toEqual([]);
});

it("lives on when providers hang, or throw when nobody listens any more", { timeout: 120_000 }, async () => {
  const [daemon] = site.daemons;
  await client.call("create", {
    name: "late",
    template: wayward("Bad::Late", "Bad::Hang", "Bad::LateThrow"),
  });
  await goesOn();
  const lines = await outcomes("late");
  expect(lines).toHaveLength(7);
  expect(lines.map((line) => line.split(": ")[1])).toEqual(lines.map(() => "ready"));
  for (const thrown of ["nobody handles this", "in a timer", "long after"]) {
    expect(daemon?.log).toMatch(
      new RegExp(`"error":"${thrown}".*"msg":"something threw an error that nobody handles`),
    );
  }
  expect(daemon?.log).toMatch(
    /"resource":"Hang".*a call did not end when it was aborted: create took longer than 500 ms/,
  );
  await untilGone("late");
  expect(site.daemons).toEqual([daemon]);
  expect(site.anomalies).toEqual([]);
});

it("looks at everything else while a read hangs", { timeout: 60_000 }, async () => {
  const others = Array.from({ length: 100 }, (_, i) => `r${i}`);
  const resources = Object.fromEntries(
    ["never", ...others].map((what) => [what, { type: "Bad::Silent", properties: { what } }]),
  );
  const parameters = { homeostat_policy: { type: "json", default: { grace: 0 } } };
  const template = { text: JSON.stringify({ parameters, resources }) };
  await client.call("create", { name: "silent", template });
  expect((await settled("silent")).stack.status).toBe("COMPLETE");
  const looked = async () => {
    const { askedAt } = await client.call("observe", { name: "silent" });
    await until(
      "all others are looked at",
      async () => (await client.call("observe", { name: "silent", asked: askedAt })).waiting <= 1,
      10_000,
    );
  };
  await looked();
  await looked();
});
