/** Theory: a request is done once however often it is sent and however large it is; whatever is wrong with it is said. */
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type NatsConnection } from "nats";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Client } from "../../src/api/client.js";
import { describeApi } from "../../src/api/describe.js";
import type { LifecycleEvent } from "../../src/traversal/lifecycle-event.js";
import { Site, template, thing, until, untilGone } from "../worker/world.js";

let site: Site;
let nats: NatsConnection;
beforeEach(async () => {
  site = await Site.open();
  nats = await connect({ servers: site.nats.url });
});
afterEach(async () => {
  await nats.close();
  await site.close();
});

async function ask(verb: string, body: string | Uint8Array) {
  const message = await nats.request(`homeostat.api.${verb}`, body, { timeout: 5_000 });
  return {
    body: message.json<Record<string, unknown> & { error?: { err_code: string; description: string } }>(),
    code: message.headers?.get("Nats-Service-Error-Code"),
    text: message.headers?.get("Nats-Service-Error"),
  };
}

describe("a request", () => {
  it("with the same id is the same goal", async () => {
    await site.host();
    await site.host();
    const client = await site.client();
    const request = { name: "web", request: "r1", template: template({ a: thing() }) };
    const answers = await Promise.all(Array.from({ length: 5 }, () => client.call("create", request)));
    expect(new Set(answers.map(({ stack }) => stack)).size).toBe(1);
    expect(answers.map(({ traversal }) => traversal)).toEqual([1, 1, 1, 1, 1]);
    expect(answers.filter(({ begun }) => begun)).toHaveLength(1);
    await until(client, "web", "COMPLETE");
    const again = await client.call("update", { name: "web", request: "r2", template: template({}) });
    const repeated = await client.call("update", { name: "web", request: "r2", template: template({}) });
    expect(repeated).toEqual({ ...again, begun: false });
    await expect(client.call("create", { ...request, request: "r3" })).rejects.toMatchObject({
      code: "conflict",
    });
  });

  it("of 3 MB travels through the object store, and so does its reply; nothing is left there", async () => {
    await site.host();
    const client = await site.client();
    const resources = { a: thing({ text: "x".repeat(3_000_000) }) };
    await client.call("create", { name: "big", template: template(resources) });
    await until(client, "big", "COMPLETE");
    const many = Object.fromEntries(
      Array.from({ length: 600 }, (_, i) => [`r${i}`, thing({ text: "x".repeat(2_000) })]),
    );
    await client.call("create", { name: "long", template: template(many) });
    const shown = await until(client, "long", "COMPLETE");
    expect(JSON.stringify(shown).length).toBeGreaterThan(1_100_000);
    const bodies = await nats.jetstream().views.os("HOMEOSTAT_BODIES");
    expect(await bodies.list()).toEqual([]);
  });

  it.each([
    ["create", "{", 400, /not JSON/, "broken JSON"],
    ["create", "", 400, /name: /, "nothing"],
    ["create", '{"name":"web"}', 400, /template: /, "no template"],
    ["create", '{"name":"a b","template":{"text":""}}', 400, /name: a stack name has/, "an impossible name"],
    ["create", '{"name":"web","template":{"text":7}}', 400, /template\.text: /, "a wrong type further down"],
    ["create", '{"name":"web","template":{"text":"resources: ["}}', 400, /template/, "a broken template"],
    ["create", "[]", 400, /expected object/, "a list"],
    ["create", new Uint8Array([0xff, 0xfe, 0]), 400, /not JSON/, "no text"],
    ["show", '{"name":"nobody"}', 404, /no stack nobody/, "an unknown stack"],
    ["update", '{"name":"nobody"}', 404, /no stack nobody/, "an unknown stack"],
    ["list", '{"limit":0}', 400, /limit: /, "a limit that makes no sense"],
  ] as [string, string | Uint8Array, number, RegExp, string][])(
    "%s %s is refused: %i %s (%s)",
    async (verb, body, code, description, _what) => {
      await site.host({ roles: ["api"] });
      const answer = await ask(verb, body);
      expect(answer.code).toBe(String(code));
      expect(answer.text).toMatch(/^[\x20-\x7e]+$/);
      expect(answer.body.error?.description).toMatch(description);
      expect((await ask("list", "")).body).toMatchObject({ total: 0, stacks: [] });
    },
  );

  it("whose object is gone is refused", async () => {
    await site.host({ roles: ["api"] });
    const { headers } = await import("nats");
    const header = headers();
    header.set("Homeostat-Body", "gone");
    const message = await nats.request("homeostat.api.create", "", { timeout: 5_000, headers: header });
    expect(message.json()).toMatchObject({ error: { err_code: "invalid" } });
  });
});

