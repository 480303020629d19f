/** One search of the model with Spin, in a private folder that is removed at its end. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface Search {
  world: number;
  mutant?: string;
  /** Also looks for executions that never end; twice the states. */
  endless?: boolean;
  /** For searches that are worth it, at the price of a longer compilation. */
  optimized?: boolean;
}

export interface Result {
  states: number;
  /** Everything was searched: neither depth nor memory was short. */
  complete: boolean;
  /** What was violated first. */
  violation: string | undefined;
  seconds: number;
}

const depth = 1_000_000;
const outputBytes = 16 * 1024 * 1024;

/** What is missing to run a search; undefined when nothing is. */
export async function missing(): Promise<string | undefined> {
  try {
    await run("spin", ["-V"]);
    await run("cc", ["--version"]);
    return undefined;
  } catch {
    return "needs spin and a C compiler (Debian: spin, gcc, libc6-dev)";
  }
}

export async function search({ world, mutant, endless, optimized }: Search): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), "homeostat-model-"));
  const options = { cwd: folder, maxBuffer: outputBytes };
  try {
    for (const file of ["protocol.pml", "worlds.h"]) {
      await cp(join(import.meta.dirname, file), join(folder, file));
    }
    const switches = [`-DWORLD=${world}`, ...(mutant === undefined ? [] : [`-D${mutant}`])];
    await run("spin", ["-a", ...switches, "protocol.pml"], options);
    const mode = endless === true ? ["-DNP", "-DNOFAIR"] : ["-DSAFETY"];
    const level = mutant !== undefined ? "-O0" : optimized === true ? "-O2" : "-O1";
    const flags = [level, "-w", ...mode, "-DCOLLAPSE", "-DNOBOUNDCHECK", "-DMEMLIM=16000"];
    await run("cc", [...flags, "-o", "pan", "pan.c"], options);
    const began = performance.now();
    const arguments_ = [
      ...(endless === true ? ["-l"] : []),
      `-m${depth}`,
      optimized === true ? "-w25" : "-w22",
    ];
    const { stdout } = await run(join(folder, "pan"), arguments_, options);
    const seconds = (performance.now() - began) / 1000;
    return { ...read(stdout), seconds };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function read(output: string): Omit<Result, "seconds"> {
  const states = Number(/^\s*([\d.e+]+) states, stored/m.exec(output)?.[1]);
  const errors = Number(/errors: (\d+)/.exec(output)?.[1]);
  const short = /max search depth too small|reached memory bound|Search not completed|out of memory/;
  return {
    states,
    complete: errors === 0 && states > 0 && !short.test(output),
    violation: /^pan:1: (.*?) \(at depth/m.exec(output)?.[1],
  };
}
