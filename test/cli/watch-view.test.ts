/** Theory: the watch's frame fits any terminal, shows what is urgent, and counts what happened of late and nothing else. */
import fc from "fast-check";
import { createColors } from "picocolors";
import { describe, expect, it } from "vitest";
import type { Reply } from "../../src/api/schemas.js";
import { widthOf } from "../../src/cli/printable.js";
import { eventLine, Progress } from "../../src/cli/progress.js";
import { memoryMs, summaryLine, WatchView } from "../../src/cli/watch-view.js";
import type { LifecycleEvent } from "../../src/traversal/lifecycle-event.js";

const plain = createColors(false);
const nowMs = Date.parse("2026-01-01T12:00:00Z");

function why(name: string, states: Record<string, number>, more: Partial<Reply<"why">> = {}): Reply<"why"> {
  const total = Object.values(states).reduce((sum, count) => sum + count, 0);
  const stack = {
    ...{ id: name, name, status: "COMPLETE" as const, action: "create" as const, reason: "", traversal: 1 },
    ...{ updatesLeft: 0, cleanupsLeft: 0, createdAt: "", updatedAt: "" },
  };
  const rest = {
    atGoal: true,
    text: "",
    waits: [],
    paused: false,
    incident: "",
    notAtGoal: 0,
    resources: [],
  };
  return { now: "", stack, states, total, ...rest, ...more };
}

let count = 0;
function event(what: string, stackName: string, ageMs = 0, resource: string | null = "web"): LifecycleEvent {
  count += 1;
  const time = new Date(nowMs - ageMs).toISOString();
  const at = resource === null ? {} : { resource, resourceId: resource };
  return { type: "", id: String(count), time, stack: stackName, stackName, traversal: 1, what, ...at };
}

describe("the frame", () => {
  it("fits any terminal", () => {
    const text = fc.string({ maxLength: 40, unit: "grapheme" });
    const states = fc.dictionary(
      fc.constantFrom("ready", "drifted", "creating", "failed"),
      fc.integer({ min: 1, max: 9 }),
    );
    const stacks = fc.array(fc.record({ name: text, states, reason: text }), { maxLength: 40 });
    fc.assert(
      fc.property(
        stacks,
        fc.integer({ min: 60, max: 200 }),
        fc.integer({ min: 3, max: 50 }),
        (all, columns, rows) => {
          const view = new WatchView(false);
          for (const [i, { name, states, reason }] of all.entries()) {
            const answer = why(`${i}${name}`, states);
            view.onAnswer({ ...answer, stack: { ...answer.stack, reason } });
            view.onEvent({ ...event("drifted", `${i}${name}`), reason });
          }
          const frame = view.frame({ columns, rows }, plain, nowMs);
          expect(frame.length).toBeLessThan(rows);
          for (const line of frame) expect(widthOf(line)).toBeLessThanOrEqual(columns);
        },
      ),
    );
  });

  it("keeps what is urgent when not all fits", () => {
    const view = new WatchView(false);
    for (let i = 0; i < 30; i++) view.onAnswer(why(`calm-${i}`, { ready: 1 }));
    view.onAnswer(why("lost", { missing: 5 }, { incident: "i" }));
    const frame = view.frame({ columns: 100, rows: 8 }, plain, nowMs).join("\n");
    expect(frame).toMatch(/lost +COMPLETE +create 1 +0\/5 +5 missing +incident/);
    expect(frame).toMatch(/… and 26 more/);
  });
});

describe("the counts", () => {
  it("are of the last minutes, of drift and repairs", () => {
    const view = new WatchView(false);
    view.onAnswer(why("shop", { ready: 2, drifted: 1 }, { paused: true }));
    for (const what of ["drifted", "missing", "contested", "unreadable", "repaired", "ready"])
      view.onEvent(event(what, "shop", 1000));
    view.onEvent(event("drifted", "shop", memoryMs + 1));
    view.onEvent(event("drifted", "other"));
    expect(view.summary("shop", nowMs)).toMatchObject({
      drifted: 4,
      repaired: 1,
      ready: 2,
      total: 3,
      seen: { drifted: 1 },
    });
    const summary = view.summary("shop", nowMs);
    expect(summary && summaryLine(summary, plain, "12:00:00")).toBe(
      "12:00:00 shop COMPLETE 2/3 ready, 1 drifted, paused; last 10m: 4 drifted, 1 repaired",
    );
  });

  it("are news also when the states are as before", () => {
    const view = new WatchView(false);
    view.onAnswer(why("shop", { ready: 1 }));
    const before = view.fingerprint("shop");
    view.onAnswer(why("shop", { ready: 1 }));
    expect(view.fingerprint("shop")).toBe(before);
    view.onEvent(event("repaired", "shop"));
    expect(view.fingerprint("shop")).not.toBe(before);
  });
});

describe("events of observation", () => {
  it("have words of their own when they are about a stack", () => {
    const incident = { ...event("incident", "shop", 0, null), reason: "5 things are missing" };
    expect(eventLine(incident, plain, { withStackReason: false })).toMatch(
      / shop incident \(5 things are missing\)$/,
    );
    expect(eventLine(event("paused", "shop", 0, null), plain)).toMatch(/ shop paused$/);
    const colors = createColors(true);
    expect(eventLine(event("repaired", "shop"), colors)).toContain(colors.green("repaired"));
    expect(eventLine(event("contested", "shop"), colors)).toContain(colors.red("contested"));
  });

  it("do not confuse the progress of a goal", () => {
    const progress = new Progress("shop", 0);
    progress.onEvent(event("drifted", "shop"), 0);
    progress.onEvent(event("incident", "shop", 0, null), 0);
    expect(progress.frame({ columns: 80, rows: 24 }, plain, 0).join("\n")).toMatch(/web +drifted/);
    progress.onEvent(event("repaired", "shop"), 0);
    expect(progress.frame({ columns: 80, rows: 24 }, plain, 0).join("\n")).toMatch(/web +ready/);
  });
});
