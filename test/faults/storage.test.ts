/**
 * Theory: a JetStream that has no room takes no notification and no event, and that costs time and nothing else: goals
 * are still taken, calls in flight still end, and when there is room again all goals are reached and all events told.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type NatsConnection } from "nats";
import { afterAll, beforeAll, expect, it } from "vitest";
import { until } from "../servers/command.js";
import { buildProgram, type Program } from "../support/build.js";
import { differences, goalOf, readReality } from "./goals.js";
import { chooseSeed, recoveryMs, Site } from "./site.js";

const natsConfig = `jetstream { max_file_store: ${16 * 2 ** 20} }`;

let program: Program;
beforeAll(async () => {
  program = await buildProgram();
});
afterAll(() => program.remove());

/** Until nothing more is taken; answers the number of messages. */
async function fill(nats: NatsConnection): Promise<number> {
  await (await nats.jetstreamManager()).streams.add({ name: "FILLER", subjects: ["filler"] });
  for (const bytes of [64 * 1024, 16]) {
    for (;;) {
      const refused = await nats
        .jetstream()
        .publish("filler", "x".repeat(bytes))
        .then(
          () => false,
          () => true,
        );
      if (refused) break;
    }
  }
  return (await (await nats.jetstreamManager()).streams.info("FILLER")).state.messages;
}

it("all goals are reached when JetStream was full for a while, and nothing is lost", {
  timeout: 200_000,
}, async () => {
  const site = await Site.open({ main: program.main, seed: chooseSeed("storage"), natsConfig });
  const admin = await connect({ servers: site.nats.url });
  try {
    await site.startDaemons(2);
    const client = await site.client();
    const goal = (stack: string, generation: number) => goalOf(site, stack, generation, site.prng);
    const request = (stack: string, generation: number) => {
      const { text } = goal(stack, generation);
      return { name: stack, template: { text } };
    };
    const status = async (name: string) => (await client.call("show", { name })).stack.status;
    await client.call("create", request("changed", 1));
    await client.call("create", request("deleted", 1));
    await until("both are there", async () =>
      (await Promise.all(["changed", "deleted"].map(status))).every((each) => each === "COMPLETE"),
    );

    await client.call("create", request("begun", 1));
    expect(await fill(admin)).toBeGreaterThan(0);
    const changed = goal("changed", 2);
    const begun = goal("begun", 2);
    await client.call("update", { name: "changed", template: { text: changed.text } });
    await client.call("update", { name: "begun", template: { text: begun.text } });
    await client.call("delete", { name: "deleted" });
    await sleep(4_000);
    expect(await status("changed")).toBe("CONVERGING");
    expect(await status("deleted")).toBe("CONVERGING");
    expect(site.daemons.map(({ log }) => log).join("")).toMatch(
      /JetStream refuses it: insufficient resources.*could not notify/,
    );

    await (await admin.jetstreamManager()).streams.delete("FILLER");
    const began = performance.now();
    const wanted = [...changed.reality, ...begun.reality];
    const wrong = async () => differences(await readReality(site), wanted);
    await until(
      "reality is as it should be",
      async () => (await wrong()).length === 0,
      recoveryMs.brisk,
    ).catch(async () => expect(await wrong()).toEqual([]));
    await until("the goals are reached", async () =>
      (await Promise.all(["changed", "begun"].map(status))).every((each) => each === "COMPLETE"),
    );
    console.log(`storage: ${Math.round(performance.now() - began)} ms`);

    const told = new Set<string>();
    for await (const { stackName, resource, what, action } of client.events({ since: "all" })) {
      if (resource === undefined && ["complete", "deleted"].includes(what))
        told.add(`${stackName} ${action} ${what}`);
      if (told.size === 5) break;
    }
    expect([...told].sort()).toEqual([
      "begun update complete",
      "changed create complete",
      "changed update complete",
      "deleted create complete",
      "deleted delete deleted",
    ]);
    expect(site.anomalies).toEqual([]);
  } finally {
    await admin.close();
    await site.close();
  }
});
