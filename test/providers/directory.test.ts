import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { PathClaims } from "../../src/providers/local/claims.js";
import { localDirectory } from "../../src/providers/local/directory.js";
import type { ResourceType } from "../../src/providers/provider.js";
import { callOf, failureOfCall, startWorker, tempFolder } from "./harness.js";

interface Place {
  stateDir: string;
  folder: string;
  path: string;
  type: ResourceType;
}

function makePlace(): Place {
  const root = tempFolder();
  const [stateDir, folder] = [join(root, "state"), join(root, "files")];
  mkdirSync(folder);
  return {
    stateDir,
    folder,
    path: join(folder, "d"),
    type: localDirectory(new PathClaims(stateDir, { stillMs: 30 }), folder),
  };
}

const worker = `async (load, call) => {
  const { PathClaims } = await load("local/claims.js");
  const { localDirectory } = await load("local/directory.js");
  return async ({ stateDir, folder, path, operation, properties }) => {
    const type = localDirectory(new PathClaims(stateDir, { stillMs: 30 }), folder);
    if (operation === "create") return type.create(call(), properties);
    return type[operation](call(), path, properties, properties);
  };
}`;

const wanted = { path: "d", mode: "0755", parents: false };

describe("Local::Directory", () => {
  it("makes, reads, changes and removes it", async () => {
    const { type, path } = makePlace();
    expect(await type.create(callOf(), { ...wanted, mode: "0500" })).toEqual({
      physicalId: path,
      attributes: { path },
    });
    expect(statSync(path).mode & 0o7777).toBe(0o500);
    await type.update(callOf(), path, wanted, wanted);
    expect((await type.read(callOf(), path, wanted))?.properties).toEqual(wanted);
    await type.delete(callOf(), path, wanted);
    await type.delete(callOf(), path, wanted);
    expect(existsSync(path)).toBe(false);
    expect(await type.read(callOf(), path, wanted)).toBeUndefined();
  });

  it("makes missing parents only when asked, and leaves them", async () => {
    const { type, folder } = makePlace();
    const nested = { ...wanted, path: "a/b/c" };
    const error = await failureOfCall(type.create(callOf(), nested));
    expect(error).toMatchObject({ retryable: false, effect: "none" });
    expect(error.message).toContain("declare it as a Local::Directory");
    const { physicalId } = await type.create(callOf(), { ...nested, parents: true });
    await type.delete(callOf(), physicalId, nested);
    expect(readdirSync(join(folder, "a", "b"))).toEqual([]);
    expect(type.compare(nested, { ...nested, parents: true }).changed).toEqual([]);
  });

  it("never removes one with anything in it, and says what", async () => {
    const { type, path } = makePlace();
    await type.create(callOf(), wanted);
    for (const name of ["a", "b", "c", "d", "e", "f", "g"]) writeFileSync(join(path, name), "");
    const error = await failureOfCall(type.delete(callOf(), path, wanted));
    expect(error).toMatchObject({ retryable: true, effect: "none" });
    expect(error.message).toContain("not empty (a, b, c, d, e, 2 more)");
    for (const name of readdirSync(path)) rmSync(join(path, name));
    await type.delete(callOf(), path, wanted);
    expect(existsSync(path)).toBe(false);
  });

  it("never takes over or removes somebody else's, empty as it may be", async () => {
    const { type, path } = makePlace();
    mkdirSync(path);
    const error = await failureOfCall(type.create(callOf(), wanted));
    expect(error).toMatchObject({ retryable: false, effect: "none" });
    await type.delete(callOf(), path, wanted);
    expect(existsSync(path)).toBe(true);
  });

  it("goes to a newer incarnation with what is in it; the older one's delete leaves it", async () => {
    const { type, path } = makePlace();
    const [older, newer] = [callOf({ token: "older" }), callOf({ token: "newer" })];
    await type.create(older, wanted);
    writeFileSync(join(path, "a"), "");
    await type.create(newer, { ...wanted, mode: "0700" });
    expect(await type.find(older, wanted)).toBeUndefined();
    expect(await type.find(newer, wanted)).toMatchObject({ physicalId: path });
    await type.delete(older, path, wanted);
    expect(readdirSync(path)).toEqual(["a"]);
    expect(statSync(path).mode & 0o7777).toBe(0o700);
  });

  it("killed at every step of a create or a delete, and repeated: one directory, or none, and nothing else", async () => {
    for (const operation of ["create", "delete"]) {
      for (let step = 1, done = false; !done; step++) {
        const place = makePlace();
        const { type, path, folder } = place;
        if (operation === "delete") await type.create(callOf(), wanted);
        const input = { ...place, type: undefined, operation, properties: wanted };
        done =
          (await startWorker({ text: worker, input, at: { step, signal: "SIGKILL" } }).result) !== undefined;
        if (operation === "create") {
          expect((await type.find(callOf(), wanted)) !== undefined, `step ${step}`).toBe(existsSync(path));
          expect(readdirSync(folder), `step ${step}`).toEqual(existsSync(path) ? [basename(path)] : []);
          await type.create(callOf(), wanted);
        }
        expect(statSync(path, { throwIfNoEntry: false })?.mode ?? 0o40755, `step ${step}`).toBe(0o40755);
        await type.delete(callOf(), path, wanted);
        expect(readdirSync(folder), `step ${step} of ${operation}`).toEqual([]);
      }
    }
  });
});
