import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PathClaims } from "../../src/providers/local/claims.js";
import { localFile } from "../../src/providers/local/file.js";
import type { ResourceType } from "../../src/providers/provider.js";
import { callOf, failureOfCall, startWorker, tempFolder, untilStopped } from "./harness.js";

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
  const type = localFile(new PathClaims(stateDir, { stillMs: 30 }), folder);
  return { stateDir, folder, path: join(folder, "a.txt"), type };
}

/** Runs one operation of Local::File in a process of its own. */
const worker = `async (load, call) => {
  const { PathClaims } = await load("local/claims.js");
  const { localFile } = await load("local/file.js");
  return async ({ stateDir, folder, path, operation, properties, call: given }) => {
    const type = localFile(new PathClaims(stateDir, { stillMs: 30 }), folder);
    if (operation === "create" || operation === "find") return type[operation](call(given), properties);
    return type[operation](call(given), path, properties, properties);
  };
}`;

function wanted(content: string, mode = "0644") {
  return { path: "a.txt", content, mode };
}

/** Nothing but what the test expects is in the folder, and no path is held. */
function expectTidy({ stateDir, folder }: Place, names: string[]): void {
  expect(readdirSync(folder)).toEqual(names);
  expect(readdirSync(join(stateDir, "paths", "holds")).filter((name) => !/^(new|old)-/.test(name))).toEqual(
    [],
  );
}

