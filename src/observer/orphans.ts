/**
 * Orphans: things that carry our marks and that no record knows, and things that a record has lost.
 *
 * Invariants
 * 1. Nothing is concluded from one look: between the first and the last there is more time than any call can take.
 * 2. Immediately before something is removed, what is recorded is read once more. What is busy is no orphan.
 * 3. What another deployment made is none of ours; what does not say who made it is removed only when a person wants it.
 * 4. What was left on purpose is not removed, nor are many at once: it is more likely that records were lost.
 */
import { createHash } from "node:crypto";
import { messageOf } from "../errors.js";
import type { JsonObject } from "../json.js";
import type { CallContext, Marked, Operation, ResourceType } from "../providers/provider.js";
import type { IndexEntry, Orphan, ResourceRecord } from "../store/store.js";
import type { Engine } from "../traversal/engine.js";
import { handOver } from "../traversal/hand-over.js";
import type { LifecycleEvent } from "../traversal/lifecycle-event.js";
import { toOutbox } from "../traversal/lifecycle-event.js";
import { checked } from "../traversal/provider-call.js";
import { VisitedResource } from "../traversal/visited-resource.js";
import { documentsOf } from "./look.js";
import { type Policy, partOf } from "./policy.js";

/** Findings that are kept, of all types. */
const keptOrphans = 10_000;
/** Things that are compared with what is recorded at a time. */
const judgedAtOnce = 200;
/** So many of our things of a type at least, and more than a share of them, are not removed but told of. */
const manyOrphans = 5;
const manyShare = 1 / 3;
/** What was left on purpose is forgotten when nobody saw it for so long. */
const retainedMs = 30 * 24 * 3600_000;
const longestListMs = 600_000;
const longestReason = 2_000;
const readFields = ["type", "physical", "tombstone", "intent", "handed", "holder"];
/** What a thing that is given back goes with. */
const lostFields = ["type", "pool", "snapshot", "tried", "triedHidden", "properties", "hidden"];
const operations: readonly Operation[] = ["create", "read", "update", "delete", "find"];

/** Under this name, the last time that a person wanted something removed. */
export const askedNote = "asked";

type Verdict = { why: Orphan["why"]; physical?: string };
type Found = Pick<
  Orphan,
  "type" | "physicalId" | "stack" | "stackName" | "resource" | "token" | "deployment"
>;

/** Whether this process works for the deployment that the database belongs to. */
async function isOurs({ store, deployment, log }: Engine): Promise<boolean> {
  const stored = await store.deployment();
  if (stored !== undefined && stored === deployment) return true;
  log.warn({}, "the database is not the one that this process began with; what is there is left alone");
  return false;
}

function orphanId({ type, physicalId, token }: Pick<Found, "type" | "physicalId" | "token">): string {
  return createHash("sha256").update(`${type}\n${physicalId}\n${token}`).digest("hex").slice(0, 12);
}

/** Looks at everything that this pool's types list, and stores what is not as it should be. */
export async function findOrphans(engine: Engine, pool: string, signal?: AbortSignal): Promise<void> {
  if (!(await isOurs(engine))) return;
  for (const type of typesOf(engine, pool)) {
    if (signal?.aborted) return;
    try {
      await findOfType(engine, type, signal);
    } catch (error) {
      if (signal?.aborted) return;
      engine.log.warn({ type: type.type, error: messageOf(error) }, "could not look for orphans");
    }
  }
}

function typesOf({ types }: Engine, pool: string): ResourceType[] {
  return types
    .names()
    .flatMap((name) => types.get(name) ?? [])
    .filter((type) => type.pool === pool && type.list !== undefined);
}

