/**
 * What a visit cannot do without, and nothing else: one claim script, one commit script, one message published with its
 * acknowledgement awaited, pulled and acknowledged. Sizes as those of the engine; as many at once.
 */
import { Redis } from "ioredis";
import { AckPolicy, connect, createInbox, nanos, RetentionPolicy, StorageType } from "nats";
import { offer } from "./rpc.js";
import { nameOf } from "./shapes.js";

const claim = `
local held = redis.call('HMGET', KEYS[2], 'holder', 'until', 'snapshot')
if held[1] and held[1] ~= '' and held[1] ~= ARGV[1] then return { 'busy' } end
redis.call('HSET', KEYS[2], 'holder', ARGV[1], 'until', ARGV[2], 'at', ARGV[4])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[4])
return { 'claimed', redis.call('HGET', KEYS[1], ARGV[4]) or '', redis.call('HGETALL', KEYS[2]) }`;

const commit = `
if redis.call('HGET', KEYS[2], 'holder') ~= ARGV[1] then return { 'fenced' } end
redis.call('HSET', KEYS[2], 'holder', '', 'fields', ARGV[5], 'commit', ARGV[3])
redis.call('HSET', KEYS[4], ARGV[4], ARGV[6])
redis.call('HSETNX', KEYS[5], ARGV[4], ARGV[2])
redis.call('HINCRBY', KEYS[5], 'left', -1)
redis.call('ZREM', KEYS[3], ARGV[4])
return { 'ok' }`;

const stack = "0123456789abcdef0123";
const definition = "d".repeat(250);
const fields = "f".repeat(500);
const index = "i".repeat(200);
const window = 256;
const smallestBatch = 16;

type Script = (...values: (string | number)[]) => Promise<unknown>;

async function open(redisUrl: string, natsUrl: string) {
  const redis = new Redis(redisUrl, { enableAutoPipelining: true });
  redis.defineCommand("bareClaim", { numberOfKeys: 3, lua: claim });
  redis.defineCommand("bareCommit", { numberOfKeys: 5, lua: commit });
  const nats = await connect({ servers: natsUrl });
  const manager = await nats.jetstreamManager();
  await manager.streams.add({
    name: "BARE",
    subjects: ["bare.>"],
    retention: RetentionPolicy.Workqueue,
    storage: StorageType.File,
    max_msgs_per_subject: 1,
  });
  await manager.consumers.add("BARE", {
    durable_name: "bare",
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(30_000),
    max_ack_pending: 5_000,
  });
  return {
    redis,
    scripts: redis as unknown as Record<"bareClaim" | "bareCommit", Script>,
    nats,
    jetstream: nats.jetstream(),
  };
}

let servers: Awaited<ReturnType<typeof open>> | undefined;
let runs = 0;

const calls = {
  async start(redisUrl: string, natsUrl: string): Promise<void> {
    servers = await open(redisUrl, natsUrl);
  },

  /** Milliseconds. */
  async run(size: number, atOnce: number): Promise<number> {
    if (servers === undefined) throw new Error("not started");
    const { redis, scripts, nats, jetstream } = servers;
    runs += 1;
    const keyOf = (suffix: string) => `bare:{${stack}}:${runs}:${suffix}`;
    for (let i = 0; i < size; i += 1000) {
      const nodes = Array.from({ length: Math.min(1000, size - i) }, (_, k) => [nameOf(i + k), definition]);
      await redis.hset(keyOf("graph"), ...nodes.flat());
    }
    let published = 0;
    let left = size;
    let working = 0;
    let coming = 0;
    const publishNext = async () => {
      if (published >= size) return;
      const node = nameOf(published);
      published += 1;
      const visit = {
        stack,
        traversal: 1,
        attempt: stack,
        node: `u:${node}`,
        resource: stack,
        pool: "default",
      };
      await jetstream.publish(`bare.default.${stack}.${node}.${runs}`, JSON.stringify(visit));
    };
    const visit = async (data: Uint8Array) => {
      const { node } = JSON.parse(Buffer.from(data).toString()) as { node: string };
      const name = node.slice(2);
      const holder = `${stack}${name}`;
      const keys = [keyOf("graph"), keyOf(`r:${name}`), keyOf("pending")];
      await scripts.bareClaim(...keys, holder, 30_000, 1, name);
      await scripts.bareCommit(
        ...keys,
        keyOf("index"),
        keyOf("sync"),
        holder,
        "1",
        holder,
        name,
        fields,
        index,
      );
      await publishNext();
    };
    const inbox = createInbox();
    const began = performance.now();
    await new Promise<void>((resolve, reject) => {
      const ask = () => {
        const batch = Math.min(atOnce - working - coming, left - working - coming);
        if (batch <= 0 || (coming > 0 && batch < smallestBatch)) return;
        coming += batch;
        const body = JSON.stringify({ batch, expires: nanos(60_000) });
        nats.publish("$JS.API.CONSUMER.MSG.NEXT.BARE.bare", body, { reply: inbox });
      };
      nats.subscribe(inbox, {
        callback: (error, message) => {
          if (error !== null) return reject(error);
          if (message.subject === inbox) return reject(new Error(`pull: ${message.headers?.code}`));
          coming -= 1;
          working += 1;
          visit(message.data).then(() => {
            message.respond("+ACK");
            working -= 1;
            left -= 1;
            if (left === 0) resolve();
            else ask();
          }, reject);
        },
      });
      ask();
      for (let i = 0; i < Math.min(window, size); i += 1) publishNext().catch(reject);
    });
    return performance.now() - began;
  },
};

export type BareCalls = typeof calls;

offer(calls);
