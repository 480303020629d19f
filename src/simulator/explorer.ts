/**
 * Runs the simulation in a random order: whatever waits at a seam may go next, and faults may strike there.
 *
 * Invariants
 * 1. One thing happens at a time, and a seed decides everything: a run with the same seed is the same run.
 * 2. A provider's effect never lands after its call's deadline, but for the fault `late`; up to then it may land even
 *    when its worker is dead. The deadline moves with the lease's renewals.
 * 3. Injected provider failures stay below the retry limit.
 */
import { type CallContext, type Operation, ProviderError } from "../providers/provider.js";
import { Prng } from "./prng.js";
import type { Life, Passage, Simulation } from "./simulation.js";

/**
 * crash: a process vanishes; pause: it stands still, perhaps past its lease; duplicate, lose, delay: of a notification;
 * fail: a retryable error of the provider; repeat: the store's answer is lost and the call sent again (R18); late: what a
 * paused worker had begun to create comes to be after the deadline, and nobody dies who could tell; refuse: the bus does
 * not take, or does not say that it took, a notification or an event; abort: a call with a timeout takes longer.
 */
export const faultKinds = [
  "crash",
  "duplicate",
  "lose",
  "delay",
  "pause",
  "fail",
  "repeat",
  "late",
  "refuse",
  "abort",
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** Faults of one run, at most; more only hide what the first ones did. */
const faultsPerRun = 4;

/** How likely a fault is at one point where it can strike. */
const faultChance = 0.04;

/** How likely it is for a create whose worker stands still; and how long after its deadline it lands, at most. */
const lateChance = 0.5;
const lateMs = 60_000;

/** How likely whoever goes lets all others go first from then on, in a run by urgency. */
const demotionChance = 0.02;

/** How likely time passes although a call is in flight. */
const slowCallChance = 0.1;

/** How likely it is not the leader that is told of something, or finds it due. */
const secondObserverChance = 0.15;

/** What a client sends again when it got no answer: calls of the store. */
const isRepeatable = (label: string) => label !== "ring" && label !== "announce";

/** Steps of one run, at most: far beyond what any scenario needs. */
const stepsLimit = 200_000;

interface Waiting {
  life: Life;
  label: string;
  proceed: (passage: Passage) => void;
}

interface WaitingEffect {
  life: Life;
  call: CallContext;
  operation: Operation;
  /** Takes longer than its timeout: when it is aborted. */
  abortsAt: number | undefined;
  /** Aborted: its worker does not renew any more, and may do something else. */
  cut: boolean;
  /** May land although it is too late. */
  late: boolean;
  /** When it takes effect, drawn as soon as its worker is away; as long as it works, any moment will do. */
  landsAt: number | undefined;
  /** When it can no longer land although its worker does not renew. */
  deadline: number;
  land: () => void;
  miss: () => void;
}

/** What may happen next, and who decides how urgent it is. */
interface Option {
  who: Life | "queue" | "reports";
  go: () => void;
}

export class Explorer {
  readonly simulation: Simulation;
  /** Faults in the order in which they struck, for shrinking: those named here do not strike. */
  readonly spared: ReadonlySet<number>;
  struck = 0;
  readonly #order: Prng;
  readonly #fate: Prng;
  readonly #kinds: ReadonlySet<FaultKind>;
  /**
   * Of a run by urgency, undefined where each option is as likely as any other. That one stands still while another does
   * all its work is one run in thousands there, and one in few here.
   */
  readonly #urgencies: Map<Option["who"], number> | undefined;
  readonly #workers: number;
  readonly #lives: Life[] = [];
  readonly #failures = new Map<string, number>();
  /** What of two faults in one run may leave a thing too many, which nothing but a slow sweep finds. */
  #isLossy = false;
  #comesLate = false;
  #waiting: Waiting[] = [];
  #effects: WaitingEffect[] = [];
  #steps = 0;
  #nextFault = 0;

  constructor(
    simulation: Simulation,
    options: {
      seed: number;
      workers: number;
      faults: readonly FaultKind[];
      spared?: ReadonlySet<number>;
    },
  ) {
    this.simulation = simulation;
    this.spared = options.spared ?? new Set();
    this.#order = new Prng(options.seed);
    this.#fate = new Prng(options.seed ^ 0x5bd1e995);
    this.#kinds = new Set(options.faults);
    this.#urgencies = this.#order.chance(0.5) ? new Map() : undefined;
    this.#workers = options.workers;
    simulation.gate = (life, label) => this.#gate(life, label);
    simulation.gateOfEffect = (...about) => this.#gateOfEffect(...about);
    simulation.cut = (call) => this.#cut(call);
    simulation.fateOfRing = () => this.#fateOfRing();
    simulation.refuses = () => {
      if (!this.#strikes("refuse")) return undefined;
      return this.#fate.chance(0.5) ? "after" : "before";
    };
    simulation.renewed = (life, resource, callMs) => {
      for (const effect of this.#effects) {
        // An observer has several calls in flight.
        const isThis = effect.life === life && (life.role !== "observer" || effect.call.token === resource);
        if (isThis && !effect.cut) effect.deadline = simulation.now + callMs;
      }
    };
    simulation.observers.leaders = 2;
    simulation.observers.choose = () => (this.#order.chance(secondObserverChance) ? 1 : 0);
  }

  /** One step; false when nothing can happen without time. */
  async step(): Promise<boolean> {
    this.#steps += 1;
    if (this.#steps > stepsLimit) throw new Error(`${this.#steps} steps: something spins`);
    const ready = this.#waiting.filter(({ life }) => !this.#isAway(life));
    const deliverable = this.#freeWorkers() > 0 ? Math.min(this.simulation.queue.length, 4) : 0;
    const options: Option[] = [
      ...ready.map((one) => ({ who: one.life, go: () => this.#proceed(one) })),
      ...this.#landable().map((one) => ({ who: one.life, go: () => this.#land(one) })),
      ...Array.from({ length: deliverable }, () => ({
        who: "queue" as const,
        go: () => this.#deliver(this.#order.below(deliverable)),
      })),
      ...(this.simulation.observers.queue.length > 0
        ? [{ who: "reports" as const, go: () => this.#tell() }]
        : []),
    ];
    if (options.length === 0) return false;
    if (this.#effects.length > 0 && (await this.#disturbCalls(ready.length === 0))) return true;
    this.#choose(options).go();
    await this.simulation.quiesce();
    return true;
  }

  #choose(options: readonly Option[]): Option {
    const urgencies = this.#urgencies;
    if (urgencies === undefined) return this.#order.pick(options);
    const urgency = ({ who }: Option) => {
      const known = urgencies.get(who) ?? this.#order.fraction();
      urgencies.set(who, known);
      return known;
    };
    const chosen = options.reduce((most, one) => (urgency(one) > urgency(most) ? one : most));
    if (this.#order.chance(demotionChance)) urgencies.set(chosen.who, -this.#steps);
    return chosen;
  }

  /** Some of what things were reported, at once, as a server hands it on. */
  #tell(): void {
    const { observers } = this.simulation;
    observers.deliver(observers.queue.splice(0, 1 + this.#order.below(4)));
  }

  /** A call in flight may lose its worker, or simply take long: then nobody who could go on is kept from it. */
  async #disturbCalls(mayTakeLong: boolean): Promise<boolean> {
    const { life } = this.#order.pick(this.#effects);
    if (!this.#isAway(life)) {
      if (this.#crashes()) this.simulation.crash(life, "during a call");
      else if (this.#strikes("pause")) void this.simulation.pause(life, 1_000 * (1 + this.#fate.below(150)));
    }
    if (!mayTakeLong || !this.#order.chance(slowCallChance)) return false;
    const due = await this.nextDue();
    if (due === undefined) return false;
    await this.passTime(due);
    return true;
  }

  /** When something falls due, undefined when nothing will. */
  async nextDue(): Promise<number | undefined> {
    const { now } = this.simulation;
    const ofCalls = this.#effects.map(
      ({ landsAt, abortsAt, cut }) => landsAt ?? (cut ? undefined : abortsAt),
    );
    const due = [await this.simulation.nextDue(), ...ofCalls];
    const reasons = due.filter((at) => at !== undefined && at >= now) as number[];
    if (reasons.length === 0) return undefined;
    return Math.min(...reasons, await this.nextOfItself());
  }

  /** When the next thing falls due that nobody waits for; infinite when nothing will. */
  async nextOfItself(): Promise<number> {
    const times = [this.simulation.nextTimer(), await this.simulation.observers.next()];
    return Math.min(...times.map((at) => at ?? Number.POSITIVE_INFINITY));
  }

  /** Lets time pass to `at`, which is not beyond the next thing that is due. */
  async passTime(at: number): Promise<void> {
    const { simulation } = this;
    simulation.now = Math.max(simulation.now, at);
    for (const effect of this.#effects.filter((one) => this.#isLate(one))) {
      this.#effects.splice(this.#effects.indexOf(effect), 1);
      effect.miss();
    }
    await simulation.fireDue();
    await simulation.quiesce();
  }

  get isBusy(): boolean {
    return this.#effects.length > 0 || this.#waiting.some(({ life }) => !life.dead);
  }

  #isAway(life: Life): boolean {
    return life.dead || life.pausedUntil > this.simulation.now;
  }

  #isLate(effect: WaitingEffect): boolean {
    return !effect.late && this.#isAlone(effect) && this.simulation.now >= effect.deadline;
  }

  /** Nobody renews its lease. */
  #isAlone({ cut, life }: WaitingEffect): boolean {
    return cut || this.#isAway(life);
  }

  /** An aborted call ends at once, or its worker gives up waiting for it; either way it may still take effect. */
  #cut(call: CallContext): Promise<never> {
    return new Promise((_, reject) => {
      call.signal.addEventListener("abort", () => {
        const effect = this.#effects.find((one) => one.call === call && one.abortsAt !== undefined);
        if (effect === undefined) return;
        effect.cut = true;
        if (this.#fate.chance(0.5)) reject(new ProviderError("aborted", { retryable: true }));
      });
    });
  }

  #gate(life: Life, label: string): Promise<Passage> {
    return new Promise((resolve) => {
      this.#waiting.push({ life, label, proceed: resolve });
    });
  }

  #gateOfEffect(
    life: Life,
    call: CallContext,
    operation: Operation,
    timeoutMs: number | undefined,
  ): Promise<void> {
    const key = `${call.token} ${operation}`;
    if (this.#mayFail(key) && this.#strikes("fail")) {
      this.#failures.set(key, (this.#failures.get(key) ?? 0) + 1);
      this.simulation.log(`${operation} of ${call.resource} fails`);
      throw new ProviderError("injected failure", { retryable: true });
    }
    let abortsAt: number | undefined;
    if (timeoutMs !== undefined && !this.#comesLate && this.#mayFail(key) && this.#loses("abort")) {
      this.#failures.set(key, (this.#failures.get(key) ?? 0) + 1);
      abortsAt = this.simulation.now + timeoutMs;
    }
    return new Promise((resolve, reject) => {
      this.#effects.push({
        life,
        call,
        operation,
        abortsAt,
        cut: false,
        late: false,
        landsAt: undefined,
        deadline: this.simulation.now + call.deadlineMs,
        land: resolve,
        miss: () => reject(new ProviderError("not in time", { retryable: true, effect: "none" })),
      });
    });
  }

  #mayFail(key: string): boolean {
    return (this.#failures.get(key) ?? 0) < this.simulation.limits.attempts - 2;
  }

  #proceed(waiting: Waiting): void {
    this.#waiting = this.#waiting.filter((one) => one !== waiting && !one.life.dead);
    const { life, label, proceed } = waiting;
    if (this.#crashes()) {
      const after = this.#fate.chance(0.5);
      if (after) proceed({ crashAfter: true, repeat: false });
      else this.simulation.crash(life, `before ${label}`);
      return;
    }
    if (this.#strikes("pause")) {
      const forMs = 1_000 * (1 + this.#fate.below(150));
      if (this.#fate.chance(0.5)) {
        proceed({ crashAfter: false, repeat: false, pauseAfterMs: forMs });
      } else {
        this.simulation.pause(life, forMs);
        this.#waiting.push(waiting);
      }
      return;
    }
    proceed({ crashAfter: false, repeat: isRepeatable(label) && this.#strikes("repeat") });
  }

  #crashes(): boolean {
    return !this.#comesLate && this.#loses("crash");
  }

  #loses(kind: "crash" | "abort"): boolean {
    const strikes = this.#strikes(kind);
    this.#isLossy ||= strikes;
    return strikes;
  }

  #isToComeLate({ life, cut, operation }: WaitingEffect): boolean {
    if (operation !== "create" || cut || life.dead || this.#isLossy) return false;
    const strikes = this.#strikes("late", lateChance);
    this.#comesLate ||= strikes;
    return strikes;
  }

  /** What is under way in the real system when its worker vanishes may take until the deadline. */
  #landable(): WaitingEffect[] {
    const { now } = this.simulation;
    for (const effect of this.#effects) {
      if (effect.landsAt !== undefined || !this.#isAlone(effect)) continue;
      if (this.#isToComeLate(effect)) {
        effect.late = true;
        effect.landsAt = effect.deadline + this.#fate.below(lateMs);
        continue;
      }
      const afterMs = this.#order.chance(0.5) ? 0 : this.#order.below(Math.max(1, effect.deadline - now));
      effect.landsAt = now + afterMs;
    }
    return this.#effects.filter(({ landsAt, abortsAt }) =>
      landsAt === undefined ? abortsAt === undefined : landsAt <= now,
    );
  }

  #land(effect: WaitingEffect): void {
    this.#effects.splice(this.#effects.indexOf(effect), 1);
    if (this.#isLate(effect)) {
      effect.miss();
      return;
    }
    const { life, call, operation } = effect;
    const late = effect.late && this.simulation.now >= effect.deadline;
    if (late) this.simulation.late.add(call);
    const how = `${late ? " too late" : ""}${effect.cut ? ", though aborted" : ""}${life.dead ? ", its worker is gone" : ""}`;
    this.simulation.log(`${operation} of ${call.resource} takes effect${how}`);
    effect.land();
  }

  /** Whoever waits for a call to be released does not keep a worker from anything else, as step by step. */
  #freeWorkers(): number {
    const holding = new Set(this.simulation.held.map(({ life }) => life));
    const isBusy = (life: Life) => !life.dead && life.delivery !== undefined && !holding.has(life);
    const busy = this.#lives.filter(isBusy).length;
    return this.#workers - busy;
  }

  #deliver(index: number): void {
    const [delivery] = this.simulation.queue.splice(index, 1);
    if (delivery === undefined) return;
    const free = this.#lives.find((life) => !this.#isAway(life) && life.delivery === undefined);
    const life = free ?? this.simulation.newLife("worker");
    if (free === undefined) this.#lives.push(life);
    this.simulation.visits += 1;
    this.#urgencies?.delete(life);
    this.simulation.deliver(delivery, life);
  }

  #fateOfRing(): "deliver" | "duplicate" | "lose" | { delayMs: number } {
    if (this.#strikes("lose")) return "lose";
    if (this.#strikes("duplicate")) return "duplicate";
    if (this.#strikes("delay")) return { delayMs: 1_000 * (1 + this.#fate.below(60)) };
    return "deliver";
  }

  #strikes(kind: FaultKind, chance = faultChance): boolean {
    if (!this.#kinds.has(kind) || this.struck >= faultsPerRun || !this.#fate.chance(chance)) return false;
    this.#nextFault += 1;
    if (this.spared.has(this.#nextFault)) return false;
    this.struck += 1;
    this.simulation.faults += 1;
    this.simulation.log(`fault ${this.#nextFault}: ${kind}`);
    return true;
  }
}