async function findOfType(engine: Engine, type: ResourceType, signal?: AbortSignal): Promise<void> {
  const { store } = engine;
  // Before anything is listed: what was left on purpose by then is told from what is found.
  const retained = await store.retained();
  const before = await store.orphans();
  const seenTokens = new Set<string>();
  const suspicious = new Map<string, Found & Pick<Orphan, "why">>();
  let ours = 0;
  await eachListed(engine, type, signal, async (things) => {
    const verdicts = await judge(engine, type, things);
    for (const [i, found] of things.entries()) {
      if (found.deployment === engine.deployment) ours += 1;
      if (retained[found.token] !== undefined) seenTokens.add(found.token);
      const why = verdicts[i]?.why;
      if (why === undefined) continue;
      const isRetained = why !== "lost" && retained[found.token] !== undefined;
      suspicious.set(orphanId(found), { ...found, why: isRetained ? "retained" : why });
    }
  });
  const orphans = [...suspicious.values()].filter(
    ({ why, deployment }) => deployment === engine.deployment && why !== "retained" && why !== "lost",
  ).length;
  await hold(engine, type, orphans, ours);
  const { nowMs } = await store.noteOrphans(new Map([...suspicious].slice(0, keptOrphans)), keptOrphans);
  const gone = [...before].filter(([id, { type: of }]) => of === type.type && !suspicious.has(id));
  await store.forgetOrphans(gone.map(([id]) => id));
  await lookAfterRetained(engine, type, retained, seenTokens, nowMs);
}

/** In portions. @throws Error when the listing did not come to its end */
function eachListed(
  engine: Engine,
  type: ResourceType,
  stopped: AbortSignal | undefined,
  take: (things: Found[]) => Promise<void>,
): Promise<void> {
  const { log, deployment } = engine;
  return within(engine, longestListMs, stopped, async (signal) => {
    const listed = type.list?.({ signal, log, ...(deployment === undefined ? {} : { deployment }) }) ?? [];
    let portion: Found[] = [];
    for await (const marked of listed) {
      signal.throwIfAborted();
      const found = foundOf(engine, type, marked);
      if (found === undefined) continue;
      if (found.deployment !== "" && found.deployment !== deployment) continue;
      portion.push(found);
      if (portion.length < judgedAtOnce) continue;
      await take(portion);
      portion = [];
    }
    await take(portion);
  });
}

/** Somebody else's code may ignore its signal. @throws Error when the time is over, or this observer is stopped */
async function within<T>(
  { clock }: Engine,
  limitMs: number,
  stopped: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  stopped?.throwIfAborted();
  let done = false;
  const abort = new AbortController();
  const wake = new AbortController();
  const stop = () => wake.abort();
  stopped?.addEventListener("abort", stop, { once: true });
  const late = clock.sleep(limitMs, wake.signal).then(() => {
    if (done) return new Promise<never>(() => {});
    const error = new Error(stopped?.aborted ? "stopped" : `no answer within ${Math.ceil(limitMs)} ms`);
    abort.abort(error);
    throw error;
  });
  try {
    return await Promise.race([work(abort.signal), late]);
  } finally {
    done = true;
    wake.abort();
    stopped?.removeEventListener("abort", stop);
  }
}

/** A provider is somebody else's code. Undefined: what it says of this one is of no use. */
function foundOf({ log }: Engine, type: ResourceType, marked: Marked): Found | undefined {
  const text = (value: unknown) => (typeof value === "string" ? value : "");
  const physicalId = text(marked?.physicalId);
  if (physicalId === "" || text(marked.token) === "") {
    log.warn({ type: type.type, physicalId }, "something is listed without a physical id or token");
    return undefined;
  }
  return {
    type: type.type,
    physicalId,
    stack: text(marked.stack),
    stackName: text(marked.stackName),
    resource: text(marked.resource),
    token: marked.token,
    deployment: text(marked.deployment),
  };
}

/** What is wrong with each; undefined when nothing is, or when it cannot be said now. */
async function judge(
  engine: Engine,
  type: ResourceType,
  things: readonly Found[],
): Promise<(Verdict | undefined)[]> {
  const verdicts: (Verdict | undefined)[] = things.map(() => undefined);
  for (const stack of new Set(things.map((found) => found.stack))) {
    const places = [...things.keys()].filter((at) => things[at]?.stack === stack);
    const found = places.map((at) => things[at] as Found);
    // Once for all of them: a stack that lost many records may be large.
    let index: Promise<Map<string, IndexEntry>> | undefined;
    const indexOf = () => {
      index ??= engine.store.index(stack);
      return index;
    };
    try {
      const records = await readRecords(
        engine,
        stack,
        found.map(({ token }) => token),
      );
      for (const [i, at] of places.entries())
        verdicts[at] = await judgeOne(engine, type, found[i] as Found, records[i], indexOf);
    } catch (error) {
      engine.log.warn(
        { stack, error: messageOf(error) },
        "could not tell whether things of a stack are orphans",
      );
    }
  }
  return verdicts;
}

