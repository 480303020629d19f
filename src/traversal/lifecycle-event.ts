/** Lifecycle events: keys, states and reasons, never property values. */
import type { OutboxEvent } from "../store/store.js";

export interface LifecycleEvent {
  /** `io.homeostat.api.v1.resource` or `io.homeostat.api.v1.stack`. */
  type: string;
  /** Derived from what changed and its revision: a second copy has the same id. */
  id: string;
  /** RFC 3339, UTC. */
  time: string;
  /** Stack id. */
  stack: string;
  stackName: string;
  /** Resource name; absent for events of the stack itself. */
  resource?: string;
  resourceId?: string;
  traversal: number;
  /** A resource's state or `repaired`; a stack's status in lower case, `paused`, `resumed` or what became of an incident. */
  what: string;
  /** What the stack was last asked for; for events of the stack. */
  action?: string;
  reason?: string;
}

export function toOutbox(event: LifecycleEvent): OutboxEvent {
  return { id: event.id, text: JSON.stringify(event) };
}
