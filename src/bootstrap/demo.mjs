/**
 * `npm run demo`: brings real things up, changes them, breaks them, rolls back and deletes, with the commands that a
 * person would type, and checks after each that the world is as it should be. The templates are in src/bootstrap/demo.
 */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { dirname, join, relative, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const main = join(root, "dist/src/cli/main.js");
const templates = join(root, "src/bootstrap/demo");
const parent = join(root, ".homeostat/demo");
const stack = "hello";
const interrupted = 130;
const failed = 3;
const patienceMs = 30_000;

const color = process.stdout.isTTY && !process.env.NO_COLOR;
const bold = (text) => (color ? `\x1b[1m${text}\x1b[22m` : text);
const green = (text) => (color ? `\x1b[32m${text}\x1b[39m` : text);
const dim = (text) => (color ? `\x1b[2m${text}\x1b[22m` : text);

class Interrupted extends Error {}

async function demo() {
  await removeLeftovers();
  const folder = newFolder();
  try {
    await story(folder);
    console.log(
      `\n${green("Everything was as it should be.")} Now try it with templates of your own; see README.md.`,
    );
    return 0;
  } catch (error) {
    if (error instanceof Interrupted) console.log("Cleaning up …");
    else console.error(`\nThe demo failed: ${error.message}`);
    return error instanceof Interrupted ? interrupted : 1;
  } finally {
    await removeFolder(folder);
  }
}

async function story(folder) {
  const [port, otherPort] = [await freePort(), await freePort()];
  const home = (file) => join(folder, "site", file);
  console.log(dim(`In ${relative(root, folder)}, with the templates of ${relative(root, templates)}.`));

  tell("A folder, two files and a web server. The second file is made of attributes of the first.");
  await homeostat(folder, 0, "up", stack, "-f", "hello.yaml", "-p", `port=${port}`);
  await check("the server shows the page", async () => (await get(port)).includes("<h1>Hello</h1>"));
  await check("the second file knows the size of the first", async () => {
    return read(home("about.txt")).includes(`${fs.statSync(home("index.html")).size} bytes`);
  });

  tell("What there is now:");
  await homeostat(folder, 0, "show", stack);

  tell("Another greeting: the files change in place, and the server is left alone.");
  const before = await pidOf(folder);
  await homeostat(folder, 0, "up", stack, "-f", "hello.yaml", "-p", "greeting=Hello again");
  await check("the server shows the new page", async () => (await get(port)).includes("Hello again"));
  await check("it is still the same process", async () => (await pidOf(folder)) === before);

  tell("Another port: a new server comes first, then the old one goes.");
  await homeostat(folder, 0, "up", stack, "-f", "hello.yaml", "-p", `port=${otherPort}`);
  await check("the new server shows the page", async () => (await get(otherPort)).includes("Hello again"));
  await check("the old server is gone", async () => !(await answers(port)));

  tell("A goal that cannot be reached FAILS, and says why.");
  await homeostat(folder, failed, "up", stack, "-f", "broken.yaml");
  await check("a page of the broken goal is there", async () => read(home("index.html")).includes("Nobody"));

  tell("Back to the last goal that was reached, from wherever things are:");
  await homeostat(folder, 0, "rollback", stack);
  await check("the server shows the page again", async () => (await get(otherPort)).includes("Hello again"));

  tell(
    "While somebody observes, what is changed by hand comes back. The page is edited, then the server is killed:",
  );
  await observed(folder, async () => {
    console.log(dim("$ echo Hacked > site/index.html"));
    fs.writeFileSync(home("index.html"), "Hacked\n");
    await eventually("the page is back", async () => read(home("index.html")).includes("Hello again"));
    const pid = await pidOf(folder);
    console.log(dim(`$ kill -9 ${pid}`));
    process.kill(pid, "SIGKILL");
    await eventually("another server shows the page", async () => {
      return (await answers(otherPort)) && (await pidOf(folder)) !== pid;
    });
  });

  tell("And away with all of it.");
  await homeostat(folder, 0, "delete", stack);
  await check("the files are gone", async () => !fs.existsSync(join(folder, "site")));
  await check("the server is gone", async () => !(await answers(otherPort)));
}

function tell(text) {
  console.log(`\n${bold(text)}`);
}

async function check(what, holds) {
  if (!(await holds())) throw new Error(`it should be that ${what}`);
  console.log(green(`✓ ${what}`));
}

async function eventually(what, holds) {
  const end = Date.now() + patienceMs;
  while (!(await holds())) {
    if (wasInterrupted) throw new Interrupted();
    if (Date.now() > end) throw new Error(`it should be that ${what}, ${patienceMs / 1000} s later`);
    await sleep(200);
  }
  console.log(green(`✓ ${what}`));
}

/** With an engine that stays, and tells what happens. */
async function observed(folder, work) {
  console.log(dim("$ homeostat dev &"));
  const dev = spawn(process.execPath, [main, "dev"], {
    cwd: folder,
    env: withoutConfiguration(process.env),
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((done) => dev.once("close", done));
  const ready = new Promise((done, reject) => {
    createInterface({ input: dev.stdout }).on("line", (line) => {
      if (/^\d\d:/.test(line)) console.log(line);
      else if (line.startsWith("In another terminal")) done();
    });
    ended.then(() => reject(new Error("homeostat dev ended")));
  });
  try {
    await ready;
    await work();
  } finally {
    dev.kill("SIGINT");
    await ended;
  }
}

/** Runs a command as a person would, and shows it. */
async function homeostat(folder, expected, ...args) {
  console.log(dim(`$ homeostat ${args.map(quoted).join(" ")}`));
  const { status } = await run(folder, args, "inherit");
  if (wasInterrupted || status === interrupted) throw new Interrupted();
  if (status !== expected) throw new Error(`exit status ${status} instead of ${expected}`);
}

/** Runs a command for its output. */
async function ask(folder, ...args) {
  const { status, output } = await run(folder, [...args, "--json"], "pipe");
  return status === 0 ? JSON.parse(output.trim().split("\n").at(-1)) : undefined;
}

function run(folder, args, stdout) {
  const child = spawn(process.execPath, [main, ...args], {
    cwd: folder,
    env: withoutConfiguration(process.env),
    stdio: ["ignore", stdout, stdout === "pipe" ? "ignore" : "inherit"],
  });
  let output = "";
  child.stdout?.on("data", (data) => {
    output += data;
  });
  return new Promise((done, reject) => {
    child.once("error", reject);
    child.once("close", (status) => done({ status, output }));
  });
}

/** The demo is for the embedded servers, whatever else is configured. */
function withoutConfiguration(env) {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(HOMEOSTAT_|NATS_)/.test(name)));
}

function quoted(arg) {
  return /^[\w./=:-]+$/.test(arg) ? arg : `"${arg}"`;
}

async function pidOf(folder) {
  const { resources } = (await ask(folder, "show", stack)) ?? { resources: [] };
  return resources.find(({ name, current }) => name === "server" && current)?.attributes.pid;
}

async function get(port) {
  const response = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(5000) });
  return await response.text();
}

