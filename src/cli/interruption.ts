/** Ctrl-C and its relatives: the first asks for an orderly end, the second ends at once. */
import { constants } from "node:os";
import { exitStatus } from "./exit-status.js";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
type Received = (typeof signals)[number];

export class Interruption {
  #received: Received | undefined;
  readonly #controller = new AbortController();

  constructor() {
    for (const name of signals) process.on(name, () => this.#receive(name));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get received(): Received | undefined {
    return this.#received;
  }

  get status(): number {
    return this.#received === undefined || this.#received === "SIGINT"
      ? exitStatus.interrupted
      : 128 + constants.signals[this.#received];
  }

  #receive(name: Received): void {
    if (this.#received !== undefined) process.exit(this.status);
    this.#received = name;
    this.#controller.abort();
  }
}
