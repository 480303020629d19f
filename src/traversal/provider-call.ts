/**
 * One call of a provider under a lease: started in time, renewed while it lasts, aborted when the lease is lost.
 *
 * Invariants
 * 1. The call starts only before its deadline on this process's own clock, read before the intent was stored (R10).
 * 2. Every renewal moves lease and deadline together; a refused renewal aborts the call.
 */

import { messageOf } from "../errors.js";
import type { JsonObject } from "../json.js";
import { type Operation, ProviderError, type Thing } from "../providers/provider.js";
import type { Visit } from "../store/store.js";
import type { Engine } from "./engine.js";
import type { VisitedResource } from "./visited-resource.js";

/** What a provider reports goes into records, replies and events, with that of others. */
const longestPhysicalId = 4_096;
const longestAttributes = 16 * 1024 * 1024;

export type Outcome =
  | { tag: "thing"; thing: Thing }
  | { tag: "removed" | "absent" | "notCalled" | "fenced" | "abandoned" }
  | {
      tag: "failed";
      retryable: boolean;
      effect: "none" | "unknown";
      reason: string;
      /** It ended because it was aborted: what it had begun may still take effect. */
      interrupted: boolean;
    };

/** An update that mends: what is there, and what is to be. */
export interface Repair {
  observed: JsonObject;
  target: JsonObject;
}

export class ProviderCall {
  readonly #engine: Engine;
  readonly #visit: Visit;
  readonly #holder: string;
  readonly #resource: VisitedResource;
  readonly #operation: Operation;
  readonly #repair: Repair | undefined;
  #readAt = 0;

  constructor(
    engine: Engine,
    visit: Visit,
    holder: string,
    resource: VisitedResource,
    operation: Operation,
    repair?: Repair,
  ) {
    this.#repair = repair;
    this.#engine = engine;
    this.#visit = visit;
    this.#holder = holder;
    this.#resource = resource;
    this.#operation = operation;
  }

