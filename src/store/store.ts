/**
 * The only door to Redis: one method per script or plain read, typed results, no decisions.
 *
 * Invariants
 * 1. Every change of a stack is one script (R9); plain commands only read, or write what nothing refers to yet.
 * 2. Every method may be repeated with the same arguments (R18).
 */
import { OrphanStore } from "./orphan-store.js";

export type * from "./types.js";

/** All parts, each built on the one before: scripts, schedule, records, traversals, visits, looks, orphans. */
export class Store extends OrphanStore {}
