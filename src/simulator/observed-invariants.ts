/**
 * What must hold of observation in every run without being asked. Like the other invariants these are judged by the
 * physical world, the calls and Redis, never by what the engine says it saw.
 */
import { canonicalJson, type Json, type JsonObject, jsonEqual } from "../json.js";
import { unstored } from "../observer/look.js";
import { matchesPath, propertyPath } from "../observer/paths.js";
import { type Policy, type PolicyDocument, partOf, resolvePolicy } from "../observer/policy.js";
import type { CallContext } from "../providers/provider.js";
import type {
  Budget,
  Commit,
  CommitAnswer,
  Observation,
  ObserveAnswer,
  ResourceRecord,
  Visit,
} from "../store/store.js";
import { bindDefinition, templatePolicy } from "../template/template.js";
import { readObject } from "../traversal/record.js";
import { type Goals, type KnownGoal, resolve } from "./goals.js";
import type { KnownWorld } from "./known-world.js";
import type { SettledStack } from "./reality.js";
import type { Life, Looker, Simulation } from "./simulation.js";
import type { PhysicalThing } from "./world.js";

/** What a read saw of a thing that the engine had made so. */
interface Sighting {
  found: JsonObject | Error | undefined;
  applied: JsonObject;
}

/** Reality that somebody else changed, and that is not mended yet. */
interface OpenDrift {
  at: number;
  token: string;
  stack: string;
  name: string;
}

/** Of one look's life the reads that it may have concluded from: several looks may be under way. */
const readsKept = 4;

/** Beyond the poll interval: what leases, deadlines, holds and back-off may take after the last fault. */
const allowanceMs = 240_000;

/** Path of a thing that is missing. */
const existence = "(existence)";

export class ObservedInvariants implements Looker {
  readonly #simulation: Simulation;
  readonly #known: KnownWorld;
  readonly #goals: Goals;
  /** What the engine last made a thing to be, by token. */
  readonly #applied = new Map<string, JsonObject>();
  readonly #reads = new Map<Life, Map<string, Sighting[]>>();
  readonly #lastRead = new Map<string, Sighting>();
  readonly #judged = new Set<string>();
  readonly #approved = new Set<string>();
  /** Wishes that a resource was granted, by stack, resource and wish: seen again, one costs nothing more. */
  readonly #granted = new Set<string>();
  readonly #buckets = new Map<string, { tokens: number; at: number }>();
  /** When a path of a resource was repaired, by stack, name and path. */
  readonly #repaired = new Map<string, number[]>();
  readonly #open = new Map<string, OpenDrift>();
  /** When something other than looks last went on in a stack. */
  readonly #busyAt = new Map<string, number>();
  /** When a person last asked for something: what was right before that may look wrong now. */
  #askedAt = 0;
  /** Policies that were set at run time, by stack. */
  readonly #runTime = new Map<string, string>();

  constructor(simulation: Simulation, goals: Goals, known: KnownWorld) {
    this.#simulation = simulation;
    this.#known = known;
    this.#goals = goals;
  }

  // --- what happens

