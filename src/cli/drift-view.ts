/** How one resource differs, for people. */
import { formatAge } from "../age.js";
import type { Reply } from "../api/schemas.js";
import { oneLine } from "./printable.js";
import { stateColor } from "./state-colors.js";
import { type Column, table } from "./table.js";
import type { Colors } from "./terminal.js";

type Drift = Reply<"drift">["resources"][number];
type Property = Drift["properties"][number];

const indent = "  ";

/** Headline, ages, then the properties side by side. */
export function driftLines(
  drift: Drift,
  nowMs: number,
  colors: Colors,
  columns: number,
  withStack: boolean,
): string[] {
  const { stackName, resource, state, since, reason, problem, properties, more } = drift;
  const name = colors.bold(oneLine(withStack ? `${stackName} ${resource}` : resource));
  const age = since === undefined ? "" : colors.dim(` for ${formatAge(nowMs - Date.parse(since))}`);
  const why = reason === "" ? "" : colors.dim(` (${oneLine(reason)})`);
  const rows =
    properties.length === 0
      ? []
      : table(properties, columnsOf(drift, colors), columns - indent.length, colors.dim);
  const lines = [
    ...(problem === "" ? [] : [colors.yellow(oneLine(problem))]),
    colors.dim(ages(drift, nowMs)),
    ...standing(drift).map((text) => colors.yellow(text)),
    ...rows,
    ...(more === 0 ? [] : [colors.dim(`… and ${more} more`)]),
  ];
  return [
    `${name} ${stateColor(colors, state)(state)}${age}${why}`,
    ...lines.map((line) => `${indent}${line}`),
  ];
}

function ages({ desiredAt, appliedAt, observedAt }: Drift, nowMs: number): string {
  const ago = (time: string) => `${formatAge(nowMs - Date.parse(time))} ago`;
  return [
    `desired ${desiredAt === undefined ? "at a time that is not known" : ago(desiredAt)}`,
    appliedAt === undefined ? "never applied" : `applied ${ago(appliedAt)}`,
    observedAt === undefined ? "not looked at since" : `observed ${ago(observedAt)}`,
  ].join(", ");
}

/** Why it may stay so. */
function standing({ policy, paused, contested }: Drift): string[] {
  return [
    ...(paused ? ["the stack is paused"] : []),
    ...(policy === "repair" ? [] : [`the policy says ${policy}`]),
    ...(contested.length === 0 ? [] : [`contested: ${contested.map(oneLine).join(", ")}`]),
  ];
}

function columnsOf({ state, observedAt }: Drift, colors: Colors): Column<Property>[] {
  const plain = (text: string) => text;
  const isKnown = observedAt !== undefined && state !== "unreadable";
  const mark = (color: (text: string) => string, a: keyof Property, b: keyof Property) => (row: Property) =>
    row.differs && JSON.stringify(row[a]) !== JSON.stringify(row[b]) ? color : plain;
  return [
    {
      title: "PROPERTY",
      text: ({ path, ignored }) => (ignored ? `${path} (ignored)` : path),
      flexible: true,
    },
    { title: "DESIRED", text: ({ desired }) => valueText(desired), flexible: true },
    {
      title: "APPLIED",
      text: ({ applied, desired }) => valueText(applied) || (desired === undefined ? "" : "–"),
      color: mark(colors.cyan, "applied", "desired"),
      flexible: true,
    },
    {
      title: "OBSERVED",
      text: ({ observed, differs }) => valueText(observed) || (isKnown && differs ? "–" : ""),
      color: mark(colors.yellow, "observed", "applied"),
      flexible: true,
    },
  ];
}

/** As in JSON, so that the text "1" is not the number 1. */
function valueText(value: unknown): string {
  return value === undefined ? "" : JSON.stringify(value);
}
