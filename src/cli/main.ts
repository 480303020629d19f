#!/usr/bin/env node
/** The command line. Only what `--help` needs is loaded before a command runs. */
import { CommanderError } from "commander";
import { exitStatus } from "./exit-status.js";
import { program } from "./program.js";
import { isReaderGone } from "./reader-gone.js";

// Help, and what is wrong with the arguments, is written without a terminal.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error) => {
    if (!isReaderGone(error)) throw error;
  });
}

try {
  await program().parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  // Help that was asked for is no mistake.
  process.exitCode = error.exitCode === 0 ? exitStatus.reached : exitStatus.usage;
  if (error.exitCode !== 0 && process.argv.includes("--json")) {
    const details = { code: 400, err_code: "invalid", description: error.message, problems: [] };
    console.log(JSON.stringify({ error: details }));
  }
}