describe("the client", () => {
  it("tells the problems of a template where they are", async () => {
    await site.host({ roles: ["api"] });
    const client = await site.client();
    const text = "resources:\n  a:\n    type: No::Such\n";
    const refused = client.call("create", { name: "web", template: { text, name: "web.yaml" } });
    await expect(refused).rejects.toMatchObject({
      code: "invalid",
      problems: [{ file: "web.yaml", line: 3 }],
    });
  });

  it("sends again until somebody answers", async () => {
    const client = await site.client();
    const answer = client.call("list", {});
    await sleep(700);
    await site.host({ roles: ["api"] });
    expect(await answer).toMatchObject({ total: 0 });
  });

  it("says what to do when nobody answers", async () => {
    const client = await site.client();
    const began = performance.now();
    const refused = client.call("list", {}, { timeoutMs: 600 });
    await expect(refused).rejects.toMatchObject({ code: "unavailable" });
    await expect(refused).rejects.toThrow(/no daemon answers "list" on NATS at nats:.*homeostat daemon/);
    expect(performance.now() - began).toBeLessThan(1_500);
  });

  it("takes a delete that it had to send again, and that finds nothing, as done", async () => {
    await site.host();
    const client = await site.client();
    await client.call("create", { name: "web", template: template({ a: thing() }) });
    await until(client, "web", "COMPLETE");
    // The first sending is carried out, but its answer is lost: somebody else takes the request along.
    const [host] = site.hosts;
    await host?.drain();
    const thief = nats.subscribe("homeostat.api.delete");
    const answer = client.call("delete", { name: "web" });
    for await (const message of thief) {
      await site.host();
      thief.unsubscribe();
      await nats.flush();
      const lost = await nats.request("homeostat.api.delete", message.data, { timeout: 5_000 });
      expect(lost.json()).toMatchObject({ begun: true });
      await untilGone(client, "web");
    }
    expect(await answer).toEqual({ stack: "", name: "web", traversal: 0, begun: false });
    await expect(client.call("delete", { name: "web" })).rejects.toMatchObject({ code: "not_found" });
  });

  it("says that NATS is not there", async () => {
    await expect(Client.connect({ nats: { url: "nats://127.0.0.1:1" } })).rejects.toMatchObject({
      code: "unavailable",
    });
  });
});

describe("the service", () => {
  it("can be asked as any other NATS service", async () => {
    await site.host({ roles: ["api"] });
    const message = await nats.request("$SRV.INFO.homeostat", "", { timeout: 2_000 });
    const { endpoints } = message.json<{
      endpoints: { name: string; subject: string; queue_group: string; metadata: Record<string, string> }[];
    }>();
    expect(endpoints.map(({ name }) => name).sort()).toEqual(Object.keys(describeApi()).sort());
    for (const { name, subject, queue_group, metadata } of endpoints) {
      expect(subject).toBe(`homeostat.api.${name}`);
      expect(queue_group).toBe("q");
      expect(JSON.parse(metadata.request ?? "")).toMatchObject({ type: "object" });
      expect(JSON.parse(metadata.reply ?? "")).toMatchObject({ type: "object" });
    }
    const stats = await nats.request("$SRV.STATS.homeostat", "", { timeout: 2_000 });
    expect(stats.json()).toMatchObject({
      endpoints: expect.arrayContaining([
        expect.objectContaining({
          data: { visits: 0, calls: 0, in_flight: 0, sweeps: 0, failures: 0 },
        }),
      ]),
    });
  });
});

describe("a trace", () => {
  it("goes from a request through every notification and event, and nothing carries values", async () => {
    await site.host();
    const seen: { subject: string; traceparent: string; body: string }[] = [];
    for (const subject of ["homeostat.converge.>", "homeostat.event.>"]) {
      nats.subscribe(subject, {
        callback: (_error, message) =>
          seen.push({
            subject: message.subject,
            traceparent: message.headers?.get("traceparent") ?? "",
            body: message.string(),
          }),
      });
    }
    await nats.flush();
    const { headers } = await import("nats");
    const header = headers();
    const trace = "0af7651916cd43dd8448eb211c80319c";
    header.set("traceparent", `00-${trace}-b7ad6b7169203331-01`);
    const resources = { a: thing({ text: "a value" }), b: thing({ text: "a value" }, "a") };
    const request = { name: "web", template: template(resources) };
    await nats.request("homeostat.api.create", JSON.stringify(request), { timeout: 5_000, headers: header });
    await until(await site.client(), "web", "COMPLETE");
    await nats.flush();
    expect(seen.length).toBeGreaterThanOrEqual(6);
    for (const { traceparent, body } of seen) {
      expect(traceparent).toMatch(new RegExp(`^00-${trace}-[0-9a-f]{16}-01$`));
      expect(body).not.toContain("a value");
    }
    expect(new Set(seen.map(({ traceparent }) => traceparent)).size).toBe(seen.length);
  });
});

