/** Around every command: its context, and what an error means for the exit status. */
import { complain } from "./complaint.js";
import type { Context } from "./context.js";
import { Interruption } from "./interruption.js";
import { commandLog } from "./log.js";
import { type GlobalOptions, settingsOf } from "./settings.js";
import { Terminal } from "./terminal.js";

export type Command = (context: Context) => Promise<number>;

export async function runCommand(options: GlobalOptions, command: Command): Promise<never> {
  const terminal = new Terminal({ json: options.json ?? false, color: options.color ?? true });
  const status = await statusOf(options, terminal, command);
  terminal.endFrame();
  await terminal.flush();
  process.exit(status);
}

async function statusOf(options: GlobalOptions, terminal: Terminal, command: Command): Promise<number> {
  const interruption = new Interruption();
  try {
    const settings = settingsOf(options);
    return await command({ settings, terminal, interruption, log: commandLog(settings, terminal) });
  } catch (error) {
    terminal.endFrame();
    // What failed because it was told to stop is no error of its own.
    return interruption.received === undefined ? complain(error, terminal) : interruption.status;
  }
}
