/**
 * Stays with a goal until it is known what became of it: follows the events, and looks at the stack as a backstop,
 * because events may be lost.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { EventStream } from "../api/client.js";
import type { Reply, StackView } from "../api/schemas.js";
import { HomeostatError } from "../errors.js";
import type { LifecycleEvent } from "../traversal/lifecycle-event.js";
import { type GoalEnd, GoalWatch, type WatchedGoal } from "./goal-watch.js";
import type { Interruption } from "./interruption.js";
import { eventLine, Progress } from "./progress.js";
import type { Session } from "./session.js";
import type { Terminal } from "./terminal.js";

export type PursuitEnd = GoalEnd | { tag: "interrupted" } | { tag: "gaveUp" };

const lookMs = 1000;
/** The first looks come sooner: until then there is nothing to see. */
const firstLooks = 4;
const firstLookMs = 150;
const frameMs = 100;
/** A look at every resource costs what the stack has: big ones are looked at less often. */
const lookCostFactor = 20;
/** For what was published before the goal's end was seen. */
const lastEventMs = 1500;
/** How far events are read back: the goal was set a moment ago, on a clock that may differ a little. */
const readBackMs = 5000;
/** One look; a daemon that does not answer may be gone. */
const answerMs = 5000;
/** Nobody answers for so long: the command gives up. */
const silenceMs = 60_000;
/** The goal's own timeout comes first, then a rollback may follow. */
const overtimeMs = 30_000;

export interface PursuitOptions {
  session: Session;
  terminal: Terminal;
  interruption: Interruption;
  stack: string;
  name: string;
  goal: WatchedGoal;
  /** False when there was nothing to do: no events will come. */
  begun: boolean;
}

export class Pursuit {
  readonly #options: PursuitOptions;
  readonly #watch: GoalWatch;
  readonly #progress: Progress;
  readonly #seen = new Set<string>();
  #wake = new AbortController();
  #finalEvent = false;
  #looks = 0;
  #lookedMs = 0;
  #answeredMs = performance.now();
  #silent = false;
  /** The stack as it was seen last. */
  lastSeen: StackView | undefined;

  constructor(options: PursuitOptions) {
    this.#options = options;
    this.#watch = new GoalWatch(options.goal);
    this.#progress = new Progress(options.name, options.goal.beganMs);
  }

