/** What scripts are told, encoded. */
import type { OutboxEvent } from "./types.js";

/** A hash as scripts read it. */
export function hashText(fields: Readonly<Record<string, string>> = {}): string {
  return JSON.stringify(Object.entries(fields).flat());
}

/** An event to be stored with the change that it tells of. */
export function eventArgs(event: OutboxEvent | undefined): { eventId: string; event: string } {
  return { eventId: event?.id ?? "", event: event?.text ?? "" };
}