function readRecords({ store }: Engine, stack: string, ids: readonly string[]) {
  return store.resources(stack, ids, readFields);
}

async function judgeOne(
  engine: Engine,
  type: ResourceType,
  found: Found,
  record: ResourceRecord | undefined,
  indexOf: () => Promise<ReadonlyMap<string, IndexEntry>>,
): Promise<Verdict | undefined> {
  const isThere = record !== undefined && record.tombstone === "";
  if (isThere && record.physical === found.physicalId) return undefined;
  if (isThere && (isBusy(record) || record.type !== found.type)) return undefined;
  if (await isKnownElsewhere(engine, type, found, await indexOf())) return undefined;
  if (isThere && record.physical === "") return { why: "lost" };
  if (isThere) return { why: "another thing", physical: record.physical ?? "" };
  // Also one of a newer version, which throws.
  return { why: (await engine.store.stack(found.stack)) === undefined ? "stack gone" : "resource gone" };
}

function isBusy({ intent, handed, holder }: ResourceRecord): boolean {
  return [intent, handed, holder].some((field) => (field ?? "") !== "");
}

/** A thing that is one too many has a record of its own, and anything may have come to be known under its physical id. */
async function isKnownElsewhere(
  engine: Engine,
  type: ResourceType,
  found: Found,
  index: ReadonlyMap<string, IndexEntry>,
): Promise<boolean> {
  const { store } = engine;
  const strays = [...index].filter(([, { name }]) => name === found.resource).map(([id]) => id);
  const hints = await store.resourcesOf(type.pool, found.type, found.physicalId);
  const places = [
    { stack: found.stack, ids: strays },
    ...hints.map(({ stack, resource }) => ({ stack, ids: [resource] })),
  ];
  for (const { stack, ids } of places) {
    const records = await readRecords(engine, stack, ids);
    const isIt = (record: ResourceRecord | undefined) =>
      record?.tombstone === "" && record.type === found.type && record.physical === found.physicalId;
    if (records.some(isIt)) return true;
  }
  return false;
}

/** Many at once are told of, once, and not removed. */
async function hold(
  { store, bus, clock }: Engine,
  { type }: ResourceType,
  orphans: number,
  ours: number,
): Promise<void> {
  const name = heldNote(type);
  const isHeld = (await store.sweepNote(name)) !== "";
  const isMany = orphans >= manyOrphans && orphans > ours * manyShare;
  // What is held stays held until nothing is left of it: that few are left is no reason to remove these.
  const holds = isHeld ? orphans > 0 : isMany;
  if (holds === isHeld) return;
  const now = clock.timestamp();
  if (holds) {
    const reason = `${orphans} of ${ours} things of this type have no record: none is removed by itself; were records lost?`;
    const event: LifecycleEvent = {
      type: "io.homeostat.api.v1.orphans",
      id: `orphans.${type}.${now}`,
      time: now,
      stack: "",
      stackName: "",
      resource: type,
      traversal: 0,
      what: "incident",
      reason,
    };
    await bus.announce([toOutbox(event)]);
  }
  await store.noteSweep(name, holds ? now : "");
}

export function heldNote(type: string): string {
  return `held:${type}`;
}

async function lookAfterRetained(
  { store }: Engine,
  { type }: ResourceType,
  retained: Readonly<Record<string, string>>,
  seen: ReadonlySet<string>,
  nowMs: number,
): Promise<void> {
  const own = Object.entries(retained).flatMap(([token, note]) => {
    const [of, seenMs = ""] = note.split("\n");
    return of === type ? [[token, seenMs] as const] : [];
  });
  const due = own.filter(([token, seenMs]) => seen.has(token) || seenMs === "");
  await store.noteRetained(Object.fromEntries(due.map(([token]) => [token, `${type}\n${nowMs}`])));
  const old = own.filter(([token, ms]) => !seen.has(token) && ms !== "" && Number(ms) + retainedMs < nowMs);
  await store.forgetRetained(old.map(([token]) => token));
}

/**
 * Does what is to be done about what was found. Answers in how many ms to come again for what the budget did not allow.
 * `decided`: only what a person wants to be removed.
 */