describe("Local::File", () => {
  it("makes, reads, changes and removes the file, whatever the umask", async () => {
    const { type, path } = makePlace();
    const umask = process.umask(0o077);
    try {
      const made = await type.create(callOf(), wanted("hello", "0664"));
      expect(made).toEqual({
        physicalId: path,
        attributes: {
          path,
          size: 5,
          sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        },
      });
    } finally {
      process.umask(umask);
    }
    expect(statSync(path).mode & 0o7777).toBe(0o664);
    await type.update(callOf(), path, wanted("bye", "0600"), wanted("hello", "0664"));
    const reading = await type.read(callOf(), path, wanted("bye", "0600"));
    expect(reading?.properties).toEqual(wanted("bye", "0600"));
    expect(reading?.attributes.size).toBe(3);
    await type.delete(callOf(), path, wanted("bye"));
    await type.delete(callOf(), path, wanted("bye"));
    expect(existsSync(path)).toBe(false);
    expect(await type.read(callOf(), path, wanted("bye"))).toBeUndefined();
    expect(await type.find(callOf(), wanted("bye"))).toBeUndefined();
  });

  it("never overwrites or removes somebody else's file", async () => {
    const { type, path } = makePlace();
    writeFileSync(path, "precious");
    const error = await failureOfCall(type.create(callOf(), wanted("hello")));
    expect(error).toMatchObject({ retryable: false, effect: "none" });
    expect(error.message).toContain("already exists: a file that this resource did not make");
    await type.delete(callOf(), path, wanted("hello"));
    expect(readFileSync(path, "utf8")).toBe("precious");
  });

  it("does not take a foreign file for its own when that took the place of its own, which somebody removed", async () => {
    const { type, path } = makePlace();
    await type.create(callOf(), wanted("hello"));
    rmSync(path);
    expect(await type.read(callOf(), path, wanted("hello"))).toBeUndefined();
    writeFileSync(path, "precious");
    expect(await type.find(callOf(), wanted("hello"))).toBeUndefined();
    expect((await failureOfCall(type.create(callOf(), wanted("hello")))).retryable).toBe(false);
    await type.delete(callOf(), path, wanted("hello"));
    expect(readFileSync(path, "utf8")).toBe("precious");
  });

  it("makes a file again that somebody removed, with the same token", async () => {
    const { type, path } = makePlace();
    await type.create(callOf(), wanted("hello"));
    rmSync(path);
    await type.create(callOf(), wanted("hello"));
    expect(readFileSync(path, "utf8")).toBe("hello");
  });

  it("still owns a file that an editor saved by replacing it", async () => {
    const { type, path, folder } = makePlace();
    await type.create(callOf(), wanted("hello"));
    writeFileSync(join(folder, "draft"), "edited");
    renameSync(join(folder, "draft"), path);
    expect((await type.read(callOf(), path, wanted("hello")))?.properties.content).toBe("edited");
    await type.update(callOf(), path, wanted("hello"), wanted("hello"));
    expect(readFileSync(path, "utf8")).toBe("hello");
    renameSync(path, join(folder, "draft"));
    writeFileSync(path, "edited");
    await type.delete(callOf(), path, wanted("hello"));
    expect(existsSync(path)).toBe(false);
  });

  it("shows readers either the old content or the new one", async () => {
    const { type, path } = makePlace();
    const contents = ["a", "b"].map((letter) => letter.repeat(1_000_000));
    await type.create(callOf(), wanted(contents[0] ?? ""));
    let writing = true;
    const writer = (async () => {
      for (let i = 1; i <= 20; i++)
        await type.update(callOf(), path, wanted(contents[i % 2] ?? ""), wanted(""));
      writing = false;
    })();
    while (writing) {
      expect(contents).toContain((await type.read(callOf(), path, wanted("")))?.properties.content);
    }
    await writer;
  });

  describe("killed at every step", () => {
    // Theory: between two steps there is a state in which the next call cannot tell its own file from another's.
    it.each([
      { operation: "create", before: undefined, after: "new" },
      { operation: "update", before: "old", after: "new" },
      { operation: "delete", before: "old", after: undefined },
    ])("of $operation, and repeated", async ({ operation, before, after }) => {
      for (let step = 1, done = false; !done; step++) {
        const place = makePlace();
        const { type, path } = place;
        if (before !== undefined) await type.create(callOf(), wanted(before));
        const input = { ...place, type: undefined, operation, properties: wanted("new"), call: {} };
        const killed = startWorker({ text: worker, input, at: { step, signal: "SIGKILL" } });
        const result = await killed.result;
        done = result !== undefined;
        if (result?.error !== undefined) throw new Error(result.error);
        const content = existsSync(path) ? readFileSync(path, "utf8") : undefined;
        expect([before, after], `step ${step}`).toContain(content);
        if (operation === "create") {
          expect((await type.find(callOf(), wanted("new"))) !== undefined, `step ${step}`).toBe(
            content !== undefined,
          );
          // What cannot be found is never deleted, and what was found may stay as it is: nothing else may be left.
          expect(readdirSync(place.folder), `step ${step}`).toEqual(content === undefined ? [] : ["a.txt"]);
          await type.create(callOf(), wanted("new"));
        } else if (operation === "update") await type.update(callOf(), path, wanted("new"), wanted("old"));
        else await type.delete(callOf(), path, wanted("old"));
        expect(existsSync(path) ? readFileSync(path, "utf8") : undefined, `step ${step}`).toBe(after);
        expectTidy(place, after === undefined ? [] : ["a.txt"]);
        await type.delete(callOf(), path, wanted("new"));
        expectTidy(place, []);
      }
    });

    it("of taking over from an earlier incarnation, and repeated", async () => {
      for (let step = 1, done = false; !done; step++) {
        const place = makePlace();
        const { type, path } = place;
        await type.create(callOf({ token: "older" }), wanted("old"));
        const input = {
          ...place,
          type: undefined,
          operation: "create",
          properties: wanted("new"),
          call: { token: "newer" },
        };
        done =
          (await startWorker({ text: worker, input, at: { step, signal: "SIGKILL" } }).result) !== undefined;
        await type.create(callOf({ token: "newer" }), wanted("new"));
        await type.delete(callOf({ token: "older" }), path, wanted("old"));
        expect(readFileSync(path, "utf8"), `step ${step}`).toBe("new");
        expectTidy(place, ["a.txt"]);
      }
    });
  });

  describe("stopped at every step of an older incarnation's call, going on after a newer one took the path", () => {
    // Theory: a check, and then the effect: whoever sleeps in between destroys what came meanwhile.
    it.each(["create", "update", "delete"])("%s", async (operation) => {
      for (let step = 1, ended = false; !ended; step++) {
        const place = makePlace();
        const { type, path } = place;
        const [older, newer] = [callOf({ token: "older" }), callOf({ token: "newer" })];
        if (operation !== "create") await type.create(older, wanted("old"));
        const input = {
          ...place,
          type: undefined,
          operation,
          properties: wanted("late"),
          call: { token: "older" },
        };
        const late = startWorker({ text: worker, input, at: { step, signal: "SIGSTOP" } });
        ended = (await untilStopped(late)) === "ended";
        // What comes first of two creates that never met is not to be known: the older one has to have been here.
        const met = ended || operation !== "create" || (await type.find(older, wanted("old"))) !== undefined;
        await type.create(newer, wanted("new"));
        late.child.kill("SIGCONT");
        const outcome = await late.result;
        if (met) expect(readFileSync(path, "utf8"), `step ${step}: ${JSON.stringify(outcome)}`).toBe("new");
        expect(readdirSync(place.folder), `step ${step}`).toEqual(["a.txt"]);
        if (met) {
          await type.delete(older, path, wanted("old"));
          expect(existsSync(path)).toBe(true);
        }
      }
    });
  });

  it("stopped at every step of a create, while somebody else makes a file there: theirs stays", async () => {
    for (let step = 1, ended = false; !ended; step++) {
      const place = makePlace();
      const input = { ...place, type: undefined, operation: "create", properties: wanted("ours"), call: {} };
      const late = startWorker({ text: worker, input, at: { step, signal: "SIGSTOP" } });
      ended = (await untilStopped(late)) === "ended";
      const theirs = !existsSync(place.path);
      if (theirs) writeFileSync(place.path, "theirs");
      late.child.kill("SIGCONT");
      const outcome = await late.result;
      expect(readFileSync(place.path, "utf8"), `step ${step}`).toBe(theirs ? "theirs" : "ours");
      if (theirs) expect(outcome?.error, `step ${step}`).toContain("already exists");
      await place.type.delete(callOf(), place.path, wanted("ours"));
      expect(existsSync(place.path), `step ${step}`).toBe(theirs);
    }
  });

  it("makes one file when several processes create with one token at once", async () => {
    const place = makePlace();
    const input = { ...place, type: undefined, operation: "create", properties: wanted("x"), call: {} };
    const racers = Array.from({ length: 4 }, () => startWorker({ text: worker, input }));
    const results = await Promise.all(racers.map(({ result }) => result));
    for (const result of results) expect(result?.value).toMatchObject({ physicalId: place.path });
    expectTidy(place, ["a.txt"]);
  });

  it("lets one of several resources have a path, and names it to the others", async () => {
    const { type, path } = makePlace();
    await type.create(callOf({ resource: "web" }), wanted("web"));
    const sameStack = await failureOfCall(
      type.create(callOf({ token: "token-2", resource: "db" }), wanted("db")),
    );
    expect(sameStack.message).toContain("owned by resource web of stack shop");
    // A rename in the template frees the path in a moment.
    expect(sameStack).toMatchObject({ retryable: true, effect: "none" });
    const otherStack = callOf({ token: "token-3", stack: "stack-2", stackName: "blog", resource: "web" });
    expect(await failureOfCall(type.create(otherStack, wanted("blog")))).toMatchObject({ retryable: false });
    expect(readFileSync(path, "utf8")).toBe("web");
  });

  it("goes to a newer incarnation of its resource, and never back", async () => {
    const { type, path } = makePlace();
    const [older, newer] = [callOf({ token: "older" }), callOf({ token: "newer" })];
    await type.create(older, wanted("old"));
    await type.create(newer, wanted("new"));
    expect(await type.find(older, wanted("old"))).toBeUndefined();
    expect(await type.read(older, path, wanted("old"))).toBeUndefined();
    expect((await failureOfCall(type.update(older, path, wanted("late"), wanted("old")))).retryable).toBe(
      false,
    );
    expect((await failureOfCall(type.create(older, wanted("late")))).message).toContain("newer incarnation");
    await type.delete(older, path, wanted("old"));
    expect((await failureOfCall(type.create(older, wanted("late")))).message).toContain("newer incarnation");
    expect(readFileSync(path, "utf8")).toBe("new");
  });

  it("has no effect once aborted, or after it stood still for long", async () => {
    const { type, path } = makePlace();
    const aborted = await failureOfCall(type.create(callOf({ signal: AbortSignal.abort() }), wanted("x")));
    expect(aborted).toMatchObject({ retryable: true, effect: "none" });
    const late = await failureOfCall(type.create(callOf({ deadlineMs: 0.001 }), wanted("x")));
    expect(late).toMatchObject({ retryable: true, effect: "none" });
    expect(late.message).toContain("stood still");
    expect(existsSync(path)).toBe(false);
  });

  describe("says what is wrong", () => {
    it.each([
      ["no directory to put it in", "no/a.txt", "declare it as a Local::Directory", false],
      ["a directory in its place", "dir", "a directory that this resource did not make", false],
      ["a file for a directory", "file/a.txt", "is a file, not a directory", false],
      ["a link in its place", "link", "a symbolic link that this resource did not make", false],
      ["a name that is too long", "x".repeat(300), "the name is too long", false],
    ])("%s", async (_theory, path, message, retryable) => {
      const { type, folder } = makePlace();
      mkdirSync(join(folder, "dir"));
      writeFileSync(join(folder, "file"), "");
      symlinkSync("nowhere", join(folder, "link"));
      const error = await failureOfCall(type.create(callOf(), { ...wanted(""), path }));
      expect(error.message).toContain(message);
      expect(error).toMatchObject({ retryable, effect: "none" });
      expect(readdirSync(folder).sort()).toEqual(["dir", "file", "link"]);
    });

    it.each([
      ["a directory", (path: string) => mkdirSync(path), "is a directory, not a file"],
      [
        "a pipe",
        (path: string) => execFileSync("/bin/sh", ["-c", 'mkfifo "$0"', path]),
        "is a special file, not a file",
      ],
      ["a link", (path: string) => symlinkSync("/etc/passwd", path), "symbolic link"],
    ])(
      "when %s took the file's place: unreadable, not missing, and not removed",
      async (_theory, make, message) => {
        const { type, path, folder } = makePlace();
        await type.create(callOf(), wanted("x"));
        rmSync(path);
        make(path);
        expect((await failureOfCall(type.read(callOf(), path, wanted("x")))).message).toContain(message);
        await type.delete(callOf(), path, wanted("x"));
        expect(readdirSync(folder)).toEqual(["a.txt"]);
      },
    );

    it("when the records are gone: unreadable, and left alone", async () => {
      const { type, path, stateDir } = makePlace();
      await type.create(callOf(), wanted("x"));
      rmSync(stateDir, { recursive: true });
      expect((await failureOfCall(type.read(callOf(), path, wanted("x")))).message).toContain("no record");
      await type.delete(callOf(), path, wanted("x"));
      expect(existsSync(path)).toBe(true);
    });
  });

  describe("takes a mode only where it can mean one thing", () => {
    it.each<[string | number, string | undefined, string]>([
      ["0644", "0644", "as text"],
      ["755", "0755", "as text, short"],
      ["0o600", "0600", "as text, in JavaScript's way"],
      [644, "0644", "0644 in YAML"],
      [420, "0644", "0o644 in YAML"],
      [493, "0755", "0o755 in YAML"],
      [600, "0600", "0600 in YAML"],
      [511, undefined, "0511, or 0o777"],
      [400, undefined, "0400, or 0o620"],
      ["rw", undefined, "not octal"],
      [99_999, undefined, "too large"],
    ])("%j is %j: %s", (given, meant) => {
      const { type } = makePlace();
      const parsed = type.schema.safeParse({ path: "a", mode: given });
      expect(parsed.success ? parsed.data.mode : undefined).toBe(meant);
    });
  });

  it("refuses properties that it does not know", () => {
    const { type } = makePlace();
    expect(type.schema.safeParse({ path: "a", contents: "x" }).success).toBe(false);
    expect(type.schema.safeParse({ path: "a\0b" }).success).toBe(false);
    expect(type.compare(wanted("a"), { ...wanted("b"), mode: "0600" })).toEqual({
      changed: ["content", "mode"],
      replace: false,
    });
    expect(type.compare(wanted("a"), { ...wanted("a"), path: "b" }).replace).toBe(true);
  });
});
