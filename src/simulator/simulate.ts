/** `homeostat simulate`: runs scenario files and says what failed, where and how it came to it. */
import { Redis } from "ioredis";
import { describeProblem, HomeostatError, InvalidError } from "../errors.js";
import { startPrivateRedis } from "../servers/private-redis.js";
import { readScenario, type Scenario } from "./scenario.js";
import { ScriptedRun } from "./scripted.js";

export interface SimulateOptions {
  /** How many exploring runs; absent: one scripted run. */
  explore?: number;
  seed?: number;
  workers?: number;
  faults?: string[];
  json: boolean;
  out: (line: string) => void;
}

/** Exit status: 0 all held, 1 something failed, 2 a file cannot be used. */
export async function runSimulate(files: readonly string[], options: SimulateOptions): Promise<number> {
  if (options.explore !== undefined) {
    throw new HomeostatError("invalid", "this version runs scenarios in scripted mode only");
  }
  const server = await startPrivateRedis({ unixSocket: true });
  const redis = new Redis(server.socketPath, { maxRetriesPerRequest: null });
  let status = 0;
  try {
    for (const file of files) status = Math.max(status, await runFile(file, redis, options));
  } finally {
    redis.disconnect();
    await server.stop();
  }
  return status;
}

async function runFile(file: string, redis: Redis, { json, out }: SimulateOptions): Promise<number> {
  let scenario: Scenario;
  try {
    scenario = readScenario(file);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    const message = error.problems.map(describeProblem).join("\n");
    out(
      json
        ? JSON.stringify({ name: file, ok: false, runs: 0, visits: 0, problems: error.problems })
        : message,
    );
    return 2;
  }
  const result = await new ScriptedRun(scenario, redis).run();
  const { ok, visits, failure, unusable } = result;
  if (unusable !== undefined) {
    const problem = { file, line: unusable.line, column: 1, message: unusable.message };
    out(
      json
        ? JSON.stringify({ name: scenario.name, ok, runs: 1, visits, problems: [problem] })
        : describeProblem(problem),
    );
    return 2;
  }
  if (json) {
    out(
      JSON.stringify({
        name: scenario.name,
        ok,
        runs: 1,
        visits,
        ...(failure === undefined ? {} : { failure }),
      }),
    );
  } else if (failure === undefined) {
    out(`ok    ${scenario.name} (${visits} visits)`);
  } else {
    out(`FAIL  ${scenario.name}: ${failure.step}: ${failure.message}`);
    for (const line of failure.trace) out(`      ${line}`);
  }
  return ok ? 0 : 1;
}
