/**
 * What convergence costs, next to what it cannot do without and next to a job queue, all in one run on one machine.
 *
 * BENCH_NODES (10000), BENCH_ROUNDS (3) and BENCH_PARTS (all: create,always,scale,visits,
 * exploring,observed,observing) make it shorter or longer; BENCH_THINGS (100000) are observed.
 */
import { cpus, loadavg } from "node:os";
import {
  type Counted,
  type Created,
  countVisits,
  type Goal,
  type Run,
  runBare,
  runBullmq,
  runHost,
} from "./contenders.js";
import { type Exploring, measureExploring, type Speed } from "./exploring.js";
import { median, number, several, table } from "./figures.js";
import { measureObserved, type ObservedRun, type ObservedRuns } from "./observed.js";
import { measureObserving, type Observing } from "./observing.js";
import { type Durability, Servers, type Sums } from "./servers.js";
import { dag, tree } from "./shapes.js";

const nodes = Number(process.env.BENCH_NODES ?? 10_000);
const rounds = Number(process.env.BENCH_ROUNDS ?? 3);
const parts = new Set(
  (process.env.BENCH_PARTS ?? "create,always,scale,visits,exploring,observed,observing").split(","),
);
const fewNodes = 100;
const scriptNodes = Math.min(nodes, 1_000);

interface Round {
  bare: Run;
  bullmq: Run & { addedMs: number };
  tree: Created;
  dag: Created | undefined;
  updated: Goal | undefined;
}

const began = performance.now();
const loads: number[] = [];

function note(text: string): void {
  const [load = 0] = loadavg();
  loads.push(load);
  const seconds = ((performance.now() - began) / 1000).toFixed(0).padStart(4);
  process.stderr.write(`${seconds} s  load ${load.toFixed(1)}  ${text}\n`);
}

async function onServers<T>(durability: Durability, work: (servers: Servers) => Promise<T>): Promise<T> {
  const servers = await Servers.start(durability);
  try {
    return await work(servers);
  } finally {
    await servers.stop();
  }
}

async function round(servers: Servers, durability: Durability, i: number): Promise<Round> {
  const of = `appendfsync ${durability}, round ${i + 1} of ${rounds}`;
  note(`bare I/O, ${of}`);
  const bare = await runBare(servers, nodes);
  note(`BullMQ, ${of}`);
  const bullmq = await runBullmq(servers, nodes);
  note(`tree, ${of}`);
  const first = durability === "everysec";
  const { created, updated } = await runHost(servers, tree(nodes), { update: first });
  if (first) note(`DAG, ${of}`);
  const layered = first ? (await runHost(servers, dag(nodes))).created : undefined;
  return { bare, bullmq, tree: created, dag: layered, updated };
}

async function allRounds(durability: Durability): Promise<Round[]> {
  const done: Round[] = [];
  for (let i = 0; i < rounds; i += 1) {
    done.push(await onServers(durability, (servers) => round(servers, durability, i)));
  }
  return done;
}

/** Other sizes of the tree; the largest takes long, so it runs once. */
async function scale(): Promise<Map<number, Created[]>> {
  const sizes = new Map<number, Created[]>();
  for (const [size, times] of [
    [Math.round(nodes / 10), rounds],
    [nodes * 5, 1],
  ] as const) {
    const runs: Created[] = [];
    for (let i = 0; i < times; i += 1) {
      note(`tree of ${size}`);
      runs.push(await onServers("everysec", async (servers) => (await runHost(servers, tree(size))).created));
    }
    sizes.set(size, runs);
  }
  return sizes;
}

interface Visits {
  few: Counted;
  many: Counted;
  timed: Counted;
}

async function visits(): Promise<Visits> {
  const count = (size: number, times: boolean) => {
    note(`visits of a tree of ${size}`);
    return onServers("everysec", (servers) => countVisits(servers, tree(size), { times }));
  };
  return {
    few: await count(fewNodes, false),
    many: await count(nodes, false),
    timed: await count(scriptNodes, true),
  };
}

