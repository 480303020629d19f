/** A stack in a real redis-server, driven through its scripts by hand, on a clock that the test moves. */
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach } from "vitest";
import { defaultLimits, type Limits } from "../../src/limits.js";
import { type Begin, type BeginAnswer, type Commit, Store, type Visit } from "../../src/store/store.js";
import { startRedis, type TestRedis } from "../support/servers.js";

export interface Node {
  node: string;
  resource: string;
  predecessors?: string[];
  successors?: string[];
  goal?: string;
  standing?: string;
}

export class TestStack {
  readonly id = "s1";
  readonly redis: Redis;
  readonly store: Store;
  now = 1_700_000_000_000;
  traversal = 0;
  attempt = "";
  #requests = 0;

  constructor(redis: Redis, limits: Partial<Limits> = {}) {
    this.redis = redis;
    this.store = new Store(redis, { ...defaultLimits, ...limits }, { now: () => this.now, hintShards: 1 });
  }

  key(suffix: string): string {
    return this.store.keys.of(this.id, suffix);
  }

  async field(name: string): Promise<string | null> {
    return this.redis.hget(this.key("s"), name);
  }

  async ask(kind: Begin["kind"], more: Partial<Begin> = {}): Promise<BeginAnswer> {
    this.#requests += 1;
    const template = more.template ?? `t${this.#requests}`;
    if (kind === "create" || kind === "update") await this.store.writeTemplate(this.id, template, "{}");
    const answer = await this.store.begin({
      stack: this.id,
      request: `q${this.#requests}`,
      kind,
      revision: (await this.field("revision")) ?? "",
      snapshot: "",
      status: kind === "cancel" ? "CANCELLED" : "CONVERGING",
      action: kind,
      template,
      name: "foo",
      options: "{}",
      event: "",
      ...more,
    });
    if (answer.tag === "ok") this.traversal = answer.traversal;
    return answer;
  }

  async write(nodes: readonly Node[], attempt: string): Promise<number> {
    const ready = nodes.filter(({ predecessors = [] }) => predecessors.length === 0);
    const fields = nodes.flatMap(({ node, resource, predecessors = [], successors = [], goal, standing }) => [
      ...[`i:${node}`, `default\n${resource}\n${node.slice(2)}\nSim::Resource`],
      ...[`c:${node}`, String(predecessors.length), `j:${node}`, goal ?? ""],
      ...(predecessors.length > 0 ? [`p:${node}`, predecessors.join("\n")] : []),
      ...(standing === undefined ? [] : [`w:${node}`, standing]),
      ...Array.from({ length: Math.ceil(successors.length / 100) }, (_, i) => [
        `s${i}:${node}`,
        successors.slice(i * 100, i * 100 + 100).join("\n"),
      ]).flat(),
    ]);
    const queue = ready.flatMap(({ node }, i) => [i + 1, node]);
    for (let at = 0; at === 0 || at < fields.length || at < queue.length; at += 400) {
      const [part, some] = [fields.slice(at, at + 400), queue.slice(at, at + 400)];
      if (!(await this.store.writeGraph(this.id, this.traversal, attempt, part, some)))
        throw new Error("the graph was not written");
    }
    return ready.length;
  }

  async open(nodes: readonly Node[], attempt = `a${this.traversal}`) {
    const ready = await this.write(nodes, attempt);
    const updates = nodes.filter(({ node }) => node.startsWith("u:")).length;
    this.attempt = attempt;
    return this.store.open(this.id, this.traversal, attempt, {
      updates,
      cleanups: nodes.length - updates,
      ready,
    });
  }

  visit(node: string, resource: string): Visit {
    const { id: stack, traversal, attempt } = this;
    return { stack, traversal, attempt, node, resource, pool: "default" };
  }

  async claim(node: string, resource: string, holder: string) {
    const claimed = await this.store.claim(this.visit(node, resource), holder);
    if (claimed.tag !== "claimed") throw new Error(`${node} answered ${claimed.tag}`);
    return claimed;
  }

  commit(node: string, resource: string, commit: Partial<Commit> & Pick<Commit, "holder" | "effect">) {
    return this.store.commit(this.visit(node, resource), {
      commit: `${commit.holder}.${commit.effect}`,
      mode: "decision",
      ...commit,
    });
  }

  /** Claim, done, end: the whole visit of something that needs nothing. */
  async finish(node: string, resource: string): Promise<void> {
    const holder = `h-${node}`;
    await this.claim(node, resource, holder);
    await this.commit(node, resource, { holder, effect: "done", value: `${resource}@`, requires: [] });
    await this.store.end(this.visit(node, resource), []);
  }

  /** Everything in Redis, for comparison. */
  async dump(): Promise<Record<string, unknown>> {
    const all: Record<string, unknown> = {};
    for (const key of (await this.redis.keys("*")).sort()) {
      const type = await this.redis.type(key);
      all[key] =
        type === "hash"
          ? await this.redis.hgetall(key)
          : type === "zset"
            ? await this.redis.zrange(key, "0", "-1", "WITHSCORES")
            : await this.redis.get(key);
    }
    return all;
  }
}

/** A redis-server for the tests of a file; every test starts with an empty one. */
export function withRedis(options: { args?: readonly string[] } = {}) {
  let server: TestRedis;
  let redis: Redis;
  beforeAll(async () => {
    server = await startRedis({ unixSocket: true, ...options });
    redis = new Redis(server.socketPath);
  });
  afterAll(async () => {
    redis.disconnect();
    await server.stop();
  });
  beforeEach(async () => {
    await redis.flushall();
  });
  return {
    redis: () => redis,
    server: () => server,
    stack: (limits?: Partial<Limits>) => new TestStack(redis, limits),
  };
}
