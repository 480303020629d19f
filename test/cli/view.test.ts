/** Theory: the view never exceeds the terminal, never garbles it, and shows nothing that steers it. */
import { PassThrough } from "node:stream";
import fc from "fast-check";
import { createColors } from "picocolors";
import { describe, expect, it } from "vitest";
import { formatAge } from "../../src/age.js";
import type { ResourceView } from "../../src/api/schemas.js";
import { oneLine, printable, truncate, widthOf } from "../../src/cli/printable.js";
import { eventLine, Progress } from "../../src/cli/progress.js";
import { Terminal } from "../../src/cli/terminal.js";

const plain = createColors(false);

function resource(name: string, state: string, reason = ""): ResourceView {
  const rest = { physicalId: null, attributes: {}, requires: [], current: true };
  return { id: name, name, type: "Sim::Resource", state, reason, ...rest };
}

function progressOf(resources: ResourceView[]): Progress {
  const progress = new Progress("shop", 0);
  const stack = {
    ...{ id: "s", name: "shop", status: "CONVERGING" as const, action: "update" as const, reason: "" },
    ...{ traversal: 2, updatesLeft: 1, cleanupsLeft: 0, createdAt: "", updatedAt: "" },
  };
  progress.onLook({ stack, resources, outputs: {} }, 0);
  return progress;
}

describe("the frame", () => {
  it("fits any terminal", () => {
    const states = fc.constantFrom("declared", "creating", "ready", "failed", "deleting");
    const resources = fc.array(
      fc.record({ name: fc.string({ maxLength: 60, unit: "grapheme" }), state: states, reason: fc.string() }),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(
        resources,
        fc.integer({ min: 40, max: 200 }),
        fc.integer({ min: 3, max: 60 }),
        (all, columns, rows) => {
          const views = all.map(({ name, state, reason }, i) => ({
            ...resource(name, state, reason),
            id: String(i),
          }));
          const frame = progressOf(views).frame({ columns, rows }, plain, 1000);
          expect(frame.length).toBeLessThan(rows);
          for (const line of frame) expect(widthOf(line)).toBeLessThanOrEqual(columns);
        },
      ),
    );
  });

  it("keeps what matters when not all fits", () => {
    const many = Array.from({ length: 50 }, (_, i) => resource(`r${i}`, "ready"));
    const frame = progressOf([...many, resource("bad", "failed", "no"), resource("new", "creating")]).frame(
      { columns: 80, rows: 10 },
      plain,
      0,
    );
    expect(frame.join("\n")).toMatch(/bad .*failed .*no\nnew .*creating\n… and 46 more: 46 ready$/);
  });

  it("follows events, and tells how long a state has lasted", () => {
    const progress = progressOf([resource("web", "declared")]);
    const event = {
      type: "io.homeostat.api.v1.resource",
      id: "1",
      time: "",
      stack: "s",
      stackName: "shop",
      traversal: 2,
    };
    progress.onEvent({ ...event, resource: "web", resourceId: "web", what: "creating" }, 1000);
    expect(progress.frame({ columns: 80, rows: 24 }, plain, 4000).at(-1)).toMatch(
      /^web .*creating {2}3\.0s$/,
    );
  });
});

describe("text from elsewhere", () => {
  it("cannot steer the terminal", () => {
    const evil = "a\x1b[2Jb\x1b]0;title\x07c\rd\u009b31me\u202e\nf";
    expect(printable(evil)).not.toMatch(/[^\P{Cc}\n]|\p{Bidi_Control}/u);
    expect(oneLine(evil)).not.toMatch(/\n/);
    const event = {
      type: "",
      id: "",
      time: "2026-01-01T00:00:00Z",
      stack: "",
      stackName: "s",
      traversal: 1,
      what: "failed",
    };
    expect(eventLine({ ...event, resource: "web", reason: evil }, plain)).not.toMatch(/\p{Cc}/u);
  });

  it("is cut to columns, not characters", () => {
    expect(truncate("日本語テキスト", 7)).toBe("日本語…");
    expect(widthOf("\x1b[31m日本\x1b[39m")).toBe(4);
  });

  it.each([
    [300, "0.3s"],
    [12_400, "12s"],
    [185_000, "3m05s"],
    [7_800_000, "2h10m"],
  ])("%i ms is %s", (ms, text) => expect(formatAge(ms)).toBe(text));
});

const escapeCharacter = String.fromCharCode(27);
const parts = new RegExp(
  `${escapeCharacter}\\[\\??[\\d;]*[A-Za-z]|\\r|\\n|[^${escapeCharacter}\\r\\n]+`,
  "g",
);
const upwards = new RegExp(`^${escapeCharacter}\\[(\\d+)A$`);

/** As much of a terminal as the renderer uses. */
class Screen extends PassThrough {
  readonly isTTY = true;
  readonly lines: string[] = [""];
  columns: number;
  rows = 24;
  #row = 0;

  constructor(columns: number) {
    super();
    this.columns = columns;
    this.on("data", (data) => this.#draw(String(data)));
  }

  #draw(text: string): void {
    for (const [part] of text.matchAll(parts)) this.#step(part);
  }

  #step(part: string): void {
    const up = upwards.exec(part)?.[1];
    if (up !== undefined) this.#row -= Number(up);
    else if (part === "\n") this.lines[++this.#row] ??= "";
    else if (part === `${escapeCharacter}[J`) this.lines.splice(this.#row, Number.POSITIVE_INFINITY, "");
    else if (part !== "\r" && !part.startsWith(escapeCharacter)) this.lines[this.#row] = part;
  }
}

function terminalOn(screen: Screen): Terminal {
  const stream = screen as unknown as NodeJS.WriteStream;
  return new Terminal({ json: false, color: false, stdout: stream, stderr: stream, env: { TERM: "xterm" } });
}

describe("the terminal", () => {
  it("redraws in place, with everything else above", () => {
    const screen = new Screen(80);
    const terminal = terminalOn(screen);
    terminal.frame(["one", "two", "three"]);
    terminal.frame(["ONE", "TWO"]);
    expect(screen.lines).toEqual(["ONE", "TWO", ""]);
    terminal.note("a message");
    terminal.frame(["1", "2"]);
    expect(screen.lines).toEqual(["a message", "1", "2", ""]);
    terminal.endFrame();
    terminal.say("done");
    expect(screen.lines).toEqual(["a message", "1", "2", "done", ""]);
  });

  it("finds its way up when lines have been wrapped by a narrower terminal", () => {
    const screen = new Screen(80);
    const terminal = terminalOn(screen);
    const written: string[] = [];
    screen.on("data", (data) => written.push(String(data)));
    terminal.frame(["x".repeat(60), "y"]);
    screen.columns = 25;
    terminal.frame(["x"]);
    expect(written.at(-1)).toContain("\x1b[4A");
  });

  it("does not mind a reader that goes away", () => {
    const screen = new Screen(80);
    const terminal = terminalOn(screen);
    screen.emit("error", Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
    terminal.say("into the void");
    expect(terminal.readerGone.aborted).toBe(true);
    expect(screen.lines).toEqual([""]);
  });
});
