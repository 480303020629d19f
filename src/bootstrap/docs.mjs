/**
 * `npm run docs`: writes what is said twice only here, docs/API.md and docs/STATECHARTS.md, from the built code.
 *
 * The rendering is pure; who calls it brings the modules, so that the test can bring the sources.
 */
import * as fs from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build, isBuilt } from "./build.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** Paths below the root of the modules that the pages are made of; with these in hand, call `renderDocs`. */
export function sourcesOfDocs() {
  const files = fs.readdirSync(join(root, "machines")).filter((file) => file.endsWith(".ts"));
  return {
    machines: files.map((file) => `machines/${file.slice(0, -3)}`).sort(byPlace),
    api: "src/api/describe",
    errors: "src/errors",
    bodies: "src/bus/bodies",
    subjects: "src/bus/subjects",
  };
}

/**
 * `load(path)` imports a module of `sourcesOfDocs`. Answers the text of each page by its path.
 */
export async function renderDocs(load) {
  const { machines, ...modules } = sourcesOfDocs();
  const loaded = [];
  for (const path of machines) loaded.push({ path, module: await load(path) });
  const { api, errors, bodies, subjects } = modules;
  return {
    "docs/STATECHARTS.md": statecharts(loaded),
    "docs/API.md": apiPage({
      ...(await load(api)),
      ...(await load(errors)),
      ...(await load(bodies)),
      ...(await load(subjects)),
    }),
  };
}

/** The durable ones first. */
function byPlace(a, b) {
  const order = ["resource", "stack", "worker", "leadership"];
  const place = (path) => (order.indexOf(path.split("/").at(-1)) + order.length + 1) % (order.length + 1);
  return place(a) - place(b) || (a < b ? -1 : 1);
}

const generated = "<!-- Made by `npm run docs`. Change the code instead. -->";

function page(parts) {
  return `${parts.flat(Number.POSITIVE_INFINITY).join("\n\n")}\n`;
}

/** Padded as the formatter would. */
function table(heads, rows) {
  const cells = [heads, ...rows].map((row) => row.map(cell));
  const widths = heads.map((_, column) => Math.max(3, ...cells.map((row) => row[column].length)));
  const line = (row) => `| ${row.map((text, column) => text.padEnd(widths[column])).join(" | ")} |`;
  const [head, ...body] = cells;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...body.map(line)].join("\n");
}

function cell(text) {
  return String(text).replaceAll("|", "\\|").replaceAll("\n", " ");
}

function code(text) {
  return text === "" ? "" : `\`${text}\``;
}

// --- state charts

function statecharts(machines) {
  return page([
    "# State charts",
    generated,
    "One chart per machine of `machines/`. A label in a chart says `event / command`: what comes in, and what is to be " +
      "carried out once the new state is stored. Guards and assignments are in the tables. Of several rows for one event " +
      "the first whose guard holds is taken; an event without a row leaves everything as it is.",
    machines.map(({ path, module }) => machineOf(path, module)),
  ]);
}

function machineOf(path, module) {
  const found = Object.values(module).filter((value) => value?.config?.states !== undefined);
  return found.map((machine) => {
    const rows = transitionsOf(machine.config);
    return [
      `## ${machine.id}`,
      `\`${path}.ts\``,
      openingComment(path),
      ["```mermaid", ...diagram(machine, rows), "```"].join("\n"),
      table(
        ["state", "event", "guard", "goes to", "actions"],
        rows.map((row) => [
          row.from ?? "any",
          code(row.event),
          code(row.guard),
          row.to ?? (row.from === undefined ? "stays" : row.from),
          row.actions.map(code).join(", "),
        ]),
      ),
    ];
  });
}

/** What the file says of itself. */
function openingComment(path) {
  const source = fs.readFileSync(join(root, `${path}.ts`), "utf8");
  const [, comment = ""] = /^\/\*\*([\s\S]*?)\*\//.exec(source) ?? [];
  const lines = comment.split("\n").map((line) => line.replace(/^ ?\*? ?/, "").trimEnd());
  const text = lines.join("\n").trim();
  return text.replace(/^(Invariants)\n/m, "$1:\n\n");
}

function transitionsOf(config) {
  const states = Object.entries(config.states);
  return [
    ...eventsOf(config).map((row) => ({ from: undefined, ...row })),
    ...states.flatMap(([from, state]) => eventsOf(state).map((row) => ({ from, ...row }))),
  ];
}

