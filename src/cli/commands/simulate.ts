/** `homeostat simulate FILE…`, `homeostat simulate --generate N` */
import { HomeostatError } from "../../errors.js";
import type { Context } from "../context.js";

export interface SimulateFlags {
  explore?: string;
  generate?: string;
  seed?: string;
  workers?: string;
  faults?: string;
  jobs?: string;
}

export async function simulate(
  { terminal, interruption }: Context,
  files: readonly string[],
  flags: SimulateFlags,
): Promise<number> {
  const explore = wholeNumber("--explore", flags.explore, 1);
  const generate = wholeNumber("--generate", flags.generate, 1);
  if (files.length === 0 && generate === undefined) {
    throw new HomeostatError("invalid", "give scenario files, or --generate N to make scenarios up");
  }
  const seed = wholeNumber("--seed", flags.seed, 0);
  const workers = wholeNumber("--workers", flags.workers, 1);
  const jobs = wholeNumber("--jobs", flags.jobs, 1);
  const faults = flags.faults?.split(",").filter((fault) => fault !== "");
  const { runSimulate, usefulJobs } = await import("../../simulator/simulate.js");
  const runs = {
    ...(explore === undefined ? {} : { explore }),
    ...(generate === undefined ? {} : { generate }),
  };
  return runSimulate(files, {
    ...runs,
    jobs: jobs ?? usefulJobs(files.length, runs),
    ...(seed === undefined ? {} : { seed }),
    ...(workers === undefined ? {} : { workers }),
    ...(faults === undefined ? {} : { faults }),
    json: terminal.json,
    out: (line) => terminal.say(line),
    progress: (text) => terminal.note(text),
    signal: interruption.signal,
  });
}

function wholeNumber(option: string, text: string | undefined, least: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
  throw new HomeostatError("invalid", `${option} needs a whole number of at least ${least}, not "${text}"`);
}
