/** Theory: what is seen, mended or held back is told by exit status, in words and in JSON; what was changed by hand comes back. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { replies } from "../../src/api/schemas.js";
import { until } from "../servers/command.js";
import { buildProgram, type Program } from "../support/build.js";
import { documents, type Running, Workplace } from "./workplace.js";

let program: Program;
let place: Workplace;
let dev: Running;

beforeAll(async () => {
  program = await buildProgram();
});
afterAll(() => program.remove());
beforeEach(async () => {
  place = await Workplace.open(program.main);
  dev = place.sim(["dev"]);
  await dev.says(/up NAME/);
});
afterEach(async () => {
  await dev.interrupt("SIGTERM");
  await place.close();
});

const pair = (policy: object = {}) => `
parameters:
  homeostat_policy: { type: json, default: ${JSON.stringify({ poll: "1h", grace: 0, ...policy })} }
resources:
  db: { type: "Sim::Resource", properties: { size: 1 } }
  web: { type: "Sim::Resource", properties: { db: { get_resource: db } } }
  other: { type: "Sim::Resource", properties: { size: 3 } }
`;

async function up(policy: object = {}): Promise<void> {
  await place.write("shop.yaml", pair(policy));
  expect(await place.run(["up", "-f", "shop.yaml"])).toMatchObject({ status: 0 });
}

async function fileOf(name: string): Promise<string> {
  const found = (await place.things()).find((thing) => thing.startsWith(`${name}-`));
  if (found === undefined) throw new Error(`there is no ${name}`);
  return place.path("world", found);
}

async function propertiesOf(name: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(await fileOf(name), "utf8")).properties;
}

async function edit(name: string, properties: object): Promise<void> {
  const file = await fileOf(name);
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, "utf8")), properties }));
}

const one = (text: string) => documents(text).at(-1);

it("observe: in line and repaired are well, what is only told of is not", async () => {
  await up();
  const calm = await place.run(["observe", "shop"]);
  expect(calm).toMatchObject({ status: 0, stderr: "" });
  expect(calm.stdout).toMatch(/^db +Sim::Resource +in line$/m);
  await edit("db", { size: 99 });
  const mended = await place.run(["observe", "shop", "--json"]);
  expect(mended.status).toBe(0);
  const reply = z.strictObject(replies.observe.shape).parse(one(mended.stdout));
  expect(reply).toMatchObject({ name: "shop", resources: 3, waiting: 0 });
  expect(reply.seen.find(({ name }) => name === "db")).toMatchObject({ finding: "repaired" });
  expect(await propertiesOf("db")).toEqual({ size: 1 });
  await place.write("report.yaml", "policy: report\n");
  expect(await place.run(["policy", "shop", "-f", "report.yaml"])).toMatchObject({ status: 0 });
  await edit("db", { size: 99 });
  const drifted = await place.run(["observe", "shop", "db"]);
  expect(drifted).toMatchObject({ status: 3, stderr: "" });
  expect(drifted.stdout).toMatch(/^db +Sim::Resource +drifted +differs: size$/m);
  expect(drifted.stdout).not.toMatch(/other|99/);
  const reset = await place.run(["policy", "shop", "--reset", "--json"]);
  expect(one(reset.stdout)).toMatchObject({ runtime: null });
  await until("it is mended", async () => (await propertiesOf("db")).size === 1);
  expect(await place.run(["observe", "shop", "dv"])).toMatchObject({
    status: 5,
    stdout: "",
    stderr: expect.stringMatching(/has no resource dv \(there are: .*\); did you mean "db"\?\n$/),
  });
});

it("replace: another thing; what depends on it follows, and all else stays", async () => {
  await up();
  const before = await place.things();
  const ended = await place.run(["replace", "shop", "db"]);
  expect(ended).toMatchObject({ status: 0, stderr: "" });
  expect(ended.stdout).toMatch(/shop is COMPLETE \(replace 2,/);
  const after = await place.things();
  expect(after).toHaveLength(3);
  expect(after.filter((thing) => !before.includes(thing))).toEqual([expect.stringMatching(/^db-/)]);
  const [db = ""] = after.filter((thing) => thing.startsWith("db-"));
  expect((await propertiesOf("web")).db).toBe(db.replace(/\.json$/, ""));
  expect((await place.run(["replace", "shop", "dv"])).stderr).toMatch(
    /there are: db, web, other.*did you mean "db"/,
  );
  const detached = await place.run(["replace", "shop", "web", "--detach", "--json"]);
  expect(replies.replace.parse(one(detached.stdout))).toMatchObject({ traversal: 3, begun: true });
});

it("pause and resume: nothing is mended meanwhile", async () => {
  await up();
  expect((await place.run(["pause", "shop", "--reason", "moving"])).stdout).toBe("shop is paused\n");
  for (const args of [["list"], ["show", "shop"]]) {
    expect((await place.run(args)).stdout).toMatch(/paused: moving$/m);
  }
  await edit("db", { size: 99 });
  expect(await place.run(["observe", "shop", "db"])).toMatchObject({ status: 3 });
  expect(await propertiesOf("db")).toEqual({ size: 99 });
  const resumed = await place.run(["resume", "shop", "--json"]);
  expect(replies.resume.parse(one(resumed.stdout))).toMatchObject({ name: "shop", paused: "" });
  await until("it is mended", async () => (await propertiesOf("db")).size === 1);
  expect((await place.run(["list"])).stdout).not.toMatch(/paused/);
  const told = (await place.run(["events", "shop"])).stdout;
  expect(told).toMatch(/shop paused .*\(moving\)[\s\S]*shop resumed/);
});

describe("incidents", () => {
  it("are listed, and answered by name", async () => {
    await up({ incident: { missing: 2, within: "1h" } });
    expect(await place.run(["incidents"])).toMatchObject({
      status: 0,
      stdout: "",
      stderr: "there are no open incidents\n",
    });
    for (const thing of await place.things()) await rm(place.path("world", thing));
    expect(await place.run(["observe", "shop", "--timeout", "20s"])).toMatchObject({ status: 3 });
    const listed = await place.run(["incidents", "shop", "--json"]);
    const { incidents } = replies.incidents.parse(one(listed.stdout));
    expect(incidents).toHaveLength(1);
    expect((await place.run(["incidents"])).stdout).toMatch(/^shop +\S+ +\S+ ago +[12] +/m);
    const held = /incident: [12] missing, to be approved or dismissed$/m;
    expect((await place.run(["list"])).stdout).toMatch(held);
    expect((await place.run(["show", "shop"])).stdout).toMatch(held);
    const approved = await place.run(["approve", "shop", incidents[0]?.id ?? ""]);
    expect(approved).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/what is still missing is made again/),
    });
    await until("all is there", async () => (await place.things()).length === 3);
    expect(await place.run(["dismiss", "shop"])).toMatchObject({
      status: 5,
      stderr: expect.stringMatching(/no open incident/),
    });
  });
});

it("policy: shows what holds; refuses what is wrong, with its place", async () => {
  await up({ resources: { web: { poll: "5m" } } });
  const shown = await place.run(["policy", "shop"]);
  expect(shown).toMatchObject({ status: 0, stderr: "" });
  expect(shown.stdout).toMatch(/^template\n {2}poll: 1h/m);
  expect(shown.stdout).toMatch(/^web +repair +5m +0ms +yes/m);
  await place.write("bad.yaml", "polcy: report\nresources: { wbe: {} }\n");
  const refused = await place.run(["policy", "shop", "-f", "bad.yaml"]);
  expect(refused).toMatchObject({ status: 2, stdout: "" });
  expect(refused.stderr).toMatch(/unknown key "polcy".*did you mean "policy"/);
  expect((await place.run(["policy", "shop", "-f", "bad.yaml", "--reset"])).status).toBe(2);
});

it("watched: what foreign observers need", async () => {
  await up();
  const listed = documents((await place.run(["watched", "--type", "Sim::Resource", "--json"])).stdout);
  const ids = listed.map((each) => replies.watched.shape.watched.element.parse(each).physical_id);
  expect(ids.map((id) => `${id}.json`).sort()).toEqual(await place.things());
  expect((await place.run(["watched"])).stdout).toMatch(/^shop +db +Sim::Resource +db-/m);
});
