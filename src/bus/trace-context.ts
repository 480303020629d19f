/** W3C trace context: what is caused by a message carries its trace on, with a span of its own per hop. */

import { AsyncLocalStorage } from "node:async_hooks";
import { freshBytes } from "../random-id.js";

export const traceHeader = "traceparent";

const current = new AsyncLocalStorage<string>();

/** Runs `work` as part of the trace that a header names, or of a new one. */
export function inTrace<T>(header: string | undefined, work: () => T): T {
  return current.run(traceIdOf(header) ?? randomId(16), work);
}

/** The header of a message that is sent now. */
export function nextTraceparent(): string {
  return `00-${current.getStore() ?? randomId(16)}-${randomId(8)}-01`;
}

function traceIdOf(header: string | undefined): string | undefined {
  const trace = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/.exec(header ?? "")?.[1];
  return trace === undefined || /^0+$/.test(trace) ? undefined : trace;
}

function randomId(bytes: number): string {
  return freshBytes(bytes).toString("hex");
}
