/** Theory: the example of an observer in another language misses a change, or says what the engine does not understand. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { connect, type NatsConnection } from "nats";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { type Observed, readObservations } from "../../src/bus/observation.js";
import { Subjects } from "../../src/bus/subjects.js";
import { builtinTypes } from "../../src/providers/builtin.js";
import { startNats, type TestNats } from "../support/servers.js";

const script = resolve(import.meta.dirname, "../../examples/file-observer.py");
const subjects = new Subjects("deploy.test");
const credentials = { user: "homeostat", pass: "p@ss:word/%" };
const within = { timeout: 20_000, interval: 20 };

function hasPython(): boolean {
  try {
    execFileSync("python3", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(!hasPython())("examples/file-observer.py", () => {
  let nats: TestNats;
  let connection: NatsConnection;
  let folder: string;
  let paths: string[];
  let observer: ChildProcess;
  let errors = "";
  const requests: unknown[] = [];
  const found: Observed[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "homeostat-file-observer-"));
    paths = ["a", 'b "ü"', "c"].map((name) => join(folder, name));
    for (const path of paths) await writeFile(path, "1");
    nats = await startNats({ credentials });
    connection = await connect({
      servers: nats.url,
      ...credentials,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 50,
    });
    const types = builtinTypes({ stateDir: folder, baseDir: folder });
    connection.subscribe(subjects.allObserved, {
      callback: (_error, { subject, data }) => {
        found.push(
          ...readObservations({ topic: subjects.topicOf(subject), headers: new Map(), data }, types),
        );
      },
    });
    // Two on a page.
    connection.subscribe(subjects.api("watched"), {
      callback: (_error, message) => {
        const request = message.json<{ type: string; offset: number }>();
        requests.push(request);
        const page = paths.slice(request.offset, request.offset + 2);
        const watched = page.map((physical_id) => ({
          type: request.type,
          physical_id,
          stack: "s",
          resource: "r",
        }));
        // What the service answers when it cannot: the observer has to go on.
        message.respond(JSON.stringify({ error: { code: "unavailable", description: "no" } }));
        message.respond("");
        message.respond(JSON.stringify({ watched, total: paths.length, offset: request.offset, limit: 2 }));
      },
    });
    await connection.flush();
    const url = nats.url.replace("//", `//${credentials.user}:${encodeURIComponent(credentials.pass)}@`);
    observer = spawn("python3", [script, url, "deploy.test"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    observer.stderr?.on("data", (data) => {
      errors += String(data);
    });
  });
  afterAll(async () => {
    const ended = once(observer, "exit");
    observer.kill("SIGKILL");
    await ended;
    await connection.close();
    await nats.stop();
    await rm(folder, { recursive: true });
  });
  afterEach(() => {
    found.length = 0;
  });

  const hints = () => found.flatMap((each) => (each.kind === "hint" ? [each.physicalId] : []));

  it("asks what to watch, page by page, and tells of what changed before", async () => {
    await vi.waitFor(() => expect(hints().sort()).toEqual([...paths].sort()), within);
    expect(requests).toEqual([0, 2].map((offset) => ({ type: "Local::File", offset, limit: 200 })));
    expect(found).toContainEqual({ kind: "heartbeat", type: "Local::File" });
    expect(found.filter(({ kind }) => kind === "unknown")).toEqual([]);
  });

  it("tells of what changes, and of nothing else", async () => {
    await writeFile(paths[1] ?? "", "22");
    await vi.waitFor(() => expect(hints()).toEqual([paths[1]]), within);
    await new Promise((done) => setTimeout(done, 500));
    expect(hints()).toEqual([paths[1]]);
  });

  it("tells of what vanishes and what comes back", async () => {
    await rm(paths[0] ?? "");
    await vi.waitFor(() => expect(hints()).toEqual([paths[0]]), within);
    await writeFile(paths[0] ?? "", "1");
    await vi.waitFor(() => expect(hints()).toEqual([paths[0], paths[0]]), within);
  });

  // It waits for an answer, or between two looks.
  it.each([0, 100, 50, 150])(
    "goes on when NATS comes back, and tells of what changed meanwhile (%i ms)",
    async (ms) => {
      await writeFile(paths[1] ?? "", String(performance.now()));
      await vi.waitFor(() => expect(hints()).toContain(paths[1]), within);
      await new Promise((done) => setTimeout(done, ms));
      await nats.kill();
      await writeFile(paths[2] ?? "", String(performance.now()));
      await nats.restart();
      await vi.waitFor(() => expect(hints()).toContain(paths[2]), within);
      expect(errors).toContain("trying again");
      expect(errors).not.toContain("Traceback");
    },
  );
});
