/** Theory: what was done behind the engine's back is told by drift, why, watch and events, and by their exit status. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { replies } from "../../src/api/schemas.js";
import { until } from "../servers/command.js";
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

const site = (policy: string) => `
resources:
  page:
    type: Local::File
    properties: { path: ${JSON.stringify(place.path("page"))}, content: hello }
    metadata: { homeostat: { policy: ${policy}, poll: 300ms, grace: 0s } }
  other:
    type: Local::File
    properties: { path: ${JSON.stringify(place.path("other"))}, content: { get_attr: [page, path] } }
`;

it("drift, why and watch tell of what is only reported", async () => {
  expect(await place.run(["drift"])).toMatchObject({ status: 0, stdout: "" });
  expect(await place.run(["drift", "site"])).toMatchObject({ status: 5 });
  const dev = place.start(["dev"]);
  await dev.says(/up NAME/);
  await place.write("site.yaml", site("report"));
  expect(await place.run(["up", "-f", "site.yaml"])).toMatchObject({ status: 0 });
  const watch = place.start(["watch", "site"]);
  const programs = place.start(["watch", "--json"]);
  await watch.says(/site COMPLETE 2\/2 ready$/m);
  expect(await place.run(["drift", "site"])).toMatchObject({
    status: 0,
    stdout: "",
    stderr: "site is in line\n",
  });
  expect((await place.run(["why", "site", "page"])).stdout).toMatch(/^page is ready and at its goal for /);

  await writeFile(place.path("page"), "hallo");
  await watch.says(/site COMPLETE 1\/2 ready, 1 drifted; last 10m: 1 drifted, 0 repaired/);
  const drift = await place.run(["drift"]);
  expect(drift.status).toBe(3);
  expect(drift.stdout.replace(/[\d.]+s/g, "Ns")).toBe(
    [
      "site page drifted for Ns (differs: content)",
      "  desired Ns ago, applied Ns ago, observed Ns ago",
      "  the policy says report",
      "  PROPERTY  DESIRED  APPLIED  OBSERVED",
      '  content   "hello"  "hello"  "hallo"',
      "",
    ].join("\n"),
  );
  const json = await place.run(["drift", "site", "page", "--json"]);
  expect(json.status).toBe(3);
  expect(documents(json.stdout)).toMatchObject([
    { differs: true, resources: [{ resource: "page", differs: true }] },
  ]);
  expect(await place.run(["drift", "site", "other", "--all"])).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^other ready[\s\S]*mode +"0644" +"0644"/),
  });
  const why = await place.run(["why", "site"]);
  expect(why).toMatchObject({ status: 0, stderr: "" });
  expect(why.stdout).toMatch(
    /^site is COMPLETE \(create 1\) for .*\. 1 of 2 resources are at their goal\.\n {2}page is drifted for .*: differs: content\. .*The policy says report: it is told and not mended\.\n$/,
  );
  replies.why.parse(documents((await place.run(["why", "site", "--json"])).stdout)[0]);
  expect(await place.run(["why", "site", "pag"])).toMatchObject({
    status: 5,
    stderr: expect.stringMatching(/has no resource pag \(there are: .*\); did you mean "page"\?\n$/),
  });
  expect(await place.run(["why", "sit"])).toMatchObject({
    status: 5,
    stderr: expect.stringMatching(/did you mean "site"/),
  });

  expect(await place.run(["delete", "site"])).toMatchObject({ status: 0 });
  expect(await watch.ended).toMatchObject({ status: 0, stdout: expect.stringMatching(/site DELETED/) });
  await programs.says(/"status":"DELETED"/);
  expect(await programs.interrupt()).toMatchObject({ status: 130 });
  const told = documents(programs.stdout) as { name: string; seen: Record<string, number> }[];
  expect(told.some(({ name, seen }) => name === "site" && seen.drifted === 1)).toBe(true);
  expect(await place.run(["events", "site"])).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/page drifted \(differs: content\)/),
  });
});

it("a watch sees the repair, and goes on when its daemon is replaced", async () => {
  const dev = place.start(["dev"]);
  await dev.says(/up NAME/);
  await place.write("site.yaml", site("repair"));
  expect(await place.run(["up", "-f", "site.yaml"])).toMatchObject({ status: 0 });
  const watch = place.start(["watch"]);
  await watch.says(/site COMPLETE 2\/2 ready/);
  await writeFile(place.path("page"), "hallo");
  await watch.says(/site COMPLETE 2\/2 ready; last 10m: 1 drifted, 1 repaired/);
  expect(await readFile(place.path("page"), "utf8")).toBe("hello");
  expect((await place.run(["events", "site"])).stdout).toMatch(/page drifted[\s\S]*page repaired/);
  await dev.interrupt();
  await watch.notes(/going on without it/);
  const next = place.start(["dev"]);
  await next.says(/up NAME/);
  await rm(place.path("page"));
  await watch.says(/last 10m: 2 drifted, 2 repaired/);
  await until(
    "the page is back",
    async () => (await readFile(place.path("page"), "utf8").catch(() => "")) === "hello",
  );
  expect(await watch.interrupt()).toMatchObject({ status: 130 });
});