function eventsOf(state) {
  const invoked = [state.invoke ?? []]
    .flat()
    .flatMap((invoke) => [
      ...transitions(`${invoke.src} is done`, invoke.onDone),
      ...transitions(`${invoke.src} failed`, invoke.onError),
    ]);
  const entry = state.entry === undefined ? [] : transitions("entry", { actions: state.entry });
  const on = Object.entries(state.on ?? {}).flatMap(([event, given]) => transitions(event, given));
  const after = Object.entries(state.after ?? {}).flatMap(([delay, given]) =>
    transitions(`after ${delay}`, given),
  );
  return [...entry, ...invoked, ...after, ...on];
}

function transitions(event, given) {
  if (given === undefined) return [];
  return [given].flat().map((one) => {
    const { target, guard, actions } = typeof one === "string" ? { target: one } : one;
    return {
      event,
      guard: guard === undefined ? "" : nameOf(guard),
      to: target === undefined ? undefined : target.replace(/^\./, ""),
      actions: [actions ?? []].flat().map(nameOf),
    };
  });
}

function nameOf(given) {
  return typeof given === "string" ? given : given.type;
}

/** Assignments resolve to a new context by themselves; what is left is for whoever runs the machine. */
function commandsOf(row, machine) {
  const { actions } = machine.implementations;
  return row.actions.filter((action) => actions[action]?.resolve === undefined);
}

function diagram(machine, rows) {
  const { config } = machine;
  const edges = new Map();
  for (const row of rows) {
    const from = row.from ?? "any";
    const to = row.to ?? from;
    if (row.event === "entry" || (row.from === undefined && row.to === undefined)) continue;
    const commands = commandsOf(row, machine);
    const label = commands.length === 0 ? row.event : `${row.event} / ${commands.join(" ")}`;
    const key = `${from} --> ${to}`;
    edges.set(key, [...(edges.get(key) ?? []), label].filter(unique));
  }
  const any = [...edges.keys()].some((key) => key.startsWith("any ")) ? ['state "any state" as any'] : [];
  const ends = Object.entries(config.states).filter(([, state]) => state.type === "final");
  return [
    "stateDiagram-v2",
    ...[
      ...any,
      `[*] --> ${config.initial}`,
      ...[...edges].map(([edge, labels]) => `${edge}: ${labels.join(", ")}`),
      ...ends.map(([name]) => `${name} --> [*]`),
    ].map((line) => `  ${line}`),
  ];
}

function unique(value, index, list) {
  return list.indexOf(value) === index;
}

// --- the API

function apiPage(modules) {
  const { describeApi, describeFailure, Subjects, bodyHeader, errorCodes } = modules;
  const subjects = new Subjects();
  const api = describeApi();
  const verbs = Object.entries(api);
  return page([
    "# The API",
    generated,
    `Homeostat answers as a NATS service. Each verb is an endpoint; request and reply are JSON.`,
    ["```sh", "nats micro info homeostat", `nats req ${api.list.subject} '{}'`, "```"].join("\n"),
    "The full JSON Schemas of every request and reply are in the metadata of the endpoints (`nats micro info`). " +
      `With another prefix than \`${subjects.prefix}\` all subjects start with that prefix instead.`,
    table(
      ["verb", "subject", "what it does"],
      verbs.map(([verb, { subject, description }]) => [`[${verb}](#${verb})`, code(subject), description]),
    ),
    `A body that does not fit in a message travels through the object store: it is put into the bucket ` +
      `\`${subjects.bodyBucket}\` under a name of the sender's choice, the message is empty, and its header ` +
      `\`${bodyHeader}\` has the name. Replies may come in the same way.`,
    "A goal is durable when it is answered. A request that got no answer may be sent again: with the same `request` it " +
      "is the same goal, not a second one.",
    verbs.map(([verb, described]) => verbPart(verb, described, verbs)),
    "## Errors",
    "A failed reply has the headers `Nats-Service-Error` (text) and `Nats-Service-Error-Code` (number), and this body. " +
      "The codes are the contract, the texts are for people.",
    fields(describeFailure()),
    table(
      ["`err_code`", "`code`", "exit status of the command line"],
      Object.entries(errorCodes).map(([name, { status, exit }]) => [code(name), status, exit]),
    ),
    lifecycleEvents(subjects),
  ]);
}