function createTable(durability: Durability, done: readonly Round[]): string {
  const row = (name: string, runOf: (round: Round) => (Run & { nodes?: number }) | undefined) => {
    const runs = done.flatMap((each) => {
      const run = runOf(each);
      if (run === undefined) return [];
      const size = run.nodes ?? nodes;
      const us = (run.ms / size) * 1000;
      const cpuUs = cpuOf(run) / size;
      return [
        {
          us,
          toBare: us / ((each.bare.ms / nodes) * 1000),
          toBullmq: us / ((each.bullmq.ms / nodes) * 1000),
          cpuUs: cpuUs * 1000,
          cpuToBare: cpuUs / (cpuOf(each.bare) / nodes),
          cpuToBullmq: cpuUs / (cpuOf(each.bullmq) / nodes),
        },
      ];
    });
    const cell = (of: (run: (typeof runs)[number]) => number) => several(runs.map(of));
    return [
      name,
      cell((run) => run.us),
      cell((run) => run.toBare),
      cell((run) => run.toBullmq),
      cell((run) => run.cpuUs),
      cell((run) => run.cpuToBare),
      cell((run) => run.cpuToBullmq),
    ];
  };
  const rows = [
    row("bare I/O of a visit", ({ bare }) => bare),
    row("BullMQ flow, tree", ({ bullmq }) => bullmq),
    row("Homeostat, tree", (each) => each.tree),
  ];
  if (done.some((each) => each.dag !== undefined)) rows.push(row("Homeostat, DAG", (each) => each.dag));
  return table(
    `Create of ${nodes.toLocaleString("en-US")} nodes, appendfsync ${durability} (median of ${done.length} ± spread; CPU: worker, Redis and NATS together)`,
    ["", "µs per node", "× bare I/O", "× BullMQ", "CPU µs per node", "× bare I/O", "× BullMQ"],
    rows,
  );
}

/** All processes together. */
function cpuOf({ cpuMs: { worker, redis, nats } }: Run): number {
  return worker + redis + nats;
}

function scaleTable(sizes: ReadonlyMap<number, readonly Created[]>): string {
  const reference = median((sizes.get(nodes) ?? []).map(({ ms }) => ms / nodes));
  const rows = [...sizes]
    .sort(([a], [b]) => a - b)
    .map(([size, runs]) => [
      size.toLocaleString("en-US"),
      several(runs.map(({ ms }) => (ms / size) * 1000)),
      several(runs.map(({ answeredMs }) => (answeredMs / size) * 1000)),
      several(runs.map(({ answeredMs, openMs }) => ((openMs - answeredMs) / size) * 1000)),
      several(runs.map(({ openMs, ms }) => ((ms - openMs) / size) * 1000)),
      several(runs.map(({ ms }) => ms / size / reference)),
    ]);
  return table(
    "Create of a tree by size, µs per node",
    ["nodes", "altogether", "until answered", "graph", "visits", `× ${nodes.toLocaleString("en-US")}`],
    rows,
  );
}

type PerVisit = (sums: Sums) => number;

const perVisit: readonly (readonly [string, PerVisit])[] = [
  ["Redis commands, with those in scripts", (sums) => sums.commands],
  ["Redis bytes in", (sums) => sums.redisBytesIn],
  ["Redis bytes out", (sums) => sums.redisBytesOut],
  ["JetStream: notifications delivered", (sums) => sums.deliveries],
  ["JetStream: lifecycle events stored", (sums) => sums.events],
];

function visitTable({ few, many }: Visits): string {
  const rows = perVisit.map(([what, figure]) => {
    const [a, b] = [figure(few.sums) / few.visits, figure(many.sums) / many.visits];
    return [what, number(a), number(b), number(b / a)];
  });
  return table(
    "Per visit of a create (R14: equal at every size; the start of the worker and the end of the stack are in it)",
    ["", `${few.nodes} nodes`, `${many.nodes.toLocaleString("en-US")} nodes`, "ratio"],
    rows,
  );
}

