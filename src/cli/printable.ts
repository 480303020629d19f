/** Text from elsewhere (reasons, names, outputs of programs) on a terminal: no control characters, known width. */
import { stripVTControlCharacters } from "node:util";

/** One line without control characters: a log that is quoted in a reason must not steer the terminal. */
export function oneLine(text: string): string {
  return printable(text).replace(/\s*\n\s*/g, " ⏎ ");
}

/** Keeps line breaks. */
export function printable(text: string): string {
  return stripVTControlCharacters(text)
    .replace(/\r\n?/g, "\n")
    .replaceAll("\t", "  ")
    .replace(/[^\P{Cc}\n]|\p{Bidi_Control}/gu, "")
    .trimEnd();
}

const segments = new Intl.Segmenter(undefined, { granularity: "grapheme" });
/** East Asian wide characters and pictures take two columns. */
const wide =
  /^[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

export function widthOf(text: string): number {
  const plain = stripVTControlCharacters(text);
  if (/^[\x20-\x7e]*$/.test(plain)) return plain.length;
  let width = 0;
  for (const { segment } of segments.segment(plain)) width += widthOfSegment(segment);
  return width;
}

function widthOfSegment(segment: string): number {
  return wide.test(segment) ? 2 : 1;
}

/** Cuts text without colours to so many columns; what was cut shows as an ellipsis. */
export function truncate(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text;
  let kept = "";
  let width = 0;
  for (const { segment } of segments.segment(text)) {
    width += widthOfSegment(segment);
    if (width > columns - 1) break;
    kept += segment;
  }
  return columns < 1 ? "" : `${kept}…`;
}

export function pad(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - widthOf(text)));
}
