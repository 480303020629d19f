/**
 * Theory: some request ends the API, is not answered, is answered without a stable code and a plain reason, or leaves
 * something behind in Redis although it was refused.
 */
import fc from "fast-check";
import { headers, type MsgHdrs } from "nats";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requests } from "../../src/api/schemas.js";
import { template, thing } from "../worker/world.js";
import { Daemon } from "./servers.js";
import { announce, mangled, mutated, objectOf, oddJson, oddText, runsInTurn } from "./support.js";

announce("requests");

let daemon: Daemon;
beforeAll(async () => {
  daemon = await Daemon.open();
  await daemon.settledStack("good");
  await daemon.settledStack("kept");
});
afterAll(() => daemon.close());

const verbs = Object.keys(requests);
const subject = fc.constantFrom(...verbs).map((verb) => `homeostat.api.${verb}`);

const source = {
  text: JSON.stringify({
    parameters: { p: { type: "number", default: 1 }, secret: { type: "string", hidden: true, default: "x" } },
    resources: { a: thing({ size: { get_param: "p" } }) },
    outputs: { o: { value: { get_attr: ["a", "size"] } } },
  }),
  name: "it.yaml",
  files: { f: "content" },
};

/** Right ones, of all verbs at once: what a verb does not know is ignored. */
const right = fc.record(
  {
    name: fc.constantFrom("good", "new", "nobody"),
    request: oddText,
    expected: fc.constantFrom(1, 2, 10 ** 15),
    template: fc.constantFrom(source, template({ a: thing() }), template({})),
    parameters: fc.array(fc.tuple(fc.constantFrom("p", "secret", "__proto__"), oddJson)).map(objectOf),
    options: fc.constantFrom({}, { rollback_on_failure: true }, { timeout_ms: 60_000 }, { timeout_ms: 1e15 }),
    rollback: fc.boolean(),
    offset: fc.nat(3),
    limit: fc.nat(3),
    resources: fc.boolean(),
  },
  { requiredKeys: ["name"] },
);

const json = fc.oneof(mutated(right), right, oddJson).map((value) => JSON.stringify(value) ?? "");
const body = fc.oneof(
  { weight: 4, arbitrary: json.map((text): Uint8Array => Buffer.from(text)) },
  {
    weight: 2,
    arbitrary: mangled(right.map((value) => JSON.stringify(value))).map(
      (text): Uint8Array => Buffer.from(text),
    ),
  },
  { weight: 1, arbitrary: oddText.map((text): Uint8Array => Buffer.from(text)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 50 }) },
  {
    weight: 1,
    arbitrary: fc.tuple(json, fc.nat(), fc.integer({ min: 128, max: 255 })).map(([text, at, byte]) => {
      const bytes = Buffer.from(text);
      bytes[at % Math.max(1, bytes.length)] = byte;
      return bytes;
    }),
  },
);

const header = fc
  .array(
    fc.tuple(
      fc.constantFrom("traceparent", "Homeostat-Body", "Nats-Msg-Id", "Nats-Service-Error-Code", "X-y"),
      fc.oneof(fc.string({ maxLength: 20 }), fc.constantFrom("*", "a.>", "a b", "00-0-0-00", "ä")),
    ),
    { maxLength: 2 },
  )
  .map((entries): MsgHdrs => {
    const all = headers();
    for (const [name, value] of entries) all.append(name, value.replace(/[\r\n]/g, ""));
    return all;
  });

