/** Logs go to stderr: JSON lines from daemons, one line for people from commands in the foreground. */
import { pino } from "pino";
import type { Settings } from "./settings.js";
import type { Terminal } from "./terminal.js";

export type Log = pino.Logger;

export function daemonLog({ logLevel = "info" }: Settings): Log {
  const options = { level: logLevel, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime };
  return pino(options, pino.destination({ fd: 2, sync: true }));
}

export function commandLog({ logLevel = "warn" }: Settings, terminal: Terminal): Log {
  return pino(
    { level: logLevel, base: null },
    { write: (line: string) => terminal.note(forPeople(line, terminal)) },
  );
}

const levelNames: Readonly<Record<number, string>> = pino.levels.labels;

function forPeople(line: string, terminal: Terminal): string {
  const { level, time: _time, msg = "", ...fields } = JSON.parse(line) as Record<string, unknown>;
  const name = levelNames[Number(level)] ?? "log";
  const colors = terminal.noteColors;
  const color = Number(level) >= 50 ? colors.red : Number(level) >= 40 ? colors.yellow : colors.dim;
  const details = Object.entries(fields).map(([key, value]) => ` ${key}=${shown(value)}`);
  return `${color(`${name}:`)} ${msg}${colors.dim(details.join(""))}`;
}

function shown(value: unknown): string {
  return typeof value === "string" && /^[\w./:@-]+$/.test(value) ? value : JSON.stringify(value);
}
