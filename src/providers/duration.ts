import { z } from "zod";

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
const durationPattern = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;

/** `200ms`, `30s`, `5m`, `1h`, or a plain number of the given unit, as people write it in properties. */
export type Duration = string | number;

/** Keeps the value as it was written: what is stored may be parsed again. */
export const durationSchema: z.ZodType<Duration> = z.union([
  z.number().nonnegative(),
  z.string().regex(durationPattern, "must be a duration such as 200ms, 30s, 5m or 1h"),
]);

/** The shortest text that is this duration. */
export function formatDuration(ms: number): string {
  const unit = (["h", "m", "s"] as const).find((each) => ms !== 0 && ms % unitMs[each] === 0) ?? "ms";
  return `${ms / unitMs[unit]}${unit}`;
}

export function durationMs(value: Duration, plainUnit: keyof typeof unitMs): number {
  if (typeof value === "number") return value * unitMs[plainUnit];
  const [, amount, unit] = durationPattern.exec(value) ?? [];
  if (amount === undefined) throw new TypeError(`"${value}" is not a duration`);
  return Number(amount) * unitMs[unit as keyof typeof unitMs];
}
