/** What the tests of templates share: a template from its text, and the problems of one that is refused. */
import { expect } from "vitest";
import { describeProblem, InvalidError } from "../../src/errors.js";
import { parseTemplate, type Template } from "../../src/template/template.js";

export function template(text: string, files: Record<string, string> = {}): Template {
  return parseTemplate({ text, name: "t.yaml", files });
}

/** `line:column message` of every problem, or with the file's name where there is no line. */
export function problemsOf(action: () => unknown): string[] {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidError);
    return (error as InvalidError).problems.map((problem) => {
      const { line, column, message } = problem;
      return line === undefined ? describeProblem(problem) : `${line}:${column} ${message}`;
    });
  }
  return [];
}
