/** Theory: some message on `homeostat.observed.>` makes its reader throw, work for long, or name a type that there is none of. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { z } from "zod";
import { type Observation, readObservations } from "../../src/bus/observation.js";
import {
  dockerEvent,
  eventBridgeEvent,
  kubernetesWatchEvent,
  openstackNotification,
} from "../../src/providers/event-formats.js";
import { defineResource, type ForeignEvent, ResourceTypes } from "../../src/providers/provider.js";
import { always, announce, cpuTime, expectPlain, mangled, mutated, oddJson, oddText } from "./support.js";

announce("observations");

function typeOf(type: string, events: (event: ForeignEvent) => readonly string[] | undefined) {
  const read = async () => undefined;
  const create = async () => ({ physicalId: "", attributes: {} });
  return defineResource({
    type,
    properties: z.object({}),
    updatable: [],
    create,
    read,
    delete: async () => {},
    events,
  });
}

const types = new ResourceTypes().add(
  typeOf("A::Docker", (event) => {
    const docker = dockerEvent(event);
    return docker && [docker.id];
  }),
  typeOf("A::Pod", (event) => {
    const kubernetes = kubernetesWatchEvent(event);
    return kubernetes && [kubernetes.name];
  }),
  typeOf("A::Server", (event) => {
    const notification = openstackNotification(event);
    return notification && [notification.id];
  }),
  typeOf("A::Bucket", (event) => eventBridgeEvent(event)?.resources),
  typeOf("A::Careless", (event) => Object.keys((event.body as { must: object }).must)),
);

const typeName = fc.oneof(fc.constantFrom(...types.names(), "No::Type", "::"), oddText);
const native = fc.record(
  { type: typeName, physical_id: oddText, physicalId: oddText, id: oddText, must: oddJson },
  { requiredKeys: [] },
);
const foreign = fc.oneof(
  fc.record({ Type: oddText, Action: oddText, Actor: fc.record({ ID: oddText, Attributes: oddJson }) }),
  fc.record({
    type: fc.constantFrom("ADDED", "BOOKMARK"),
    object: fc.record({
      apiVersion: oddText,
      kind: oddText,
      metadata: fc.record({ name: oddText, uid: oddText }),
    }),
  }),
  fc.record({
    event_type: fc.oneof(fc.constantFrom("volume.delete.end", "end", "start.end", "..."), oddText),
    publisher_id: oddText,
    payload: fc.oneof(fc.record({ volume_id: oddJson, volume: oddJson }), oddJson),
  }),
  fc.record({
    "oslo.message": fc.oneof(
      oddJson.map((value) => JSON.stringify(value) ?? ""),
      oddText,
    ),
  }),
  fc.record({
    id: oddText,
    source: oddText,
    "detail-type": oddText,
    resources: fc.array(oddText),
    detail: oddJson,
  }),
);
const plain = fc.oneof(native, foreign);
const cloudEvent = fc.record(
  {
    specversion: fc.constantFrom("1.0", "0.3", "", "x"),
    homeostattype: typeName,
    subject: oddText,
    data: fc.oneof(plain, oddJson),
    data_base64: oddText,
  },
  { requiredKeys: ["specversion"] },
);
const one = fc.oneof(plain, cloudEvent, oddJson);
const body = fc.oneof(one, fc.array(one, { maxLength: 5 }), mutated(fc.oneof(plain, cloudEvent)));
const text = body.map((value) => JSON.stringify(value) ?? "");
const data = fc.oneof(
  { weight: 4, arbitrary: text.map((each) => Buffer.from(each)) },
  { weight: 2, arbitrary: mangled(text).map((each) => Buffer.from(each)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }) },
);
const token = fc.oneof(
  fc.constantFrom("A_3a_3aDocker", "A::Docker", "A", "Docker", "heartbeat", "", "_", "_3a_3a", "_ff_3a_3a"),
  oddText,
);
const headers = fc
  .dictionary(
    fc.oneof(
      fc.constantFrom("ce-specversion", "ce-homeostattype", "ce-subject", "ce-__proto__", "content-type"),
      oddText,
    ),
    fc.oneof(fc.constantFrom("application/cloudevents+json", "A::Docker", "%", "%ff", "%00"), oddText),
  )
  .map((record) => new Map(Object.entries(record)));

const message: fc.Arbitrary<Observation> = fc.record({
  topic: fc.array(token, { maxLength: 12 }).map((tokens) => tokens.join(".")),
  headers,
  data,
});

it("any message is told of in known types, or in plain words", async () => {
  await always(
    message,
    (each) => {
      for (const observed of readObservations(each, types)) {
        if (observed.kind === "unknown") {
          expect(observed.why.length).toBeGreaterThan(0);
          expect(observed.why.length).toBeLessThan(400);
          if (!observed.why.startsWith("A::Careless cannot read it")) expectPlain(observed.why);
          continue;
        }
        expect(types.get(observed.type)).toBeDefined();
        if (observed.kind === "hint") expect(observed.physicalId).toMatch(/^.{1,4096}$/su);
      }
    },
    5_000,
  );
});

it.each([
  ["nested arrays", `${"[".repeat(500_000)}${"]".repeat(500_000)}`],
  ["nested objects", `${'{"must":'.repeat(100_000)}1${"}".repeat(100_000)}`],
  ["an array of them", `[${'{"must":{}},'.repeat(80_000)}{}]`],
  ["many keys", `{"must":{${Array.from({ length: 70_000 }, (_, i) => `"${i}":1`).join()}}}`],
  ["a long number", `{"must":${"9".repeat(1_000_000)}}`],
  ["tokens", "{}", `${"A.".repeat(2_000)}`],
  ["a long token", "{}", "_3a".repeat(1_300)],
])("a large message of %s is read soon", (_what, large, topic = "x") => {
  const spent = cpuTime();
  const found = readObservations({ topic, headers: new Map(), data: Buffer.from(large) }, types);
  expect(found.length).toBeLessThan(1_002);
  expect(spent()).toBeLessThan(1_000);
});
