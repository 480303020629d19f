/** What every command is given. */
import type { Interruption } from "./interruption.js";
import type { Log } from "./log.js";
import type { Settings } from "./settings.js";
import type { Terminal } from "./terminal.js";

export interface Context {
  settings: Settings;
  terminal: Terminal;
  interruption: Interruption;
  log: Log;
}
