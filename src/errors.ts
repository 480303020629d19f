/**
 * Errors by what the caller should do. The code is the contract, the text is for people; both cross the API.
 * A provider's errors are in providers/provider.ts.
 */
export const errorCodes = {
  /** The request cannot be used as it is: correct it. */
  invalid: { status: 400, exit: 2 },
  /** No stack, resource or output by that name. */
  not_found: { status: 404, exit: 5 },
  /** The name is taken, or the caller's expected traversal is not the current one. */
  conflict: { status: 409, exit: 6 },
  /** A server could not be reached; the request may be sent again with the same id. */
  unavailable: { status: 503, exit: 7 },
  /** The data was written by a newer version than this one. */
  newer_version: { status: 501, exit: 1 },
  internal: { status: 500, exit: 1 },
} as const;

export type ErrorCode = keyof typeof errorCodes;

export interface Problem {
  message: string;
  /** Template path or file name. */
  file?: string;
  /** 1-based. */
  line?: number;
  /** 1-based. */
  column?: number;
}

export class HomeostatError extends Error {
  readonly code: ErrorCode;
  readonly problems: readonly Problem[];

  constructor(
    code: ErrorCode,
    message: string,
    options: { problems?: readonly Problem[]; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "HomeostatError";
    this.code = code;
    this.problems = options.problems ?? [];
  }
}

/** The input is wrong; `problems` says where. */
export class InvalidError extends HomeostatError {
  constructor(problems: readonly Problem[]) {
    super("invalid", problems.map(describeProblem).join("\n"), { problems });
    this.name = "InvalidError";
  }
}

export function describeProblem(problem: Problem): string {
  const where = [problem.file, problem.line, problem.column].filter((part) => part !== undefined).join(":");
  return where === "" ? problem.message : `${where}: ${problem.message}`;
}

/** Of whatever was thrown: it need not be an error, nor have a message. */
export function messageOf(error: unknown): string {
  try {
    const text = error instanceof Error ? error.message || error.name : error;
    return String(text ?? "") || "an error without a message";
  } catch {
    return "an error that cannot be shown";
  }
}
