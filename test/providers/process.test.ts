import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import type { JsonObject } from "../../src/json.js";
import { localProcess } from "../../src/providers/local/process.js";
import type { ResourceType, Thing } from "../../src/providers/provider.js";
import { callOf, failureOfCall, isRunning, startWorker, stateOf, tempFolder, until } from "./harness.js";

interface Place {
  stateDir: string;
  folder: string;
  type: ResourceType;
}

/** Tokens are unique to the test run, so that what a test leaves behind can be found and ended. */
let tokens: string[] = [];
let tokensMade = 0;

function newCall(given: Parameters<typeof callOf>[0] = {}) {
  const token = `test-${process.pid}-${tokensMade++}`;
  tokens.push(token);
  return callOf({ token, ...given });
}

function makePlace(): Place {
  const folder = tempFolder();
  const stateDir = join(folder, "state");
  return { folder, stateDir, type: localProcess(stateDir, folder) };
}

function parse(type: ResourceType, properties: JsonObject): JsonObject {
  return type.schema.parse(properties);
}

function pidsWith(token: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(`HOMEOSTAT_TOKEN=${token}`);
      } catch {
        return false;
      }
    })
    .map(Number)
    .filter(isRunning);
}

function pidOf(physicalId: string): number {
  return Number(physicalId.split("-")[0]);
}

async function freePort(): Promise<number> {
  const server = await listen(0);
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listen(port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

afterEach(async () => {
  for (const token of tokens) {
    for (const pid of pidsWith(token)) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Gone by itself.
      }
    }
    await until(() => pidsWith(token).length === 0);
  }
  tokens = [];
});

const worker = `async (load, call) => {
  const { localProcess } = await load("local/process.js");
  return async ({ stateDir, folder, operation, token, physicalId, properties }) => {
    const type = localProcess(stateDir, folder);
    if (operation === "create" || operation === "find") return type[operation](call({ token }), properties);
    return type[operation](call({ token }), physicalId, properties, properties);
  };
}`;