export async function actOnOrphans(
  engine: Engine,
  pool: string,
  policy: Policy["orphans"],
  which: "all" | "decided",
  signal?: AbortSignal,
): Promise<number | undefined> {
  if (!(await isOurs(engine))) return undefined;
  const orphans = await engine.store.orphans();
  const pauses: number[] = [];
  for (const type of typesOf(engine, pool)) {
    const held = await engine.store.sweepNote(heldNote(type.type));
    for (const [id, orphan] of orphans) {
      if (signal?.aborted) return undefined;
      if (orphan.type !== type.type || (which === "decided" && orphan.decided !== true)) continue;
      if (orphan.lastSeen - orphan.firstSeen < certainAfterMs(engine, type)) continue;
      const run = new Removal(engine, type, id, orphan, { policy, held: held !== "" });
      try {
        const later = await run.act(signal);
        if (later !== undefined) pauses.push(later.againMs);
        if (later?.spent === true) break;
      } catch (error) {
        engine.log.warn({ orphan: id, error: messageOf(error) }, "could not look after an orphan");
      }
    }
  }
  return pauses.length === 0 ? undefined : Math.min(...pauses);
}

/** In how many ms all that was found can be certain, once it is seen again; undefined when all is. */
export async function uncertainMs(engine: Engine, pool: string): Promise<number | undefined> {
  const orphans = [...(await engine.store.orphans()).values()];
  const left = typesOf(engine, pool).flatMap((type) =>
    orphans
      .filter((orphan) => orphan.type === type.type)
      .map(({ firstSeen, lastSeen }) => certainAfterMs(engine, type) - (lastSeen - firstSeen)),
  );
  const longest = left.reduce((most, ms) => Math.max(most, ms), 0);
  return longest > 0 ? longest : undefined;
}

/** Longer than any call can last and be handed over, so that what is looked at twice is nobody's in between. */
export function certainAfterMs({ limits }: Engine, type: ResourceType): number {
  const { leaseMs, graceMs, abortGraceMs } = limits;
  return (
    Math.max(...operations.map((operation) => type.deadlineMs(operation))) + leaseMs + graceMs + abortGraceMs
  );
}

interface Rules {
  policy: Policy["orphans"];
  /** Too many were found at once. */
  held: boolean;
}

class Removal {
  readonly #engine: Engine;
  readonly #type: ResourceType;
  readonly #id: string;
  readonly #orphan: Orphan;
  readonly #rules: Rules;

  constructor(engine: Engine, type: ResourceType, id: string, orphan: Orphan, rules: Rules) {
    this.#engine = engine;
    this.#type = type;
    this.#id = id;
    this.#orphan = orphan;
    this.#rules = rules;
  }

