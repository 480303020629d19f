/** Looks after the timers for as long as this process is the sweeper (R17). */

import { earshotMs } from "../bus/bell.js";
import { messageOf } from "../errors.js";
import type { Engine } from "../traversal/engine.js";
import { sweep } from "../traversal/sweep.js";

/** However much is due, there is a pause between two passes. */
const shortestPauseMs = 20;
/** Other processes add timers that this one is not told of while NATS is away, as short as a retry. */
const longestDeafPauseMs = 500;

export class Sweeper {
  readonly #engine: Engine;
  #pause = new AbortController();
  #passes = 0;
  #longestPauseMs = earshotMs;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  get passes(): number {
    return this.#passes;
  }

  connectionLost(): void {
    this.#longestPauseMs = longestDeafPauseMs;
    this.poke();
  }

  connectionBack(): void {
    this.#longestPauseMs = earshotMs;
    this.poke();
  }

  /** Look now. */
  poke(): void {
    this.#pause.abort();
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const wake = () => this.poke();
    signal.addEventListener("abort", wake);
    while (!signal.aborted) await this.#sleep(await this.#pass());
    signal.removeEventListener("abort", wake);
  }

  async #pass(): Promise<number> {
    this.#passes += 1;
    try {
      return (await sweep(this.#engine)) ?? earshotMs;
    } catch (error) {
      this.#engine.log.warn({ error: messageOf(error) }, "could not look after the timers");
      return longestDeafPauseMs;
    }
  }

  /** A poke that came during the pass counts. */
  async #sleep(dueMs: number): Promise<void> {
    const { clock, limits } = this.#engine;
    const ms = Math.max(shortestPauseMs, Math.min(dueMs, this.#longestPauseMs, limits.sweepMs));
    await clock.sleep(shortestPauseMs);
    await clock.sleep(ms - shortestPauseMs, this.#pause.signal);
    this.#pause = new AbortController();
  }
}