describe("events", () => {
  async function collect(stream: AsyncIterable<LifecycleEvent>, into: LifecycleEvent[]) {
    for await (const event of stream) into.push(event);
  }
  const last = (events: readonly LifecycleEvent[]) => events.at(-1)?.what;
  async function arrive(events: readonly LifecycleEvent[], what: string, limitMs = 15_000) {
    const end = performance.now() + limitMs;
    while (!events.some((event) => event.what === what)) {
      if (performance.now() > end) throw new Error(`no ${what} among ${events.map((event) => event.what)}`);
      await sleep(20);
    }
  }

  it("come once each, in order, from now on", async () => {
    await site.host();
    const client = await site.client();
    await client.call("create", { name: "before", template: template({ a: thing() }) });
    await until(client, "before", "COMPLETE");
    await sleep(300);
    const stream = client.events({ since: "now" });
    await stream.ready;
    const events: LifecycleEvent[] = [];
    const reading = collect(stream, events);
    const { stack } = await client.call("create", {
      name: "web",
      template: template({ a: thing(), b: thing({}, "a") }),
    });
    await arrive(events, "complete");
    await stream.close();
    await reading;
    expect(new Set(events.map((event) => event.stack))).toEqual(new Set([stack]));
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
    const [a, b] = ["a", "b"].map((name) =>
      events.filter((event) => event.resource === name).map((event) => event.what),
    );
    expect(a).toEqual(["creating", "ready"]);
    expect(b).toEqual(["creating", "ready"]);
    expect(events[0]).toMatchObject({ what: "converging", action: "create", stackName: "web", traversal: 1 });
    expect(last(events)).toBe("complete");
  });

  it("of one stack, from the beginning, also while nats-server restarts", async () => {
    site.world.pause = () => sleep(150);
    await site.host();
    const client = await site.client();
    const links = Array.from({ length: 10 }, (_, i) => [
      `link${i}`,
      thing({}, ...(i === 0 ? [] : [`link${i - 1}`])),
    ]);
    await client.call("create", { name: "other", template: template({ a: thing() }) });
    const { stack } = await client.call("create", {
      name: "web",
      template: template(Object.fromEntries(links)),
    });
    const events: LifecycleEvent[] = [];
    const stream = client.events({ stack, since: "all" });
    const reading = collect(stream, events);
    await arrive(events, "ready");
    await site.nats.restart();
    await arrive(events, "complete", 30_000);
    await stream.close();
    await reading;
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
    const ready = events.filter((event) => event.what === "ready").map((event) => event.resource);
    expect(ready).toEqual(links.map(([name]) => name));
  });

  it("can be waited for before there is any daemon, and after their stream was deleted", async () => {
    const client = await site.client();
    const events: LifecycleEvent[] = [];
    const stream = client.events({ since: "now" });
    await stream.ready;
    const reading = collect(stream, events);
    await site.host();
    await client.call("create", { name: "web", template: template({ a: thing() }) });
    await arrive(events, "complete");
    events.length = 0;
    await (await nats.jetstreamManager()).streams.delete("HOMEOSTAT_EVENT");
    await client.call("create", { name: "more", template: template({ a: thing() }) });
    await arrive(events, "complete");
    expect(new Set(events.map((event) => event.stackName))).toEqual(new Set(["more"]));
    await stream.close();
    await reading;
  });

  it("can be read back for a while", async () => {
    await site.host();
    const client = await site.client();
    await client.call("create", { name: "old", template: template({}) });
    await until(client, "old", "COMPLETE");
    await sleep(1_500);
    await client.call("create", { name: "new", template: template({}) });
    await until(client, "new", "COMPLETE");
    const events: LifecycleEvent[] = [];
    const reading = collect(client.events({ since: 1_200 }), events);
    await arrive(events, "complete");
    await client.close();
    await reading;
    expect(new Set(events.map((event) => event.stackName))).toEqual(new Set(["new"]));
  });

  it("end when the reader stops reading", async () => {
    await site.host();
    const client = await site.client();
    await client.call("create", { name: "web", template: template({}) });
    for await (const event of client.events({ since: "all" })) {
      expect(event.stackName).toBe("web");
      break;
    }
    const consumers = await (await nats.jetstreamManager()).consumers.list("HOMEOSTAT_EVENT").next();
    expect(consumers).toEqual([]);
  });
});