  /** When it is to go and cannot now: in how many ms to come again. `spent`: nor can any other of its type. */
  async act(signal: AbortSignal | undefined): Promise<{ againMs: number; spent: boolean } | undefined> {
    const { store, limits, random, clock } = this.#engine;
    const verdict = await this.#judge();
    if (verdict === undefined) return void (await store.forgetOrphans([this.#id]));
    await this.#tell();
    const stack = await store.stack(this.#orphan.stack);
    if ((stack?.unsettled ?? "") !== "") return { againMs: limits.sweepMs, spent: false };
    if ((stack?.paused ?? "") !== "" && this.#orphan.decided !== true) return undefined;
    if (verdict.why === "lost") return void (await this.#giveBack());
    if (!this.#isToGo(stack)) return undefined;
    const holdMs = this.#type.deadlineMs("delete") + limits.graceMs;
    const takenAt = clock.monotonicMs();
    const taken = await store.takeOrphan(
      [this.#id, this.#orphan.type],
      random.id(),
      holdMs,
      limits.orphansPerMinute,
    );
    if (taken.tag === "budget") return { againMs: taken.ms, spent: true };
    if (taken.tag !== "ok") return undefined;
    if ((await this.#judge()) === undefined) return void (await store.forgetOrphans([this.#id]));
    const leftMs = this.#type.deadlineMs("delete") - (clock.monotonicMs() - takenAt);
    if (leftMs > 0) await this.#remove(leftMs, signal);
    return undefined;
  }

  async #judge(): Promise<Verdict | undefined> {
    const [verdict] = await judge(this.#engine, this.#type, [this.#orphan]);
    if (verdict?.why !== "another thing") return verdict;
    // A thing that has another physical id by now is still the record's own.
    const record = await this.#record();
    const own = await this.#read(verdict.physical ?? "", record.properties(this.#engine));
    return own?.physicalId === this.#orphan.physicalId ? undefined : verdict;
  }

  #isToGo(stack: ResourceRecord | undefined): boolean {
    const { why, deployment, decided, type, resource } = this.#orphan;
    if (decided === true) return true;
    const { policy, held } = this.#rules;
    if (held || why === "retained" || deployment === "" || deployment !== this.#engine.deployment)
      return false;
    const documents = documentsOf({ goalPolicy: stack?.goalPolicy ?? "", policy: stack?.policy ?? "" });
    const said = documents.map((document) => partOf(document, type, resource).orphans);
    return (said.findLast((word) => word !== undefined) ?? policy) === "remove";
  }

  /** The engine takes it up, or deletes it if nobody wants it any more (R10). */
  async #giveBack(): Promise<void> {
    const { stack, token, physicalId } = this.#orphan;
    const resource = await this.#record();
    const thing = await this.#read(physicalId, resource.triedOrApplied(this.#engine));
    if (thing?.physicalId !== physicalId) return;
    const visit = { stack, traversal: 0, attempt: "", node: "", resource: token, pool: this.#type.pool };
    // Whose call made it nobody knows: it ends no call that is in flight by now.
    await handOver(this.#engine, visit, this.#engine.random.id(), resource, checked(thing));
  }

  async #record(): Promise<VisitedResource> {
    const { stack, stackName, token } = this.#orphan;
    const [record] = await this.#engine.store.resources(stack, [token], lostFields);
    return new VisitedResource({ ...record, stackName });
  }

  async #remove(leftMs: number, stopped: AbortSignal | undefined): Promise<void> {
    const { store } = this.#engine;
    const limitMs = Math.min(leftMs, this.#type.timeoutMs("delete", {}) ?? leftMs);
    try {
      await within(this.#engine, limitMs, stopped, (signal) =>
        this.#type.delete(this.#call(signal, leftMs), this.#orphan.physicalId, {}),
      );
    } catch (error) {
      const failure = `delete: ${messageOf(error)}`.slice(0, longestReason);
      await store.changeOrphans(new Map([[this.#id, { failure }]]));
      return;
    }
    await this.#announce("orphan-removed");
    await store.forgetOrphans([this.#id]);
    await store.forgetRetained([this.#orphan.token]);
  }

  #read(physicalId: string, properties: JsonObject) {
    const limitMs = this.#type.timeoutMs("read", properties) ?? this.#type.deadlineMs("read");
    return within(this.#engine, limitMs, undefined, (signal) =>
      this.#type.read(this.#call(signal, limitMs), physicalId, properties),
    );
  }

  #call(signal: AbortSignal, deadlineMs: number): CallContext {
    const { stack, stackName, resource, token, deployment } = this.#orphan;
    const { log } = this.#engine;
    return { stack, stackName, resource, token, deployment, signal, deadlineMs, log };
  }

  async #tell(): Promise<void> {
    const { why, told } = this.#orphan;
    if (told === true || why === "retained") return;
    await this.#announce("orphan");
    await this.#engine.store.changeOrphans(new Map([[this.#id, { told: true }]]));
  }

  #announce(what: "orphan" | "orphan-removed"): Promise<void> {
    const { type, stack, stackName, resource, token, why } = this.#orphan;
    const event: LifecycleEvent = {
      type: "io.homeostat.api.v1.resource",
      id: `${what}.${this.#id}.${this.#orphan.firstSeen}`,
      time: this.#engine.clock.timestamp(),
      stack,
      stackName,
      resource,
      resourceId: token,
      traversal: 0,
      what,
      reason: `orphan ${this.#id}, ${type}: ${whys[why]}`,
    };
    return this.#engine.bus.announce([toOutbox(event)]);
  }
}

/** For people. */
export const whys: Readonly<Record<Orphan["why"], string>> = {
  "stack gone": "its stack is gone",
  "resource gone": "its resource is gone",
  "another thing": "its resource has another thing",
  lost: "its resource does not know of it",
  retained: "it was left on purpose",
};
