/** Goals for some stacks while things break, all chosen by a seed; then calm, and a look at what has become of it. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "../../src/api/client.js";
import type { Reply } from "../../src/api/schemas.js";
import { HomeostatError } from "../../src/errors.js";
import { randomId } from "../../src/random-id.js";
import { Prng } from "../../src/simulator/prng.js";
import { differences, type Goal, goalOf, type Reality, readReality, realityOf } from "./goals.js";
import { leaseMs, recoveryMs, type Site } from "./site.js";

export type Fault = "kill" | "stop" | "redis" | "nats" | "cut" | "forget" | "stall" | "replies" | "clock";

export interface StormOptions {
  faults: readonly Fault[];
  ms: number;
  /** Between two faults, on average. */
  everyMs: number;
  daemons: number;
  stacks: readonly string[];
  /** Sets the clock of Redis, each time by one of these seconds. */
  clock?: { move: (seconds: number) => Promise<void>; seconds: readonly number[] };
}

export interface Weather {
  counts: Record<string, number>;
  /** From the end of the last fault until all goals were reached. */
  recoveriesMs: number[];
}

/** How long a goal may not be taken because no daemon can be asked. */
const patienceMs = 120_000;
const pollMs = 100;

/** What was asked of a stack. */
interface Asked {
  goals: Goal[];
  last: "up" | "rollback" | "delete" | undefined;
  /** Of the last goal that was taken. */
  stack: string;
  traversal: number;
}

export class Storm {
  readonly weather: Weather = { counts: {}, recoveriesMs: [] };
  readonly #site: Site;
  readonly #options: StormOptions;
  readonly #asked = new Map<string, Asked>();
  /** What was asked and what was broken, with the time. */
  readonly #journal: string[] = [];
  #generation = 0;
  #client: Client | undefined;

  constructor(site: Site, options: StormOptions) {
    this.#site = site;
    this.#options = options;
    for (const stack of options.stacks) {
      this.#asked.set(stack, { goals: [], last: undefined, stack: "", traversal: 0 });
    }
  }

  /** Goals of all kinds under faults; in the end reality is the goal, exactly. */
  async run(): Promise<void> {
    this.#client ??= await this.#site.client();
    const { ms, stacks } = this.#options;
    const until = performance.now() + ms;
    const goals = stacks.map((stack, i) => this.#setGoals(stack, until, new Prng(this.#seed() + i)));
    await this.#underFaults(until, Promise.all(goals));
    await this.#settle(() => this.#unreached());
  }

  /** Deletes everything under faults; in the end nothing is left, anywhere. */
  async end(): Promise<void> {
    const until = performance.now() + this.#options.ms / 2;
    const goals = this.#options.stacks.map(async (stack) => {
      await sleep(this.#site.prng.below(this.#options.ms / 4));
      await this.#ask(stack, "delete", new Prng(this.#seed()));
    });
    await this.#underFaults(until, Promise.all(goals));
    await this.#settle(() => this.#undeleted());
  }