describe("Local::Process", () => {
  it("starts, is read and found, and ends with its log and records", async () => {
    const { type, folder, stateDir } = makePlace();
    const call = newCall();
    const wanted = parse(type, {
      command: "echo $GREETING $HOMEOSTAT_RESOURCE; pwd; exec sleep 60",
      env: { GREETING: 7 },
    });
    const { physicalId, attributes } = await type.create(call, wanted);
    expect(attributes.pid).toBe(pidOf(physicalId));
    expect(readFileSync(String(attributes.logFile), "utf8")).toBe(`7 thing\n${folder}\n`);
    const environment = readFileSync(`/proc/${attributes.pid}/environ`, "utf8").split("\0");
    expect(environment).toEqual(
      expect.arrayContaining([
        `HOMEOSTAT_TOKEN=${call.token}`,
        "HOMEOSTAT_STACK=stack-1",
        `PATH=${process.env.PATH}`,
      ]),
    );
    expect(environment.some((entry) => entry.startsWith("VITEST"))).toBe(false);
    expect(await type.read(call, physicalId, wanted)).toEqual({ physicalId, attributes, properties: wanted });
    expect(await type.find(call, wanted)).toEqual({ physicalId, attributes });
    await type.delete(call, physicalId, wanted);
    await type.delete(call, physicalId, wanted);
    expect(isRunning(pidOf(physicalId))).toBe(false);
    expect(readdirSync(join(stateDir, "processes"))).toEqual([]);
    expect(await type.read(call, physicalId, wanted)).toBeUndefined();
    expect(await type.find(call, wanted)).toBeUndefined();
  });

  it("takes a list of words as they are", async () => {
    const { type } = makePlace();
    const wanted = parse(type, { command: ["sh", "-c", 'echo "$1"; exec sleep 60', "sh", "a  $b 'c'"] });
    const { attributes } = await type.create(newCall(), wanted);
    expect(readFileSync(String(attributes.logFile), "utf8")).toBe("a  $b 'c'\n");
  });

  it("outlives its worker, in a session of its own, without the worker's files, and lets the worker end", async () => {
    const place = makePlace();
    const call = newCall();
    const wanted = parse(place.type, { command: ["sleep", "60"] });
    const started = startWorker({
      text: worker,
      input: { ...place, type: undefined, operation: "create", token: call.token, properties: wanted },
    });
    // Ends by itself: "close" says that nobody holds its standard output any more either.
    const outcome = await started.result;
    const { physicalId, attributes } = (outcome as { value: Thing }).value;
    const pid = pidOf(physicalId);
    expect(isRunning(pid)).toBe(true);
    const [, , , , group, session] = readFileSync(`/proc/${pid}/stat`, "utf8").split(" ");
    expect([group, session]).toEqual([String(pid), String(pid)]);
    const { logFile } = attributes;
    expect([0, 1, 2].map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))).toEqual([
      "/dev/null",
      logFile,
      logFile,
    ]);
    expect(await place.type.find(call, wanted)).toMatchObject({ physicalId });
    await place.type.delete(call, physicalId, wanted);
    expect(isRunning(pid)).toBe(false);
  });

  describe("one process for one token", () => {
    it("when several workers create at once", async () => {
      const place = makePlace();
      const call = newCall();
      const wanted = parse(place.type, { command: "echo $$ >> started; exec sleep 60" });
      const input = { ...place, type: undefined, operation: "create", token: call.token, properties: wanted };
      const racers = Array.from({ length: 4 }, () => startWorker({ text: worker, input }).result);
      const here = await place.type.create(call, wanted);
      for (const outcome of await Promise.all(racers)) {
        expect(outcome?.value).toMatchObject({ physicalId: here.physicalId });
      }
      expect(readFileSync(join(place.folder, "started"), "utf8")).toBe(`${pidOf(here.physicalId)}\n`);
      expect(pidsWith(call.token)).toEqual([pidOf(here.physicalId)]);
    });

    // Theory: between the start and the record there is a moment in which the process is known to nobody.
    it("when the worker is killed at any step of the create, or a moment later", async () => {
      const place = makePlace();
      const wanted = parse(place.type, { command: "echo $$ >> started-$HOMEOSTAT_TOKEN; exec sleep 60" });
      for (let step = 1, done = false; !done; step++) {
        const call = newCall();
        const input = {
          ...place,
          type: undefined,
          operation: "create",
          token: call.token,
          properties: wanted,
        };
        const killed = startWorker({ text: worker, input, at: { step, signal: "SIGKILL" } });
        done = (await killed.result) !== undefined;
        const found = await place.type.find(call, wanted);
        const made = await place.type.create(call, wanted);
        if (found !== undefined) expect(made.physicalId, `step ${step}`).toBe(found.physicalId);
        const started = join(place.folder, `started-${call.token}`);
        await until(() => existsSync(started));
        expect(readFileSync(started, "utf8"), `step ${step}`).toBe(`${pidOf(made.physicalId)}\n`);
        await place.type.delete(call, made.physicalId, wanted);
        expect(pidsWith(call.token)).toEqual([]);
      }
      expect(readdirSync(join(place.stateDir, "processes"))).toEqual([]);
    });

    it("and a new one once the first has died, with what the first left in its group ended", async () => {
      const { type } = makePlace();
      const call = newCall();
      const wanted = parse(type, { command: "sleep 60 & echo child $!; exec sleep 60", stopTimeout: "1s" });
      const first = await type.create(call, wanted);
      const child = Number(/child (\d+)/.exec(readFileSync(String(first.attributes.logFile), "utf8"))?.[1]);
      process.kill(pidOf(first.physicalId), "SIGKILL");
      await until(() => !isRunning(pidOf(first.physicalId)));
      expect(await type.read(call, first.physicalId, wanted)).toBeUndefined();
      expect(await type.find(call, wanted)).toBeUndefined();
      expect(isRunning(child)).toBe(true);
      const second = await type.create(call, wanted);
      expect(second.physicalId).not.toBe(first.physicalId);
      expect(isRunning(child)).toBe(false);
      await type.delete(call, second.physicalId, wanted);
      expect(pidsWith(call.token)).toEqual([]);
    });

    it("also when the records were lost: the environment tells", async () => {
      const { type, stateDir } = makePlace();
      const call = newCall();
      const wanted = parse(type, { command: ["sleep", "60"] });
      const { physicalId } = await type.create(call, wanted);
      const elsewhere = localProcess(`${stateDir}-2`, ".");
      expect(await elsewhere.find(call, wanted)).toMatchObject({ physicalId });
      expect(await elsewhere.read(call, physicalId, wanted)).toMatchObject({ physicalId });
      await elsewhere.delete(call, physicalId, wanted);
      expect(isRunning(pidOf(physicalId))).toBe(false);
    }, 20_000);
  });

  it("does not take a process that got the same pid for its own", async () => {
    const { type } = makePlace();
    const other = await type.create(newCall(), parse(type, { command: ["sleep", "60"] }));
    const pid = pidOf(other.physicalId);
    const wanted = parse(type, { command: ["sleep", "60"] });
    const call = newCall();
    expect(await type.read(call, `${pid}-1`, wanted)).toBeUndefined();
    await type.delete(call, `${pid}-1`, wanted);
    expect(isRunning(pid)).toBe(true);
  });

  it("counts a zombie as gone", async () => {
    const place = makePlace();
    const call = newCall();
    const wanted = parse(place.type, { command: ["sleep", "60"] });
    const parent = startWorker({
      text: `async (load, call) => {
        const { localProcess } = await load("local/process.js");
        return async ({ stateDir, folder, token, properties }) => {
          await localProcess(stateDir, folder).create(call({ token }), properties);
          process.kill(process.pid, "SIGSTOP");
        };
      }`,
      input: { ...place, type: undefined, token: call.token, properties: wanted },
    });
    await until(() => stateOf(parent.pid) === "T");
    const found = await place.type.find(call, wanted);
    const pid = pidOf(found?.physicalId ?? "");
    process.kill(pid, "SIGKILL");
    await until(() => stateOf(pid) === "Z");
    expect(await place.type.read(call, found?.physicalId ?? "", wanted)).toBeUndefined();
    expect(await place.type.find(call, wanted)).toBeUndefined();
    await place.type.delete(call, found?.physicalId ?? "", wanted);
  });

  describe("delete", () => {
    it("asks, waits, and then kills the whole group, and what has left the group", async () => {
      const { type } = makePlace();
      const call = newCall();
      const command = `
        trap 'echo asked' TERM
        sh -c 'trap "" TERM; while :; do sleep 0.05; done' &
        setsid sh -c 'trap "" TERM; while :; do sleep 0.05; done' &
        while :; do sleep 0.05; done`;
      const wanted = parse(type, { command, stopTimeout: "300ms" });
      const { physicalId } = await type.create(call, wanted);
      await until(() => pidsWith(call.token).length >= 3);
      const begun = performance.now();
      await type.delete(call, physicalId, wanted);
      expect(pidsWith(call.token)).toEqual([]);
      expect(performance.now() - begun).toBeGreaterThan(290);
    });

    it("does not wait longer than the process takes, and sends the signal that was asked for", async () => {
      const { type, folder } = makePlace();
      const call = newCall();
      const command = "trap 'echo bye > said; exit 0' INT; trap '' TERM; while :; do sleep 0.02; done";
      const wanted = parse(type, { command, stopSignal: "SIGINT", stopTimeout: "1m" });
      const { physicalId } = await type.create(call, wanted);
      const begun = performance.now();
      await type.delete(call, physicalId, wanted);
      expect(performance.now() - begun).toBeLessThan(10_000);
      expect(readFileSync(join(folder, "said"), "utf8")).toBe("bye\n");
    });

    it("ends a stopped process too", async () => {
      const { type } = makePlace();
      const call = newCall();
      const wanted = parse(type, { command: ["sleep", "60"], stopTimeout: "30s" });
      const { physicalId } = await type.create(call, wanted);
      process.kill(pidOf(physicalId), "SIGSTOP");
      const begun = performance.now();
      await type.delete(call, physicalId, wanted);
      expect(performance.now() - begun).toBeLessThan(10_000);
    });

    it("ends a wrapper that has not become the command yet", async () => {
      const { type, folder } = makePlace();
      const call = newCall();
      // As a start that was cut off: the token in the environment, and no record.
      const other = localProcess(join(folder, "other-state"), folder);
      const { physicalId } = await other.create(call, parse(type, { command: ["sleep", "60"] }));
      await type.delete(call, "", parse(type, { command: ["sleep", "60"] }));
      expect(isRunning(pidOf(physicalId))).toBe(false);
    });
  });

  describe("readiness", () => {
    const server = (port: number, delayMs: number, what = "net") => `
      const { createServer } = require("node:${what}");
      setTimeout(() => createServer((a, b) => b && (b.statusCode = Number(process.env.STATUS ?? 200), b.end()))
        .listen(${port}, "127.0.0.1", () => console.log("listening now")), ${delayMs});`;

    it.each(["port", "http", "path", "log", "regex"])("by %s: not before, and soon after", async (kind) => {
      const { type } = makePlace();
      const call = newCall();
      const port = await freePort();
      const readiness = {
        port: { port },
        http: { http: `http://127.0.0.1:${port}/x` },
        path: { http: "/x", port: String(port) },
        log: { log: "listening" },
        regex: { log: "/^LISTENING\\b/i" },
      }[kind] as JsonObject;
      const command = [
        process.execPath,
        "-e",
        server(port, 300, kind.startsWith("p") && kind !== "path" ? "net" : "http"),
      ];
      const wanted = parse(type, { command, readiness });
      const begun = performance.now();
      const { physicalId, attributes } = await type.create(call, wanted);
      expect(performance.now() - begun).toBeGreaterThan(290);
      expect(attributes.port).toBe(kind === "log" || kind === "regex" ? undefined : port);
      await type.delete(call, physicalId, wanted);
    });

    it("an answer that is an error is not ready; in the end the process is ended, and the reason says what it waited for", async () => {
      const { type, stateDir } = makePlace();
      const call = newCall();
      const port = await freePort();
      const wanted = parse(type, {
        command: [process.execPath, "-e", server(port, 0, "http")],
        env: { STATUS: 503 },
        readiness: { http: "/health", port, timeout: "1500ms" },
      });
      const error = await failureOfCall(type.create(call, wanted));
      expect(error).toMatchObject({ retryable: false, effect: "none" });
      expect(error.message).toContain("waited for an answer of /health");
      expect(error.message).toContain("listening now");
      expect(pidsWith(call.token)).toEqual([]);
      expect(readdirSync(join(stateDir, "processes"))).toEqual([]);
    });

    it.each<[string, JsonObject, string]>([
      [
        "a status",
        { command: "echo one; echo two >&2; exit 3", readiness: { port: 1 } },
        "exited with status 3 before it was ready; the end of its log:\none\ntwo",
      ],
      ["success, too soon", { command: "true" }, "exited with status 0"],
      ["a signal", { command: "kill -9 $$", readiness: { log: "x" } }, "was ended by SIGKILL"],
      ["no such command", { command: ["no-such-command"] }, "exited with status 127"],
    ])("an end before it is ready, with %s, is said", async (_how, properties, message) => {
      const { type, stateDir } = makePlace();
      const error = await failureOfCall(type.create(newCall(), parse(type, properties)));
      expect(error).toMatchObject({ retryable: false, effect: "none" });
      expect(error.message).toContain(message);
      expect(readdirSync(join(stateDir, "processes"))).toEqual([]);
    });

    it("shows few lines of a long log", async () => {
      const { type } = makePlace();
      const command = "i=0; while [ $i -lt 3000 ]; do echo line-$i; i=$((i+1)); done; exit 1";
      const error = await failureOfCall(
        type.create(newCall(), parse(type, { command, readiness: { log: "x" } })),
      );
      expect(error.message.split("\n").slice(1)).toEqual(
        [2995, 2996, 2997, 2998, 2999].map((i) => `line-${i}`),
      );
    });

    it("is not taken from somebody else who has the port", async () => {
      const { type } = makePlace();
      const other = await listen(0);
      try {
        const { port } = other.address() as { port: number };
        const call = newCall();
        const error = await failureOfCall(
          type.create(call, parse(type, { command: ["sleep", "60"], readiness: { port } })),
        );
        expect(error.message).toBe(`port ${port} is already in use by another process`);
        expect(pidsWith(call.token)).toEqual([]);
      } finally {
        other.close();
      }
    });

    it("aborted: stops waiting at once and leaves the process; the next create goes on waiting for the same", async () => {
      const { type, folder } = makePlace();
      const abort = new AbortController();
      const call = newCall({ signal: abort.signal });
      const command = "while [ ! -e go ]; do sleep 0.02; done; echo ready; exec sleep 60";
      const wanted = parse(type, { command, readiness: { log: "ready" } });
      const creating = failureOfCall(type.create(call, wanted));
      await until(async () => (await type.find(callOf(call), wanted)) !== undefined);
      const found = await type.find(callOf({ token: call.token }), wanted);
      const begun = performance.now();
      abort.abort();
      expect(await creating).toMatchObject({ retryable: true, effect: "unknown" });
      expect(performance.now() - begun).toBeLessThan(1000);
      expect(isRunning(pidOf(found?.physicalId ?? ""))).toBe(true);
      writeFileSync(join(folder, "go"), "");
      const made = await type.create(callOf({ token: call.token }), wanted);
      expect(made.physicalId).toBe(found?.physicalId);
    });

    it("a worker that stood still past its deadline does not end what others have found", async () => {
      const place = makePlace();
      const call = newCall();
      const wanted = parse(place.type, {
        command: ["sleep", "60"],
        readiness: { log: "never", timeout: "1s" },
      });
      const paused = startWorker({
        text: worker.replace("call({ token })", "call({ token, deadlineMs: 2000 })"),
        input: { ...place, type: undefined, operation: "create", token: call.token, properties: wanted },
      });
      await until(() =>
        pidsWith(call.token).some((pid) => readFileSync(`/proc/${pid}/comm`, "utf8") === "sleep\n"),
      );
      paused.child.kill("SIGSTOP");
      await sleep(1500);
      paused.child.kill("SIGCONT");
      expect((await paused.result)?.error).toContain("stood still");
      expect(pidsWith(call.token)).toHaveLength(1);
    });
  });

  it("is replaced for a change of what runs, but with one fixed port started again in place", async () => {
    const { type } = makePlace();
    const port = await freePort();
    const run = (word: string, port: number) => {
      const listen = `require("node:net").createServer().listen(${port}, () => console.log("${word}"))`;
      return parse(type, { command: [process.execPath, "-e", listen], readiness: { port } });
    };
    const quiet = (properties: JsonObject) => parse(type, { command: "sleep 1", ...properties });
    expect(type.compare(quiet({}), quiet({ env: { A: "b" } })).replace).toBe(true);
    expect(type.compare(quiet({}), quiet({ cwd: "/" })).replace).toBe(true);
    expect(type.compare(quiet({}), quiet({ stopTimeout: 1, stopSignal: "SIGINT" })).replace).toBe(false);
    expect(type.compare(run("a", port), run("b", port + 1)).replace).toBe(true);
    expect(type.compare(run("a", port), run("b", port))).toEqual({ changed: ["command"], replace: false });

    const call = newCall();
    const first = await type.create(call, run("a", port));
    expect(await type.update(call, first.physicalId, run("a", port), run("a", port))).toEqual(first);
    const second = await type.update(call, first.physicalId, run("b", port), run("a", port));
    expect(second.physicalId).not.toBe(first.physicalId);
    expect(pidsWith(call.token)).toEqual([pidOf(second.physicalId)]);
    expect((await type.read(call, second.physicalId, run("b", port)))?.properties).toEqual(run("b", port));
    // What a late update with older properties would leave is seen as drift.
    expect((await type.read(call, second.physicalId, run("a", port)))?.properties).not.toEqual(
      run("a", port),
    );
    await type.delete(call, second.physicalId, run("b", port));
    expect(pidsWith(call.token)).toEqual([]);
  });

  it.each<[JsonObject, string]>([
    [{ command: "" }, "nothing to run"],
    [{ command: [] }, "no words to run"],
    [{ command: "x", env: { "A=B": "c" } }, "an impossible name"],
    [{ command: "x", env: { HOMEOSTAT_TOKEN: "c" } }, "a name of the engine's"],
    [{ command: "x", stopSignal: "TERM" }, "no signal"],
    [{ command: "x", stopTimeout: "soon" }, "no duration"],
    [{ command: "x", readiness: {} }, "nothing to wait for"],
    [{ command: "x", readiness: { port: 0 } }, "no port"],
    [{ command: "x", readiness: { http: "/health" } }, "a path without a port"],
    [{ command: "x", readiness: { http: "ftp://a" } }, "another protocol"],
    [{ command: "x", readiness: { log: "/(/" } }, "a broken expression"],
    [{ command: "x", restart: true }, "an unknown property"],
  ])("refuses %j: %s", (properties) => {
    expect(makePlace().type.schema.safeParse(properties).success).toBe(false);
  });

  it("refuses a working directory that is not there", async () => {
    const { type } = makePlace();
    const error = await failureOfCall(type.create(newCall(), parse(type, { command: "x", cwd: "no" })));
    expect(error).toMatchObject({ retryable: false, effect: "none" });
    expect(error.message).toContain("does not exist");
  });
});
