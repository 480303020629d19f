/** Child processes that are called like objects. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";

// biome-ignore lint/complexity/noBannedTypes: whatever functions a process offers
type Calls = Record<string, Function>;
type Called<F> = F extends (...given: infer A) => infer R ? { given: A; answer: Awaited<R> } : never;

interface Question {
  id: number;
  verb: string;
  given: unknown[];
}
interface Answer {
  id: number;
  answer?: unknown;
  error?: string;
}

/** To be called in the child. */
export function offer(calls: Calls): void {
  process.on("message", async ({ id, verb, given }: Question) => {
    try {
      const answer: unknown = await calls[verb]?.(...given);
      process.send?.({ id, answer });
    } catch (error) {
      process.send?.({ id, error: String((error as Error).stack ?? error) });
    }
  });
  process.on("disconnect", () => process.exit());
}

export class Child<C extends object> {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #questions = 0;

  /** `file`: relative to this one. */
  constructor(file: string) {
    this.#process = fork(new URL(file, import.meta.url), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.#process.on("message", (answer: Answer) => this.#waiting.get(answer.id)?.(answer));
    this.#process.on("exit", (code, signal) => {
      for (const [id, answer] of this.#waiting) answer({ id, error: `${file} ended (${code ?? signal})` });
    });
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  async call<V extends keyof C & string>(
    verb: V,
    ...given: Called<C[V]>["given"]
  ): Promise<Called<C[V]>["answer"]> {
    const id = ++this.#questions;
    const answer = await new Promise<Answer>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#process.send({ id, verb, given } satisfies Question);
    });
    this.#waiting.delete(id);
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.answer as Called<C[V]>["answer"];
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await ended;
  }
}
