/** An observer as a process of its own: `node observer-process.mjs DIST URL TIMES`. Tells on stdout what it leads. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [dist, url, times] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(dist, path)).href);
const { ElectionNodes } = await load("src/leadership/election-nodes.js");
const { ShardLeadership } = await load("src/leadership/shards.js");
const { connectRedis } = await load("src/store/connection.js");
const { Store } = await load("src/store/store.js");
const { defaultLimits } = await load("src/limits.js");
const { realClock } = await load("src/worker/clock.js");
const { randomId } = await load("src/random-id.js");

const silent = () => {};
const leadership = new ShardLeadership({
  nodes: new ElectionNodes([url]),
  store: new Store(connectRedis(url), defaultLimits),
  pool: "default",
  key: "hs:leader:observer:",
  shards: 16,
  clock: realClock,
  random: { id: randomId, fraction: Math.random },
  log: { debug: silent, info: silent, warn: silent },
  times: JSON.parse(times),
});
const tell = (what, shard) => process.stdout.write(`${what} ${shard}\n`);
leadership.lead(
  (shard, signal) =>
    new Promise((resolve) => {
      tell("begin", shard);
      signal.addEventListener("abort", () => {
        tell("end", shard);
        resolve();
      });
    }),
);
