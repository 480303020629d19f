import { setTimeout as sleep } from "node:timers/promises";
import { type CallContext, ProviderError } from "./provider.js";

const longestSliceMs = 500;

/**
 * Keeps a provider's promise that no call takes effect after its deadline (R10), also when its process is stopped
 * in the middle and goes on later, before any timer could tell it that its lease is gone.
 *
 * While the worker runs, its deadline is renewed. So only a gap in the worker's own running can carry a call past it.
 */
export class Pulse {
  readonly #call: CallContext;
  #last = performance.now();

  constructor(call: CallContext) {
    this.#call = call;
  }

  /**
   * To be called right before each effect and at least every few seconds.
   *
   * @param effect whether the call may have changed something by now
   * @throws ProviderError (retryable) when the call must not have any effect from now on.
   */
  beat(effect: "none" | "unknown" = "none"): void {
    const now = performance.now();
    const gapMs = now - this.#last;
    this.#last = now;
    if (this.#call.signal.aborted) {
      throw new ProviderError("the call was aborted", { retryable: true, effect });
    }
    if (gapMs > this.#call.deadlineMs / 2) {
      throw new ProviderError(
        `the worker stood still for ${Math.round(gapMs / 1000)} s, so its call may have passed its deadline`,
        { retryable: true, effect },
      );
    }
  }

  /** Sleeps and beats; ends at once when the call is aborted. */
  async sleep(ms: number, effect: "none" | "unknown" = "none"): Promise<void> {
    const end = performance.now() + ms;
    for (;;) {
      this.beat(effect);
      const left = end - performance.now();
      if (left <= 0) return;
      await sleep(Math.min(left, longestSliceMs), undefined, { signal: this.#call.signal }).catch(
        () => undefined,
      );
    }
  }
}