  get #type() {
    return this.#engine.types.get(this.#resource.field("type"));
  }

  get deadlineMs(): number {
    return this.#type?.deadlineMs(this.#operation) ?? 0;
  }

  /** To be called immediately before the intent is stored: lease and deadline count from here. */
  readClock(): void {
    this.#readAt = this.#engine.clock.monotonicMs();
  }

  /** `acknowledge`: once the call takes long. `madeLate`: a create that was given up came back with a thing. */
  async run(acknowledge: () => void, madeLate: (thing: Thing) => Promise<void>): Promise<Outcome> {
    const { clock, limits } = this.#engine;
    if (this.#type === undefined) {
      const reason = `no worker of this pool knows the type ${this.#resource.field("type")}`;
      return { tag: "failed", retryable: false, effect: "none", reason, interrupted: false };
    }
    // A renewal takes time too: deadline and lease are looked at again after it, immediately before the call.
    for (;;) {
      const waitedMs = clock.monotonicMs() - this.#readAt;
      if (this.#operation !== "find" && waitedMs >= this.deadlineMs) return { tag: "notCalled" };
      if (waitedMs < limits.leaseMs) break;
      if (!(await this.#renew())) return { tag: "fenced" };
    }

    const over = new AbortController();
    const abort = new AbortController();
    const work = this.#invoke(abort.signal);
    const given = this.#guard(over.signal, abort, acknowledge);
    const outcome = await Promise.race([work, given]);
    over.abort("over");
    if (outcome.tag === "abandoned" && this.#operation === "create") {
      work.then((late) => (late.tag === "thing" ? madeLate(late.thing) : undefined)).catch(() => {});
    }
    return outcome;
  }

  /** Renews while the call lasts; resolves only when the call is given up. */
  async #guard(over: AbortSignal, abort: AbortController, acknowledge: () => void): Promise<Outcome> {
    const { clock, limits } = this.#engine;
    const timeoutMs = this.#type?.timeoutMs(this.#operation, this.#resource.triedOrApplied(this.#engine));
    const started = clock.monotonicMs();
    let early = false;
    let nextRenewal = started + limits.renewMs;
    while (!over.aborted) {
      const times = [nextRenewal];
      if (!early) times.push(started + limits.earlyAckMs);
      if (timeoutMs !== undefined) times.push(started + timeoutMs);
      await clock.sleep(Math.max(0, Math.min(...times) - clock.monotonicMs()), over);
      if (over.aborted) break;
      const at = clock.monotonicMs();
      if (!early && at >= started + limits.earlyAckMs) {
        early = true;
        acknowledge();
      }
      if (timeoutMs !== undefined && at >= started + timeoutMs) {
        return this.#giveUp(abort, over, `${this.#operation} took longer than ${timeoutMs} ms`);
      }
      if (at >= nextRenewal) {
        nextRenewal = at + limits.renewMs;
        if (!(await this.#renewPatiently(over))) return this.#giveUp(abort, over, "the lease was lost");
      }
    }
    return new Promise(() => {});
  }

  /** An aborted call gets a moment to end by itself; then it is left to its deadline. */
  async #giveUp(abort: AbortController, over: AbortSignal, reason: string): Promise<Outcome> {
    abort.abort(new Error(reason));
    await this.#engine.clock.sleep(this.#engine.limits.abortGraceMs, over);
    this.#engine.log.warn(
      { stack: this.#visit.stack, resource: this.#resource.field("name"), operation: this.#operation },
      `a call did not end when it was aborted: ${reason}`,
    );
    return { tag: "abandoned" };
  }

  /** A store that cannot be reached has not taken the lease away: it is asked again until it can say. */
  async #renewPatiently(over: AbortSignal): Promise<boolean> {
    const { clock, limits, log } = this.#engine;
    while (!over.aborted) {
      try {
        return await this.#renew();
      } catch (error) {
        log.warn({ stack: this.#visit.stack, error: messageOf(error) }, "could not renew a lease");
        if (clock.monotonicMs() >= this.#readAt + this.deadlineMs) return false;
        await clock.sleep(limits.renewMs / 10, over);
      }
    }
    return true;
  }

  async #renew(): Promise<boolean> {
    const readAt = this.#engine.clock.monotonicMs();
    const callMs = this.#operation === "find" ? undefined : this.deadlineMs;
    const renewed = await this.#engine.store.renew(this.#visit, this.#holder, callMs);
    if (renewed) this.#readAt = readAt;
    return renewed;
  }

  async #invoke(signal: AbortSignal): Promise<Outcome> {
    try {
      return await this.#provide(signal);
    } catch (error) {
      const provider = error instanceof ProviderError;
      return {
        tag: "failed",
        retryable: provider ? error.retryable : true,
        effect: provider ? error.effect : "unknown",
        reason: `${this.#operation}: ${messageOf(error)}`,
        interrupted: signal.aborted,
      };
    }
  }

  async #provide(signal: AbortSignal): Promise<Outcome> {
    const type = this.#type;
    if (type === undefined) return { tag: "absent" };
    const resource = this.#resource;
    const call = {
      stack: this.#visit.stack,
      stackName: resource.field("stackName"),
      resource: resource.field("name"),
      token: resource.field("token") || this.#visit.resource,
      ...(this.#engine.deployment === undefined ? {} : { deployment: this.#engine.deployment }),
      signal,
      deadlineMs: this.#readAt + this.deadlineMs - this.#engine.clock.monotonicMs(),
      log: this.#engine.log,
    };
    const physical = resource.field("physical");
    const applied = this.#repair?.observed ?? resource.properties(this.#engine);
    const tried = this.#repair?.target ?? resource.triedOrApplied(this.#engine);
    switch (this.#operation) {
      case "create":
        return { tag: "thing", thing: checked(await type.create(call, tried)) };
      case "update":
        return { tag: "thing", thing: checked(await type.update(call, physical, tried, applied)) };
      case "delete":
        await type.delete(call, physical, applied);
        return { tag: "removed" };
      case "find": {
        const found = await type.find(call, tried);
        return found === undefined ? { tag: "absent" } : { tag: "thing", thing: checked(found) };
      }
      case "read":
        throw new Error("a visit does not read");
    }
  }
}

/** A provider is somebody else's code: what it returns is looked at once, here. */
export function checked(thing: Thing): Thing {
  const { physicalId, attributes } = (thing ?? {}) as Partial<Thing>;
  if (typeof physicalId !== "string" || physicalId === "") {
    throw new ProviderError("the provider returned no physical id");
  }
  if (physicalId.length > longestPhysicalId) {
    throw new ProviderError(
      `the provider returned a physical id of ${physicalId.length} characters; ${longestPhysicalId} are possible`,
    );
  }
  if (attributes === null || typeof attributes !== "object" || Array.isArray(attributes)) {
    throw new ProviderError("the provider returned no attributes");
  }
  return { physicalId, attributes: JSON.parse(attributesText(attributes)) };
}

function attributesText(attributes: object): string {
  let text: string;
  try {
    text = JSON.stringify(attributes);
  } catch (error) {
    throw new ProviderError(`the provider returned attributes that are no JSON: ${messageOf(error)}`);
  }
  if (text.length <= longestAttributes) return text;
  throw new ProviderError(
    `the provider returned attributes of ${text.length} characters as JSON; ${longestAttributes} are possible`,
  );
}
