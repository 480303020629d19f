/** What of redlock is used; the package's own types are hidden by its exports. */
declare module "redlock" {
  import type { Redis } from "ioredis";

  export class Lock {
    readonly resources: readonly string[];
    /** Of this lock alone: whoever has the resource under it has the lock. */
    readonly value: string;
    /** ms since 1970 by the own clock; 0 when it was released. */
    readonly expiration: number;
    release(): Promise<unknown>;
  }

  interface Settings {
    retryCount: number;
    retryDelay: number;
    retryJitter: number;
  }

  // biome-ignore lint/style/noDefaultExport: it is the package that exports it so
  export default class Redlock {
    constructor(clients: Iterable<Redis>, settings?: Partial<Settings>);
    acquire(resources: string[], durationMs: number): Promise<Lock>;
  }
}
