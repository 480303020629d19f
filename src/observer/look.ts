/**
 * A look: reads one resource, lets its machine decide what the finding means, stores that, and mends what may be mended
 * in place. It is the same whoever asked for it: an event, the schedule, a person (R12).
 *
 * Invariants
 * 1. Nothing is concluded from a read that began before the record was last changed, or before an earlier call's deadline.
 * 2. An error of the provider is never taken for a thing that is missing.
 * 3. A repair begins in the same step that finds it allowed: no traversal under way, within the budget, no incident.
 */
import { constants } from "node:os";
import type { Finding } from "../../machines/resource.js";
import { messageOf } from "../errors.js";
import { canonicalJson, type JsonObject } from "../json.js";
import { type CallContext, ProviderError, type Reading, type ResourceType } from "../providers/provider.js";
import { readStored } from "../store/damage.js";
import { stackPool } from "../store/hints.js";
import type { Budget, ObserveAnswer, Sight, Visit } from "../store/store.js";
import type { Engine } from "../traversal/engine.js";
import { type LifecycleEvent, toOutbox } from "../traversal/lifecycle-event.js";
import { checked, ProviderCall } from "../traversal/provider-call.js";
import { writeObject } from "../traversal/record.js";
import { flushOutbox } from "../traversal/settle.js";
import { announceSafely, repairInPlace, resourceEvent } from "../traversal/visit.js";
import { VisitedResource } from "../traversal/visited-resource.js";
import { driftOf, repairTarget } from "./drift.js";
import { contestedPaths, type Fights, noteChange, noteRepair, readFights } from "./fights.js";
import { type Policy, type PolicyDocument, type PolicyPart, partOf, resolvePolicy } from "./policy.js";
import { reconverge } from "./reconverge.js";

export interface LookAt {
  stack: string;
  resource: string;
  /** Where the thing was when this look was arranged; undefined: wherever it is. */
  physicalId?: string;
}

export interface Looked {
  /** Undefined when nothing was read. */
  finding?: Finding;
  /** What became of the wish to mend it, or why nothing was read. */
  outcome: string;
  /** When to look again, ms; undefined when there is nothing to look at any more. */
  nextMs: number | undefined;
}

/** Of a thing that is not there, or is of no use, among the paths that are fought over. */
const existence = "(existence)";
const health = "(health)";

const readMs = 30_000;
const longestReason = 2_000;
/** Paths that a reason names. */
const namedPaths = 10;

/** The states in which there is a thing that can be compared with what was applied. */
const observable: ReadonlySet<string> = new Set([
  "ready",
  "drifted",
  "missing",
  "contested",
  "unreadable",
  // Of what has failed it is only asked whether it is there at all.
  "failed",
]);

/** What observe.lua answers when it has stored nothing. */
export const unstored: ReadonlySet<string> = new Set(["changed", "unhinted", "busy"]);

/** `flowing`: types of whose things events tell, so that they need not be read often. */
export async function look(
  engine: Engine,
  at: LookAt,
  cause: "event" | "poll",
  flowing: ReadonlySet<string> = new Set(),
): Promise<Looked> {
  const looked = await lookOnce(engine, at, cause, flowing);
  // While much is mended sweepers come by often: what they undid is done again at once.
  return looked.outcome === "unhinted" ? lookOnce(engine, at, cause, flowing) : looked;
}

async function lookOnce(
  engine: Engine,
  at: LookAt,
  cause: "event" | "poll",
  flowing: ReadonlySet<string>,
): Promise<Looked> {
  const { store } = engine;
  const sight = await store.sight(at.stack, at.resource);
  if (sight === undefined || sight.record.tombstone !== undefined)
    return { outcome: "gone", nextMs: undefined };
  const resource = readStored(
    store.keys.resource(at.stack, at.resource),
    () => new VisitedResource(sight.record),
  );
  const run = new Look(engine, at, sight, resource);
  const reason = run.whyNotNow(cause, flowing);
  if (run.isAwaited) {
    await store.attend(at.stack, "awaited", "1");
    await store.watch(stackPool, { stack: at.stack }, engine.limits.lookAgainMs);
  }
  return reason ?? run.look();
}

class Look {
  readonly #engine: Engine;
  readonly #at: LookAt;
  readonly #sight: Sight;
  readonly #resource: VisitedResource;
  readonly #id: string;
  readonly #policy: Policy;
  #known: JsonObject | undefined;
  /** It is to be looked at as soon as the traversal is over. */
  isAwaited = false;

