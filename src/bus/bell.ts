/**
 * Wakes who looks after a part of a schedule, in any process of the deployment, when something falls due sooner than they
 * would look. A hint (R12): what is not heard is found `earshotMs` later at most.
 */
import type { NatsLink } from "./connect.js";
import type { Subjects } from "./subjects.js";

/** Who can hear the bell looks by itself after so long, and what is due later need not be rung for. */
export const earshotMs = 10_000;
/** What comes thick and fast is rung for together. */
const shortestMs = 20;
/** Anybody may publish there. */
const mostWaiting = 1_000;
const longestPlace = 1_000;

export class Bell {
  readonly #link: NatsLink;
  readonly #subject: string;
  /** When those who look after a place wake for what was rung last, by the clock of this process. */
  readonly #rung = new Map<string, number>();
  #waiting = 0;

  constructor(link: NatsLink, subjects: Subjects) {
    this.#link = link;
    this.#subject = subjects.bell;
  }

  /** After it was stored: at this place something is due in so many ms. */
  ring(place: string, ms: number): void {
    if (ms >= earshotMs) return;
    const now = performance.now();
    const inMs = Math.max(ms, shortestMs);
    const known = this.#rung.get(place) ?? 0;
    // They wake after now and in time: they will see it.
    if (known > now && known <= now + inMs) return;
    this.#rung.set(place, now + inMs);
    try {
      this.#link.connection.publish(this.#subject, JSON.stringify({ place, ms: inMs }));
    } catch {
      // The connection is closed.
    }
  }

  /** `wake`: something is due at this place now. */
  listen(wake: (place: string) => void): void {
    this.#link.connection.subscribe(this.#subject, {
      callback: (error, message) => {
        const rung = error === null ? readRing(message.data) : undefined;
        if (rung === undefined || this.#waiting >= mostWaiting) return;
        this.#waiting += 1;
        setTimeout(() => {
          this.#waiting -= 1;
          wake(rung.place);
        }, rung.ms).unref();
      },
    });
  }
}

function readRing(data: Uint8Array): { place: string; ms: number } | undefined {
  if (data.length > longestPlace) return undefined;
  try {
    const { place, ms } = JSON.parse(Buffer.from(data).toString("utf8")) as { place: unknown; ms: unknown };
    if (typeof place !== "string" || typeof ms !== "number") return undefined;
    return { place, ms: Math.max(shortestMs, Math.min(ms, earshotMs)) };
  } catch {
    return undefined;
  }
}
