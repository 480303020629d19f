/**
 * Where a command writes: results to stdout, messages for people to stderr, and a live region at the bottom of the
 * terminal that is redrawn in place.
 *
 * 1. The live region is drawn by one write, over the former one, without clearing first: nothing flickers.
 * 2. Whatever else is written goes above it.
 * 3. A reader that goes away (`| head`) ends the output and not the command.
 */
import { createColors } from "picocolors";
import { widthOf } from "./printable.js";
import { isReaderGone } from "./reader-gone.js";

type Stream = NodeJS.WriteStream;
export type Colors = ReturnType<typeof createColors>;

const hideCursor = "\x1b[?25l";
const showCursor = "\x1b[?25h";
const beginUpdate = "\x1b[?2026h";
const endUpdate = "\x1b[?2026l";
const clearToLineEnd = "\x1b[K";
const clearBelow = "\x1b[J";

export interface TerminalOptions {
  json: boolean;
  color: boolean;
  stdout?: Stream;
  stderr?: Stream;
  env?: NodeJS.ProcessEnv;
}

export class Terminal {
  readonly json: boolean;
  /** Whether frames can be drawn. */
  readonly live: boolean;
  /** For stdout, and for stderr: only one of them may be a terminal. */
  readonly colors: Colors;
  readonly noteColors: Colors;
  readonly #stdout: Stream;
  readonly #stderr: Stream;
  #frame: readonly string[] = [];
  #open = true;
  readonly #closed = new AbortController();

  constructor({
    json,
    color,
    stdout = process.stdout,
    stderr = process.stderr,
    env = process.env,
  }: TerminalOptions) {
    this.json = json;
    this.#stdout = stdout;
    this.#stderr = stderr;
    this.live = !json && stdout.isTTY === true && env.TERM !== "dumb";
    this.colors = createColors(color && wantsColor(stdout, env));
    this.noteColors = createColors(color && wantsColor(stderr, env));
    stdout.on("error", (error) => this.#onError(error));
    stderr.on("error", () => undefined);
    // A cursor that stays hidden is a nuisance, however the command ends.
    if (this.live) process.once("exit", () => this.endFrame());
  }

  /** Aborted when nobody reads the results any more. */
  get readerGone(): AbortSignal {
    return this.#closed.signal;
  }

  get columns(): number {
    return this.#stdout.columns || 80;
  }

  get rows(): number {
    return this.#stdout.rows || 24;
  }

  /** A result for people. */
  say(text: string): void {
    this.#above(() => this.#write(`${text}\n`));
  }

  /** A result for programs: one JSON document per line. */
  data(value: unknown): void {
    this.#write(`${JSON.stringify(value)}\n`);
  }

  /** What people should know and programs need not. */
  note(text: string): void {
    this.#above(() => this.#stderr.write(`${text}\n`));
  }

  frame(lines: readonly string[]): void {
    if (!this.live) return;
    const drawn = lines.map((line) => `${line}${clearToLineEnd}\n`).join("");
    this.#write(`${beginUpdate}${hideCursor}${this.#backToTop()}${drawn}${clearBelow}${endUpdate}`);
    this.#frame = lines;
  }

  /** Leaves the last frame where it is. */
  endFrame(): void {
    if (this.#frame.length === 0) return;
    this.#frame = [];
    this.#write(showCursor);
  }

  /** Removes the last frame. */
  clearFrame(): void {
    if (this.#frame.length === 0) return;
    this.#write(`${this.#backToTop()}${clearBelow}${showCursor}`);
    this.#frame = [];
  }

  async flush(): Promise<void> {
    await Promise.all(
      [this.#stdout, this.#stderr].map((stream) => new Promise((done) => stream.write("", done))),
    );
  }

  #above(write: () => void): void {
    const frame = this.#frame;
    this.clearFrame();
    write();
    if (frame.length > 0) this.frame(frame);
  }

  /** A terminal that became narrower has wrapped the lines that are there. */
  #backToTop(): string {
    const rows = this.#frame.reduce(
      (sum, line) => sum + Math.max(1, Math.ceil(widthOf(line) / this.columns)),
      0,
    );
    return rows === 0 ? "" : `\x1b[${rows}A\r`;
  }

  #write(text: string): void {
    if (this.#open) this.#stdout.write(text);
  }

  #onError(error: NodeJS.ErrnoException): void {
    if (!isReaderGone(error)) throw error;
    this.#open = false;
    this.#closed.abort();
  }
}

function wantsColor(stream: Stream, env: NodeJS.ProcessEnv): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR !== "0";
  return stream.isTTY === true && env.TERM !== "dumb";
}
