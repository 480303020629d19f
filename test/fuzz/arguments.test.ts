/**
 * Theory: some arguments, files or environment make a command end with a stack trace, with another status than is
 * documented for what was wrong, never, or with --json without a document that says why.
 */
import { mkdir, symlink, writeFile } from "node:fs/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { failure } from "../../src/api/schemas.js";
import { documents, type Ended, Workplace } from "../cli/workplace.js";
import { buildProgram, type Program } from "../support/build.js";
import { announce, expectPlain, mangled, oddTexts, runs } from "./support.js";

announce("arguments");

let program: Program;
let place: Workplace;
beforeAll(async () => {
  program = await buildProgram();
  place = await Workplace.open(program.main);
  await place.write("good.yaml", good);
  await place.write("binary.yaml", "\0\x01\x02");
  await writeFile(place.path("latin.yaml"), Buffer.from([0x61, 0xff, 0xfe, 0x0a]));
  await writeFile(place.path("wide.yaml"), Buffer.from("\ufeffresources: {}", "utf16le"));
  await place.write("empty.yaml", "");
  await place.write("deep.yaml", "{".repeat(300_000));
  await place.write("embeds.yaml", "resources: { a: { type: T, properties: { x: { get_file: folder } } } }");
  await place.write("broken.js", "export default (");
  await place.write("throws.js", "throw new Error('thrown in a module')");
  await place.write("nothing.js", "export default 7");
  await place.write("scenario.yaml", "steps:\n  - create: { stack: x, template: { resources: {} } }\n");
  await place.write("bad-scenario.yaml", "steps: [7, { create: 8 }, { expect: ~ }]");
  await mkdir(place.path("folder"));
  await symlink("loop.yaml", place.path("loop.yaml"));
  await symlink("gone", place.path("dangling.yaml"));
});
afterAll(async () => {
  await place.close();
  await program.remove();
});

const good = 'resources: { a: { type: "Sim::Resource", properties: { x: 1 } } }\n';

const files = [
  ...["good.yaml", "binary.yaml", "latin.yaml", "wide.yaml", "empty.yaml", "embeds.yaml", "folder"],
  ...[
    "loop.yaml",
    "dangling.yaml",
    "gone.yaml",
    "good.yaml/x",
    "-",
    "/dev/null",
    `${"n".repeat(300)}.yaml`,
    ".",
  ],
  ...["broken.js", "throws.js", "nothing.js", "scenario.yaml", "bad-scenario.yaml", "file://x", "http://x/y"],
];
const texts = [
  ...oddTexts.filter((text) => !text.includes("\0")),
  ...[
    "10m",
    "0s",
    "-1s",
    "1e9h",
    "99999999999999h",
    "5",
    "a=b",
    "=",
    "a=",
    "--",
    "-x",
    "--json=1",
    "no such",
  ],
];
const urls = [
  "nats://127.0.0.1:1",
  "redis://127.0.0.1:1",
  "nats://",
  "x",
  "http://[",
  "redis://u:p@127.0.0.1:1/9",
  "",
];

/** Nothing answers at these addresses: commands that are right end with 7. */
const nowhere = { HOMEOSTAT_NATS_URL: "nats://127.0.0.1:1", HOMEOSTAT_REDIS_URL: "redis://127.0.0.1:1" };