function updateTable(done: readonly Round[]): string {
  const updates = done.flatMap(({ updated }) => (updated === undefined ? [] : [updated]));
  const rows = [
    ["altogether, ms", several(updates.map(({ ms }) => ms))],
    ["until answered, ms", several(updates.map(({ answeredMs }) => answeredMs))],
    ["graph, ms", several(updates.map(({ openMs, answeredMs }) => openMs - answeredMs))],
    ["visits, ms", several(updates.map(({ ms, openMs }) => ms - openMs))],
    ["visits", several(updates.map(({ visits: count }) => count))],
    ["provider calls", several(updates.map(({ providerCalls }) => providerCalls))],
    [
      "share of the create's time",
      several(done.map(({ updated, tree: { ms } }) => (updated?.ms ?? Number.NaN) / ms)),
    ],
  ];
  return table(`Update that changes one leaf of ${nodes.toLocaleString("en-US")} (R15)`, ["", ""], rows);
}

function exploringTable({ update, generated, bareUs }: Exploring): string {
  const rows = (what: string, speeds: readonly Speed[]) =>
    speeds.map((speed) => [
      what,
      number(speed.jobs),
      number(speed.runsPerSecond),
      number(speed.runsPerSecond / (speeds[0]?.runsPerSecond ?? Number.NaN)),
      number(speed.usPerVisit),
      number(speed.usPerVisit / bareUs),
      number(speed.cpuMsPerRun),
    ]);
  return table(
    `Explored runs, all faults (an empty Redis command took ${number(bareUs)} µs)`,
    ["", "jobs", "runs per second", "× one job", "µs per visit", "× empty command", "CPU ms per run"],
    [...rows("create and update of 6 resources", update), ...rows("made-up scenarios", generated)],
  );
}

function observedTable({ waiting, live }: ObservedRuns): string {
  const row = (what: string, run: ObservedRun) => [
    what,
    number((run.messages / run.ms) * 1_000),
    number(run.messages / run.batches),
    number(run.observerUs),
    number(run.natsUs),
    number(run.lateMs.p50),
    number(run.lateMs.p99),
  ];
  return table(
    "What producers saw, fetched, read and acknowledged by one observer",
    [
      "",
      "messages per second",
      "per batch",
      "observer CPU µs each",
      "nats-server CPU µs each",
      "late ms",
      "p99",
    ],
    [row("all waiting", waiting), row("20,000 a second", live)],
  );
}

function observingTables({ things, idle, bare, repair, unchanged, sweep, rssMb }: Observing): string {
  const ratio = (of: number, to: number) => number(of / to);
  const latency = table(
    "From an event to the start of the repair, 1,000 drifts a second, ms",
    ["", "p50", "p99", "worst", "× bare p50"],
    [
      ["message and one Redis command", number(bare.p50), number(bare.p99), number(bare.worst), "1"],
      [
        `repair, ${repair.repairs} of them`,
        number(repair.p50),
        number(repair.p99),
        number(repair.worst),
        ratio(repair.p50, bare.p50),
      ],
    ],
  );
  const each = (cost: Observing["sweep"], count: number) => [
    number((count / cost.ms) * 1_000),
    number(cost.reads),
    number((cost.hostMs * 1_000) / count),
    number((cost.redisMs * 1_000) / count),
    number((cost.natsMs * 1_000) / count),
    number(cost.scripts / count),
  ];
  const looks = table(
    "Looks of one process: what each costs, processor time in µs",
    ["", "per second", "reads", "process", "redis-server", "nats-server", "scripts"],
    [
      [`${repair.repairs} repairs`, ...each(repair.cost, repair.repairs)],
      [`${unchanged.events} events that tell nothing new`, ...each(unchanged.cost, unchanged.events)],
      [`all of ${things} things`, ...each(sweep, things)],
    ],
  );
  const { profile } = unchanged;
  const where = table(
    "The process's profile while events tell nothing new (a profiled process is slower)",
    ["", "% of its time"],
    profile.parts.slice(0, 14).map(([part, ms]) => [part, number((ms / profile.totalMs) * 100)]),
  );
  const perSecond = (sum: number) => number(sum / (idle.ms / 1_000));
  return [
    latency,
    looks,
    where,
    "",
    `  with ${things} things and nothing due: ${perSecond(idle.scripts)} scripts a second; ` +
      `processor time in ms a second: process ${perSecond(idle.hostMs)}, redis-server ${perSecond(idle.redisMs)}, ` +
      `nats-server ${perSecond(idle.natsMs)}`,
    `  memory of the process, MB: ${number(rssMb.start)} at the start, ${number(rssMb.made)} with all things made, ` +
      `${number(rssMb.end)} at the end, ${number(rssMb.most)} at most`,
  ].join("\n");
}