  #seed(): number {
    return this.#site.prng.below(2 ** 31);
  }

  #note(what: string): void {
    this.#journal.push(`${new Date().toISOString()} ${what}`);
  }

  #count(what: string): void {
    this.weather.counts[what] = (this.weather.counts[what] ?? 0) + 1;
  }

  async #setGoals(stack: string, until: number, prng: Prng): Promise<void> {
    const asked = this.#asked.get(stack) as Asked;
    do {
      const kind =
        asked.last === undefined ? "up" : prng.pick(["up", "up", "up", "rollback", "delete"] as const);
      await this.#ask(stack, kind, prng);
      await sleep(prng.below(prng.pick([200, 1_000, 4_000])));
    } while (performance.now() < until);
    if (prng.chance(0.7)) await this.#ask(stack, "up", prng);
  }

  async #ask(stack: string, kind: "up" | "rollback" | "delete", prng: Prng): Promise<void> {
    const asked = this.#asked.get(stack) as Asked;
    this.#generation += 1;
    const goal = goalOf(this.#site, stack, this.#generation, prng);
    if (kind === "up") asked.goals.push(goal);
    const reply =
      kind === "up"
        ? await this.#up(stack, goal)
        : await this.#unlessMissing(this.#call(kind, { name: stack }));
    this.#count(kind);
    this.#note(`${stack}: ${kind} -> ${reply?.traversal} (generation ${this.#generation})`);
    if (reply === undefined) return;
    if (reply.stack === asked.stack && reply.traversal < asked.traversal) {
      this.#site.anomalies.push(`${stack}: goal ${reply.traversal} came after goal ${asked.traversal}`);
    }
    Object.assign(asked, { last: kind, stack: reply.stack, traversal: reply.traversal });
  }

  async #up(stack: string, goal: Goal): Promise<Reply<"update">> {
    for (;;) {
      const request = { name: stack, template: { text: goal.text } };
      const updated = await this.#unlessMissing(this.#call("update", request));
      if (updated !== undefined) return updated;
      const created = await this.#call("create", request).catch((error: unknown) => {
        if (error instanceof HomeostatError && error.code === "conflict") return undefined;
        throw error;
      });
      if (created !== undefined) return created;
    }
  }

  async #unlessMissing<T>(reply: Promise<T>): Promise<T | undefined> {
    return reply.catch((error: unknown) => {
      if (error instanceof HomeostatError && error.code === "not_found") return undefined;
      throw error;
    });
  }

  /** The same request until somebody takes it. */
  async #call(verb: "create" | "update" | "rollback" | "delete", given: object): Promise<Reply<"update">> {
    const request = { ...given, request: randomId() } as never;
    const giveUp = performance.now() + patienceMs;
    for (;;) {
      try {
        return (await (this.#client as Client).call(verb, request, { timeoutMs: 10_000 })) as Reply<"update">;
      } catch (error) {
        const again = error instanceof HomeostatError && error.code === "unavailable";
        if (!again || performance.now() > giveUp) throw error;
        this.#count("asked again");
        await sleep(pollMs);
      }
    }
  }

  async #underFaults(until: number, goals: Promise<unknown>): Promise<void> {
    const { daemons } = this.#options;
    let calm = false;
    const supervision = (async () => {
      while (!calm) {
        await this.#site.ensureDaemons(daemons);
        await sleep(pollMs);
      }
    })();
    const running: Promise<void>[] = [];
    try {
      while (performance.now() < until) {
        await sleep(this.#options.everyMs * 2 * this.#site.prng.fraction());
        const fault = this.#site.prng.pick(this.#options.faults);
        running.push(this.#break(fault));
      }
      await goals;
      // The last one comes when the last goals are on their way.
      await sleep(this.#site.prng.below(1_500));
      running.push(this.#break(this.#site.prng.pick(this.#options.faults)));
      await Promise.all(running);
    } finally {
      await Promise.allSettled(running);
      calm = true;
      await supervision;
    }
    this.weather.counts["replies lost"] = this.#site.redisProxy.lost;
  }

  /** Resolves when it is whole again. */
  async #break(fault: Fault): Promise<void> {
    const { prng, pace, redisProxy, natsProxy } = this.#site;
    const proxy = prng.pick([redisProxy, natsProxy]);
    const which = proxy === redisProxy ? "redis" : "nats";
    switch (fault) {
      case "kill": {
        const up = this.#site.daemons.filter((daemon) => daemon.isUp);
        if (up.length === 0) return;
        this.#count("kills");
        const daemon = prng.pick(up);
        this.#note(`kill ${daemon.running.child.pid}`);
        return daemon.kill();
      }
      case "stop": {
        const up = this.#site.daemons.filter((daemon) => daemon.isUp && !daemon.stopped);
        if (up.length < 2) return;
        const daemon = prng.pick(up);
        this.#count("stops");
        daemon.stop();
        await sleep(leaseMs[pace] * 2 * prng.fraction());
        return daemon.goOn();
      }
      case "redis":
      case "nats":
        return this.#restart(fault);
      case "cut":
        this.#count(`${which} cuts`);
        return proxy.cut(prng.pick([0.5, 1]));
      case "forget":
        this.#count(`${which} half-open`);
        return proxy.forget(prng.pick([0.3, 1]));
      case "stall":
        this.#count(`${which} stalls`);
        proxy.stall();
        await sleep(500 + prng.below(4_000));
        return proxy.heal();
      case "clock": {
        this.#count("clock jumps");
        const { clock } = this.#options;
        if (clock === undefined) return;
        const seconds = prng.pick(clock.seconds);
        this.#note(`clock ${seconds} s`);
        return clock.move(seconds);
      }
      case "replies":
        this.#count("times of lost replies");
        redisProxy.loseReplies(0.03);
        await sleep(1_000 + prng.below(3_000));
        return redisProxy.heal();
    }
  }

  readonly #restarts = { redis: Promise.resolve(), nats: Promise.resolve() };

  /** One after another. */
  #restart(which: "redis" | "nats"): Promise<void> {
    const { prng } = this.#site;
    const server = this.#site[which];
    this.#restarts[which] = this.#restarts[which].then(async () => {
      if (prng.chance(0.6)) {
        this.#count(`${which} kills`);
        if (which === "nats") this.#site.natsKilled = true;
        await server.kill();
        await sleep(prng.below(2_000));
      } else this.#count(`${which} restarts`);
      await server.restart();
    });
    return this.#restarts[which];
  }

  /** @throws Error that tells what is not as it should be when time is up. */
  async #settle(look: () => Promise<string[]>): Promise<void> {
    const began = performance.now();
    for (;;) {
      const wrong = await look();
      if (wrong.length === 0) break;
      if (performance.now() - began > recoveryMs[this.#site.pace]) {
        throw new Error(
          `after ${Math.round((performance.now() - began) / 1000)} s:\n${wrong.join("\n")}\n${this.#journal.join("\n")}\n${this.#site.lastWords()}`,
        );
      }
      await sleep(pollMs);
    }
    this.weather.recoveriesMs.push(Math.round(performance.now() - began));
    if (this.#site.anomalies.length > 0) throw new Error(this.#site.anomalies.join("\n"));
  }

  async #unreached(): Promise<string[]> {
    const all = await readReality(this.#site);
    const wrong = await Promise.all(
      [...this.#asked].map(async ([stack, asked]) => {
        const view = await this.#show(stack);
        return this.#compare(stack, asked, view, realityOf(all, stack));
      }),
    );
    return wrong.flat();
  }

  async #show(stack: string): Promise<Reply<"show"> | undefined | "silent"> {
    return this.#unlessMissing(
      (this.#client as Client).call("show", { name: stack }, { timeoutMs: 5_000 }),
    ).catch(() => "silent" as const);
  }

  #compare(
    stack: string,
    asked: Asked,
    view: Reply<"show"> | undefined | "silent",
    there: Reality,
  ): string[] {
    if (view === "silent") return [`${stack}: nobody answers`];
    if (view === undefined) {
      return asked.last === "delete" ? differences(there, []) : [`${stack} is gone`];
    }
    if (asked.last === "delete" || view.stack.status !== "COMPLETE") {
      const states = view.resources.map(({ name, state, reason }) => `${name} ${state} ${reason}`);
      return [`${stack}: ${asked.last} ${JSON.stringify(view.stack)}`, ...states, ...there];
    }
    if (view.stack.traversal < asked.traversal) {
      return [`${stack}: goal ${asked.traversal} was taken, and it is at ${view.stack.traversal}`];
    }
    const targets = asked.last === "up" ? asked.goals.slice(-1) : [...asked.goals, { reality: [] }];
    const wrong = targets.map(({ reality }) => differences(there, reality));
    return wrong.reduce((best, each) => (each.length < best.length ? each : best));
  }

  async #undeleted(): Promise<string[]> {
    const { keys, expiring, notifications } = await this.#site.leftovers();
    this.weather.counts["keys left to expire"] = expiring.length;
    return [
      ...differences(await readReality(this.#site), []),
      ...keys.map((key) => `key ${key}`),
      ...(notifications > 0 ? [`${notifications} notifications`] : []),
    ];
  }
}

export function describeWeather({ counts, recoveriesMs }: Weather): string {
  const parts = Object.entries(counts).map(([what, count]) => `${count} ${what}`);
  return `${parts.sort().join(", ")}; recovered in ${recoveriesMs.map((ms) => `${ms} ms`).join(" and ")}`;
}
