/** `homeostat watch [NAME]` */
import { setTimeout as sleep } from "node:timers/promises";
import type { EventStream } from "../../api/client.js";
import { HomeostatError } from "../../errors.js";
import type { Context } from "../context.js";
import { exitStatus } from "../exit-status.js";
import { timeOfDay } from "../progress.js";
import { Session } from "../session.js";
import { suggesting } from "../stack-names.js";
import { refuseUnusedFolder } from "../unused-folder.js";
import { memoryMs, type StackSummary, summaryLine, WatchView } from "../watch-view.js";

/** The least pause between two rounds; a round that took long is followed by a pause that is so many times as long. */
const roundMs = 250;
const costFactor = 4;
/** What no event tells of is seen that late. */
const refreshMs = 5_000;
const answerMs = 5_000;
const asksAtOnce = 8;
const stacksLimit = 200;
/** Resources of a stack that is watched alone. */
const resourcesShown = 20;

export async function watch(context: Context, name: string | undefined): Promise<number> {
  const { settings, log } = context;
  if (name !== undefined) await refuseUnusedFolder(settings, name);
  const session = await Session.open(settings, "views", log);
  try {
    const stack = name === undefined ? undefined : await idOf(session, name);
    return await new Watching(context, session, stack).run();
  } finally {
    await session.close();
  }
}

async function idOf(session: Session, name: string): Promise<string> {
  const shown = await suggesting(session, name, () => session.call("show", { name, resources: false }));
  return shown.stack.id;
}

class Watching {
  readonly #context: Context;
  readonly #session: Session;
  readonly #stack: string | undefined;
  readonly #view: WatchView;
  /** Stacks that an event told of since they were asked for. */
  readonly #stale = new Set<string>();
  readonly #told = new Map<string, string>();
  #refreshedMs = Number.NEGATIVE_INFINITY;
  #silent = false;
  #gone = false;

  /** `stack`: the id of the only one; undefined: all. */
  constructor(context: Context, session: Session, stack: string | undefined) {
    this.#context = context;
    this.#session = session;
    this.#stack = stack;
    this.#view = new WatchView(stack !== undefined);
  }

  async run(): Promise<number> {
    const { interruption, terminal } = this.#context;
    const over = AbortSignal.any([interruption.signal, terminal.readerGone]);
    const stream = this.#session.client.events({
      since: memoryMs,
      ...(this.#stack === undefined ? {} : { stack: this.#stack }),
    });
    const reading = this.#read(stream);
    try {
      while (!over.aborted && !this.#gone) {
        const began = performance.now();
        const answered = await this.#round();
        this.#draw();
        const costMs = answered ? (performance.now() - began) * costFactor : 0;
        const pauseMs = Math.min(refreshMs, Math.max(roundMs, costMs));
        await sleep(pauseMs, undefined, { signal: over }).catch(() => undefined);
      }
    } finally {
      await stream.close();
      await reading;
      terminal.endFrame();
    }
    return interruption.received === undefined ? exitStatus.reached : interruption.status;
  }

  async #read(stream: EventStream): Promise<void> {
    for await (const event of stream) {
      this.#view.onEvent(event);
      this.#stale.add(event.stack);
    }
  }

  /** False when nobody answered. */
  async #round(): Promise<boolean> {
    try {
      const due = await this.#due();
      const left = due.values();
      const lane = async () => {
        for (const stack of left) await this.#ask(stack);
      };
      await Promise.all(Array.from({ length: asksAtOnce }, lane));
      if (this.#silent) this.#context.terminal.note("a daemon answers again");
      this.#silent = false;
      return true;
    } catch (error) {
      if (!(error instanceof HomeostatError) || error.code !== "unavailable") throw error;
      await this.#onSilence();
      return false;
    }
  }

  /** The stacks to ask for: all of them now and then, else those that something happened to. */
  async #due(): Promise<string[]> {
    const now = performance.now();
    const known = this.#view.stacks;
    const news = [...this.#stale].some((stack) => !known.has(stack));
    if (now - this.#refreshedMs < refreshMs && !(news && this.#stack === undefined)) {
      const due = [...this.#stale].filter((stack) => known.has(stack));
      this.#stale.clear();
      return due;
    }
    this.#stale.clear();
    const all = this.#stack === undefined ? await this.#listed() : [this.#stack];
    for (const stack of known) if (!all.includes(stack)) this.#onGone(stack);
    this.#refreshedMs = now;
    return all;
  }

  async #listed(): Promise<string[]> {
    const { client } = this.#session;
    const { stacks, total } = await client.call("list", { limit: stacksLimit }, { timeoutMs: answerMs });
    this.#view.onMore(Math.max(0, total - stacks.length));
    return stacks.map(({ id }) => id);
  }

  async #ask(stack: string): Promise<void> {
    const limit = this.#stack === undefined ? 0 : resourcesShown;
    try {
      const why = await this.#session.client.call("why", { name: stack, limit }, { timeoutMs: answerMs });
      this.#view.onAnswer(why);
      this.#tell(stack);
    } catch (error) {
      if (!(error instanceof HomeostatError)) throw error;
      if (error.code === "not_found") this.#onGone(stack);
      // One whose data cannot be used must not keep the others from being watched.
      else if (error.code === "unavailable") throw error;
    }
  }

  #onGone(stack: string): void {
    const summary = this.#view.onGone(stack, Date.now());
    this.#told.delete(stack);
    if (summary !== undefined) this.#say(summary);
    if (stack === this.#stack) this.#gone = true;
  }

  /** A line for who cannot see frames, if there is something new. */
  #tell(stack: string): void {
    const fingerprint = this.#view.fingerprint(stack);
    if (this.#told.get(stack) === fingerprint) return;
    this.#told.set(stack, fingerprint);
    const summary = this.#view.summary(stack, Date.now());
    if (summary !== undefined) this.#say(summary);
  }

  #say(summary: StackSummary): void {
    const { terminal } = this.#context;
    const time = new Date().toISOString();
    if (terminal.json) terminal.data({ time, ...summary });
    else if (!terminal.live) terminal.say(summaryLine(summary, terminal.colors, timeOfDay(time)));
  }

  #draw(): void {
    const { terminal } = this.#context;
    if (!terminal.live) return;
    const size = { columns: terminal.columns, rows: terminal.rows };
    terminal.frame(this.#view.frame(size, terminal.colors, Date.now()));
  }

  async #onSilence(): Promise<void> {
    const { terminal, interruption } = this.#context;
    this.#refreshedMs = Number.NEGATIVE_INFINITY;
    if (interruption.signal.aborted) return;
    if (await this.#session.ensureEngine()) terminal.note("the daemon is gone; going on without it");
    else if (this.#session.client.isConnected && !this.#silent) {
      this.#silent = true;
      terminal.note("no daemon answers; waiting for one");
    }
  }
}