  async run(): Promise<PursuitEnd> {
    const stream = this.#subscribe();
    const reading = this.#read(stream);
    const drawing = setInterval(() => this.#draw(), frameMs);
    try {
      const end = await this.#untilEnd();
      if (end.tag !== "interrupted" && this.#options.begun) await this.#awaitLastEvent();
      return end;
    } finally {
      clearInterval(drawing);
      await this.#lastFrame();
      await stream.close();
      await reading;
    }
  }

  async #untilEnd(): Promise<PursuitEnd> {
    const { interruption } = this.#options;
    for (;;) {
      await this.#look();
      if (interruption.signal.aborted) return { tag: "interrupted" };
      if (this.#watch.end !== undefined) return this.#watch.end;
      if (this.#isHopeless()) return { tag: "gaveUp" };
      await this.#pause();
    }
  }

  async #pause(): Promise<void> {
    const ms = ++this.#looks <= firstLooks ? firstLookMs : lookMs;
    const signal = AbortSignal.any([this.#wake.signal, this.#options.interruption.signal]);
    await sleep(ms, undefined, { signal }).catch(() => undefined);
  }

  /** The engine ends a goal whose time is over; this is for when it does not come to it. */
  #isHopeless(): boolean {
    const { timeoutMs, beganMs } = this.#options.goal;
    if (timeoutMs === undefined) return false;
    const patienceMs = this.#watch.isRollingBack ? 2 * (timeoutMs + overtimeMs) : timeoutMs + overtimeMs;
    return Date.now() - beganMs > patienceMs;
  }

  #subscribe(): EventStream {
    const { session, stack, goal } = this.#options;
    return session.client.events({ stack, since: Date.now() - goal.beganMs + readBackMs });
  }

  async #read(stream: EventStream): Promise<void> {
    for await (const event of stream) this.#onEvent(event);
  }

  #onEvent(event: LifecycleEvent): void {
    if (this.#seen.has(event.id) || !this.#belongs(event)) return;
    this.#seen.add(event.id);
    const { terminal } = this.#options;
    if (terminal.json) terminal.data(event);
    else if (!terminal.live) terminal.say(eventLine(event, terminal.colors, { withStackReason: false }));
    this.#progress.onEvent(event, Date.now());
    this.#watch.onEvent(event, Date.now());
    if (isFinal(event) && event.traversal >= this.#options.goal.traversal) this.#finalEvent = true;
    if (this.#watch.end !== undefined) this.#wake.abort();
  }

  /** Calls of older goals that end now belong to what people see; what was before does not. */
  #belongs(event: LifecycleEvent): boolean {
    const { goal } = this.#options;
    return event.traversal >= goal.traversal || Date.parse(event.time) >= goal.beganMs;
  }

  async #look(): Promise<void> {
    const { terminal } = this.#options;
    const began = performance.now();
    const all = terminal.live && began >= this.#lookedMs;
    const seen = await this.#show(all);
    if (seen === "unknown") return;
    if (seen === undefined) return this.#watch.onLook(undefined, Date.now());
    this.lastSeen = seen.stack;
    if (all) {
      this.#lookedMs = performance.now() + (performance.now() - began) * lookCostFactor;
      this.#progress.onLook(seen, Date.now());
    } else this.#progress.onStatus(seen.stack);
    this.#watch.onLook(seen.stack, Date.now());
  }

  /** Undefined: there is no such stack. @throws HomeostatError when nobody answers for long. */
  async #show(resources: boolean): Promise<Reply<"show"> | undefined | "unknown"> {
    const { session, stack } = this.#options;
    try {
      const seen = await session.client.call("show", { name: stack, resources }, { timeoutMs: answerMs });
      this.#onAnswer();
      return seen;
    } catch (error) {
      if (!(error instanceof HomeostatError)) throw error;
      if (error.code === "not_found") return undefined;
      if (error.code !== "unavailable") throw error;
      await this.#onSilence(error);
      return "unknown";
    }
  }

  #onAnswer(): void {
    this.#answeredMs = performance.now();
    if (!this.#silent) return;
    this.#silent = false;
    this.#options.terminal.note("a daemon answers again");
  }

  async #onSilence(error: HomeostatError): Promise<void> {
    const { session, terminal, interruption } = this.#options;
    if (interruption.signal.aborted) return;
    if (performance.now() - this.#answeredMs > silenceMs) throw error;
    if (await session.ensureEngine()) terminal.note("the daemon is gone; going on without it");
    else if (session.client.isConnected && !this.#silent) {
      this.#silent = true;
      terminal.note(`no daemon answers; waiting for one, ${silenceMs / 1000} s at most`);
    }
  }

  async #awaitLastEvent(): Promise<void> {
    const giveUp = performance.now() + lastEventMs;
    while (!this.#finalEvent && performance.now() < giveUp) await sleep(20);
  }

  #draw(): void {
    const { terminal } = this.#options;
    if (!terminal.live) return;
    const size = { columns: terminal.columns, rows: terminal.rows };
    terminal.frame(this.#progress.frame(size, terminal.colors, Date.now()));
  }

  /** The one that stays shows how it ended. */
  async #lastFrame(): Promise<void> {
    const { terminal, interruption } = this.#options;
    if (!terminal.live) return;
    const seen = interruption.signal.aborted ? "unknown" : await this.#show(true).catch(() => undefined);
    if (seen !== undefined && seen !== "unknown") this.#progress.onLook(seen, Date.now());
    this.#draw();
    terminal.endFrame();
  }
}

function isFinal({ resource, what }: LifecycleEvent): boolean {
  return resource === undefined && ["complete", "failed", "cancelled", "deleted"].includes(what);
}
