/** The independent Redis nodes that hold the locks of elections: connected once in a process, for all its locks. */
import { Redis } from "ioredis";
import Redlock, { type Lock } from "redlock";

const answerMs = 1_000;

const shortenScript = `
if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[1]) then return redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 0
`;

/** Renews of all these locks those that nobody else has: a node that was away has them again, before another is away. */
const extendScript = `
local held = {}
for i, key in ipairs(KEYS) do
  local lock, ms = ARGV[2 * i - 1], ARGV[2 * i]
  local holder = redis.call('GET', key)
  held[i] = (not holder or holder == lock) and 1 or 0
  if held[i] == 1 then redis.call('SET', key, lock, 'PX', ms) end
end
return held
`;

/** What asks so soon after another, as a share of the pause between two renewals, is renewed with it. */
const togetherShare = 1 / 30;

interface Renewal {
  lock: Lock;
  lockMs: number;
  extended(): void;
  refused(error: Error): void;
}

/** Renewals that go together. */
interface Renewals {
  lastMs: number;
  waiting: Renewal[];
}

export class ElectionNodes {
  readonly #nodes: Redis[];
  readonly #redlock: Redlock;
  /** By the pause between two of one lock. */
  readonly #renewals = new Map<number, Renewals>();

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

  /**
   * Renews a lock, together with all others that are renewed every so many ms: one command to each node, however many
   * locks a process has. It waits for the others, at most for a little more than that pause.
   * @throws Error when the lock is not held on most nodes any more, or too few answer.
   */
  extend(lock: Lock, lockMs: number, everyMs: number): Promise<void> {
    const renewals = this.#renewals.get(everyMs) ?? { lastMs: Number.NEGATIVE_INFINITY, waiting: [] };
    this.#renewals.set(everyMs, renewals);
    return new Promise((extended, refused) => {
      renewals.waiting.push({ lock, lockMs, extended, refused });
      if (renewals.waiting.length > 1) return;
      const waitMs = Math.max(0, renewals.lastMs + everyMs - performance.now()) + everyMs * togetherShare;
      setTimeout(() => {
        renewals.lastMs = performance.now();
        void this.#extendAll(renewals.waiting.splice(0));
      }, waitMs).unref();
    });
  }

  async #extendAll(asked: readonly Renewal[]): Promise<void> {
    const isReleased = ({ lock }: Renewal) => lock.expiration === 0;
    for (const { refused } of asked.filter(isReleased)) refused(new Error("the lock was released"));
    const renewals = asked.filter((renewal) => !isReleased(renewal));
    if (renewals.length === 0) return;
    const keys = renewals.map(({ lock }) => lock.resources[0] ?? "");
    const values = renewals.flatMap(({ lock, lockMs }) => [lock.value, lockMs]);
    const votes = this.#nodes.map((node) =>
      node.eval(extendScript, keys.length, ...keys, ...values).then(
        (held) => held as number[],
        () => [],
      ),
    );
    await Promise.all(
      renewals.map(async ({ extended, refused }, i) => {
        if (await most(votes.map(async (held) => (await held)[i] === 1))) extended();
        else refused(new Error("the lock is not held on most nodes"));
      }),
    );
  }

  /** Whether locks can be had at all. */
  mostAnswer(): Promise<boolean> {
    const answers = this.#nodes.map((node) =>
      node.ping().then(
        () => true,
        () => false,
      ),
    );
    return most(answers);
  }

  close(): void {
    for (const node of this.#nodes) node.disconnect();
  }

  /** The end of a lock is a time of the node's clock: when that is set back, a dead leader would lead until then. */
  #shorten(node: Redis, key: string, lockMs: number): void {
    node.eval(shortenScript, 1, key, lockMs).catch(() => {});
  }
}

/** What most of them say, as soon as it is known: one that is gone takes a second to say nothing. */
function most(votes: readonly Promise<boolean>[]): Promise<boolean> {
  return new Promise((resolve) => {
    let yes = 0;
    let no = 0;
    for (const vote of votes) {
      void vote.then((says) => {
        if (says) yes += 1;
        else no += 1;
        if (yes > votes.length / 2) resolve(true);
        else if (no >= votes.length / 2) resolve(false);
      });
    }
  });
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