const text = fc.constantFrom(...texts);
const option = fc.oneof(
  fc.tuple(
    fc.constantFrom("-f", "--file", "--providers", "--sim-world", "--dir", "--state-dir"),
    fc.constantFrom(...files),
  ),
  fc.tuple(fc.constantFrom("-p", "--param", "--timeout", "--since", "--log-level", "--pool", "--seed"), text),
  fc.tuple(
    fc.constantFrom("--explore", "--workers", "--faults"),
    fc.constantFrom("0", "1", "-1", "1.5", "x", "crash"),
  ),
  fc.tuple(fc.constantFrom("--redis-url", "--nats-url"), fc.constantFrom(...urls)),
  fc.constantFrom(
    ["--json"],
    ["--no-color"],
    ["--detach"],
    ["--rollback"],
    ["--rollback-on-failure"],
    ["--nope"],
  ),
);
const command = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom("up", "delete", "rollback", "cancel", "list", "show", "events", "simulate"),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom("daemon", "dev", "help", "--help", "--version", "upp", "", "__proto__"),
  },
);
const words = fc.array(fc.oneof(text, fc.constantFrom(...files)), { maxLength: 2 });
const file = fc.constantFrom(...files);
const argv = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .tuple(command, words, fc.array(option, { maxLength: 4 }))
      .map(([first, more, options]) => [first, ...more, ...options.flat()]),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom(...files, "deep.yaml"), fc.subarray(["--json"]))
      .map(([f, more]) => ["up", "x", "-f", f, ...more]),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(file, fc.subarray(["--json"])).map(([f, more]) => ["simulate", f, ...more]),
  },
  { weight: 1, arbitrary: file.map((f) => ["up", "-f", "good.yaml", "--providers", f, "--json"]) },
);

const environment = fc.record(
  {
    HOMEOSTAT_KEY: fc.constantFrom("", "short", "A".repeat(44)),
    HOMEOSTAT_KEY_FILE: fc.constantFrom("folder", "gone", "good.yaml", "/dev/null"),
    HOMEOSTAT_LOG: fc.constantFrom("loud", "silent", ""),
    HOMEOSTAT_NATS_URL: fc.constantFrom(...urls),
    HOMEOSTAT_REDIS_URL: fc.constantFrom(...urls),
    NATS_CONTEXT: fc.constantFrom("", "none", "/dev/null", "../../x", "./folder"),
    XDG_CONFIG_HOME: fc.constantFrom("folder", "gone", "/dev/null"),
    NO_COLOR: fc.constantFrom("1", ""),
    FORCE_COLOR: fc.constantFrom("3", "x"),
  },
  { requiredKeys: [] },
);

function expectInOrder(ended: Ended, args: readonly string[]): void {
  const said = `${ended.stdout}\n${ended.stderr}`;
  expectPlain(said.replaceAll("RangeError: thrown", ""));
  expect(said).not.toMatch(/^ {4}at /m);
  expect([0, 2, 3, 5, 6, 7, 130], said).toContain(ended.status);
  if (ended.status !== 0 && ended.status !== 130) expect(said.trim()).not.toBe("");
  if (!args.includes("--json") || args.includes("--") || ended.status === 0 || ended.status === 130) return;
  const last = documents(ended.stdout).at(-1);
  if (args[0] === "simulate" && (last as { problems?: unknown }).problems !== undefined) return;
  const { error } = failure.parse(last);
  expect(error.err_code).not.toBe("internal");
}

/** Two at a time; one that goes on is told to stop. */
async function run(args: readonly string[], env: NodeJS.ProcessEnv, input = ""): Promise<Ended> {
  const running = place.start(args, { env: { ...nowhere, ...env }, input });
  const stop = setTimeout(() => void running.interrupt(), 10_000);
  const kill = setTimeout(() => running.child.kill("SIGKILL"), 20_000);
  const ended = await running.ended;
  clearTimeout(stop);
  clearTimeout(kill);
  return ended;
}

describe("the command line", () => {
  it("ends in order, whatever it is given", async () => {
    const { seed, numRuns } = runs(40);
    const cases = fc.sample(fc.tuple(argv, environment, mangled(fc.constant(good))), { seed, numRuns });
    const left = cases.values();
    const lane = async () => {
      for (const [args, env, input] of left) {
        const ended = await run(args, env, input);
        try {
          expectInOrder(ended, args);
        } catch (cause) {
          throw new Error(
            `homeostat ${JSON.stringify(args)} with ${JSON.stringify(env)}: ${JSON.stringify(ended)}`,
            { cause },
          );
        }
      }
    };
    await Promise.all([lane(), lane()]);
  });
});