  constructor(engine: Engine, at: LookAt, sight: Sight, resource: VisitedResource) {
    this.#engine = engine;
    this.#at = at;
    this.#sight = sight;
    this.#resource = resource;
    this.#id = engine.random.id();
    this.#policy = policyOf(sight, sight.record);
  }

  /** What was last applied; nobody else may have it, who could change it. */
  get #applied(): JsonObject {
    this.#known ??= this.#resource.properties(this.#engine);
    return this.#known;
  }

  whyNotNow(cause: "event" | "poll", flowing: ReadonlySet<string>): Looked | undefined {
    const { lookAgainMs, relaxation } = this.#engine.limits;
    const { pollMs, graceMs, mode } = this.#policy;
    const { nowMs, moving, askedAtMs } = this.#sight;
    const field = (name: string) => this.#resource.field(name);
    const timeOf = (name: string) => Number(field(name) || 0);
    const held = field("holder") !== "" && timeOf("until") > nowMs;
    const busy = held || field("intent") !== "" || field("handed") !== "";
    if (busy && !moving) return later("busy", lookAgainMs);
    const { physicalId } = this.#at;
    if (!busy && physicalId !== undefined && field("physical") !== physicalId)
      return later("elsewhere", undefined);
    const observedAt = timeOf("observedAt");
    const askedAt = Math.max(askedAtMs, timeOf("wantedAt"));
    const asked = askedAt > observedAt;
    if (moving) {
      this.isAwaited = cause === "event" || asked || isPutOff(field("looked"));
      return later("traversal", Math.max(lookAgainMs, pollMs / 10));
    }
    if (!observable.has(this.#resource.state)) return later(this.#resource.state, this.#pause(pollMs));
    // Not even what an event told of; only what a person asks for.
    if (mode === "ignore" && askedAtMs <= observedAt) return later("ignored", this.#pause(pollMs));
    const earliest = Math.max(timeOf("appliedAt") + graceMs, timeOf("deadline"));
    if (earliest > nowMs) return later("grace", earliest - nowMs);
    // What is not in line has a pause of its own: until there is budget, or until it is tried again.
    if (cause === "poll" && !asked && this.#resource.state === "ready") {
      const pauseMs = flowing.has(field("type")) ? pollMs * relaxation : pollMs / 2;
      if (observedAt + pauseMs > nowMs)
        return later("fresh", Math.min(observedAt + pauseMs - nowMs, this.#pause(pollMs)));
    }
    return undefined;
  }

  async look(): Promise<Looked> {
    const type = this.#engine.types.get(this.#resource.field("type"));
    if (type === undefined) return later("type unknown here", this.#pause(this.#policy.pollMs));
    const physicalId = this.#resource.field("physical");
    let reading: Reading | undefined;
    try {
      reading = await this.#read(type, physicalId);
      if (this.#resource.state === "failed" && reading !== undefined) return this.#isThere();
      const ill =
        reading === undefined || type.check === undefined
          ? undefined
          : await this.#ask(type, (call, properties) => type.check?.(call, physicalId, properties));
      if (ill !== undefined) return this.#conclude("drifted", [health], true, reading, `check: ${ill}`);
    } catch (error) {
      if (this.#resource.state === "failed") return this.#isThere();
      const { state } = this.#resource;
      const before = state === "ready" || state === "unreadable" ? "" : `it was ${state}; `;
      return this.#conclude("unreadable", [], false, undefined, `${before}read: ${messageOf(error)}`);
    }
    const fights = this.#fights();
    const { nowMs } = this.#sight;
    const contested = contestedPaths(fights, nowMs, this.#policy.fight);
    if (reading === undefined) {
      const fought = contested.includes(existence);
      return this.#conclude(
        fought ? "contested" : "missing",
        [existence],
        true,
        undefined,
        "it is not there",
      );
    }
    const hidden = this.#resource.hiddenProperties(this.#engine);
    const all = driftOf(type, this.#applied, reading.properties, this.#policy.ignore, hidden);
    if (all.paths.length === 0) return this.#conclude("inLine", [], false, reading, "");
    const exempt = [...this.#policy.ignore, ...contested];
    const rest = driftOf(type, this.#applied, reading.properties, exempt, hidden);
    if (rest.paths.length > 0)
      return this.#conclude("drifted", rest.paths, rest.replace, reading, differs(rest.paths));
    return this.#conclude("contested", all.paths, false, reading, differs(all.paths));
  }

  /** It is for its goal to be tried again. */
  async #isThere(): Promise<Looked> {
    const { stack, resource } = this.#at;
    await this.#engine.store.fresh(stack, resource, this.#sight.record.revision ?? "", this.#sight.nowMs);
    return later("failed", this.#pause(this.#policy.pollMs));
  }

  async #read(type: ResourceType, physicalId: string): Promise<Reading | undefined> {
    const reading = await this.#ask(type, (call, properties) => type.read(call, physicalId, properties));
    if (reading === undefined) return undefined;
    const thing = checked(reading);
    const found: unknown = reading.properties;
    if (found === null || typeof found !== "object" || Array.isArray(found)) {
      throw new ProviderError("the provider returned no properties");
    }
    return { ...thing, properties: JSON.parse(JSON.stringify(found)) as JsonObject };
  }

  /** A provider that does not answer must not hold up the looks at others. */
  async #ask<T>(
    type: ResourceType,
    ask: (call: CallContext, properties: JsonObject) => Promise<T> | undefined,
  ): Promise<T | undefined> {
    const { clock, log } = this.#engine;
    const limitMs = type.timeoutMs("read", this.#applied) ?? readMs;
    // Most providers never ask for it.
    let abort: AbortController | undefined;
    const aborting = () => {
      abort ??= new AbortController();
      return abort;
    };
    const call: CallContext = {
      stack: this.#at.stack,
      stackName: this.#resource.field("stackName"),
      resource: this.#resource.field("name"),
      token: this.#resource.field("token") || this.#at.resource,
      get signal() {
        return aborting().signal;
      },
      deadlineMs: limitMs,
      log,
    };
    return new Promise((resolve, reject) => {
      const inTime = clock.after(limitMs, () => {
        reject(new ProviderError(`no answer within ${limitMs} ms`));
        aborting().abort(new Error("the read took too long"));
      });
      // What it does with the properties is its own affair.
      const answer = this.#answer(async () => ask(call, this.#resource.properties(this.#engine)));
      answer.then(resolve, reject).finally(inTime);
    });
  }

  /** What could not be read is not known, so that nothing of it could be masked in what the provider says. */
  async #answer<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      const hidden = this.#resource.hiddenProperties(this.#engine);
      if (hidden.length === 0) throw error;
      const why = `what its provider says is not told, because it may show what is hidden (${hidden.join(", ")})`;
      throw new ProviderError([codeOf(error), why].filter((part) => part !== undefined).join("; "));
    }
  }

  async #conclude(
    finding: Finding,
    paths: readonly string[],
    replace: boolean,
    reading: Reading | undefined,
    reason: string,
  ): Promise<Looked> {
    const { store, sealing } = this.#engine;
    const resource = this.#resource;
    const before = {
      told: resource.toldState,
      dirty: resource.context.dirty,
      drift: resource.field("drift"),
    };
    const text = resource.masked(this.#engine, reason, reading?.properties).slice(0, longestReason);
    const mends = this.#policy.mode === "repair";
    const command = resource.step({
      type: "observed",
      finding,
      replace,
      repair: mends,
      reason: text,
    });
    const moved = mends && finding === "inLine" && reading !== undefined && this.#isVisible(reading);
    const wants =
      command === "mend" ? "repair" : command === "reconverge" || moved ? "reconverge" : undefined;
    const observed =
      finding === "inLine" || reading === undefined
        ? ""
        : writeObject(
            sealing,
            reading.properties,
            resource.hiddenProperties(this.#engine).filter((name) => name in reading.properties),
          );
    const same =
      before.told === resource.toldState &&
      before.dirty === resource.context.dirty &&
      before.drift === paths.join("\n");
    if (same && wants === undefined) {
      const known = await store.fresh(
        this.#at.stack,
        this.#at.resource,
        this.#sight.record.revision ?? "",
        this.#sight.nowMs,
      );
      return this.#looked(
        finding,
        known ? "nothing new" : "changed",
        known ? undefined : this.#engine.limits.lookAgainMs,
      );
    }
    if (moved && reading !== undefined) await this.#follow(reading);
    const fights = noteChange(this.#fights(), paths, this.#sight.nowMs, this.#policy.fight);
    resource.set({ drift: paths.join("\n"), observed, fights: writeFights(fights) });
    const events = same ? [] : [this.#event(text)];
    return this.#store(finding, paths, reading, wants, events);
  }

  async #store(
    finding: Finding,
    paths: readonly string[],
    reading: Reading | undefined,
    wants: "repair" | "reconverge" | undefined,
    events: readonly LifecycleEvent[],
  ): Promise<Looked> {
    const { store, limits } = this.#engine;
    const { stack } = this.#at;
    const resource = this.#resource;
    const type = resource.field("type");
    const fields = resource.changes();
    const entered = resource.hasNewState();
    const index = resource.indexEntry(undefined);
    const call = this.#repairCall(reading);
    if (wants !== undefined || events.length > 0) await store.hint(stack, limits.graceMs);
    if (wants === "repair") {
      resource.step({ type: "repair" });
      resource.set({ intent: "update", tried: "" });
    }
    if (wants === "reconverge") await store.watch(stackPool, { stack }, limits.lookAgainMs);
    if (wants !== undefined) {
      const fights = noteRepair(this.#fights(), paths, this.#sight.nowMs, this.#policy.fight);
      resource.set({ fights: writeFights(fights) });
    }
    call.readClock();
    const outbox = events.map(toOutbox);
    const answer = await store.observe(stack, this.#at.resource, {
      look: this.#id,
      traversal: this.#sight.traversal,
      attempt: this.#sight.attempt,
      type,
      seenAtMs: this.#sight.nowMs,
      revision: this.#sight.record.revision ?? "",
      stackRevision: this.#sight.stackRevision,
      fields,
      index,
      events: outbox,
      finding,
      entered,
      ...(wants === undefined
        ? {}
        : {
            want: {
              how: wants,
              fields: resource.changes(),
              index: resource.indexEntry(undefined, wants === "reconverge"),
              callMs: call.deadlineMs,
              budget: this.#stackBudget(),
              typeBudget: this.#typeBudget(),
              lost: { limit: this.#policy.incident.missing, withinMs: this.#policy.incident.withinMs },
              incident: this.#incident(),
            },
          }),
    });
    if (unstored.has(answer.tag)) return this.#looked(finding, answer.tag, limits.lookAgainMs);
    if (await announceSafely(this.#engine, outbox)) {
      await store.clearOutbox(
        stack,
        outbox.map(({ id }) => id),
      );
    }
    return this.#carryOut(finding, answer, call);
  }

  async #carryOut(finding: Finding, answer: ObserveAnswer, call: ProviderCall): Promise<Looked> {
    const { store, limits } = this.#engine;
    const { stack } = this.#at;
    const { failures } = this.#resource.context;
    switch (answer.tag) {
      case "repairing":
        this.#resource.committed(undefined);
        this.#resource.committed(undefined);
        await repairInPlace(this.#engine, this.#visit(), this.#id, this.#resource, call);
        return this.#looked(finding, "repaired", this.#afterRepair());
      case "wished":
        await store.watch(stackPool, { stack }, 0);
        await reconverge(this.#engine, stack, this.#sight.nowMs);
        return this.#looked(finding, "traversal wished for", this.#afterWish());
      case "noted":
        if (answer.why === "incident") await flushOutbox(this.#engine, stack);
        if (answer.why === "traversal") return this.#looked(finding, answer.why, limits.lookAgainMs);
        return this.#looked(finding, answer.why, failures > 0 ? this.#afterRepair() : answer.ms);
      default:
        return this.#looked(finding, answer.tag, limits.lookAgainMs);
    }
  }

  /** The longer traversals do not mend it, whatever they fail on, the longer is the pause before the next. */
  #afterWish(): number {
    const differsAt = Number(this.#resource.field("differsAt") || this.#sight.nowMs);
    const { lookAgainMs } = this.#engine.limits;
    return Math.min(Math.max(lookAgainMs, this.#sight.nowMs - differsAt), this.#policy.pollMs);
  }

  #afterRepair(): number | undefined {
    const { failures } = this.#resource.context;
    if (failures === 0) return undefined;
    const { backoffMs, retryMaxMs } = this.#engine.limits;
    return Math.min(backoffMs * 2 ** (failures - 1), retryMaxMs);
  }

  #looked(finding: Finding, outcome: string, nextMs: number | undefined): Looked {
    return { finding, outcome, nextMs: nextMs ?? this.#pause(this.#policy.pollMs) };
  }

  /** Spread out, so that what was made together is not read together for ever. */
  #pause(ms: number): number {
    return ms * (1 - this.#engine.limits.jitter * this.#engine.random.fraction());
  }

  #repairCall(reading: Reading | undefined): ProviderCall {
    const observed = reading?.properties ?? {};
    const exempt = [
      ...this.#policy.ignore,
      ...contestedPaths(this.#fights(), this.#sight.nowMs, this.#policy.fight),
    ];
    const target = repairTarget(this.#applied, observed, exempt);
    return new ProviderCall(this.#engine, this.#visit(), this.#id, this.#resource, "update", {
      observed,
      target,
    });
  }

  #visit(): Visit {
    const { stack, resource } = this.#at;
    const { traversal, attempt } = this.#sight;
    return { stack, traversal, attempt, node: "", resource, pool: this.#resource.field("pool") };
  }

  #fights(): Fights {
    const field = (name: string) => this.#resource.field(name);
    return readFights({ fights: field("fights"), appliedAt: field("appliedAt") });
  }

  /** What others see of it is another thing than what was recorded. */
  #isVisible({ physicalId, attributes }: Reading): boolean {
    const output = this.#engine.sealing.fingerprint(`${physicalId}\n${canonicalJson(attributes)}`);
    return output !== this.#resource.field("output");
  }

  async #follow(reading: Reading): Promise<void> {
    const { store, limits } = this.#engine;
    const resource = this.#resource;
    if (reading.physicalId !== resource.field("physical")) {
      const where = { id: this.#at.resource, type: resource.field("type"), physicalId: reading.physicalId };
      await store.watch(
        resource.field("pool"),
        { stack: this.#at.stack, resource: where },
        limits.firstLookMs,
      );
    }
    resource.recordThing(this.#engine, reading);
  }

  #event(reason: string): LifecycleEvent {
    return resourceEvent(this.#engine, this.#visit(), this.#resource, this.#resource.toldState, reason);
  }

  #incident() {
    const limit = this.#policy.incident.missing;
    const reason =
      limit === 1
        ? "a thing is missing; it is not made again until somebody approves"
        : `at least ${limit} things are missing at once; none is made again until somebody approves`;
    const { stack } = this.#at;
    const id = this.#id;
    const event: LifecycleEvent = {
      type: "io.homeostat.api.v1.stack",
      id: `incident.${id}`,
      time: this.#engine.clock.timestamp(),
      stack,
      stackName: this.#resource.field("stackName"),
      traversal: this.#sight.traversal,
      what: "incident",
      reason,
    };
    return { id, text: JSON.stringify(event) };
  }

  #stackBudget(): Budget {
    return resolvePolicy(...documentsOf(this.#sight)).budget;
  }

  #typeBudget(): Budget | undefined {
    const type = this.#resource.field("type");
    const parts = documentsOf(this.#sight).flatMap((document) => document.types?.[type]?.budget ?? []);
    if (parts.length === 0) return undefined;
    return resolvePolicy(...parts.map((budget) => ({ budget }))).budget;
  }
}

/** Of the operating system, as `EACCES`: no value of anybody's. */
function codeOf(error: unknown): string | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ("code" in at && typeof at.code === "string" && Object.hasOwn(constants.errno, at.code))
      return at.code;
  }
  return undefined;
}

function later(outcome: string, nextMs: number | undefined): Looked {
  return { outcome, nextMs };
}

function differs(paths: readonly string[]): string {
  const named = paths.slice(0, namedPaths).join(", ");
  return `differs: ${named}${paths.length > namedPaths ? ` and ${paths.length - namedPaths} more` : ""}`;
}

function writeFights(fights: Fights): string {
  return fights.length === 0 ? "" : JSON.stringify(fights);
}

/** Documents that hold for a stack, the template's first. */
export function documentsOf({ goalPolicy, policy }: Pick<Sight, "goalPolicy" | "policy">): PolicyDocument[] {
  return [goalPolicy, policy].filter((text) => text !== "").map((text) => JSON.parse(text) as PolicyDocument);
}

/** The last look would have had it mended, and the next one will. `looked`: what observe.lua answered. */
export function isPutOff(looked: string | undefined): boolean {
  if (!looked) return false;
  const [, , why] = JSON.parse(looked) as string[];
  return why === "traversal" || why === "budget";
}

/** What the template says of a resource is on its record; what was said at run time goes over it. */
export function policyOf(
  stack: { policy?: string },
  resource: { type?: string; name?: string; policy?: string },
): Policy {
  const { type = "", name = "", policy } = resource;
  const parts: PolicyPart[] = policy ? [JSON.parse(policy) as PolicyPart] : [];
  if (stack.policy) parts.push(partOf(JSON.parse(stack.policy) as PolicyDocument, type, name));
  return resolvePolicy(...parts);
}
