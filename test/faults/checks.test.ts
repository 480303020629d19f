/** Theory: the checks of these tests notice whatever is too many, missing, other than it should be, or left behind. */
import { spawn } from "node:child_process";
import { copyFile, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { Redis } from "ioredis";
import { connect } from "nats";
import { afterAll, beforeAll, expect, it } from "vitest";
import { until } from "../servers/command.js";
import { buildProgram, type Program } from "../support/build.js";
import { differences, type Goal, goalOf, readReality } from "./goals.js";
import { chooseSeed, Site } from "./site.js";

let program: Program;
beforeAll(async () => {
  program = await buildProgram();
});
afterAll(() => program.remove());

function goalWithProcess(site: Site): Goal {
  for (;;) {
    const goal = goalOf(site, "one", 1, site.prng);
    if (goal.text.includes("Process")) return goal;
  }
}

it("notice what is not as it should be", { timeout: 60_000 }, async () => {
  const site = await Site.open({ main: program.main, seed: chooseSeed("checks") });
  const { place } = site;
  try {
    await site.startDaemons(1);
    const client = await site.client();
    const goal = goalWithProcess(site);
    const wrong = async () => differences(await readReality(site), goal.reality);
    await client.call("create", { name: "one", template: { text: goal.text } });
    await until("it is complete", async () => (await wrong()).length === 0);

    const [first = ""] = (await readdir(place.path("world"))).filter((name) => name.includes("thing0"));
    const file = place.path("world", first);
    const text = await readFile(file, "utf8");
    const line = 'thing thing0: {"generation":1,"stack":"one"}';
    await copyFile(file, place.path("world", "twin.json"));
    expect(await wrong()).toEqual([`too many ${line}`]);
    await rm(place.path("world", "twin.json"));
    await rm(file);
    expect(await wrong()).toEqual([`missing ${line}`]);
    await writeFile(file, text.replace('"generation": 1', '"generation": 2'));
    expect(await wrong()).toEqual([`missing ${line}`, `too many ${line.replace("1", "2")}`]);
    await writeFile(file, text);

    await writeFile(place.path("real/one/stray"), "");
    expect(await wrong()).toEqual(["too many file one/stray: "]);
    await rm(place.path("real/one/stray"));

    const env = { ...process.env, FAULT_HOME: place.home, FAULT_STACK: "one", FAULT_GENERATION: "9" };
    const stray = spawn("sleep", ["60"], { env });
    await until("it is seen", async () => (await wrong()).includes("too many process one: 9"));
    stray.kill("SIGKILL");
    await until("it is gone", async () => (await wrong()).length === 0);

    await client.call("delete", { name: "one" });
    const clean = { keys: [], expiring: [], notifications: 0 };
    await until(
      "nothing is left",
      async () => JSON.stringify(await site.leftovers()) === JSON.stringify(clean),
    );
    const redis = new Redis(site.redis.url);
    await redis.hset("hs:{gone}:s", "traversal", "1");
    redis.disconnect();
    const nats = await connect({ servers: site.nats.url });
    await nats.jetstream().publish("homeostat.converge.other.gone.u_3athing.1", "{}");
    await nats.close();
    expect(await site.leftovers()).toEqual({ keys: ["hs:{gone}:s"], expiring: [], notifications: 1 });
    expect(await readReality(site)).toEqual([]);

    site.daemons[0]?.running.child.kill("SIGKILL");
    await until("its end is noticed", async () => site.anomalies.length === 1);
  } finally {
    await site.close();
  }
});