  read({ token }: CallContext, found: JsonObject | Error | undefined, life: Life): void {
    const sighting = { found, applied: this.#applied.get(token) ?? {} };
    const reads = this.#reads.get(life) ?? new Map<string, Sighting[]>();
    reads.set(token, [...(reads.get(token) ?? []), sighting].slice(-readsKept));
    this.#reads.set(life, reads);
    this.#lastRead.set(token, sighting);
  }

  changed(
    { stack, resource, token }: CallContext,
    physicalId: string,
    before: JsonObject | undefined,
    life: Life,
  ): void {
    const after = this.#simulation.world.things.get(physicalId)?.properties;
    if (after === undefined) {
      this.#applied.delete(token);
      return;
    }
    this.#applied.set(token, after);
    if (life.role === "observer" && before !== undefined) this.#noteRepair(stack, resource, before, after);
  }

  drifted({ id, token, stack, name }: PhysicalThing): void {
    this.#open.set(id, { at: this.#simulation.now, token, stack, name });
  }

  /** A person has asked for something: what was so before need not be so any more. */
  asked(): void {
    this.#askedAt = this.#simulation.now;
  }

  approved(resources: readonly string[]): void {
    for (const resource of resources) this.#approved.add(resource);
  }

  async observed(
    stack: string,
    resource: string,
    look: Observation,
    { tag }: ObserveAnswer,
    life: Life,
  ): Promise<void> {
    const { attributes, physical = "" } = look.fields;
    if (!unstored.has(tag) && attributes !== undefined) {
      this.#known.recorded(physical, readObject(this.#simulation.sealing, attributes));
    }
    const { store } = this.#simulation;
    const counts = !unstored.has(tag) && look.finding !== "unreadable";
    if (counts) await this.#checkCurrent(stack, resource, life, new Map(this.#applied));
    if ((tag !== "repairing" && tag !== "wished") || this.#judged.has(look.look)) return;
    this.#judged.add(look.look);
    const [record = {}] = await store.resources(
      stack,
      [resource],
      ["token", "name", "type", "policy", "wished"],
    );
    const stored = (await store.stack(stack)) ?? {};
    this.#runTime.set(stack, stored.policy ?? "");
    const about = { stack, resource, look, name: record.name ?? "", type: record.type ?? "" };
    // What others see of it is another thing than was recorded: it is they who are visited.
    const follows = tag === "wished" && (JSON.parse(look.index) as { state: string }).state === "ready";
    const goal = this.#goals.at(stack, look.traversal);
    const policy = policyOf(goal, about.name, stored, about.type);
    this.#checkMayRepair(about, stored, goal, policy);
    const wish = `${stack} ${resource} ${record.wished}`;
    if (follows || (tag === "wished" && this.#granted.has(wish))) return;
    if (tag === "wished") this.#granted.add(wish);
    if (look.finding === "missing") await this.#checkIncident(about);
    const reads = this.#reads.get(life)?.get(record.token || resource) ?? [];
    this.#checkReason(about.name, reads, policy);
    const approved = look.finding === "missing" && this.#approved.delete(resource);
    if (!approved) this.#spend(stack, "the stack", stackBudget(goal, stored));
    const ofType = typeBudget(goal, stored, about.type);
    if (!approved && ofType !== undefined) this.#spend(`${stack} ${about.type}`, about.type, ofType);
  }

  /** 12. A finding counts only for what the thing was made to be when it was read (O1). */
  async #checkCurrent(
    stack: string,
    resource: string,
    life: Life,
    made: ReadonlyMap<string, JsonObject>,
  ): Promise<void> {
    const [record] = await this.#simulation.store.resources(stack, [resource], ["token", "name"]);
    const token = record?.token || resource;
    const applied = made.get(token);
    const reads = this.#reads.get(life)?.get(token) ?? [];
    if (applied === undefined || reads.length === 0) return;
    if (reads.some((sighting) => sighting.applied === applied)) return;
    this.#violate(12, `what was read of ${record?.name ?? resource} counts, though it was changed since`);
  }

  /** 14. Not while it is paused, being deleted, under another policy, against a traversal that is under way. */
  #checkMayRepair(
    { stack, name, type, look }: { stack: string; name: string; type: string; look: Observation },
    stored: ResourceRecord,
    goal: KnownGoal | undefined,
    policy: Policy,
  ): void {
    const isWanted = goal?.template.resources.has(name) === true;
    // What a goal that FAILED did not get to is kept as an earlier one said.
    const others = stored.status === "FAILED" ? this.#goals.all(stack) : [];
    const isRepaired = [policy, ...others.map((other) => policyOf(other, name, stored, type))].some(
      ({ mode }) => mode === "repair",
    );
    // What a goal that FAILED could not let go of still stands for something.
    const wrong = [
      isRepaired ? "" : `under the policy ${policy.mode}`,
      (stored.paused ?? "") === "" ? "" : "while its stack is paused",
      stored.traversal === String(look.traversal) && stored.unsettled !== ""
        ? "against a traversal under way"
        : "",
      stored.action === "delete" || !(isWanted || stored.status === "FAILED")
        ? "although nobody wants it"
        : "",
    ].find((one) => one !== "");
    if (wrong !== undefined) this.#violate(14, `${name} is to be repaired ${wrong}`);
  }

  async #checkIncident({ stack, resource, name }: { stack: string; resource: string; name: string }) {
    if (this.#approved.has(resource) || (await this.#simulation.store.incident(stack)) === undefined) return;
    this.#violate(14, `${name} is to be repaired under an open incident`);
  }

  /** 12, 17. The look that has it repaired read that it is not what it was made. */
  #checkReason(name: string, reads: readonly Sighting[], policy: Policy): void {
    const differ = ({ found, ...sighting }: Sighting) =>
      !(found instanceof Error) && pathsOf({ found, ...sighting }, policy.ignore).length > 0;
    if (reads.some(differ)) return;
    if (reads.length === 0 || reads.at(-1)?.found instanceof Error) {
      this.#violate(17, `${name} is to be repaired, although it could not be read`);
    } else this.#violate(12, `${name} is to be repaired, and was as it was made`);
  }

  /** 13. A bucket of tokens of its own, with the budget of the moment. */
  #spend(key: string, what: string, { burst, perMinute }: Budget): void {
    const { now } = this.#simulation;
    const { tokens, at } = this.#buckets.get(key) ?? { tokens: burst, at: now };
    const left = Math.min(burst, tokens + ((now - at) * perMinute) / 60_000) - 1;
    this.#buckets.set(key, { tokens: left, at: now });
    if (left < -0.001) this.#violate(13, `the budget of ${what} is overdrawn`);
  }

