/** Columns of text for people. */
import { oneLine, pad, truncate, widthOf } from "./printable.js";

export interface Column<T> {
  title: string;
  text: (row: T) => string;
  color?: (row: T) => (text: string) => string;
  /** Gives way when the line is too long; the last of these first. */
  flexible?: boolean;
}

const gap = "  ";
const narrowest = 8;

interface Cell {
  text: string;
  color: (text: string) => string;
}

/** Lines: titles, then rows. Columns in which nothing stands are left out. */
export function table<T>(
  rows: readonly T[],
  columns: readonly Column<T>[],
  width: number,
  dim: (text: string) => string,
): string[] {
  const used = columns.filter((column) => rows.some((row) => column.text(row) !== ""));
  const titles = used.map(({ title }): Cell => ({ text: title, color: dim }));
  const cells = rows.map((row) =>
    used.map(({ text, color }): Cell => ({ text: oneLine(text(row)), color: color?.(row) ?? plain })),
  );
  const lines = [titles, ...cells];
  const widths = fitted(
    used.map((_, i) => lines.reduce((most, line) => Math.max(most, widthOf(line[i]?.text ?? "")), 0)),
    used.map(({ flexible }) => flexible === true),
    width - gap.length * (used.length - 1),
  );
  return lines.map((line) => lineOf(line, widths));
}

function lineOf(cells: readonly Cell[], widths: readonly number[]): string {
  const texts = cells.map(({ text, color }, i) => {
    const width = widths[i] ?? 0;
    const shown = truncate(text, width);
    const isLast = i === cells.length - 1;
    return color(shown) + (isLast ? "" : " ".repeat(width - widthOf(shown)));
  });
  return texts.join(gap).trimEnd();
}

function plain(text: string): string {
  return text;
}

/** Shrinks flexible columns, the last one first, until the sum fits. */
function fitted(widths: number[], flexible: readonly boolean[], available: number): number[] {
  const result = [...widths];
  let excess = result.reduce((sum, width) => sum + width, 0) - available;
  for (let i = result.length - 1; i >= 0 && excess > 0; i--) {
    if (!flexible[i]) continue;
    const width = result[i] ?? 0;
    const taken = Math.min(excess, Math.max(0, width - narrowest));
    result[i] = width - taken;
    excess -= taken;
  }
  return result;
}

/** Pairs, the names aligned. */
export function pairs(
  entries: readonly (readonly [string, string])[],
  dim: (text: string) => string,
): string[] {
  const width = Math.max(0, ...entries.map(([name]) => widthOf(name)));
  return entries.map(([name, value]) => `  ${dim(pad(name, width))}  ${value}`);
}