function timeTables({ many, timed }: Visits): string {
  const us = (ms: number) => number((ms / many.visits) * 1000);
  const processes = table(
    `Where the time of a visit goes: processor time, µs (a visit took ${us(many.ms)} µs of real time)`,
    ["process", "µs per visit"],
    [
      ["worker", us(many.cpuMs.worker)],
      ["redis-server", us(many.cpuMs.redis)],
      ["nats-server", us(many.cpuMs.nats)],
    ],
  );
  const profile = table(
    "The worker's profile (a profiled process is slower)",
    ["", "% of its time"],
    many.profile.parts.slice(0, 14).map(([part, ms]) => [part, number((ms / many.profile.totalMs) * 100)]),
  );
  const scripts = [...timed.times]
    .filter(([name, { calls }]) => name.endsWith(".lua") && calls / timed.visits > 0.01)
    .sort(([, a], [, b]) => b.us - a.us)
    .map(([name, time]) => [name, number(time.calls / timed.visits), number(time.us / time.calls)]);
  return [processes, profile, table("Scripts, timed by Redis", ["", "per visit", "µs each"], scripts)].join(
    "\n",
  );
}

note(`${nodes} nodes, ${rounds} rounds`);
const everysec = parts.has("create") ? await allRounds("everysec") : [];
const always = parts.has("always") ? await allRounds("always") : [];
const sizes = parts.has("scale") ? await scale() : new Map<number, Created[]>();
const counted = parts.has("visits") ? await visits() : undefined;
if (parts.has("exploring")) note("exploring");
const exploring = parts.has("exploring") ? await measureExploring() : undefined;
if (parts.has("observed")) note("observed");
const observed = parts.has("observed") ? await measureObserved() : undefined;
const observing = parts.has("observing") ? await measureObserving(note) : undefined;
note("done");

if (everysec.length > 0)
  sizes.set(
    nodes,
    everysec.map((each) => each.tree),
  );
const tables = [
  ...(everysec.length > 0 ? [createTable("everysec", everysec)] : []),
  ...(always.length > 0 ? [createTable("always", always)] : []),
  ...(sizes.size > 0 ? [scaleTable(sizes)] : []),
  ...(everysec.length > 0 ? [updateTable(everysec)] : []),
  ...(counted === undefined ? [] : [visitTable(counted), timeTables(counted)]),
  ...(exploring === undefined ? [] : [exploringTable(exploring)]),
  ...(observed === undefined ? [] : [observedTable(observed)]),
  ...(observing === undefined ? [] : [observingTables(observing)]),
];
console.log(tables.join("\n"));
const machine = `${cpus().length} processors, load ${number(loads[0] ?? 0)} at the start, ${number(loads.at(-1) ?? 0)} at the end, at most ${number(Math.max(...loads))}; Node ${process.version}`;
console.log(`\n${machine}; ${number((performance.now() - began) / 1000)} s`);
console.log(
  JSON.stringify({
    nodes,
    rounds,
    loads,
    everysec,
    always,
    sizes: [...sizes],
    visits: counted && withoutMaps(counted),
    exploring,
    observed,
    observing,
  }),
);

function withoutMaps({ few, many, timed }: Visits) {
  const plain = ({ times, profile, ...rest }: Counted) => ({
    ...rest,
    times: Object.fromEntries(times),
    profile: profile.parts,
  });
  return { few: plain(few), many: plain(many), timed: plain(timed) };
}
