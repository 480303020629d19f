/**
 * Theory: some message on the engine's own subjects ends a daemon, comes back for ever, changes a stack, or keeps good
 * work from going on.
 */
import fc from "fast-check";
import { headers, type JetStreamManager } from "nats";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { template, thing, until } from "../worker/world.js";
import { Daemon } from "./servers.js";
import { announce, mangled, mutated, oddJson, oddText, runsInTurn } from "./support.js";

announce("notifications");

let daemon: Daemon;
let stack: string;
let manager: JetStreamManager;
beforeAll(async () => {
  daemon = await Daemon.open();
  stack = await daemon.settledStack("good");
  manager = await daemon.nats.jetstreamManager();
});
afterAll(() => daemon.close());

/** Notifications that nobody has dealt with. */
async function left(): Promise<number> {
  const { num_pending, num_ack_pending } = await manager.consumers.info("HOMEOSTAT_CONVERGE", "default");
  return num_pending + num_ack_pending;
}

async function untilNoneLeft(limitMs = 20_000): Promise<void> {
  const end = performance.now() + limitMs;
  while ((await left()) > 0) {
    if (performance.now() > end)
      throw new Error(`${await left()} notifications are left: ${daemon.site.log.lines.at(-1)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const visit = fc.record(
  {
    stack: fc.oneof(fc.constantFrom("good", "none", "*", "a}b", "{", "x:s"), oddText, fc.constant("STACK")),
    traversal: fc.oneof(fc.constantFrom(0, 1, 2, -1, 1.5, 2 ** 53 - 1, 1e300), fc.nat(5)),
    attempt: fc.oneof(fc.constantFrom("", "-", "ATTEMPT"), oddText),
    node: fc.oneof(fc.constantFrom("", "u:a", "u:b", "k:RESOURCE", "u:", "x", "u:*", "u:__proto__"), oddText),
    resource: fc.oneof(fc.constantFrom("", "RESOURCE", "*"), oddText),
    pool: fc.oneof(fc.constantFrom("default", "other", "*", ">"), oddText),
  },
  { requiredKeys: ["stack", "traversal", "attempt", "node", "resource", "pool"] },
);

const body = fc.oneof(
  { weight: 4, arbitrary: visit.map((value): string | Uint8Array => JSON.stringify(value)) },
  { weight: 2, arbitrary: mutated(visit).map((value) => JSON.stringify(value) ?? "") },
  { weight: 2, arbitrary: mangled(visit.map((value) => JSON.stringify(value))) },
  { weight: 1, arbitrary: oddJson.map((value) => JSON.stringify(value)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }) },
  { weight: 1, arbitrary: fc.constant("x".repeat(500_000)) },
);

const token = fc.oneof(
  fc.constantFrom("x", "_", "__", "_2a", "_zz", "-1", "999999999999999999999"),
  fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/),
);
const converge = fc
  .tuple(
    fc.array(token, { minLength: 1, maxLength: 5 }),
    fc.constantFrom("default", "default", "default", "other"),
  )
  .map(([tokens, pool]) => ["homeostat.converge", pool, ...tokens].join("."));
const elsewhere = fc
  .tuple(fc.constantFrom("observed", "event", "other", "converge"), fc.array(token, { maxLength: 4 }))
  .map(([what, tokens]) => ["homeostat", what, ...tokens].join("."));
const subject = fc.oneof({ weight: 4, arbitrary: converge }, { weight: 1, arbitrary: elsewhere });

const trace = fc.constantFrom("", "00-x", `00-${"0".repeat(32)}-${"1".repeat(16)}-00`, "ä");

describe("a message", () => {
  it("of any kind on any subject is dealt with once, and changes nothing", async () => {
    await daemon.rest();
    const record = (await daemon.redis.hget(`hs:{${stack}}:s`, "open")) ?? "";
    const [resource = ""] = await daemon.redis.hkeys(`hs:{${stack}}:ix`);
    const known = (text: string | Uint8Array) =>
      typeof text === "string"
        ? text.replaceAll("STACK", stack).replaceAll("ATTEMPT", record).replaceAll("RESOURCE", resource)
        : text;
    const before = await daemon.stored();
    const jetstream = daemon.nats.jetstream();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(subject, body, trace), { minLength: 1, maxLength: 8 }),
        async (messages) => {
          for (const [to, bytes, parent] of messages) {
            const header = headers();
            header.set("traceparent", parent);
            // With and without asking the stream whether it has it: a stranger may do either.
            const sent = jetstream.publish(to, known(bytes), { headers: header, timeout: 2_000 });
            await sent.catch(() => daemon.nats.publish(to, known(bytes)));
          }
          await untilNoneLeft();
        },
      ),
      runsInTurn(150),
    );
    expect(await daemon.stored()).toEqual(before);
    await daemon.works();
  });

  it("that comes in thousands leaves room for good work", async () => {
    const poison = [
      "{",
      JSON.stringify({ stack, traversal: 1, attempt: "x", node: "u:a", resource: "r", pool: "default" }),
    ];
    for (let i = 0; i < 4_000; i++) daemon.nats.publish(`homeostat.converge.default.x.y.${i}`, poison[i % 2]);
    await daemon.works();
    await untilNoneLeft();
  });

  it("for a real node, again and again, makes nothing twice", async () => {
    daemon.site.world.effects.length = 0;
    const created = await daemon.client.call("create", {
      name: "rung",
      template: template({ a: thing(), b: thing({}, "a"), c: thing({}, "b") }),
    });
    const end = performance.now() + 3_000;
    while (performance.now() < end) {
      const open = (await daemon.redis.hget(`hs:{${created.stack}}:s`, "open")) ?? "";
      const graph = await daemon.redis.hgetall(`hs:{${created.stack}}:n:1:${open}`);
      for (const [field, about] of Object.entries(graph)) {
        if (!field.startsWith("i:")) continue;
        const [pool, resource] = about.split("\n");
        const ring = {
          stack: created.stack,
          traversal: 1,
          attempt: open,
          node: field.slice(2),
          resource,
          pool,
        };
        daemon.nats.publish(
          `homeostat.converge.default.x.${Math.random()}`.replace("0.", ""),
          JSON.stringify(ring),
        );
      }
      if ((await daemon.client.call("show", { name: "rung" })).stack.status === "COMPLETE") break;
    }
    await until(daemon.client, "rung", "COMPLETE");
    expect(daemon.site.world.effects).toEqual(["create a", "create b", "create c"]);
    await untilNoneLeft();
  });

  it("among the events that is none is passed over by who follows them", async () => {
    const stream = daemon.client.events({ since: "now" });
    await stream.ready;
    const right = {
      type: "t",
      id: "right",
      time: "",
      stack: "s",
      stackName: "n",
      traversal: 1,
      what: "ready",
    };
    const wrong = fc.oneof(
      fc.constantFrom<unknown>(
        null,
        1,
        "",
        [],
        {},
        { id: 7 },
        { ...right, id: null },
        { ...right, what: {} },
      ),
      mutated(fc.constant<unknown>(right)).filter(
        (value) => (value as { id?: unknown } | null)?.id !== "right",
      ),
      oddJson,
    );
    const texts = fc.oneof(
      wrong.map((value): string | Uint8Array => JSON.stringify(value) ?? ""),
      fc.uint8Array({ maxLength: 20 }),
    );
    // More than are asked for at once, none of which is one.
    for (let i = 0; i < 600; i++) daemon.nats.publish("homeostat.event.a.b.c", "null");
    for (const text of ["null", "7", "{}", ...fc.sample(texts, runsInTurn(300))]) {
      daemon.nats.publish("homeostat.event.a.b.c", text);
    }
    daemon.nats.publish("homeostat.event.a.b.c", JSON.stringify(right));
    const began = performance.now();
    for await (const event of stream) {
      expect(event).toMatchObject({
        id: expect.any(String),
        stack: expect.any(String),
        what: expect.any(String),
      });
      if (event.id === "right") break;
    }
    expect(performance.now() - began).toBeLessThan(10_000);
    await daemon.works();
  });
});
