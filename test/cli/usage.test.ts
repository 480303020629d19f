/** Theory: what cannot be done is refused by the right exit status, and says what to do instead. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { failure } from "../../src/api/schemas.js";
import { buildProgram, type Program } from "../support/build.js";
import { documents, Workplace } from "./workplace.js";

let program: Program;
let place: Workplace;

beforeAll(async () => {
  program = await buildProgram();
});
afterAll(() => program.remove());
beforeEach(async () => {
  place = await Workplace.open(program.main);
});
afterEach(() => place.close());

const pair = `
resources:
  db: { type: "Sim::Resource", properties: { size: 1 } }
  web: { type: "Sim::Resource", properties: { db: { get_resource: db } } }
`;

describe("2: usage and invalid templates", () => {
  const wrong: [string, string[], RegExp][] = [
    ["an unknown command", ["upp"], /unknown command.*\n?.*up/],
    ["an unknown option", ["list", "--jsn"], /unknown option '--jsn'/],
    ["no name", ["show"], /missing required argument 'name'/],
    ["no file", ["up", "hello"], /homeostat up hello -f FILE/],
    ["a file as the name", ["up", "hello.yaml"], /homeostat up -f hello\.yaml/],
    ["a folder as the template", ["up", "-f", "folder"], /folder: is a folder.*inner\.yaml/],
    ["a missing file", ["up", "-f", "nowhere.yaml"], /nowhere\.yaml: cannot be read: there is no such file/],
    ["a path as the name", ["up", "./x", "-f", "empty.yaml"], /not a stack name/],
    ["stdin without a name", ["up", "-f", "-"], /give the stack a name/],
    ["a parameter without a value", ["up", "-f", "empty.yaml", "-p", "x"], /"x" is not a parameter/],
    ["two names", ["up", "a", "b", "-f", "empty.yaml"], /too many arguments/],
    ["a bad duration", ["up", "-f", "empty.yaml", "--timeout", "10"], /"10" is not a duration/],
    ["a bad log level", ["list", "--log-level", "loud"], /log level "loud"/],
    ["a Redis URL alone", ["list", "--redis-url", "redis://127.0.0.1:1"], /no NATS URL/],
    [
      "a bad Redis URL",
      ["list", "--redis-url", "x", "--nats-url", "nats://127.0.0.1:1"],
      /must look like redis:/,
    ],
    ["detaching from nothing", ["up", "-f", "empty.yaml", "--detach"], /needs a daemon.*homeostat dev/],
    [
      "a provider that is not there",
      ["up", "-f", "empty.yaml", "--providers", "gone.js"],
      /gone\.js: .*no such file/,
    ],
    ["a bad number", ["simulate", "x", "--seed", "-1"], /--seed needs a whole number/],
    [
      "no job",
      ["simulate", "x", "--explore", "9", "--jobs", "0"],
      /--jobs needs a whole number of at least 1/,
    ],
    ["a file and none", ["policy", "x", "-f", "empty.yaml", "--reset"], /either a file or --reset/],
    ["nothing to simulate", ["simulate"], /give scenario files, or --generate N/],
  ];

  it.each(wrong)("%s", async (_what, args, message) => {
    await place.write("folder/inner.yaml", pair);
    await place.write("empty.yaml", "resources: {}\n");
    const ended = await place.run(args);
    expect(ended.stderr).toMatch(message);
    expect(ended).toMatchObject({ status: 2, stdout: "" });
  });

  const unread: [string[], number][] = [
    [["--help"], 0],
    [["resolve", "--help"], 0],
    [["--version"], 0],
    [["upp"], 2],
    [["upp", "--json"], 2],
  ];
  it.each(unread)("is as quiet when nobody reads it: %j", async (args, status) => {
    const running = place.start(args);
    running.child.stdout.destroy();
    running.child.stderr.destroy();
    expect((await running.ended).status).toBe(status);
  });

  it("says what is wrong in a template, all of it, and where", async () => {
    const template = `
resources:
  a: { type: "Sim::Resource", properties: { x: { get_attr: [b, y] } } }
  c: { type: "Sim::Resource", properties: { x: { get_file: gone.txt } } }
  d: { type: "Sim::Resource", properties: { x: { get_file: "http://example.com/x" } } }
`;
    await place.write("bad.yaml", template);
    const files = await place.runSim(["up", "-f", "bad.yaml"]);
    expect(files).toMatchObject({ status: 2, stdout: "" });
    expect(files.stderr).toMatch(/^bad\.yaml:4:\d+: file "gone\.txt" cannot be read/m);
    expect(files.stderr).toMatch(/^bad\.yaml:5:\d+: file "http.*is not local/m);
    await place.write(
      "bad.yaml",
      "resources:\n  a: { type: Sim::Resourc }\n  b: { type: Sim::Resource, propertis: {} }\n",
    );
    const checked = await place.runSim(["up", "-f", "bad.yaml"]);
    expect(checked).toMatchObject({ status: 2, stdout: "" });
    expect(checked.stderr).toMatch(/^bad\.yaml:3:\d+: /m);
    await place.write(
      "cycle.yaml",
      "resources:\n  a: { type: Sim::Resource, depends_on: b }\n  b: { type: Sim::Resource, depends_on: a }\n",
    );
    const cycle = await place.runSim(["up", "-f", "cycle.yaml", "--json"]);
    expect(cycle.status).toBe(2);
    const { error } = failure.parse(documents(cycle.stdout).at(-1));
    expect(error).toMatchObject({
      code: 400,
      err_code: "invalid",
      problems: [{ file: "cycle.yaml", line: 2 }],
    });
    await place.write("broken.yaml", "resources: {\n");
    expect((await place.runSim(["up", "-f", "broken.yaml"])).stderr).toMatch(/^broken\.yaml:\d+:\d+: /m);
  });

  it("tells programs too", async () => {
    const ended = await place.run(["show", "--json"]);
    expect(ended.status).toBe(2);
    const { error } = failure.parse(documents(ended.stdout).at(-1));
    expect(error).toMatchObject({ code: 400, err_code: "invalid" });
  });

  it("help and version are no mistakes", async () => {
    expect(await place.run(["--help"])).toMatchObject({ status: 0, stderr: "" });
    expect(await place.run(["help", "up"])).toMatchObject({
      status: 0,
      stdout: expect.stringContaining("Examples:"),
    });
    expect(await place.run(["--version"])).toMatchObject({ status: 0, stdout: "0.1.0\n" });
    for (const name of [
      "up",
      "delete",
      "rollback",
      "cancel",
      "list",
      "show",
      "events",
      "observe",
      "replace",
      "pause",
      "resume",
      "incidents",
      "approve",
      "dismiss",
      "resolve",
      "policy",
      "watched",
      "dev",
      "daemon",
      "simulate",
      "orphans",
    ]) {
      expect((await place.run([name, "--help"])).stdout).toMatch(/Exit status:/);
    }
  });
});

describe("5: not found", () => {
  it("without ever starting servers where nothing was", async () => {
    for (const args of [
      ["show", "x"],
      ["delete", "x"],
      ["rollback", "x"],
      ["cancel", "x"],
      ["events", "x"],
      ["observe", "x"],
      ["replace", "x", "y"],
      ["pause", "x"],
      ["resume", "x"],
      ["incidents", "x"],
      ["approve", "x"],
      ["policy", "x"],
    ]) {
      expect(await place.run(args)).toMatchObject({ status: 5, stdout: "" });
    }
    expect(await place.run(["incidents"])).toMatchObject({ status: 0, stdout: "" });
    expect(await place.run(["watched"])).toMatchObject({ status: 0, stdout: "" });
    expect(await place.run(["list"])).toMatchObject({ status: 0, stdout: "" });
    expect(await place.things()).toEqual([]);
    const json = await place.run(["show", "x", "--json"]);
    expect(json.status).toBe(5);
    expect(failure.parse(documents(json.stdout).at(-1)).error).toMatchObject({
      code: 404,
      err_code: "not_found",
    });
  });

  it("suggests what is similar", async () => {
    await place.write("empty.yaml", "resources: {}\n");
    await place.run(["up", "backend", "-f", "empty.yaml"]);
    for (const args of [
      ["show", "bakend"],
      ["delete", "bakend"],
      ["rollback", "bakend"],
      ["events", "bakend"],
    ]) {
      const ended = await place.run(args);
      expect(ended).toMatchObject({ status: 5, stdout: "" });
      expect(ended.stderr).toMatch(/there is no stack bakend; did you mean "backend"\?/);
    }
  });
});

it("7: nobody there", async () => {
  await place.write("empty.yaml", "resources: {}\n");
  const urls = ["--redis-url", "redis://127.0.0.1:1", "--nats-url", "nats://127.0.0.1:1"];
  for (const args of [["list"], ["up", "-f", "empty.yaml"], ["show", "x"], ["daemon"]]) {
    const ended = await place.run([...args, ...urls]);
    expect(ended).toMatchObject({ status: 7, stdout: "" });
  }
  const ended = await place.run(["list", "--json"], { env: { HOMEOSTAT_NATS_URL: "nats://127.0.0.1:1" } });
  expect(ended.status).toBe(7);
  expect(failure.parse(documents(ended.stdout).at(-1)).error).toMatchObject({
    code: 503,
    err_code: "unavailable",
  });
});
