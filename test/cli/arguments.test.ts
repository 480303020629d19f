/** Theory: what a person types is understood, or refused with what to type instead. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { orphansOf, parseDuration, parseParameters, settingsOf } from "../../src/cli/settings.js";
import { checkStackName, nameFromFile, readTemplate } from "../../src/cli/template-file.js";

describe("durations", () => {
  it.each([
    ["200ms", 200],
    ["30s", 30_000],
    ["1.5m", 90_000],
    ["1h", 3_600_000],
  ])("%s", (text, ms) => expect(parseDuration(text)).toBe(ms));

  it.each(["", "10", "s", "-1s", "0s", "1d", "1 s", "1m30s"])("not %j", (text) => {
    expect(() => parseDuration(text)).toThrow(/is not a duration/);
  });
});

describe("parameters", () => {
  it("are cut at the first equals sign, and the last of one name counts", () => {
    expect(parseParameters(["a=1=2", "b=", "c= x\ny", "a=3"])).toEqual({ a: "3", b: "", c: " x\ny" });
  });

  it.each(["a", "=1", ""])("not %j", (pair) => {
    expect(() => parseParameters([pair])).toThrow(/is not a parameter/);
  });
});

describe("the stack's name from its file", () => {
  it.each([
    ["hello.yaml", "hello"],
    ["a/b/my shop.hot.yml", "my-shop"],
    ["shop/template.yaml", "shop"],
    ["shop/stack.json", "shop"],
    ["./.hidden.yaml", "hidden"],
  ])("%s: %s", (file, name) => expect(nameFromFile(file)).toBe(name));

  it.each(["-", "日本.yaml", "/template.yaml"])("none from %s", (file) => {
    expect(() => nameFromFile(file)).toThrow(/homeostat up NAME/);
  });

  it.each(["a/b", "", "-x", "a b", "x".repeat(129)])("%j is none", (name) => {
    expect(() => checkStackName(name)).toThrow(/is not a stack name/);
  });
});

describe("what is done about orphans", () => {
  it.each([
    [undefined, {}, undefined],
    [undefined, { HOMEOSTAT_ORPHANS: "remove" }, "remove"],
    [undefined, { HOMEOSTAT_ORPHANS: "" }, undefined],
    ["report", { HOMEOSTAT_ORPHANS: "remove" }, "report"],
  ])("%j with %j: %j", (option, env, said) => expect(orphansOf(option, env)).toBe(said));

  it("nothing but report and remove", () => {
    expect(() => orphansOf("delete", {})).toThrow('orphans can be report or remove, not "delete"');
  });
});

describe("configured servers", () => {
  it.each([
    [{}, {}, undefined],
    [{}, { HOMEOSTAT_REDIS_URL: "", HOMEOSTAT_NATS_URL: "" }, undefined],
    [{}, { HOMEOSTAT_NATS_URL: "nats://a" }, { redisUrl: undefined, nats: { url: "nats://a" } }],
    [
      { natsUrl: "nats://b" },
      { HOMEOSTAT_NATS_URL: "nats://a", NATS_CONTEXT: "c" },
      { redisUrl: undefined, nats: { url: "nats://b" } },
    ],
    [{ redisUrl: "redis://r" }, { NATS_CONTEXT: "c" }, { redisUrl: "redis://r", nats: { context: "c" } }],
  ])("%j %j", (options, env, remote) => {
    expect(settingsOf(options, env).remote).toEqual(remote);
  });

  it("never shows a password", () => {
    expect(() => settingsOf({ redisUrl: "http://:secret@x", natsUrl: "nats://a" }, {})).toThrow(
      /^(?!.*secret)/,
    );
  });
});

describe("a template file", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "homeostat-template-"));
    await mkdir(join(folder, "files"));
    await writeFile(join(folder, "files/a.txt"), "\uFEFFone\r\n");
    await writeFile(join(folder, "files/binary"), Buffer.from([0xff, 0xfe, 0x00]));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const read = async (text: string) => {
    const file = join(folder, "t.yaml");
    await writeFile(file, text);
    return readTemplate(file);
  };

  it("comes with what it embeds, as it is", async () => {
    const text =
      "resources:\n  a: { type: X::Y, properties: { v: [{ get_file: files/a.txt }, { w: { get_file: ./files/a.txt } }] } }\n";
    const source = await read(text);
    expect(source).toEqual({
      text,
      name: join(folder, "t.yaml"),
      files: { "files/a.txt": "\uFEFFone\r\n", "./files/a.txt": "\uFEFFone\r\n" },
    });
  });

  it.each([
    ["files/none", /^[^\n]*t\.yaml:1:\d+: file "files\/none" cannot be read: there is no such file$/],
    ["files/binary", /is not text in UTF-8/],
    ["files", /is not a regular file/],
    ["https://example.com/a", /is not local/],
  ])("cannot embed %s", async (name, message) => {
    await expect(read(`a: { get_file: "${name}" }\n`)).rejects.toThrow(message);
  });
});