describe("a request", () => {
  it("of any body and headers gets an answer, and leaves nothing when it is refused", async () => {
    await daemon.rest();
    let before = await daemon.stored();
    await fc.assert(
      fc.asyncProperty(subject, body, header, async (to, bytes, head) => {
        const answer = await daemon.ask(to, bytes, head);
        if (/list|show/.test(to)) return;
        await daemon.rest();
        expect("code" in answer && answer.code).not.toBe("internal");
        if ("code" in answer) expect(await daemon.stored()).toEqual(before);
        else before = await daemon.stored();
      }),
      runsInTurn(150),
    );
    await daemon.works();
  });

  const unreadable: [string, string, string | Uint8Array, RegExp][] = [
    ["bytes that are no text", "create", Buffer.from('{"name":"a\xff"}', "latin1"), /not text in UTF-8/],
    ["half a character", "create", Buffer.from([0x22, 0xe2, 0x82]), /not text in UTF-8/],
    ["a value of a billion digits' form", "list", '{"limit":1e999}', /limit: /],
    ["deep nesting", "create", `{"name":${"[".repeat(400_000)}${"]".repeat(400_000)}}`, /name: /],
    ["deep nesting in a parameter", "update", deepParameter(), /cannot be kept as JSON/],
    ["a long name", "show", JSON.stringify({ name: "n".repeat(900_000) }), /there is no stack n+/],
    ["a name with wildcards", "show", '{"name":"*.>"}', /there is no stack \*\.>/],
    ["a name of keys", "delete", '{"name":"{x}:s"}', /a stack name has/],
    ["two lists", "create", "[][]", /not JSON/],
    ["braces without end", "create", createOf("{".repeat(300_000)), /nested deeper than 100 levels/],
    ["quotes without end", "create", createOf('"'.repeat(50_000)), /Unexpected double-quoted-scalar/],
    [
      "hundreds of problems with long names",
      "create",
      createOf(JSON.stringify({ resources: {}, ...objectOf(manyLongKeys(2_000)) })),
      /unknown key "0k+/,
    ],
  ];

  it.each(unreadable)("with %s is refused", async (_what, verb, bytes, description) => {
    await daemon.rest();
    const before = await daemon.stored();
    const answer = await daemon.ask(`homeostat.api.${verb}`, bytes);
    expect("description" in answer && answer.description).toMatch(description);
    expect(await daemon.stored()).toEqual(before);
  });

  it("with more problems than fit a message gets an answer all the same", async () => {
    const text = JSON.stringify({ resources: {}, ...objectOf(manyLongKeys(6_000)) });
    const refused = daemon.client.call("create", { name: "new", template: { text } }, { timeoutMs: 60_000 });
    await expect(refused).rejects.toMatchObject({ code: "invalid" });
  });

  it("that cannot be sealed leaves the name free", async () => {
    await daemon.rest();
    const before = await daemon.stored();
    const request = JSON.stringify({ name: "sealed", template: source });
    const answer = await daemon.ask("homeostat.api.create", request);
    expect("description" in answer && answer.description).toMatch(/need a sealing key/);
    expect(await daemon.stored()).toEqual(before);
  });

  it("from a stranger who does not keep to the protocol does no harm", async () => {
    const list = '{"limit":1}';
    const pub = (to: string, reply: string, text: string | Buffer) =>
      Buffer.concat([
        Buffer.from(`PUB ${to} ${reply} ${text.length}\r\n`),
        Buffer.from(text),
        Buffer.from("\r\n"),
      ]);
    const replies = [
      "",
      ...verbs.map((verb) => `homeostat.api.${verb}`),
      "homeostat.converge.default.x.y.1",
      "homeostat.observed.x",
      "homeostat.event.x.y.z",
      "*",
      ">",
      "a.*.b",
      "a..b",
      ".",
      "$SRV.PING",
      "_INBOX.nobody",
      `${"x.".repeat(500)}x`,
    ];
    for (const reply of replies) {
      for (const verb of ["list", "show"]) await daemon.sendRaw(pub(`homeostat.api.${verb}`, reply, list));
    }
    const noVerbs = [
      "homeostat.api.nope",
      "homeostat.api",
      "homeostat.api.create.more",
      "homeostat.api.CREATE",
    ];
    for (const to of noVerbs) await daemon.sendRaw(pub(to, "a.b", list));
    await daemon.sendRaw(
      `PUB homeostat.api.create a.b ${2 ** 21}\r\n`,
      `PUB homeostat.api.create a.b -1\r\n`,
      `HPUB homeostat.api.list a.b 30 30\r\nNATS/1.0\r\nnot a header\r\n\r\n{}\r\n`,
      `HPUB homeostat.api.list a.b 25 27\r\nNATS/1.0 999 odd\r\nA\r\n\r\n{}\r\n`,
      Buffer.from([0, 255, 13, 10]),
    );
    await daemon.works();
  });

  it("of many at once gets an answer, each", async () => {
    const asked = Array.from({ length: 1_500 }, () =>
      daemon.nats.request("homeostat.api.list", "{", { timeout: 60_000 }),
    );
    const codes = (await Promise.all(asked)).map((message) =>
      message.headers?.get("Nats-Service-Error-Code"),
    );
    expect([...new Set(codes)].every((code) => code === "400" || code === "503")).toBe(true);
    await daemon.works();
  });
});

function createOf(text: string): string {
  return JSON.stringify({ name: "new", template: { text } });
}

function manyLongKeys(length: number): [string, number][] {
  return Array.from({ length: 400 }, (_, i) => [`${i}k`.padEnd(length, "k"), 1]);
}

function deepParameter(): string {
  return `{"name":"kept","template":${JSON.stringify({ text: "parameters: { p: { type: json } }\nresources: {}" })},"parameters":{"p":${"[".repeat(200_000)}${"]".repeat(200_000)}}}`;
}
