import {
  promises as fs,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../src/json.js";
import type { ResourceType } from "../../src/providers/provider.js";
import { simResource } from "../../src/providers/sim/sim-resource.js";
import { FolderWorld, folderSteering, ownFolderOf } from "../../src/providers/sim/world-folder.js";
import { callOf, failureOfCall, startWorker, tempFolder, untilStopped } from "./harness.js";

function openWorld(folder: string): ResourceType {
  const world = new FolderWorld(folder);
  return simResource(world, folderSteering(world));
}

function thingsIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.endsWith(".json"));
}

function contentOf(folder: string, physicalId: string): unknown {
  return JSON.parse(readFileSync(join(folder, `${physicalId}.json`), "utf8"));
}

const worker = `async (load, call) => {
  const { FolderWorld, folderSteering } = await load("sim/world-folder.js");
  const { simResource } = await load("sim/sim-resource.js");
  return async ({ folder, operation, physicalId, properties }) => {
    const world = new FolderWorld(folder);
    const type = simResource(world, folderSteering(world));
    if (operation === "create" || operation === "find") return type[operation](call(), properties);
    return type[operation](call(), physicalId, properties, properties);
  };
}`;

describe("Sim::Resource", () => {
  it("is one file with exactly name, properties and token", async () => {
    const folder = tempFolder();
    const type = openWorld(folder);
    const given = { a: "x", "!b": [1, null], $delay: { create: 0 } };
    const { physicalId, attributes } = await type.create(callOf({ resource: "we/ird näme" }), given);
    expect(attributes).toEqual({ a: "x", "!b": [1, null] });
    expect(thingsIn(folder)).toEqual([`${physicalId}.json`]);
    expect(physicalId).toMatch(/^we_ird_n_me-[0-9a-f]{12}$/);
    expect(contentOf(folder, physicalId)).toEqual({
      name: "we/ird näme",
      properties: { a: "x", "!b": [1, null] },
      token: "token-1",
    });
    expect(await type.read(callOf(), physicalId, given)).toEqual({
      physicalId,
      attributes,
      properties: attributes,
    });
    await type.update(callOf(), physicalId, { a: "y" }, given);
    expect(contentOf(folder, physicalId)).toMatchObject({ properties: { a: "y" } });
    await type.delete(callOf(), physicalId, {});
    await type.delete(callOf(), physicalId, {});
    expect(thingsIn(folder)).toEqual([]);
    expect(await type.read(callOf(), physicalId, {})).toBeUndefined();
  });

  it("replaces for names with !, in any of the three ways, and never compares names with $", () => {
    const type = openWorld(tempFolder());
    const table: [JsonObject, JsonObject, { changed: string[]; replace: boolean }][] = [
      [{ "!a": 1 }, { "!a": 2 }, { changed: ["!a"], replace: true }],
      [{}, { "!a": 2 }, { changed: ["!a"], replace: true }],
      [{ "!a": 1 }, {}, { changed: ["!a"], replace: true }],
      [{ a: 1 }, { a: 2, $fail: { create: 1 } }, { changed: ["a"], replace: false }],
      [{ $findable: false }, {}, { changed: [], replace: false }],
    ];
    for (const [previous, next, change] of table) expect(type.compare(previous, next)).toEqual(change);
  });

  it.each<[JsonObject, string]>([
    [{ $idempotant: true }, "a misspelt name"],
    [{ $delay: { create: "soon" } }, "no duration"],
    [{ $delay: { destroy: "1s" } }, "no operation"],
    [{ $fail: { create: { times: -1 } } }, "a negative count"],
    [{ $findable: "no" }, "text for a boolean"],
  ])("refuses %j: %s", (given) => {
    expect(openWorld(tempFolder()).schema.safeParse(given).success).toBe(false);
  });

  it("makes a second thing with a used token, unless it is idempotent", async () => {
    const folder = tempFolder();
    const type = openWorld(folder);
    const first = await type.create(callOf(), {});
    const second = await type.create(callOf(), {});
    expect(thingsIn(folder)).toHaveLength(2);
    expect(await type.find(callOf(), {})).toMatchObject({ physicalId: first.physicalId });
    await type.delete(callOf(), first.physicalId, {});
    expect(await type.find(callOf(), {})).toMatchObject({ physicalId: second.physicalId });

    const careful = callOf({ token: "token-2" });
    const made = await Promise.all([1, 2, 3].map(() => type.create(careful, { $idempotent: true })));
    expect(new Set(made.map(({ physicalId }) => physicalId)).size).toBe(1);
    expect(thingsIn(folder)).toHaveLength(2);
    expect(type.capabilities({ $idempotent: true, $findable: false })).toEqual({
      find: false,
      idempotent: true,
    });
    expect(type.capabilities({})).toEqual({ find: true, idempotent: false });
    expect(type.timeoutMs("create", { $timeout: "5s" })).toBe(5_000);
    expect(type.timeoutMs("find", { $timeout: "5s" })).toBeUndefined();
    expect(type.timeoutMs("create", {})).toBeUndefined();
  });

  it("is missing when its file was removed, and unreadable when that makes no sense", async () => {
    const folder = tempFolder();
    const type = openWorld(folder);
    const { physicalId } = await type.create(callOf(), { a: 1 });
    for (const garbage of ["", "{", "[]", '{"name":"thing"}']) {
      writeFileSync(join(folder, `${physicalId}.json`), garbage);
      const error = await failureOfCall(type.read(callOf(), physicalId, {}));
      expect(error.message, garbage).toContain("unreadable");
      expect((await failureOfCall(type.find(callOf(), {}))).message).toContain("unreadable");
    }
    rmSync(join(folder, `${physicalId}.json`));
    expect(await type.read(callOf(), physicalId, {})).toBeUndefined();
    expect(await type.find(callOf(), {})).toBeUndefined();
    expect((await failureOfCall(type.update(callOf(), physicalId, {}, {}))).effect).toBe("none");
    expect(thingsIn(folder)).toEqual([]);
  });

  it("finds by token with as many reads among a thousand as among ten", async () => {
    const folder = tempFolder();
    const type = openWorld(folder);
    const readsOfFind = async (token: string) => {
      const calls: string[] = [];
      const real = { readFile: fs.readFile, readdir: fs.readdir };
      fs.readFile = ((...args: Parameters<typeof fs.readFile>) => {
        calls.push("readFile");
        return real.readFile(...args);
      }) as typeof fs.readFile;
      fs.readdir = (() => {
        throw new Error("a search");
      }) as unknown as typeof fs.readdir;
      syncBuiltinESMExports();
      try {
        await type.find(callOf({ token }), {});
      } finally {
        Object.assign(fs, real);
        syncBuiltinESMExports();
      }
      return calls.length;
    };
    const reads: number[] = [];
    for (let i = 1; i <= 1000; i++) {
      await type.create(callOf({ token: `t${i}` }), {});
      if (i === 10 || i === 1000) reads.push(await readsOfFind("t5"), await readsOfFind("none"));
    }
    expect(reads[0]).toBeGreaterThan(0);
    expect(reads.slice(0, 2)).toEqual(reads.slice(2));
  });

  // Theory: the index and the file are two writes, and a crash between them hides a thing or invents one.
  it("killed at every step of a create: what is there is found, and what is found is there", async () => {
    for (let step = 1, done = false; !done; step++) {
      const folder = tempFolder();
      const type = openWorld(folder);
      const input = { folder, operation: "create", properties: { a: 1 } };
      done =
        (await startWorker({ text: worker, input, at: { step, signal: "SIGKILL" } }).result) !== undefined;
      const found = await type.find(callOf(), {});
      expect(thingsIn(folder), `step ${step}`).toEqual(
        found === undefined ? [] : [`${found.physicalId}.json`],
      );
      if (found === undefined) await type.create(callOf(), { a: 1 });
      expect(thingsIn(folder)).toHaveLength(1);
    }
  });

  it("stopped at every step of an update, and going on after the delete: it stays deleted", async () => {
    for (let step = 1, ended = false; !ended; step++) {
      const folder = tempFolder();
      const type = openWorld(folder);
      const { physicalId } = await type.create(callOf(), { a: 1 });
      const input = { folder, operation: "update", physicalId, properties: { a: 2 } };
      const late = startWorker({ text: worker, input, at: { step, signal: "SIGSTOP" } });
      ended = (await untilStopped(late)) === "ended";
      await type.delete(callOf(), physicalId, {});
      late.child.kill("SIGCONT");
      await late.result;
      expect(thingsIn(folder), `step ${step}`).toEqual([]);
    }
  });

  it("makes its folder, and puts nothing but things in it", async () => {
    const folder = join(tempFolder(), "not", "there", "yet");
    const { physicalId } = await simResource(new FolderWorld(folder)).create(callOf(), { a: 1 });
    expect(readdirSync(folder)).toEqual([`${physicalId}.json`]);
  });

  it("removes also what an update moved in place in the middle of the delete", async () => {
    const folder = tempFolder();
    const world = new FolderWorld(folder);
    const type = simResource(world);
    const { physicalId } = await type.create(callOf(), {});
    const file = join(folder, `${physicalId}.json`);
    const drafts = join(ownFolderOf(folder), "drafts", physicalId);
    mkdirSync(drafts, { recursive: true });
    writeFileSync(join(drafts, "draft"), readFileSync(file));
    const { unlink } = fs;
    let late = false;
    fs.unlink = async (path) => {
      await unlink(path);
      if (late) return;
      late = true;
      renameSync(join(drafts, "draft"), file);
    };
    syncBuiltinESMExports();
    try {
      await type.delete(callOf(), physicalId, {});
    } finally {
      fs.unlink = unlink;
      syncBuiltinESMExports();
    }
    expect(late).toBe(true);
    expect(thingsIn(folder)).toEqual([]);
  });

  it("stopped at every step of a delete, while an update runs: gone in the end", async () => {
    for (let step = 1, ended = false; !ended; step++) {
      const folder = tempFolder();
      const type = openWorld(folder);
      const { physicalId } = await type.create(callOf(), { a: 1 });
      const input = { folder, operation: "delete", physicalId, properties: {} };
      const late = startWorker({ text: worker, input, at: { step, signal: "SIGSTOP" } });
      ended = (await untilStopped(late)) === "ended";
      await type.update(callOf(), physicalId, { a: 2 }, {}).catch(() => undefined);
      late.child.kill("SIGCONT");
      await late.result;
      expect(thingsIn(folder), `step ${step}`).toEqual([]);
    }
  });

  it("fails as often as it is told, whichever process counts", async () => {
    const folder = tempFolder();
    const outcomes: (boolean | undefined)[] = [];
    for (let i = 0; i < 4; i++) {
      const attempt = openWorld(folder).create(callOf(), { $fail: { create: 2 } });
      const error = i < 2 ? await failureOfCall(attempt) : await attempt.then(() => undefined);
      outcomes.push(error?.retryable);
      if (error !== undefined) expect(error.effect).toBe("none");
    }
    expect(outcomes).toEqual([true, true, undefined, undefined]);
    // Another token counts for itself.
    await failureOfCall(openWorld(folder).create(callOf({ token: "t" }), { $fail: { create: 1 } }));
  });

  it("fails after the effect when told so, with the given error", async () => {
    const folder = tempFolder();
    const $fail = { create: { after: true, retryable: false, error: "lost the answer" } };
    const error = await failureOfCall(openWorld(folder).create(callOf(), { $fail }));
    expect(error).toMatchObject({ message: "lost the answer", retryable: false, effect: "unknown" });
    expect(thingsIn(folder)).toHaveLength(1);
  });

  it("waits before the effect; an abort ends the wait at once, without one", async () => {
    const folder = tempFolder();
    const type = openWorld(folder);
    const begun = performance.now();
    await type.create(callOf(), { $delay: { create: "60ms" } });
    expect(performance.now() - begun).toBeGreaterThanOrEqual(59);
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 30);
    const call = callOf({ token: "t", signal: abort.signal });
    const error = await failureOfCall(type.create(call, { $delay: { create: "1h" } }));
    expect(error).toMatchObject({ retryable: true, effect: "none" });
    expect(performance.now() - begun).toBeLessThan(5000);
    expect(thingsIn(folder)).toHaveLength(1);
  });
});
