/**
 * Names of everything in Redis. All keys of a stack carry its id as hash tag, so that one script touches one slot;
 * what spans stacks (names, due) are hints.
 */
import { createHash } from "node:crypto";

export const schemaVersion = 1;

export class Keys {
  readonly prefix: string;

  constructor(prefix = "hs:") {
    this.prefix = prefix;
  }

  of(stack: string, suffix: string): string {
    return `${this.prefix}{${stack}}:${suffix}`;
  }

  stack(stack: string) {
    return this.of(stack, "s");
  }
  pending(stack: string) {
    return this.of(stack, "p");
  }
  operations(stack: string) {
    return this.of(stack, "o");
  }
  /** Summary of every resource that exists, by id. */
  index(stack: string) {
    return this.of(stack, "ix");
  }
  /** How many live records require a resource, by id. */
  required(stack: string) {
    return this.of(stack, "rq");
  }
  requests(stack: string) {
    return this.of(stack, "q");
  }
  /** Key suffixes that may be removed once the traversal that is their score is over. */
  garbage(stack: string) {
    return this.of(stack, "x");
  }
  outbox(stack: string) {
    return this.of(stack, "e");
  }
  /** What was found missing, by id, since when. */
  lost(stack: string) {
    return this.of(stack, "l");
  }
  /** What was found missing of late, also what was made again since, by id. */
  losses(stack: string) {
    return this.of(stack, "m");
  }
  /** Tokens for repairs. */
  budget(stack: string) {
    return this.of(stack, "b");
  }
  incidents(stack: string) {
    return this.of(stack, "i");
  }
  resource(stack: string, resource: string) {
    return this.of(stack, `r:${resource}`);
  }
  template(stack: string, template: string) {
    return this.of(stack, `t:${template}`);
  }
  graph(stack: string, traversal: number | string, attempt: string) {
    return this.of(stack, `n:${traversal}:${attempt}`);
  }
  queue(stack: string, traversal: number | string, attempt: string) {
    return this.of(stack, `w:${traversal}:${attempt}`);
  }
  sync(stack: string, traversal: number | string) {
    return this.of(stack, `a:${traversal}`);
  }

  /** Stack id by name, sharded by name. */
  names(shard: number) {
    return `${this.prefix}{names:${shard}}`;
  }
  due(shard: number) {
    return `${this.prefix}{due:${shard}}:z`;
  }
  dueClock(shard: number) {
    return `${this.prefix}{due:${shard}}:clock`;
  }
  /** The observers of a pool that live, by the end of their registration. */
  observers(pool: string) {
    return `${this.prefix}observers:${pool}`;
  }

  /** What to look at and when, by pool and shard. */
  watch(pool: string, shard: number) {
    return `${this.prefix}{watch:${pool}:${shard}}:z`;
  }
  /** Resources by type and physical id. */
  physical(pool: string, shard: number) {
    return `${this.prefix}{watch:${pool}:${shard}}:p`;
  }
  watchClock(pool: string, shard: number) {
    return `${this.prefix}{watch:${pool}:${shard}}:clock`;
  }
  /** When the sources of events were last heard of, by type. */
  get heard() {
    return `${this.prefix}{heard}:h`;
  }
  get heardClock() {
    return `${this.prefix}{heard}:clock`;
  }

  /** Id of the deployment, one of the marks on what it makes. */
  get deployment() {
    return `${this.prefix}deployment`;
  }
  /** Things that carry our marks and that no record knows. */
  get orphans() {
    return `${this.prefix}{orphans}:h`;
  }
  /** Tokens for their removal, by type. */
  get orphanBudgets() {
    return `${this.prefix}{orphans}:b`;
  }
  get orphansClock() {
    return `${this.prefix}{orphans}:clock`;
  }
  /** Where the slow sweep stands. */
  get orphanSweep() {
    return `${this.prefix}{orphans}:s`;
  }
  /** Things that were left on purpose, by token. */
  get retained() {
    return `${this.prefix}{orphans}:retained`;
  }
}

export function shardOf(key: string, shards: number): number {
  if (shards === 1) return 0;
  return createHash("sha1").update(key).digest().readUInt16BE(0) % shards;
}
