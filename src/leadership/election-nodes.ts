/** The independent Redis nodes that hold the locks of elections: connected once in a process, for all its locks. */
import { Redis } from "ioredis";
import Redlock, { type Lock } from "redlock";

const answerMs = 1_000;

const shortenScript = `
if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[1]) then return redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 0
`;

export class ElectionNodes {
  readonly #nodes: Redis[];
  readonly #redlock: Redlock;

  /** URLs of independent Redis nodes; most of them must answer. */
  constructor(urls: readonly string[]) {
    this.#nodes = urls.map(connectNode);
    this.#redlock = new Redlock(this.#nodes, { retryCount: 0 });
  }

  /** @throws Error when somebody else has the lock, or too few nodes answer. */
  async acquire(key: string, lockMs: number): Promise<Lock> {
    // A connection keeps the order, so nothing need be waited for.
    for (const node of this.#nodes) this.#shorten(node, key, lockMs);
    return this.#redlock.acquire([key], lockMs);
  }

  /** Whether locks can be had at all. */
  async mostAnswer(): Promise<boolean> {
    const answers = this.#nodes.map((node) =>
      node.ping().then(
        () => true,
        () => false,
      ),
    );
    return (await Promise.all(answers)).filter(Boolean).length > this.#nodes.length / 2;
  }

  close(): void {
    for (const node of this.#nodes) node.disconnect();
  }

  /** The end of a lock is a time of the node's clock: when that is set back, a dead leader would lead until then. */
  #shorten(node: Redis, key: string, lockMs: number): void {
    node.eval(shortenScript, 1, key, lockMs).catch(() => {});
  }
}

/** Fails soon when a node does not answer: the others decide. */
function connectNode(url: string): Redis {
  const node = new Redis(url, {
    maxRetriesPerRequest: 1,
    commandTimeout: answerMs,
    // A connection that says nothing any more would never get its answers.
    socketTimeout: 2 * answerMs,
    retryStrategy: (times) => Math.min(times * 100, 2_000),
  });
  node.on("error", () => {});
  return node;
}
