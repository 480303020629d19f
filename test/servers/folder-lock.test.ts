/** Theory: the lock is held by one at a time, also while holders, waiters and breakers are killed at any moment. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { withFolderLock } from "../../src/servers/folder-lock.js";
import { placeHere } from "../../src/servers/process-identity.js";
import { compileServers, removeFolder } from "./command.js";

const contenders = 6;
const runMs = 4000;

/** Each turn leaves a trace that overlaps with another one's only if both hold the lock. */
const contender = `
import { withFolderLock } from "./src/servers/folder-lock.js";
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
const [dir, trace] = process.argv.slice(2);
const id = process.pid;
for (let turn = 0; ; turn++) {
  await withFolderLock(dir, async () => {
    appendFileSync(trace, id + " in " + turn + "\\n");
    await sleep(Math.random() * 4);
    appendFileSync(trace, id + " out " + turn + "\\n");
  });
}
`;

let compiled: string;
let dir: string;

beforeAll(async () => {
  compiled = await compileServers();
  await writeFile(join(compiled, "contender.js"), contender);
});
afterAll(() => removeFolder(compiled));
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "homeostat-lock-"));
  return () => removeFolder(dir);
});

it("excludes, though those who hold it and wait for it are killed all the time", async () => {
  const trace = join(compiled, "trace");
  const killed = new Set<number>();
  const living = new Set<ChildProcess>();
  const start = () => {
    const child = spawn(process.execPath, [join(compiled, "contender.js"), dir, trace], { stdio: "inherit" });
    living.add(child);
  };
  const kill = async (child: ChildProcess) => {
    living.delete(child);
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
    killed.add(child.pid ?? 0);
  };
  for (let index = 0; index < contenders; index++) start();
  const until = performance.now() + runMs;
  while (performance.now() < until) {
    await sleep(Math.random() * 150);
    const children = [...living];
    const victim = children[Math.floor(Math.random() * children.length)];
    if (victim !== undefined) await kill(victim);
    start();
  }
  await Promise.all([...living].map(kill));

  let inside: string | undefined;
  let turns = 0;
  for (const line of (await readFile(trace, "utf8")).trim().split("\n")) {
    const [id = "", step, turn] = line.split(" ");
    if (step === "in") {
      const predecessorDied = inside === undefined || killed.has(Number(inside));
      expect(predecessorDied, `${line} while ${inside} was in`).toBe(true);
      inside = id;
    } else {
      expect(`${inside} ${turn}`, line).toBe(`${id} ${turn}`);
      inside = undefined;
      turns++;
    }
  }
  expect(turns).toBeGreaterThan(50);
  expect(killed.size).toBeGreaterThan(10);
  await withFolderLock(dir, async () => undefined);
  expect(await readdir(dir), "locks of the dead are cleared away").toEqual([]);
});

it("breaks a lock whose breaker died as well", async () => {
  const here = await placeHere();
  await symlink(`4194311.1.${here}.aaaa`, join(dir, "lock"));
  await symlink(`4194312.1.${here}.bbbb`, join(dir, "lock.aaaa"));
  await symlink(`4194313.1.${here}.cccc`, join(dir, "lock.aaaa.bbbb"));
  await expect(withFolderLock(dir, async () => "held")).resolves.toBe("held");
  expect(await readdir(dir)).toEqual([]);
});

it("breaks a lock from elsewhere only once it has stood still", async () => {
  await symlink("7.1.elsewhere.aaaa", join(dir, "lock"));
  const began = performance.now();
  await withFolderLock(dir, async () => undefined);
  expect(performance.now() - began).toBeGreaterThan(3000);
});
