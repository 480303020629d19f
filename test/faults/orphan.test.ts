/**
 * Theory: what a worker makes that stood still for too long, and dies before it can tell, stays for ever; or the thing
 * that the record knows is taken for it.
 */
import { existsSync, readdirSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { until } from "../servers/command.js";
import { buildProgram, type Program } from "../support/build.js";
import { chooseSeed, type Daemon, Site } from "./site.js";

let program: Program;
let site: Site;
beforeEach(async () => {
  program = await buildProgram();
  const providers = [join(import.meta.dirname, "slow-types.mjs")];
  site = await Site.open({ main: program.main, seed: chooseSeed("orphan"), providers });
  await mkdir(site.place.path("world"), { recursive: true });
});
afterEach(async () => {
  await site.close();
  await program.remove();
});

const limitMs = 60_000;
const world = (name: string) => site.place.path(join("world", name));
const things = () => readdirSync(world("")).filter((name) => name.startsWith("thing-"));
const exists = (name: string) => until(name, async () => existsSync(world(name)), limitMs);
const say = (what: string, { running }: Daemon) => writeFile(world(`${what}-${running.child.pid}`), "");

it("is found by the slow sweep, and removed when a person wants it", async () => {
  const first = await site.daemon();
  await first.ready();
  const client = await site.client();
  const text = JSON.stringify({ resources: { it: { type: "Slow::Thing" } } });
  await client.call("create", { name: "web", template: { text } });
  await exists(`waits-${first.running.child.pid}`);
  first.stop();
  const second = await site.daemon();
  await second.ready();
  await exists(`waits-${second.running.child.pid}`);
  await say("go", second);
  const isComplete = async () => (await client.call("show", { name: "web" })).stack.status === "COMPLETE";
  await until("another makes it", isComplete, limitMs);
  await say("go-mute", first);
  first.goOn();
  await exists(`thing-${first.running.child.pid}`);
  await first.kill();
  expect(things().length).toBe(2);

  const orphans = async () => (await client.call("orphans", {})).orphans;
  await until("it is certain", async () => (await orphans())[0]?.certain === true, limitMs);
  const [orphan, ...others] = await orphans();
  expect(others).toEqual([]);
  expect(orphan).toMatchObject({
    physicalId: `thing-${first.running.child.pid}`,
    resource: "it",
    ours: true,
  });
  await client.call("orphans", { remove: [orphan?.id ?? ""] });
  await until("it is removed", async () => things().length === 1, limitMs);
  expect(things()).toEqual([`thing-${second.running.child.pid}`]);
  expect((await client.call("show", { name: "web" })).resources.map(({ state }) => state)).toEqual(["ready"]);

  await client.call("delete", { name: "web" });
  await until("nothing is left", async () => things().length === 0, limitMs);
  expect(site.anomalies).toEqual([]);
}, 180_000);