async function answers(port) {
  return await get(port).then(
    () => true,
    () => false,
  );
}

function read(file) {
  return fs.readFileSync(file, "utf8");
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

function freePort() {
  return new Promise((done, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

function newFolder() {
  fs.mkdirSync(parent, { recursive: true, mode: 0o700 });
  const folder = fs.mkdtempSync(join(parent, `run-${process.pid}-`));
  for (const name of fs.readdirSync(templates)) fs.copyFileSync(join(templates, name), join(folder, name));
  return folder;
}

/** Runs that were killed leave a server running. */
async function removeLeftovers() {
  if (!fs.existsSync(parent)) return;
  for (const name of fs.readdirSync(parent)) {
    const [, pid] = /^run-(\d+)-/.exec(name) ?? [];
    if (pid === undefined || isRunning(Number(pid))) continue;
    console.log(dim("Removing what an interrupted run left …"));
    await removeFolder(join(parent, name));
  }
}

async function removeFolder(folder) {
  await ask(folder, "delete", stack);
  // The servers' last writes may still be on their way.
  for (let attempt = 0; fs.existsSync(folder); attempt++) {
    try {
      fs.rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      if (attempt === 20) throw error;
      await sleep(100);
    }
  }
}

/** Ctrl-C reaches the command as well, which ends in order; then the demo cleans up. Twice ends at once. */
let wasInterrupted = false;
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    if (wasInterrupted) process.exit(interrupted);
    wasInterrupted = true;
  });
}

// A reader that goes away (`| head`) is no reason to leave things behind.
process.stdout.on("error", () => undefined);

process.exitCode = await demo();
