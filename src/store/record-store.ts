/** What is stored of a stack outside of its traversals: its name, its own record, goals, resources and events. */
import { damaged, newerSchema, readStored, typed } from "./damage.js";
import { decodeEntry, isTraversal, pairs } from "./decode.js";
import { schemaVersion } from "./keys.js";
import { ScheduleStore } from "./schedule-store.js";
import type { IndexEntry, OutboxEvent, ResourceRecord } from "./types.js";

export class RecordStore extends ScheduleStore {
  /** Points a name from one stack id (empty: free) to another; answers the id that stands in the way. */
  async moveName(name: string, from: string, to: string): Promise<string | undefined> {
    const [tag, other] = await this.run(
      "name",
      { names: this.keys.names(this.shardOf(name)) },
      { name, from, to },
    );
    return tag === "ok" ? undefined : String(other);
  }

  async stackOfName(name: string): Promise<string | undefined> {
    return (await this.redis.hget(this.keys.names(this.shardOf(name)), name)) ?? undefined;
  }

  /** Every claimed name with its stack id; hints, to be verified. */
  async names(): Promise<[name: string, stack: string][]> {
    const shards = await this.ofShards((shard) => this.redis.hgetall(this.keys.names(shard)));
    return shards.flatMap((names) => Object.entries(names));
  }

  /** The traversal that a request began, undefined when it is not known. */
  async answered(stack: string, request: string): Promise<number | undefined> {
    const key = this.keys.requests(stack);
    const traversal = await typed(key, this.redis.hget(key, request));
    return traversal === null ? undefined : Number(traversal);
  }

  /** The stack's own record, undefined when there is none. */
  async stack(stack: string): Promise<Readonly<Record<string, string>> | undefined> {
    const key = this.keys.stack(stack);
    const record = await typed(key, this.redis.hgetall(key));
    if (record.traversal === undefined) return undefined;
    if (!isTraversal(record.traversal)) throw damaged(key, record.traversal);
    if (Number(record.schema) > schemaVersion) throw newerSchema(stack, record.schema);
    return record;
  }

  /** Stores a goal's document ahead of its `begin`; one that nobody begins with expires. */
  async writeTemplate(stack: string, template: string, text: string): Promise<void> {
    await this.redis.set(this.keys.template(stack, template), text, "PX", 3600_000, "NX");
  }

  async dropTemplate(stack: string, template: string): Promise<void> {
    await this.redis.unlink(this.keys.template(stack, template));
  }

  async readTemplate(stack: string, template: string): Promise<string | undefined> {
    const key = this.keys.template(stack, template);
    return (await typed(key, this.redis.get(key))) ?? undefined;
  }

  /** Some fields of several resources, in the order asked; missing ones are undefined. */
  async resources(
    stack: string,
    ids: readonly string[],
    fields: readonly string[],
  ): Promise<(ResourceRecord | undefined)[]> {
    const names = ["name", ...fields];
    const read = async (id: string): Promise<ResourceRecord | undefined> => {
      const key = this.keys.resource(stack, id);
      const values = await typed(key, this.redis.hmget(key, ...names));
      if (values[0] === null) return undefined;
      return Object.fromEntries(names.map((name, i) => [name, values[i] ?? ""]));
    };
    return Promise.all(ids.map(read));
  }

  /** Every resource that exists, by id. */
  async index(stack: string): Promise<Map<string, IndexEntry>> {
    const entries = new Map<string, IndexEntry>();
    const key = this.keys.index(stack);
    let cursor = "0";
    do {
      const [next, fields] = await typed(key, this.redis.hscan(key, cursor, "COUNT", 1000));
      for (const [id, text] of pairs(fields))
        entries.set(
          id,
          readStored(key, () => decodeEntry(text)),
        );
      cursor = next;
    } while (cursor !== "0");
    return entries;
  }

  /** Removes what only traversals that are over needed. */
  async reap(stack: string, overNow?: number): Promise<void> {
    const over = overNow ?? (await this.redis.hget(this.keys.stack(stack), "over"));
    if (over === null) return;
    for (;;) {
      const suffixes = await this.redis.zrangebyscore(
        this.keys.garbage(stack),
        "-inf",
        over,
        "LIMIT",
        0,
        500,
      );
      if (suffixes.length === 0) return;
      await this.redis.unlink(...suffixes.map((suffix) => this.keys.of(stack, suffix)));
      await this.redis.zrem(this.keys.garbage(stack), ...suffixes);
    }
  }

  async outbox(stack: string): Promise<OutboxEvent[]> {
    const key = this.keys.outbox(stack);
    const entries = await typed(key, this.redis.hgetall(key));
    return Object.entries(entries).map(([id, text]) => ({ id, text }));
  }

  async clearOutbox(stack: string, ids: readonly string[]): Promise<void> {
    await this.dropFields(this.keys.outbox(stack), ids);
  }
}
