/** A stack for people: header, resources, outputs. */
import { formatAge } from "../age.js";
import type { Reply, ResourceView, StackView } from "../api/schemas.js";
import { oneLine, printable } from "./printable.js";

import { stateColor, statusColor } from "./state-colors.js";
import { type Column, pairs, table } from "./table.js";
import type { Colors } from "./terminal.js";

type Shown = Reply<"show">;

export function stackLines({ stack, resources, outputs }: Shown, colors: Colors, columns: number): string[] {
  const { id, name, status, action, traversal, reason, createdAt, updatedAt } = stack;
  const facts: [string, string][] = [
    ["stack", `${colors.bold(name)}  ${colors.dim(id)}`],
    ["status", statusColor(colors, status)(status) + leftToDo(stack)],
    ["goal", `${action} ${traversal}`],
    ...(reason === "" ? [] : [["reason", oneLine(reason)] as [string, string]]),
    ...(heldText(stack) === "" ? [] : [["held", colors.yellow(heldText(stack))] as [string, string]]),
    ["created", `${createdAt}  ${colors.dim(ago(createdAt))}`],
    ["updated", `${updatedAt}  ${colors.dim(ago(updatedAt))}`],
  ];
  const width = Math.max(...facts.map(([label]) => label.length));
  const header = facts.map(([label, value]) => `${colors.dim(label.padEnd(width))}  ${value}`);
  const body = resources.length === 0 ? [] : ["", ...resourceLines(resources, colors, columns)];
  return [...header, ...body, ...outputLines(outputs, colors)];
}

/** What waits for a person. */
function heldText({ heldMissing = 0, paused }: StackView): string {
  const held = [
    ...(heldMissing === 0 ? [] : [`incident: ${heldMissing} missing, to be approved or dismissed`]),
    ...(paused === undefined ? [] : [paused === "" ? "paused" : `paused: ${oneLine(paused)}`]),
  ];
  return held.join("; ");
}

function leftToDo({ status, updatesLeft, cleanupsLeft }: StackView): string {
  if (status !== "CONVERGING" && status !== "IN_SERVICE") return "";
  return `  (to do: ${updatesLeft} updates, ${cleanupsLeft} cleanups)`;
}

function resourceLines(resources: readonly ResourceView[], colors: Colors, columns: number): string[] {
  const shown: Column<ResourceView>[] = [
    { title: "RESOURCE", text: ({ name, current }) => (current ? name : `${name} (old)`), flexible: true },
    { title: "TYPE", text: ({ type }) => type, color: () => colors.dim, flexible: true },
    { title: "STATE", text: ({ state }) => state, color: ({ state }) => stateColor(colors, state) },
    { title: "PHYSICAL ID", text: ({ physicalId }) => physicalId ?? "", flexible: true },
    { title: "REQUIRES", text: ({ requires }) => requires.join(", "), flexible: true },
    { title: "REASON", text: ({ reason }) => reason, flexible: true },
  ];
  return table(resources, shown, columns, colors.dim);
}

export function outputLines(outputs: Shown["outputs"], colors: Colors): string[] {
  const entries = Object.entries(outputs).map(([name, output]): [string, string] => [
    oneLine(name),
    output.error === undefined ? valueText(output.value) : colors.yellow(`(${oneLine(output.error)})`),
  ]);
  return entries.length === 0 ? [] : ["", colors.dim("outputs"), ...pairs(entries, colors.cyan)];
}

function valueText(value: unknown): string {
  if (value === undefined) return "";
  return printable(typeof value === "string" ? value : JSON.stringify(value)).replaceAll("\n", "\n    ");
}

export function stackTable(stacks: readonly StackView[], colors: Colors, columns: number): string[] {
  const shown: Column<StackView>[] = [
    { title: "STACK", text: ({ name }) => name, flexible: true },
    { title: "STATUS", text: ({ status }) => status, color: ({ status }) => statusColor(colors, status) },
    { title: "GOAL", text: ({ action, traversal }) => `${action} ${traversal}` },
    { title: "UPDATED", text: ({ updatedAt }) => ago(updatedAt), color: () => colors.dim },
    {
      title: "REASON",
      text: (stack) => [heldText(stack), stack.reason].filter((text) => text !== "").join("; "),
      flexible: true,
    },
  ];
  return table(stacks, shown, columns, colors.dim);
}

export function ago(time: string): string {
  return `${formatAge(Math.max(0, Date.now() - Date.parse(time)))} ago`;
}
