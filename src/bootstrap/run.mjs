/**
 * `npm test` and `npm run demo` in a bare clone: installs, builds and checks what is needed, then runs the task.
 *
 * Plain JavaScript, and of an old kind: it runs before anything is installed, and tells an old Node what is wrong.
 */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { constants, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build, isBuilt } from "./build.mjs";
import { install, isInstalled } from "./install.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const minNodeMajor = 20;

const tasks = {
  test: runTests,
  demo: (args) => runNode([join(root, "src/bootstrap/demo.mjs"), ...args]),
};

async function main([name, ...args]) {
  const task = tasks[name];
  if (task === undefined) return fail(`usage: node src/bootstrap/run.mjs ${Object.keys(tasks).join("|")}`);
  if (Number(process.versions.node.split(".")[0]) < minNodeMajor) {
    return fail(
      `Node ${minNodeMajor} or newer is needed; this is ${process.version}. See https://nodejs.org`,
    );
  }
  const status = prepare();
  if (status !== 0) return status;
  const advice = await missingServers();
  return advice.length > 0 ? fail(advice.join("\n")) : await task(args);
}

function prepare() {
  if (!isInstalled(root)) {
    console.log("Installing the dependencies (npm ci) …");
    const status = install(root);
    if (status !== 0) return status;
  }
  if (isBuilt()) return 0;
  console.log("Building …");
  return build();
}

async function missingServers() {
  const binaries = pathToFileURL(join(root, "dist/src/servers/binaries.js")).href;
  const { installAdvice, lookForBinaries } = await import(binaries);
  const { missing } = await lookForBinaries();
  return missing.length > 0 ? installAdvice(missing) : [];
}

async function runTests(args) {
  const folder = fs.mkdtempSync(join(tmpdir(), "homeostat-test-"));
  const report = join(folder, "report.json");
  try {
    const vitest = join(root, "node_modules/vitest/vitest.mjs");
    const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
    const status = await runNode([vitest, "run", ...reporters, ...args]);
    const { passed, failed } = countTests(report, status);
    console.log(`${passed} passed, ${failed} failed`);
    return status;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** A file that cannot be loaded, and whatever else fails the run, counts as one failure. */
function countTests(report, status) {
  if (!fs.existsSync(report)) return { passed: 0, failed: status === 0 ? 0 : 1 };
  const { numPassedTests, numFailedTests, testResults } = JSON.parse(fs.readFileSync(report, "utf8"));
  const unloaded = testResults.filter(
    (file) => file.status === "failed" && file.assertionResults.every((test) => test.status !== "failed"),
  );
  const failed = numFailedTests + unloaded.length;
  return { passed: numPassedTests, failed: status !== 0 && failed === 0 ? 1 : failed };
}

/** Ctrl-C reaches the whole foreground group; the program that was started decides what it means. */
async function runNode(args) {
  const ignore = () => undefined;
  process.on("SIGINT", ignore);
  try {
    return await new Promise((done, reject) => {
      const child = spawn(process.execPath, args, { cwd: root, stdio: "inherit" });
      const pass = () => child.kill("SIGTERM");
      process.once("SIGTERM", pass);
      child.once("error", reject);
      child.once("exit", (code, signal) => {
        process.removeListener("SIGTERM", pass);
        done(code ?? 128 + (constants.signals[signal] ?? 0));
      });
    });
  } finally {
    process.removeListener("SIGINT", ignore);
  }
}

function fail(message) {
  console.error(message);
  return 2;
}

main(process.argv.slice(2)).then(
  (status) => {
    process.exitCode = status;
  },
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
