/** What is asked of Redis in the same moment and of the same place is asked at once. */

/** Of one script: others wait while it runs. */
const mostAtOnce = 64;

interface Waiting<Question, Answer> {
  question: Question;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

export class Gathered<Question, Answer> {
  readonly #ask: (place: string, questions: Question[]) => Promise<readonly Answer[]>;
  readonly #waiting = new Map<string, Waiting<Question, Answer>[]>();

  /** `ask`: answers in the order of the questions; it may be asked twice (R18). */
  constructor(ask: (place: string, questions: Question[]) => Promise<readonly Answer[]>) {
    this.#ask = ask;
  }

  ask(place: string, question: Question): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.size === 0) process.nextTick(() => this.#askAll());
      const one = { question, resolve, reject };
      const others = this.#waiting.get(place);
      if (others === undefined) this.#waiting.set(place, [one]);
      else others.push(one);
    });
  }

  #askAll(): void {
    const all = [...this.#waiting];
    this.#waiting.clear();
    for (const [place, waiting] of all) {
      for (let first = 0; first < waiting.length; first += mostAtOnce) {
        void this.#answer(place, waiting.slice(first, first + mostAtOnce));
      }
    }
  }

  async #answer(place: string, waiting: readonly Waiting<Question, Answer>[]): Promise<void> {
    try {
      const answers = await this.#ask(
        place,
        waiting.map(({ question }) => question),
      );
      for (const [i, { resolve }] of waiting.entries()) resolve(answers[i] as Answer);
    } catch (error) {
      // What is wrong with one of them is not for the others.
      if (waiting.length === 1) waiting[0]?.reject(error);
      else for (const one of waiting) void this.#answer(place, [one]);
    }
  }
}
