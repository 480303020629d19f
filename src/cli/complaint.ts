/** How an error ends a command: what is said, and the exit status. */
import { describeProblem, errorCodes, HomeostatError, messageOf } from "../errors.js";
import { exitStatus } from "./exit-status.js";
import { printable } from "./printable.js";
import type { Terminal } from "./terminal.js";

/** Programs get the API's shape of an error as the last document. */
export function complain(error: unknown, terminal: Terminal): number {
  const known = error instanceof HomeostatError ? error : new HomeostatError("internal", messageOf(error));
  if (terminal.json) terminal.data(documentOf(known));
  else for (const line of linesOf(known)) terminal.note(line);
  if (known.code === "internal" && error instanceof Error) terminal.note(error.stack ?? "");
  return errorCodes[known.code].exit ?? exitStatus.internal;
}

function documentOf({ code, message, problems }: HomeostatError) {
  return { error: { code: errorCodes[code].status, err_code: code, description: message, problems } };
}

/** `file:line:column: message`, as editors know it. */
function linesOf({ problems, message }: HomeostatError): string[] {
  if (problems.length === 0) return [`homeostat: ${printable(message)}`];
  return problems.map((problem) => printable(describeProblem(problem)));
}
