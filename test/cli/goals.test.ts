/** Theory: whatever becomes of a goal, the command says so by its exit status, and programs can read the rest. */
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { replies } from "../../src/api/schemas.js";
import { buildProgram, type Program } from "../support/build.js";
import { documents, Workplace } from "./workplace.js";

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

const event = z.object({
  type: z.enum(["io.homeostat.api.v1.resource", "io.homeostat.api.v1.stack"]),
  id: z.string(),
  time: z.iso.datetime(),
  stack: z.string(),
  stackName: z.string(),
  traversal: z.int(),
  what: z.string(),
});

const pair = `
resources:
  db: { type: "Sim::Resource", properties: { size: 1 } }
  web: { type: "Sim::Resource", properties: { db: { get_resource: db } } }
outputs:
  web: { value: { get_resource: web } }
`;
const failing = `
resources:
  good: { type: "Sim::Resource", properties: { size: 2 } }
  bad: { type: "Sim::Resource", properties: { $fail: { create: { times: 99, retryable: false } } }, depends_on: good }
`;
const slow = (ms: number) => `
resources:
  first: { type: "Sim::Resource", properties: { $delay: { create: ${ms}ms } } }
  second: { type: "Sim::Resource", depends_on: first }
`;

describe("reached (0)", () => {
  it("creates, updates and deletes, and tells the outputs", async () => {
    await place.write("shop.yaml", pair);
    const created = await place.runSim(["up", "-f", "shop.yaml"]);
    expect(created).toMatchObject({ status: 0, stderr: "" });
    expect(created.stdout).toMatch(/^\d\d:\d\d:\d\d db creating$/m);
    expect(created.stdout).toMatch(/shop is COMPLETE \(create 1, .*\n\noutputs\n {2}web {2}web-/);
    expect(await place.things()).toHaveLength(2);
    const updated = await place.runSim(["up", "shop", "-f", "shop.yaml"]);
    expect(updated.stdout).toMatch(/shop is COMPLETE \(update 2,/);
    const deleted = await place.runSim(["delete", "shop"]);
    expect(deleted).toMatchObject({ status: 0, stderr: "" });
    expect(deleted.stdout).toMatch(/shop is deleted/);
    expect(await place.things()).toEqual([]);
    expect(await place.run(["show", "shop"])).toMatchObject({ status: 5, stdout: "" });
  });

  it("tells programs the events, then what show tells; at the end of a delete that it is DELETED", async () => {
    await place.write("shop.yaml", pair);
    const up = documents((await place.runSim(["up", "--json", "-f", "shop.yaml"])).stdout);
    const events = up.slice(0, -1).map((document) => event.parse(document));
    expect(events.map(({ what }) => what)).toEqual(expect.arrayContaining(["creating", "ready", "complete"]));
    const last = z.strictObject(replies.show.shape).parse(up.at(-1));
    expect(last).toMatchObject({
      stack: { name: "shop", status: "COMPLETE" },
      resources: [{ name: "db" }, { name: "web" }],
    });
    const shown = await place.run(["show", "shop", "--json"]);
    expect(documents(shown.stdout)).toEqual([last]);
    const list = documents((await place.run(["list", "--json"])).stdout);
    expect(list.map((document) => replies.list.parse(document))).toMatchObject([
      { total: 1, stacks: [{ name: "shop" }] },
    ]);
    const deleted = documents((await place.runSim(["delete", "shop", "--json"])).stdout);
    expect(deleted.slice(0, -1).map((document) => event.parse(document).what)).toContain("deleted");
    expect(deleted.at(-1)).toMatchObject({
      stack: { name: "shop", status: "DELETED" },
      resources: [],
      outputs: {},
    });
    const told = documents((await place.run(["events", "shop", "--json"])).stdout);
    expect(told.map((document) => event.parse(document).stackName)).toEqual(told.map(() => "shop"));
    expect(told.length).toBeGreaterThanOrEqual(events.length);
  });

  it("makes what had the wrong type as another one, and leaves nothing of the first", async () => {
    const one = (type: string, properties: object) =>
      JSON.stringify({ resources: { it: { type, properties } } });
    await place.write("shop.yaml", one("Local::File", { path: "missing/page.html", content: "hello" }));
    expect((await place.run(["up", "-f", "shop.yaml"])).status).toBe(3);
    await place.write("shop.yaml", one("Local::Directory", { path: "pages" }));
    expect(await place.run(["up", "-f", "shop.yaml"])).toMatchObject({ status: 0, stderr: "" });
    const shown = documents((await place.run(["show", "shop", "--json"])).stdout);
    expect(shown).toMatchObject([{ resources: [{ name: "it", type: "Local::Directory", state: "ready" }] }]);
    expect(await readdir(place.home)).toContain("pages");
    expect(await place.run(["delete", "shop"])).toMatchObject({ status: 0, stderr: "" });
    expect(await readdir(place.home)).not.toContain("pages");
  });

  it("takes parameters, reads the template from stdin and embeds files beside the template", async () => {
    const template = `
parameters: { greeting: { type: string }, port: { type: number, default: 1 } }
resources:
  page: { type: "Sim::Resource", properties: { text: { get_file: page.html }, hi: { get_param: greeting }, port: { get_param: port } } }
`;
    await place.write("site/page.html", "<b>hello</b>");
    await place.write("site/template.yaml", template);
    expect(
      await place.runSim(["up", "-f", "site/template.yaml", "-p", "greeting=a=b c", "port=2"]),
    ).toMatchObject({ status: 0 });
    const [file = ""] = await place.things();
    const { properties } = JSON.parse(await readFile(place.path("world", file), "utf8"));
    expect(properties).toEqual({ text: "<b>hello</b>", hi: "a=b c", port: 2 });
    expect((await place.run(["list"])).stdout).toMatch(/^site +COMPLETE/m);
    const fromStdin = await place.runSim(["up", "other", "-f", "-"], { input: pair });
    expect(fromStdin).toMatchObject({ status: 0 });
  });

  it("rolls back, and says when there is nothing to roll back or to cancel", async () => {
    await place.write("shop.yaml", pair);
    await place.write("failing.yaml", failing);
    await place.runSim(["up", "-f", "shop.yaml"]);
    const idle = await place.runSim(["rollback", "shop"]);
    expect(idle).toMatchObject({ status: 0 });
    expect(idle.stdout).toMatch(/nothing to do/);
    expect((await place.runSim(["cancel", "shop"])).status).toBe(0);
    expect((await place.runSim(["up", "shop", "-f", "failing.yaml"])).status).toBe(3);
    const back = await place.runSim(["rollback", "shop"]);
    expect(back).toMatchObject({ status: 0 });
    expect(back.stdout).toMatch(/shop is COMPLETE \(rollback 3,/);
    expect(await place.things()).toHaveLength(2);
  });
});

describe("3: FAILED", () => {
  it("tells the reasons", async () => {
    await place.write("failing.yaml", failing);
    const ended = await place.runSim(["up", "-f", "failing.yaml"]);
    expect(ended).toMatchObject({ status: 3 });
    expect(ended.stderr).toMatch(/failing FAILED\n {2}bad \(failed\): /);
    expect(await place.things()).toHaveLength(1);
    const json = await place.runSim(["up", "-f", "failing.yaml", "--json"]);
    expect(json.status).toBe(3);
    expect(replies.show.parse(documents(json.stdout).at(-1)).stack.status).toBe("FAILED");
  });

  it("also when it was rolled back", async () => {
    await place.write("shop.yaml", pair);
    await place.write("failing.yaml", failing);
    await place.runSim(["up", "-f", "shop.yaml"]);
    const ended = await place.runSim(["up", "shop", "-f", "failing.yaml", "--rollback-on-failure"]);
    expect(ended).toMatchObject({ status: 3 });
    expect(ended.stderr).toMatch(/shop FAILED\n[\s\S]*shop was rolled back to what it was before/);
    expect((await place.things()).map((thing) => thing.replace(/-.*/, ""))).toEqual(["db", "web"]);
  });
});

it("4: timed out", async () => {
  await place.write("slow.yaml", slow(8000));
  const began = performance.now();
  const ended = await place.runSim(["up", "-f", "slow.yaml", "--timeout", "500ms"]);
  expect(ended).toMatchObject({ status: 4 });
  expect(ended.stderr).toMatch(/slow did not reach its goal in time/);
  expect(performance.now() - began).toBeLessThan(20_000);
});

describe("6: superseded", () => {
  const others: [string, string[], RegExp][] = [
    ["an update", ["up", "slow", "-f", "empty.yaml"], /superseded by a newer one, update 2/],
    ["a rollback", ["rollback", "slow"], /superseded by a newer one, rollback 2/],
    ["a cancel", ["cancel", "slow"], /was cancelled by somebody/],
    ["a delete", ["delete", "slow"], /superseded by a newer one, delete 2|was deleted by somebody/],
  ];

  it.each(others)("by %s", async (_what, args, message) => {
    await place.write("slow.yaml", slow(5000));
    await place.write("empty.yaml", "resources: {}\n");
    const first = place.sim(["up", "-f", "slow.yaml"]);
    await place.untilState("slow", "first", "creating");
    expect(await place.runSim(args)).toMatchObject({ status: 0 });
    const ended = await first.ended;
    expect(ended.stderr).toMatch(message);
    expect(ended.status).toBe(6);
  });
});

describe("130: interrupted", () => {
  it("lets the call in flight end, and the next command goes on", async () => {
    await place.write("slow.yaml", slow(3000));
    const running = place.sim(["up", "-f", "slow.yaml"]);
    await place.untilState("slow", "first", "creating");
    const ended = await running.interrupt();
    expect(ended).toMatchObject({ status: 130 });
    expect(ended.stderr).toMatch(/letting calls in flight end[\s\S]*stopped; the next homeostat up/);
    expect(await place.things()).toHaveLength(1);
    expect((await place.run(["show", "slow"])).stdout).toMatch(/CONVERGING/);
    expect(await place.runSim(["up", "-f", "slow.yaml"])).toMatchObject({ status: 0 });
    expect(await place.things()).toHaveLength(2);
  });

  it("at once the second time", async () => {
    await place.write("slow.yaml", slow(30_000));
    const running = place.sim(["up", "-f", "slow.yaml"]);
    await place.untilState("slow", "first", "creating");
    running.child.kill("SIGINT");
    await running.notes(/letting calls in flight end/);
    const began = performance.now();
    expect(await running.interrupt()).toMatchObject({ status: 130 });
    expect(performance.now() - began).toBeLessThan(2000);
  });
});

it("tells what happens while it happens", async () => {
  await place.write("slow.yaml", slow(5000));
  const began = performance.now();
  const running = place.sim(["up", "-f", "slow.yaml"]);
  await running.says(/slow CONVERGING[\s\S]*first creating/);
  expect(performance.now() - began).toBeLessThan(4000);
  expect(running.stdout).not.toMatch(/first ready/);
});

it("two commands at once share a folder", async () => {
  await place.write("slow.yaml", slow(800));
  const names = ["one", "two", "three"];
  const ended = await Promise.all(names.map((name) => place.runSim(["up", name, "-f", "slow.yaml"])));
  expect(ended.map(({ status }) => status)).toEqual([0, 0, 0]);
  expect(await place.things()).toHaveLength(6);
  const racing = await Promise.all([1, 2].map(() => place.runSim(["up", "same", "-f", "slow.yaml"])));
  const statuses = racing.map(({ status }) => status).sort();
  expect([
    [0, 0],
    [0, 6],
  ]).toContainEqual(statuses);
  expect(await place.things()).toHaveLength(8);
});

it("a reader that goes away does not end the work", async () => {
  await place.write("slow.yaml", slow(3000));
  const running = place.sim(["up", "-f", "slow.yaml"]);
  await place.untilState("slow", "first", "creating");
  running.child.stdout.destroy();
  const { status, stderr } = await running.ended;
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(await place.things()).toHaveLength(2);
  const follower = place.start(["events", "--follow"]);
  await follower.says(/second ready/);
  follower.child.stdout.destroy();
  await sleep(300);
  await place.runSim(["delete", "slow"]);
  expect((await follower.ended).status).toBe(0);
});
