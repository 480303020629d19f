/** A thread of an exploration: takes seeds as long as there are any, and says what became of each. */
import { parentPort, workerData } from "node:worker_threads";
import type { Task } from "./jobs.js";
import { connectSimulator } from "./redis.js";
import { Seeds } from "./seeds.js";
import { exploreSeeds } from "./simulate.js";

const redis = await connectSimulator(workerData as string);

// A rejection ends the thread, which is how the main one hears of it.
parentPort?.on("message", async ({ scenario, exploration, seeds }: Task) => {
  await exploreSeeds(scenario, redis, exploration, new Seeds(seeds), (explored) =>
    parentPort?.postMessage(explored),
  );
  parentPort?.postMessage("over");
});