function verbPart(verb, { subject, description, request, reply }, verbs) {
  const same = verbs.find(([, other]) => JSON.stringify(other.reply) === JSON.stringify(reply))?.[0];
  return [
    `## ${verb}`,
    `\`${subject}\`: ${description}`,
    "Request:",
    fields(request),
    same === verb ? ["Reply:", fields(reply)] : `Reply: as of [${same}](#${same}).`,
  ];
}

function fields(schema) {
  return table(["field", "type", "", "meaning"], rowsOf(schema, ""));
}

function rowsOf(schema, prefix) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const path = `${prefix}${name}`;
    return [
      [code(path), typeOf(field), necessity(field, required.has(name)), meaning(field)],
      ...nestedRows(field, path),
    ];
  });
}

function nestedRows(field, path) {
  if (field.properties !== undefined) return rowsOf(field, `${path}.`);
  if (field.items?.properties !== undefined) return rowsOf(field.items, `${path}[].`);
  const values = field.additionalProperties;
  return values?.properties === undefined ? [] : rowsOf(values, `${path}.NAME.`);
}

function necessity(field, required) {
  if (field.default !== undefined) return `default ${code(JSON.stringify(field.default))}`;
  return required ? "always" : "";
}

function meaning({ description = "", minimum, maximum, minLength, maxLength, pattern }) {
  const safe = (bound) => bound !== undefined && Math.abs(bound) < Number.MAX_SAFE_INTEGER;
  const bounds = [
    safe(minimum) ? `at least ${minimum}` : "",
    safe(maximum) ? `at most ${maximum}` : "",
    maxLength === undefined ? "" : `${minLength ?? 0} to ${maxLength} characters`,
    pattern === undefined ? "" : `matches ${code(pattern)}`,
  ].filter((bound) => bound !== "");
  return [description, bounds.length === 0 ? "" : `(${bounds.join(", ")})`].filter(Boolean).join(" ");
}

function typeOf(field) {
  if (field.enum !== undefined) return field.enum.map(code).join(", ");
  if (field.anyOf !== undefined) return field.anyOf.map(typeOf).join(" or ");
  if (field.type === "array") return `list of ${typeOf(field.items ?? {})}`;
  if (field.type === "object" && field.properties === undefined) return "map";
  return field.type ?? "any";
}

function lifecycleEvents(subjects) {
  const stackEvents = subjects.event({ stack: "STACK", what: "WHAT" });
  const resourceEvents = subjects.event({ stack: "STACK", resource: "RESOURCE", what: "WHAT" });
  const source = fs.readFileSync(join(root, "src/traversal/lifecycle-event.ts"), "utf8");
  const [, body = ""] = /export interface LifecycleEvent \{([\s\S]*?)\n\}/.exec(source) ?? [];
  const rows = [];
  let comment = "";
  for (const line of body.split("\n")) {
    const [, said] = /^ *\/\*\* (.*) \*\/$/.exec(line) ?? [];
    const [, name, optional, type] = /^ *(\w+)(\??): (.*);$/.exec(line) ?? [];
    if (said !== undefined) comment = said;
    if (name === undefined) continue;
    rows.push([code(name), type, optional === "?" ? "" : "always", comment]);
    comment = "";
  }
  return [
    "## Lifecycle events",
    `Every change of a stack's status is published on \`${stackEvents}\`, every change of a resource's state on ` +
      `\`${resourceEvents}\`. STACK is the stack's id; each variable part is encoded to one token. The stream is ` +
      `\`${subjects.eventStream}\`: at least once, a second copy has the same \`id\`. Property values never occur.`,
    ["```sh", `nats sub '${subjects.allEvents}'`, "```"].join("\n"),
    table(["field", "type", "", "meaning"], rows),
  ];
}

// --- as a program

async function main() {
  if (!isBuilt()) {
    const status = build();
    if (status !== 0) return status;
  }
  const pages = await renderDocs((path) => import(pathToFileURL(join(root, "dist", `${path}.js`)).href));
  for (const [path, text] of Object.entries(pages)) {
    fs.mkdirSync(dirname(join(root, path)), { recursive: true });
    fs.writeFileSync(join(root, path), text);
    console.log(path);
  }
  return 0;
}

if (process.argv[1] !== undefined && fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = await main();
}
