import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { HomeostatError } from "../../src/errors.js";
import type { Json } from "../../src/json.js";
import { builtinTypes } from "../../src/providers/builtin.js";
import { loadProviders } from "../../src/providers/load.js";
import { ProviderError } from "../../src/providers/provider.js";
import { callOf, failureOfCall, tempFolder } from "./harness.js";

function moduleOf(text: string): string {
  const file = join(tempFolder(), "types.mjs");
  writeFileSync(file, text);
  return file;
}

const methods = `
  async create(call) { return { physicalId: "id-" + call.token, attributes: { a: 1 } }; },
  async read() { return undefined; },
  async delete() {}`;

async function refusal(paths: string[]): Promise<HomeostatError> {
  try {
    await loadProviders(paths);
  } catch (error) {
    expect(error).toBeInstanceOf(HomeostatError);
    return error as HomeostatError;
  }
  throw new Error("it should have been refused");
}

describe("loadProviders", () => {
  it("takes definitions, arrays, functions and the default, each once", async () => {
    const file = moduleOf(`
      export const one = { type: "My::One", ${methods} };
      export default one;
      export const more = [{ type: "My::Two", ${methods} }, ({ defineResource, z }) =>
        defineResource({ type: "My::Three", properties: z.strictObject({ a: z.number() }), updatable: [], ${methods} })];
      export async function four({ ProviderError }) { return { type: "My::Four", ${methods}, async find() {
        throw new ProviderError("no", { effect: "none" }); } }; }
    `);
    const types = await loadProviders([file]);
    expect(types.map(({ type }) => type)).toEqual(["My::One", "My::Two", "My::Three", "My::Four"]);
    expect(await types[0]?.create(callOf(), {})).toEqual({ physicalId: "id-token-1", attributes: { a: 1 } });
    expect(types[2]?.schema.safeParse({ a: "x" }).success).toBe(false);
    const error = await failureOfCall(types[3]?.find(callOf(), {}) ?? Promise.resolve());
    expect(error).toBeInstanceOf(ProviderError);
    expect(error).toMatchObject({ retryable: false, effect: "none" });
  });

  it("takes what reads events of other systems, and gives it the readers of their formats", async () => {
    const file = moduleOf(`
      class Bucket {
        type = "My::Bucket";
        kind = "bucket";
        async create() { return { physicalId: "x" }; }
        async read() { return undefined; }
        async delete() {}
        events(event) { return event.body.kind === this.kind ? [event.body.name] : undefined; }
      }
      export const bucket = new Bucket();
      export const container = ({ dockerEvent }) => ({ type: "My::Container", ${methods}, events(event) {
        const docker = dockerEvent(event);
        return docker?.kind === "container" ? [docker.id] : undefined;
      } });
    `);
    const [bucket, container] = await loadProviders([file]);
    const of = (body: Json) => ({ topic: "foreign", attributes: {}, body });
    const died = { Type: "container", Action: "die", Actor: { ID: "c0ffee" } };
    expect(bucket?.events?.(of({ kind: "bucket", name: "logs" }))).toEqual(["logs"]);
    expect(bucket?.events?.(of(died))).toBeUndefined();
    expect(container?.events?.(of(died))).toEqual(["c0ffee"]);
  });

  it.each([
    ["none: any properties", "", { x: [1] }, undefined],
    [
      "JSON Schema",
      `properties: { type: "object", properties: { a: { type: "number" } }, required: ["a"] },`,
      { a: 1 },
      { a: "x" },
    ],
    [
      "Standard Schema",
      `properties: { "~standard": { version: 1, vendor: "me", validate: (value) =>
        value.a === 1 ? { value } : { issues: [{ message: "a must be 1", path: ["a"] }] } } },`,
      { a: 1 },
      { a: 2 },
    ],
  ])("understands properties as %s", async (_kind, properties, good, bad) => {
    const [type] = await loadProviders([
      moduleOf(`export const t = { type: "My::T", ${properties} ${methods} };`),
    ]);
    expect(type?.schema.parse(good)).toEqual(good);
    if (bad !== undefined) {
      const result = type?.schema.safeParse(bad);
      expect(result?.success).toBe(false);
      expect(result?.error?.issues[0]?.path).toEqual(["a"]);
    }
  });

  it("lets everything change in place where there is an update, and nothing where there is none", async () => {
    const [still, moving] = await loadProviders([
      moduleOf(`
        export const still = { type: "My::Still", ${methods} };
        export const moving = { type: "My::Moving", ${methods}, async update() {} };`),
    ]);
    expect(still?.compare({ a: 1 }, { a: 2 }).replace).toBe(true);
    expect(moving?.compare({ a: 1 }, { a: 2 }).replace).toBe(false);
  });

  it("checks what a user's code returns and throws", async () => {
    const [type] = await loadProviders([
      moduleOf(`export const t = { type: "My::T",
        create() { return { physicalId: 7 }; },
        read() { throw Object.assign(new Error("never"), { retryable: false, effect: "none" }); },
        delete() { throw "text"; },
        async find() { return null; },
      };`),
    ]);
    if (type === undefined) throw new Error("not loaded");
    const create = await failureOfCall(type.create(callOf(), {}));
    expect(create).toMatchObject({ retryable: false, effect: "unknown" });
    expect(create.message).toContain("My::T: create returned something unusable: result.physicalId");
    expect(await failureOfCall(type.read(callOf(), "x", {}))).toMatchObject({
      retryable: false,
      effect: "none",
    });
    expect(await failureOfCall(type.delete(callOf(), "x", {}))).toMatchObject({
      message: "text",
      retryable: true,
    });
    expect((await failureOfCall(type.find(callOf(), {}))).message).toContain(
      "find returned something unusable",
    );
  });

  it.each([
    ["throws", `throw new Error("boom");`, "cannot be imported: boom"],
    ["does not parse", "export const = 1;", "cannot be imported"],
    ["exports nothing", "", "exports no resource type"],
    ["exports something else", "export const a = 1;", `export "a" is not a resource type`],
    ["exports half a type", `export const a = { type: "My::A" };`, `export "a" is not a resource type`],
    ["exports a bad name", `export const a = { type: "A", ${methods} };`, "must look like Family::Name"],
    [
      "has a function that throws",
      "export function f() { throw new Error('boom'); }",
      `export "f" failed: boom`,
    ],
    [
      "defines a type twice",
      `export const a = [1, 2].map(() => ({ type: "My::A", ${methods} }));`,
      "My::A is defined",
    ],
  ])("refuses a module that %s", async (_how, text, message) => {
    const file = moduleOf(text);
    const error = await refusal([file]);
    expect(error.code).toBe("invalid");
    expect(error.message).toContain(message);
    expect(error.problems[0]?.file).toBe(file);
  });

  it("refuses a file that is not there", async () => {
    expect((await refusal(["./no-such-file.js"])).message).toBe("./no-such-file.js: there is no such file");
  });
});

describe("builtinTypes", () => {
  it("has Sim::Resource only where there is a world for it", () => {
    const stateDir = tempFolder();
    const local = ["Local::Directory", "Local::File", "Local::Process"];
    expect(builtinTypes({ stateDir }).names()).toEqual(local);
    expect(builtinTypes({ stateDir, simWorld: tempFolder() }).names()).toEqual([...local, "Sim::Resource"]);
  });
});
