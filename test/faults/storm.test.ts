/**
 * Theory: whoever dies, stands still, is restarted or cut off, and whenever: reality becomes the last goal, exactly; a
 * deleted stack leaves nothing; nothing hangs. Real daemons, real servers, real time.
 *
 * HOMEOSTAT_FAULT_SEED repeats a choice of faults and goals, HOMEOSTAT_FAULT_SECONDS makes the storms last longer, and
 * HOMEOSTAT_FAULT_PACE=usual takes the limits that everybody has.
 */
import { afterAll, beforeAll, describe, it } from "vitest";
import { buildProgram, type Program } from "../support/build.js";
import { chooseSeed, recoveryMs, Site } from "./site.js";
import { describeWeather, type Fault, Storm } from "./storm.js";

const pace = process.env.HOMEOSTAT_FAULT_PACE === "usual" ? "usual" : "brisk";
const ms = 1_000 * Number(process.env.HOMEOSTAT_FAULT_SECONDS || 10);

let program: Program;
beforeAll(async () => {
  program = await buildProgram();
});
afterAll(() => program.remove());

async function weather(
  name: string,
  faults: readonly Fault[],
  everyMs: number,
  daemons: number,
): Promise<void> {
  const seed = chooseSeed(name);
  const site = await Site.open({ main: program.main, seed, pace });
  const storm = new Storm(site, { faults, ms, everyMs, daemons, stacks: ["one", "two", "three"] });
  try {
    await site.startDaemons(daemons);
    await storm.run();
    await storm.end();
  } catch (error) {
    throw new Error(`${name}, HOMEOSTAT_FAULT_SEED=${seed}: ${(error as Error).message}`);
  } finally {
    console.log(`${name}: ${describeWeather(storm.weather)}`);
    await site.close();
  }
}

/** What happens, every how many ms, and to how many daemons. */
const storms: [string, Fault[], number, number][] = [
  ["daemons that are killed, and that stand still for longer than a lease", ["kill", "stop"], 1_500, 3],
  ["servers that are killed and restarted", ["redis", "nats"], 3_000, 2],
  ["connections that are cut, stall and are left half-open", ["cut", "stall", "forget"], 2_000, 2],
  ["replies of Redis that are cut off", ["replies"], 1_000, 2],
  ["all of that at once", ["kill", "stop", "redis", "nats", "cut", "stall", "forget", "replies"], 2_000, 3],
];

describe("stacks are created, changed, rolled back and deleted, and nothing is lost or left, with", () => {
  it.concurrent.each(storms)("%s", weather, ms * 2 + recoveryMs[pace] * 2 + 60_000);
});
