/** Theory: some message means a thing to its producer, and another one, or none, to us. */
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { type Observed, readObservations } from "../../src/bus/observation.js";
import { encodeToken } from "../../src/bus/subjects.js";
import { dockerEvent } from "../../src/providers/event-formats.js";
import { defineResource, type ForeignEvent, ResourceTypes } from "../../src/providers/provider.js";

function typeOf(type: string, events?: (event: ForeignEvent) => readonly string[] | undefined) {
  const none = async () => ({ physicalId: "", attributes: {} });
  return defineResource({
    type,
    properties: z.object({}),
    updatable: [],
    create: none,
    read: async () => undefined,
    delete: async () => {},
    ...(events === undefined ? {} : { events }),
  });
}

const container = (event: ForeignEvent) => {
  const docker = dockerEvent(event);
  return docker?.kind === "container" ? [docker.id] : undefined;
};

const types = new ResourceTypes().add(
  typeOf("Local::File"),
  typeOf("Local::File::Part"),
  typeOf("My_Own::Thing"),
  typeOf("Docker::Container", container),
  typeOf("Docker::Network", (event) => {
    if (event.topic.endsWith("broken")) throw new Error("no network");
    return dockerEvent(event)?.kind === "network" ? [] : undefined;
  }),
);

function read(topic: string, body: unknown, headers: Record<string, string> = {}): Observed[] {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return readObservations(
    { topic, headers: new Map(Object.entries(headers)), data: Buffer.from(text) },
    types,
  );
}

const hint = (physicalId: string, type = "Local::File") => ({ kind: "hint", type, physicalId });
const heartbeat = (type: string) => ({ kind: "heartbeat", type });
const unknown = (why: string | RegExp) => ({
  kind: "unknown",
  why: typeof why === "string" ? why : expect.stringMatching(why),
});

const file = "Local_3a_3aFile";
const bare = { type: "Local::File", physical_id: "/x" };
const docker = {
  Type: "container",
  Action: "die",
  Actor: { ID: "c0ffee", Attributes: { name: "web" } },
  timeNano: 1,
};
const event = { specversion: "1.0", id: "1", source: "/host", type: "com.example.changed" };

describe("bare JSON", () => {
  it.each([
    ["type and physical id", "x", bare, [hint("/x")]],
    ["the other spelling", "x", { type: "Local::File", physicalId: "/x" }, [hint("/x")]],
    ["an id beside a type", "x", { type: "Local::File", id: "/x" }, [hint("/x")]],
    ["both spellings, the same", "x", { ...bare, physicalId: "/x" }, [hint("/x")]],
    ["an id that is another thing", "x", { ...bare, id: "event 7" }, [hint("/x")]],
    ["the type from the subject", file, { physical_id: "/x" }, [hint("/x")]],
    ["the type from both", `${file}.host7`, bare, [hint("/x")]],
    ["a batch", "x", [bare, { ...bare, physical_id: "/y" }], [hint("/x"), hint("/y")]],
    ["a batch with the type from the subject", file, [{ physical_id: "/x" }], [hint("/x")]],
    ["an odd id", file, { physical_id: "a\0b\n__proto__ ä" }, [hint("a\0b\n__proto__ ä")]],
  ])("with %s is a hint", (_what, topic, body, expected) => {
    expect(read(topic, body)).toEqual(expected);
  });

  it.each([
    ["two different ids", "x", { ...bare, physicalId: "/y" }, /are not the same/],
    ["no type", "x", { physical_id: "/x" }, /names no resource type/],
    ["an id without a type", file, { id: "/x" }, /nothing here knows/],
    [
      "a type that is not known",
      "x",
      { type: "Other::Type", physical_id: "/x" },
      /no resource type Other::Type/,
    ],
    [
      "another type than its subject",
      file,
      { type: "My_Own::Thing", physical_id: "/x" },
      /its subject names/,
    ],
    ["a number as id", file, { physical_id: 7 }, /is text/],
    ["an empty id", file, { physical_id: "" }, /is text/],
    ["null as id", file, { physical_id: null }, /nothing here knows/],
    ["a long id", file, { physical_id: "x".repeat(4_097) }, /1 to 4096/],
    ["nothing", file, {}, /nothing here knows/],
    ["no object", file, "7", /neither an object/],
    ["no JSON", file, "/x", /not JSON/],
    ["an empty body", file, "", /not JSON/],
    ["too large a body", file, " ".repeat(1024 * 1024 + 1), /larger than/],
  ])("with %s is unknown", (_what, topic, body, why) => {
    expect(read(topic, body)).toEqual([unknown(why)]);
  });

  it("keeps what is good in a batch", () => {
    expect(read(file, [bare, 7, [bare], { physical_id: "/y" }])).toEqual([
      hint("/x"),
      unknown(/neither/),
      unknown(/neither/),
      hint("/y"),
    ]);
  });

  it("is bounded in number", () => {
    const found = read(
      file,
      Array.from({ length: 3_000 }, (_, i) => ({ physical_id: `/${i}` })),
    );
    expect(found).toHaveLength(1_001);
    expect(found.at(-1)).toEqual(unknown(/more than 1000/));
  });
});

