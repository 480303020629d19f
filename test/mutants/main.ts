/** Plants each fault, hunts for it, and says which were found, by what and how soon. Exit status 1 if one survives. */
import { parseArgs } from "node:util";
import { readFound, record } from "./found.js";
import { type Mutant, mutants } from "./mutants.js";
import { type Catch, Grounds, type HuntOptions } from "./tree.js";

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    seed: { type: "string" },
    phases: { type: "string" },
    jobs: { type: "string", default: "2" },
    known: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

/** The program as it is, in which nothing must be found. */
const none = "none";

const byId = new Map<string, Mutant | undefined>([
  [none, undefined],
  ...mutants.map((mutant) => [mutant.id, mutant] as const),
]);
const ids = values.only?.split(",") ?? [...byId.keys()];
const unknown = ids.filter((id) => !byId.has(id));
if (unknown.length > 0) throw new Error(`no mutant ${unknown.join(", ")}`);

const root = process.cwd();
const found = readFound(root);
const options: HuntOptions = {
  ...(values.seed === undefined ? {} : { seed: Number(values.seed) }),
  ...(values.phases === undefined ? {} : { phases: values.phases.split(",") }),
};

const results = new Map<string, Catch>();
const left = [...ids];
const grounds = await Grounds.prepare(root);
try {
  await Promise.all(Array.from({ length: Number(values.jobs) }, work));
} finally {
  await grounds.remove();
}

const survivors = ids.filter((id) => id !== none && results.get(id)?.found === undefined);
const isSound = results.get(none)?.found === undefined;
if (!values.json) {
  const planted = ids.filter((id) => id !== none);
  console.log(`\n${planted.length - survivors.length} of ${planted.length} found`);
  for (const id of survivors) console.log(`survived: ${id}: ${byId.get(id)?.what}`);
  if (!isSound) console.log("the program itself fails: the other results say nothing");
}
process.exitCode = survivors.length === 0 && isSound ? 0 : 1;

async function work(): Promise<void> {
  for (let id = left.shift(); id !== undefined; id = left.shift()) {
    const known = values.known ? found[id] : undefined;
    const result = await grounds.hunted(byId.get(id), {
      ...options,
      ...(known === undefined ? {} : { known: [known] }),
    });
    results.set(id, result);
    report(id, result);
    if (values.record && id !== none && result.by !== undefined) record(root, id, result.by);
  }
}

function report(id: string, { found, runs, seconds }: Catch): void {
  const { breaks = [], subtle = false } = byId.get(id) ?? {};
  if (values.json) {
    console.log(JSON.stringify({ id, breaks, subtle, found, runs, seconds }));
    return;
  }
  const by = found === undefined ? `nothing in ${runs} runs` : `${found.phase} ${found.run || "known"}`;
  const message = found === undefined ? "" : `${found.what}: ${found.message.split("\n")[0]}`;
  const columns = [id.padEnd(32), breaks.join(", ").padEnd(24), subtle ? "subtle" : "plain ", by.padEnd(18)];
  console.log(`${columns.join("  ")}  ${seconds.toFixed(1).padStart(6)} s  ${message}`);
}
