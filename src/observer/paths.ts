/**
 * Paths into properties, and patterns of paths, as text: steps with dots between them, `env.PATH`, `ports.0`.
 *
 * A step of a path is a key or the index of a list. A key that has anything but letters, digits, `_`, `-`, `$`, `:` and
 * `/`, or nothing at all, is written as a JSON string: `labels."app.example/name"`.
 * In a pattern `*` is any one step and `**` any number of steps, also none; in quotes a star is only a star.
 */

type Step = string | number;

/** What a step of a pattern takes: a key or index in its text, any one step, any number of steps. */
type Taken = { readonly text: string } | "one" | "any";

/** A pattern that was read. */
export type Pattern = readonly Taken[];

export function propertyPath(steps: readonly Step[]): string {
  return steps.map((step) => stepText(String(step))).join(".");
}

function stepText(step: string): string {
  return /^[\w$:/-]+$/.test(step) ? step : JSON.stringify(step);
}

/** Whether the path is one that the pattern means. What cannot be read as a pattern matches nothing. */
export function matchesPath(pattern: string, path: string): boolean {
  const [taken, steps] = [readPattern(pattern), readSteps(path)];
  if (taken === undefined || steps === undefined) return false;
  return matchesSteps(
    taken,
    steps.map((step) => step.text),
  );
}

/** Takes time in proportion to the product of the lengths, whatever the pattern. */
export function matchesSteps(pattern: Pattern, steps: readonly Step[]): boolean {
  // Which beginnings of the pattern take the steps so far.
  let reached = skipAny(pattern, [true]);
  for (const step of steps) {
    const next: boolean[] = [];
    for (const [i, taken] of pattern.entries()) {
      if (!reached[i]) continue;
      if (taken === "any") next[i] = true;
      else if (taken === "one" || taken.text === String(step)) next[i + 1] = true;
    }
    reached = skipAny(pattern, next);
  }
  return reached[pattern.length] === true;
}

function skipAny(pattern: Pattern, reached: boolean[]): boolean[] {
  for (const [i, taken] of pattern.entries()) if (reached[i] && taken === "any") reached[i + 1] = true;
  return reached;
}

/** Undefined when the text is not a pattern. */
export function readPattern(text: string): Pattern | undefined {
  return readSteps(text)?.map(({ text, quoted }) => {
    if (quoted || !text.includes("*")) return { text };
    return text === "*" ? "one" : "any";
  });
}

/** A star stands alone in its step, unless in quotes. */
function readSteps(text: string): { text: string; quoted: boolean }[] | undefined {
  const steps: { text: string; quoted: boolean }[] = [];
  const stepPattern = /"(?:[^"\\]|\\.)*"|\*\*?(?=\.|$)|[^".*]+/y;
  for (let at = 0; at <= text.length; at = stepPattern.lastIndex + 1) {
    stepPattern.lastIndex = at;
    const [step] = stepPattern.exec(text) ?? [];
    if (step === undefined || (stepPattern.lastIndex < text.length && text[stepPattern.lastIndex] !== ".")) {
      return undefined;
    }
    const unquoted = step.startsWith('"') ? readQuoted(step) : step;
    if (unquoted === undefined) return undefined;
    steps.push({ text: unquoted, quoted: step.startsWith('"') });
  }
  return steps;
}

function readQuoted(text: string): string | undefined {
  try {
    return JSON.parse(text) as string;
  } catch {
    return undefined;
  }
}