describe("the subject", () => {
  it.each([
    [file, "Local::File"],
    ["Local::File", "Local::File"],
    ["Local.File", "Local::File"],
    ["Local.File.host7", "Local::File"],
    ["Local.File.Part", "Local::File::Part"],
    [`${file}.Part`, "Local::File"],
    ["My_Own.Thing", "My_Own::Thing"],
    ["My__Own_3a_3aThing", "My_Own::Thing"],
    [encodeToken("Docker::Container"), "Docker::Container"],
  ])("%s names its type", (topic, type) => {
    expect(read(topic, { physical_id: "x" })).toEqual([hint("x", type)]);
    expect(read(`${topic}.heartbeat`, "{")).toEqual([heartbeat(type)]);
  });

  it.each(["heartbeat", "x.heartbeat", "Local.heartbeat", "foreign.docker.heartbeat"])(
    "%s is a heartbeat of nothing",
    (topic) => {
      expect(read(topic, "")).toEqual([unknown(/^a heartbeat/)]);
    },
  );

  it.each(["Other::Type", "Other_3a_3aType", "Other_3a_3aType.heartbeat"])(
    "%s is no type of ours",
    (topic) => {
      expect(read(topic, bare)).toEqual([unknown(/no resource type Other::Type/)]);
    },
  );

  it.each(["", ".", "heartbeat.x", "local.file", "_zz", "__proto__.constructor", "_ff_3a_3a"])(
    "%j names none",
    (topic) => {
      expect(read(topic, bare)).toEqual([hint("/x")]);
      expect(read(topic, { physical_id: "/x" })).toEqual([unknown(/no resource type/)]);
    },
  );
});

describe("CloudEvents", () => {
  const structured = { "content-type": "application/cloudevents+json; charset=UTF-8" };
  const ce = (attributes: Record<string, string>) =>
    Object.fromEntries(
      Object.entries({ ...event, ...attributes }).map(([name, value]) => [`ce-${name}`, value]),
    );

  it.each([
    ["the type in the data", "x", { ...event, data: bare }],
    ["the type as an extension", "x", { ...event, homeostattype: "Local::File", data: { physicalId: "/x" } }],
    ["the type in the subject", file, { ...event, data: { physical_id: "/x" } }],
    ["its own subject as the id", "x", { ...event, homeostattype: "Local::File", subject: "/x" }],
    ["both subjects", file, { ...event, subject: "/x", data: { size: 7 } }],
    ["data in base64", "x", { ...event, data_base64: Buffer.from(JSON.stringify(bare)).toString("base64") }],
  ])("in one body, with %s", (_what, topic, body) => {
    expect(read(topic, body, structured)).toEqual([hint("/x")]);
    expect(read(topic, body)).toEqual([hint("/x")]);
    expect(read(topic, [body, body])).toEqual([hint("/x"), hint("/x")]);
  });

  it.each([
    ["the type in the data", "x", {}, bare],
    ["the type as an extension", "x", { homeostattype: "Local::File" }, { physical_id: "/x" }],
    ["percent-encoded attributes", "x", { homeostattype: "Local%3A%3AFile", subject: "%2Fx" }, ""],
    ["its own subject and data that is no JSON", file, { subject: "/x" }, "<xml/>"],
    ["a content type of its data", file, { subject: "/x", datacontenttype: "text/plain" }, "changed"],
  ])("in headers, with %s", (_what, topic, attributes, body) => {
    expect(read(topic, body, ce(attributes))).toEqual([hint("/x")]);
  });

  it("prefer what is said of the thing to their subject", () => {
    expect(read(file, { ...event, subject: "/y", data: { physical_id: "/x" } })).toEqual([hint("/x")]);
  });

  it("keep a value that is not encoded as it should be", () => {
    expect(read(file, "", ce({ subject: "100%" }))).toEqual([hint("100%")]);
  });

  it("carry events of other systems", () => {
    const taken = [hint("c0ffee", "Docker::Container")];
    expect(read("foreign", { ...event, subject: "x", data: docker })).toEqual(taken);
    expect(read("foreign", docker, ce({ subject: "x" }))).toEqual(taken);
    expect(read("Docker.Container", { ...event, subject: "x", data: docker })).toEqual(taken);
    expect(read("Docker.Container", { ...event, subject: "x", data: {} })).toEqual([
      hint("x", "Docker::Container"),
    ]);
  });

  it.each([
    ["no thing", "x", event, /nothing here knows/],
    [
      "another type than the subject",
      file,
      { ...event, homeostattype: "My_Own::Thing", subject: "x" },
      /its subject/,
    ],
    [
      "a type that is not known",
      "x",
      { ...event, homeostattype: "X::Y", subject: "x" },
      /no resource type X::Y/,
    ],
    ["a format that is not JSON", file, "<xml/>", /not JSON/],
  ])("with %s are unknown", (_what, topic, body, why) => {
    expect(read(topic, body, structured)).toEqual([unknown(why)]);
  });

  it("in one body are not read from headers", () => {
    const headers = { ...ce({ subject: "/y" }), ...structured };
    expect(read(file, { ...event, subject: "/x" }, headers)).toEqual([hint("/x")]);
  });
});

