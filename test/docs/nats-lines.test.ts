/** Theory: an operator who types the lines of docs/OBSERVATION.md gets what they promise; the samples are of today's shape. */
import { readFileSync } from "node:fs";
import { type Codec, connect, JSONCodec } from "nats";
import { afterAll, beforeAll, expect, it } from "vitest";
import { replies } from "../../src/api/schemas.js";
import type { LifecycleEvent } from "../../src/traversal/lifecycle-event.js";
import { until as untilIt } from "../servers/command.js";
import { Site, until } from "../worker/world.js";

const page = readFileSync(new URL("../../docs/OBSERVATION.md", import.meta.url), "utf8");
const section = page.slice(page.indexOf("## Watching with the NATS CLI"));
const lines = [...section.matchAll(/`(nats (?:sub|req|stream) [^`]*)`/g)].map(([, line = ""]) => line);
const quoted = (line: string) => [...line.matchAll(/'([^']*)'/g)].map(([, text = ""]) => text);

const json: Codec<LifecycleEvent> = JSONCodec();
let site: Site;
const heard: { subject: string; what: string }[] = [];

beforeAll(async () => {
  site = await Site.open();
  await site.host({ limits: { firstLookMs: 50, lookAgainMs: 50 } });
  const client = await site.client();
  const nats = await connect({ servers: site.nats.url });
  const subscription = nats.subscribe("homeostat.event.>", {
    callback: (_error, message) =>
      heard.push({ subject: message.subject, what: json.decode(message.data).what }),
  });
  const homeostat = { poll: "100ms", grace: 0, incident: { missing: 1 } };
  const resources = { page: { type: "Test::Thing", metadata: { homeostat } } };
  await client.call("create", { name: "site", template: { text: JSON.stringify({ resources }) } });
  await until(client, "site", "COMPLETE");
  const [thing] = [...site.world.things.values()];
  Object.assign(thing ?? {}, { size: 5 });
  await happens("repaired");
  site.world.things.clear();
  await happens("incident");
  subscription.unsubscribe();
  await nats.close();
});
afterAll(() => site.close());

async function happens(what: string): Promise<void> {
  await untilIt(`something is ${what}`, async () => heard.some((each) => each.what === what));
}

function takes(filter: string, subject: string): boolean {
  const pattern = filter.replaceAll(".", "\\.").replaceAll("*", "[^.]+").replaceAll(">", ".+");
  return new RegExp(`^${pattern}$`).test(subject);
}

it("there are lines of every kind", () => {
  for (const kind of ["sub", "req", "stream view"]) {
    expect(lines.filter((line) => line.startsWith(`nats ${kind} `)).length).toBeGreaterThan(0);
  }
});

it("what is subscribed to is what is published", () => {
  const promised = lines.filter((line) => line.startsWith("nats sub")).map((line) => quoted(line)[0] ?? "");
  const happened = ["drifted", "missing", "repaired", "incident"];
  for (const what of happened) {
    const filter = promised.find((each) => each.endsWith(`.${what}`)) ?? "";
    expect(heard.filter(({ subject }) => takes(filter, subject)).map((each) => each.what)).toContain(what);
    expect(heard.filter(({ subject }) => takes(filter, subject)).every((each) => each.what === what)).toBe(
      true,
    );
  }
});

it("requests are answered as the API says", async () => {
  const nats = await connect({ servers: site.nats.url });
  for (const line of lines.filter((each) => each.startsWith("nats req"))) {
    const subject = /homeostat\.api\.(\w+)/.exec(line);
    const reply = await nats.request(subject?.[0] ?? "", quoted(line)[0] ?? "", { timeout: 5_000 });
    expect(reply.headers?.has("Nats-Service-Error") ?? false, line).toBe(false);
    replies[subject?.[1] as "why" | "drift"].parse(reply.json());
  }
  await nats.close();
});

it("the stream has what is looked for in it", async () => {
  const nats = await connect({ servers: site.nats.url });
  const manager = await nats.jetstreamManager();
  for (const line of lines.filter((each) => each.startsWith("nats stream view"))) {
    const [, stream = ""] = /view (\w+)/.exec(line) ?? [];
    const info = await manager.streams.info(stream, { subjects_filter: quoted(line)[0] ?? "" });
    expect(Object.keys(info.state.subjects ?? {}).length, line).toBeGreaterThan(0);
  }
  await nats.close();
});

it("the samples have the fields that are there today", async () => {
  const samples = section
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
  const replied = samples.filter((sample) => sample.now !== undefined);
  for (const sample of replied)
    (sample.atGoal === undefined ? replies.drift : replies.why).strict().parse(sample);
  const events = samples.filter((sample) => sample.now === undefined);
  expect(events.map(({ what }) => what)).toEqual(expect.arrayContaining(["drifted", "repaired", "incident"]));
  for (const { type, stackName, what } of events) {
    expect({ type, stackName, what }).toEqual({
      type: `io.homeostat.api.v1.${what === "incident" ? "stack" : "resource"}`,
      stackName: "site",
      what: expect.any(String),
    });
  }
});