  /** 15. No path more often than is said within the time that is said. */
  #noteRepair(stack: string, name: string, before: JsonObject, after: JsonObject): void {
    const goal = this.#goals.newest(stack);
    const policy = policyOf(goal, name, { policy: this.#runTime.get(stack) ?? "" }, "Sim::Resource");
    for (const path of differing(before, after)) {
      if (policy.ignore.some((pattern) => matchesBelow(pattern, path))) {
        this.#violate(12, `the repair of ${name} changes ${path}, which is not compared`);
      }
      this.#noteFight(stack, name, path, policy);
    }
  }

  #noteFight(stack: string, name: string, path: string, { fight }: Policy): void {
    const { now } = this.#simulation;
    const key = `${stack} ${name} ${path}`;
    const times = [...(this.#repaired.get(key) ?? []), now].slice(-fight.repairs - 1);
    this.#repaired.set(key, times);
    const [first = now] = times;
    if (times.length <= fight.repairs || now - first >= fight.withinMs || this.#askedAt > first) return;
    this.#violate(15, `${path} of ${name} is repaired ${times.length} times within ${(now - first) / 1000}s`);
  }

  async committed(visit: Visit, commit: Commit, answer: CommitAnswer): Promise<void> {
    const { stack, node, resource, traversal } = visit;
    if (node !== "") this.#busyAt.set(stack, this.#simulation.now);
    const key = `${commit.commit} ${commit.effect}`;
    if (commit.effect !== "replace" || answer.tag !== "ok" || this.#judged.has(key)) return;
    this.#judged.add(key);
    const goal = this.#goals.at(stack, traversal);
    if (goal?.action === "observe") await this.#checkReplacement(stack, resource, goal);
  }

  /** 12, 17. A traversal of the observer's replaces what is lost or spoiled, and what depends on such a thing. */
  async #checkReplacement(stack: string, resource: string, goal: KnownGoal): Promise<void> {
    const { store, world } = this.#simulation;
    const fields = ["token", "name", "type", "physical"];
    const [record = {}] = await store.resources(stack, [resource], fields);
    const stored = (await store.stack(stack)) ?? {};
    const { name = "", type = "" } = record;
    if ((JSON.parse(stored.options || "{}") as { replace?: string[] }).replace?.includes(resource)) return;
    const token = record.token || resource;
    const applied = this.#applied.get(token);
    const definition = goal.template.resources.get(name);
    const things = [...world.things.values()].filter((thing) => thing.stack === stack);
    const wanted =
      definition && resolve(goal, definition, (other) => things.findLast((one) => one.name === other));
    if (applied === undefined || wanted === undefined || isFixedOther(applied, wanted)) return;
    const sighting = this.#lastRead.get(token);
    if (sighting?.found instanceof Error) {
      return this.#violate(17, `${name} is replaced, although it could not be read`);
    }
    const policy = policyOf(goal, name, stored, type);
    if (sighting?.found === undefined && sighting !== undefined) {
      // Its replacement has come to nothing and is made once more: nobody fought it.
      const loss = `${stack} ${resource} is lost`;
      if (this.#judged.has(loss)) return;
      this.#judged.add(loss);
      return this.#noteFight(stack, name, existence, policy);
    }
    const paths = sighting === undefined ? [] : pathsOf(sighting, policy.ignore);
    if (paths.some((path) => path.startsWith('"!') || path.startsWith("!"))) return;
    this.#violate(12, `${name} is replaced, and was as it was made`);
  }

  // --- what must have become of it

  async checkSettled(stacks: readonly SettledStack[]): Promise<void> {
    await this.checkMended();
    const { observers, held } = this.#simulation;
    if (held.length > 0) return;
    if (observers.queue.length > 0 || observers.delayed.length > 0 || observers.isBusy) {
      this.#violate(5, "there are reports that nobody acknowledged");
    }
    for (const settled of stacks) {
      const { stack, record } = settled;
      if (record === undefined) continue;
      await this.#checkScheduled(settled);
      const isAtRest =
        record.status === "COMPLETE" && (record.wish ?? "") === "" && (record.paused ?? "") === "";
      const goal = this.#goals.newest(stack);
      if (isAtRest && goal !== undefined) this.#checkDependents(settled, goal, record);
    }
  }

  /** 16. Whatever drifted under `repair` is mended within a poll interval of the last fault. */
  async checkMended(): Promise<void> {
    const { world } = this.#simulation;
    for (const [id, drift] of this.#open) {
      const thing = world.things.get(id);
      const applied = this.#applied.get(drift.token);
      const record = await this.#simulation.store.stack(drift.stack);
      const goal = this.#goals.newest(drift.stack);
      const policy = policyOf(goal, drift.name, record ?? {}, "Sim::Resource");
      const paths =
        applied === undefined ? [] : pathsOf({ found: thing?.properties, applied }, policy.ignore);
      if (paths.length === 0 || !(await this.#isRecorded(drift, id))) this.#open.delete(id);
      else if (record !== undefined) await this.#checkInTime(drift, record, policy, paths);
    }
  }

  async #isRecorded({ stack }: OpenDrift, physicalId: string): Promise<boolean> {
    const { store } = this.#simulation;
    const records = await store.resources(stack, [...(await store.index(stack)).keys()], ["physical"]);
    return records.some((record) => record?.physical === physicalId);
  }

  async #checkInTime(
    { at, stack, name }: OpenDrift,
    record: ResourceRecord,
    policy: Policy,
    paths: readonly string[],
  ): Promise<void> {
    const { now, lastFaultAt, held } = this.#simulation;
    const isFree =
      held.length === 0 &&
      record.status === "COMPLETE" &&
      (record.paused ?? "") === "" &&
      record.action !== "delete" &&
      policy.mode === "repair";
    if (!isFree || (this.#buckets.get(stack)?.tokens ?? 1) < 1) return;
    if (paths.includes(existence) && (await this.#isHeld(stack))) return;
    const fought = paths.some((path) => {
      return (this.#repaired.get(`${stack} ${name} ${path}`) ?? []).length >= policy.fight.repairs;
    });
    if (fought) return;
    const since = Math.max(at, lastFaultAt, this.#busyAt.get(stack) ?? 0, this.#askedAt);
    if (now - since <= policy.pollMs + policy.graceMs + allowanceMs) return;
    this.#violate(
      16,
      `${name} differs for ${(now - since) / 1000}s in ${paths.join(", ")}, and is not mended`,
    );
  }

  /** An incident is open, or was dismissed. */
  async #isHeld(stack: string): Promise<boolean> {
    const { store, observers } = this.#simulation;
    return (await store.incident(stack)) !== undefined || (await observers.hasDismissed(stack));
  }

  /** 18. Whatever physically is, is found by its id, and will be looked at. */
  async #checkScheduled({ stack, index, resources }: SettledStack): Promise<void> {
    const { observers } = this.#simulation;
    const [scheduled, owners] = await Promise.all([observers.scheduled(), observers.owners()]);
    for (const [id, entry] of index) {
      const { physical = "", name, type = "" } = resources.get(id) ?? {};
      if (entry.physical !== true || physical === "") continue;
      if (!scheduled.has([stack, id, type, physical].join("\n"))) {
        this.#violate(18, `nobody will look at ${name} again`);
      }
      const known = owners[`${type}\n${physical}`]?.split("\t") ?? [];
      if (!known.includes(`${stack}\n${id}`)) this.#violate(18, `${physical} is nobody's`);
    }
  }

  /** 19. What refers to a thing refers to the one that there is. */
  #checkDependents({ stack, known }: SettledStack, goal: KnownGoal, record: ResourceRecord): void {
    // What was retained stays beside what stands for its name.
    const standing = new Set(known.map(({ physical }) => physical));
    const things = [...this.#simulation.world.things.values()].filter(
      (thing) => thing.stack === stack && standing.has(thing.id),
    );
    const thingOf = (name: string) => {
      const named = things.filter((thing) => thing.name === name);
      return named.length === 1 ? named[0] : undefined;
    };
    const isOther = (thing: PhysicalThing | undefined) =>
      thing === undefined || !jsonEqual(thing.properties, this.#applied.get(thing.token) ?? {});
    for (const [name, definition] of goal.template.resources) {
      const thing = thingOf(name);
      const { dependencies } = definition;
      if (isOther(thing) || dependencies.some((other) => isOther(thingOf(other)))) continue;
      const wanted = resolve(goal, definition, thingOf);
      const { ignore } = policyOf(goal, name, record, definition.type);
      const wrong = Object.keys(wanted ?? {})
        .filter((property) =>
          /"get_(resource|attr)"/.test(JSON.stringify(definition.properties[property] ?? "")),
        )
        .flatMap((property) => differing(thing?.properties[property], wanted?.[property], [property]))
        .find((path) => !ignore.some((pattern) => matchesBelow(pattern, path)));
      if (wanted === undefined || wrong === undefined) continue;
      this.#violate(19, `${name} is ready, but its ${wrong} is not what the things are that it refers to`);
    }
  }

  #violate(invariant: number, message: string): void {
    this.#simulation.violated(`invariant ${invariant}: ${message}`);
  }
}

/** What holds for a resource: of the goal, then what was said at run time. */
function policyOf(
  goal: KnownGoal | undefined,
  name: string,
  { policy }: { policy?: string },
  type: string,
): Policy {
  const definition = goal?.template.resources.get(name);
  const document = goal === undefined ? {} : templatePolicy(goal.parameters);
  const own = definition && goal && bindDefinition(definition, goal.parameters, document).policy;
  return resolvePolicy(
    own ?? {},
    ...(policy ? [partOf(JSON.parse(policy) as PolicyDocument, type, name)] : []),
  );
}

function documentsOf(goal: KnownGoal | undefined, { policy }: ResourceRecord): PolicyDocument[] {
  const document = goal === undefined ? {} : templatePolicy(goal.parameters);
  return [document, ...(policy ? [JSON.parse(policy) as PolicyDocument] : [])];
}

function stackBudget(goal: KnownGoal | undefined, stored: ResourceRecord): Budget {
  return resolvePolicy(...documentsOf(goal, stored)).budget;
}

function typeBudget(goal: KnownGoal | undefined, stored: ResourceRecord, type: string): Budget | undefined {
  const parts = documentsOf(goal, stored).flatMap(({ types }) => types?.[type]?.budget ?? []);
  return parts.length === 0 ? undefined : resolvePolicy(...parts.map((budget) => ({ budget }))).budget;
}

/** Where a sighting differs from what the thing was made, less what is not compared. */
function pathsOf({ found, applied }: Sighting, ignore: readonly string[]): string[] {
  if (found === undefined || found instanceof Error) return [existence];
  return differing(applied, found).filter((path) => !ignore.some((pattern) => matchesBelow(pattern, path)));
}

/** A pattern also takes what is below what it takes. */
function matchesBelow(pattern: string, path: string): boolean {
  const steps = path.split(".");
  return steps.some((_, i) => matchesPath(pattern, steps.slice(0, i + 1).join(".")));
}

/** Paths of the leaves that are not the same on both sides. */
function differing(
  left: Json | undefined,
  right: Json | undefined,
  path: (string | number)[] = [],
): string[] {
  if (isMap(left) && isMap(right)) {
    const keys = [...new Set([...Object.keys(left), ...Object.keys(right)])].sort();
    return keys.flatMap((key) => differing(left[key], right[key], [...path, key]));
  }
  const [one, other] = [left, right].map((value) => (value === undefined ? undefined : canonicalJson(value)));
  return one === other ? [] : [propertyPath(path)];
}

function isMap(value: Json | undefined): value is JsonObject {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** Whether something that cannot be changed in place is to be another. */
function isFixedOther(applied: JsonObject, wanted: JsonObject): boolean {
  const names = [...Object.keys(applied), ...Object.keys(wanted)].filter((name) => name.startsWith("!"));
  return names.some((name) => !jsonEqual(applied[name] ?? null, wanted[name] ?? null));
}