describe("events of other systems", () => {
  const taken = [hint("c0ffee", "Docker::Container")];

  it("are offered to all types, or to the one that the subject names", () => {
    expect(read("foreign.docker", docker)).toEqual(taken);
    expect(read("Docker.Container.host7", docker)).toEqual(taken);
    expect(read("Docker.Network", docker)).toEqual([unknown(/nothing here knows/)]);
    expect(read(file, docker)).toEqual([unknown(/nothing here knows/)]);
    expect(read("foreign", [docker, docker])).toEqual([...taken, ...taken]);
  });

  it("that tell of nothing are not unknown", () => {
    expect(read("foreign", { ...docker, Type: "network" })).toEqual([]);
  });

  it("that one type cannot read are still read by the others", () => {
    expect(read("foreign.broken", docker)).toEqual([
      ...taken,
      unknown("Docker::Network cannot read it: no network"),
    ]);
  });

  const odd = (events: (event: ForeignEvent) => unknown, body: unknown = {}) =>
    readObservations(
      { topic: "x", headers: new Map(), data: Buffer.from(JSON.stringify(body)) },
      new ResourceTypes().add(typeOf("Odd::Type", events as () => undefined)),
    );

  it.each<[string, () => unknown]>([
    ["a number", () => 7],
    ["null", () => null],
    ["a text", () => "/x"],
    ["an id that is none", () => [""]],
    ["something else than ids", () => [{}]],
    ["a promise", async () => ["/x"]],
    ["a promise that fails", () => Promise.reject(new Error("later"))],
  ])("are unknown when the type returns %s", (_what, events) => {
    expect(odd(events)).toEqual([unknown(/^Odd::Type cannot read it: events\(\) must return/)]);
  });

  it.each<[string, unknown, RegExp]>([
    ["nothing", undefined, /without a message/],
    ["a text", "no", /: no$/],
    ["what cannot be shown", { toString: () => 7n.valueOf }, /cannot be shown/],
    ["a long text", new Error("x".repeat(9_000)), /^.{300}…$/],
  ])("are unknown when the type throws %s", (_what, thrown, why) => {
    const throws = () => {
      throw thrown;
    };
    expect(odd(throws)).toEqual([unknown(why)]);
  });

  it("are bounded in depth and in what they tell of", () => {
    const deep = JSON.parse(`${"[".repeat(150)}${"]".repeat(150)}`) as unknown;
    expect(odd(() => ["x"], { deep })).toEqual([unknown(/more than 100 deep/)]);
    const many = odd(() => Array.from({ length: 100_000 }, (_, i) => `${i}`));
    expect(many).toHaveLength(1_001);
    expect(many.at(-1)).toEqual(unknown(/more than 1000/));
  });
});
