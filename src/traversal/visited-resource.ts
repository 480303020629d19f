/** The resource that a visit holds: its record as loaded, the machine's steps, and what is not committed yet. */
import type {
  ResourceAction,
  ResourceContext,
  ResourceEvent,
  ResourceState,
} from "../../machines/resource.js";
import { resourceActor } from "../actor/actor.js";
import { canonicalJson, type JsonObject } from "../json.js";
import type { Thing } from "../providers/provider.js";
import type { ResourceRecord } from "../store/store.js";
import type { Engine } from "./engine.js";
import { type Fields, indexEntry, lines, readObject, requiresOf, toldState, writeObject } from "./record.js";
import type { UpdateFacts } from "./update-facts.js";

export class VisitedResource {
  #record: ResourceRecord;
  #changes: Fields = {};
  #machine: ReturnType<typeof resourceActor.read>;
  #storedState: ResourceState;
  #wasRepairing: boolean;

  constructor(record: ResourceRecord) {
    this.#record = record;
    this.#machine = resourceActor.read(record.snapshot ?? "");
    this.#storedState = this.#machine.state;
    this.#wasRepairing = this.#machine.context.repairing;
  }

  get state(): ResourceState {
    return this.#machine.state;
  }

  /** The last look could not read it, and nothing was done since. */
  get isUnreadable(): boolean {
    return this.field("unreadable") !== "";
  }

  get toldState(): string {
    return toldState({ state: this.state, unreadable: this.isUnreadable });
  }

  get context(): ResourceContext {
    return this.#machine.context;
  }

  field(name: string): string {
    return this.#changes[name] ?? this.#record[name] ?? "";
  }

  isChanged(name: string): boolean {
    return name in this.#changes;
  }

  set(fields: Fields): void {
    Object.assign(this.#changes, fields);
  }

  /** Steps the machine; what it asks for is the last action, none when the event has no meaning here. */
  step(event: ResourceEvent): ResourceAction | undefined {
    const next = resourceActor.step(this.#machine.snapshot, event);
    const unreadable = event.type === "observed" && event.finding === "unreadable";
    const isOther = unreadable !== this.isUnreadable;
    if (isOther && (event.type === "observed" || next.state !== this.#machine.state)) {
      this.set({ unreadable: unreadable ? "1" : "" });
    }
    this.#machine = next;
    this.set({ snapshot: next.snapshot, reason: next.context.reason });
    return next.actions.at(-1);
  }

  /** What a step would ask for. */
  would(event: ResourceEvent): ResourceAction | undefined {
    return resourceActor.step(this.#machine.snapshot, event).actions.at(-1);
  }

  /** Whether the state is another one than the stored, or was just stored for the first time. */
  hasNewState(): boolean {
    return this.#machine.state !== this.#storedState;
  }

  /** Whether it has just become what it was before it drifted. */
  isRepaired(): boolean {
    return this.state === "ready" && (this.#wasRepairing || this.field("repairs") !== "");
  }

  changes(): Fields {
    return { ...this.#changes };
  }

  committed(requires: readonly string[] | undefined): void {
    const stored = requires === undefined ? {} : { requires: requires.join("\n") };
    const revision = String(Number(this.#record.revision ?? 0) + 1);
    this.#record = { ...this.#record, ...this.#changes, ...stored, revision };
    this.#changes = {};
    this.#storedState = this.#machine.state;
    this.#wasRepairing = this.#machine.context.repairing;
  }

  /** Forgets what was not committed. */
  undo(): void {
    this.#changes = {};
    this.#machine = resourceActor.read(this.#record.snapshot ?? "");
  }

  requires(): string[] {
    return requiresOf(this.#record);
  }

  indexEntry(requires: readonly string[] | undefined, wished = false): string {
    const record = { ...this.#record, ...this.#changes };
    return indexEntry(record, this.#machine, requires ?? this.requires(), wished);
  }

  /** The properties that a call is about to carry; how it is kept in line holds from now on, whatever comes of the call. */
  recordAttempt(engine: Engine, facts: UpdateFacts): void {
    this.set({
      policy: facts.policy,
      tried: writeObject(engine.sealing, facts.properties, facts.hidden),
      triedHidden: facts.hidden.join("\n"),
      triedDefinition: facts.definition,
      triedInputs: facts.inputs.join("\n"),
      retain: facts.retain ? "1" : "",
    });
  }

  /** The attempt took effect: its properties are the resource's. */
  keepTried(): void {
    if (this.field("tried") === "") return;
    this.set({
      properties: this.field("tried"),
      hidden: this.field("triedHidden"),
      definition: this.field("triedDefinition"),
      inputs: this.field("triedInputs"),
      tried: "",
      ...this.#fightsUnder(this.field("triedDefinition")),
    });
  }

  /** Who fights about what one goal says has not yet fought about what another says. */
  #fightsUnder(definition: string): { fights?: "" } {
    const before = this.field("definition");
    // What is made anew goes on with the fights of what it takes the place of.
    return before === "" || before === definition ? {} : { fights: "" };
  }

  /** The goal is met. What does not count as a difference is kept up to date as well. */
  recordGoal(engine: Engine, facts: UpdateFacts): void {
    this.set({
      properties: writeObject(engine.sealing, facts.properties, facts.hidden),
      hidden: facts.hidden.join("\n"),
      definition: facts.definition,
      inputs: facts.inputs.join("\n"),
      retain: facts.retain ? "1" : "",
      replacedBy: "",
      tried: "",
      policy: facts.policy,
      ...this.#fightsUnder(facts.definition),
    });
  }

  recordThing(engine: Engine, thing: Thing): void {
    const type = engine.types.get(this.field("type"));
    const secrets = this.#secrets(engine);
    const hidden = Object.entries(thing.attributes)
      .filter(([name, value]) => type?.hiddenAttributes.includes(name) || contains(value, secrets))
      .map(([name]) => name);
    const text = canonicalJson(thing.attributes);
    this.set({
      physical: thing.physicalId,
      attributes: writeObject(engine.sealing, thing.attributes, hidden),
      hiddenAttributes: hidden.join("\n"),
      output: engine.sealing.fingerprint(`${thing.physicalId}\n${text}`),
    });
  }

  /** Names of the properties of which nothing that they consist of may be told. */
  hiddenProperties(engine: Engine): string[] {
    const tried = this.field("tried") === "" ? [] : lines(this.field("triedHidden"));
    const ofType = engine.types.get(this.field("type"))?.hiddenProperties ?? [];
    return [...new Set([...lines(this.field("hidden")), ...tried, ...ofType])];
  }

  /**
   * A reason as anybody may read it: without the values that hidden properties have, are to have, or were seen to have.
   * `seen`: what was read just now.
   */
  masked(engine: Engine, text: string, seen: JsonObject = {}): string {
    const names = this.hiddenProperties(engine);
    if (names.length === 0) return text;
    const observed = readObject(engine.sealing, this.field("observed"));
    const sides = [this.properties(engine), this.triedOrApplied(engine), observed, seen];
    const secrets = sides
      .flatMap((properties) => names.flatMap((name) => leaves(properties[name])))
      .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)])
      .filter((secret) => secret !== "");
    // Of two that begin alike the longer one first, so that nothing of it is left.
    const longestFirst = [...new Set(secrets)].sort((a, b) => b.length - a.length);
    return longestFirst.length === 0 ? text : text.replace(anyOf(longestFirst), "(hidden)");
  }

  properties(engine: Engine): JsonObject {
    return readObject(engine.sealing, this.field("properties"));
  }

  triedOrApplied(engine: Engine): JsonObject {
    return readObject(engine.sealing, this.field("tried") || this.field("properties"));
  }

  /** Values of hidden properties, as texts: an attribute that shows one is hidden too. */
  #secrets(engine: Engine): string[] {
    const tried = this.field("tried") !== "";
    const names = lines(this.field(tried ? "triedHidden" : "hidden"));
    if (names.length === 0) return [];
    const properties = this.triedOrApplied(engine);
    return names.flatMap((name) => leaves(properties[name])).filter((text) => text !== "");
  }
}

function anyOf(texts: readonly string[]): RegExp {
  return new RegExp(texts.map((text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&")).join("|"), "g");
}

function leaves(value: unknown): string[] {
  if (value === null || value === undefined) return [];
  if (typeof value === "object") return Object.values(value).flatMap(leaves);
  return [String(value)];
}

function contains(value: unknown, secrets: readonly string[]): boolean {
  if (secrets.length === 0) return false;
  return leaves(value).some((text) => secrets.some((secret) => text.includes(secret)));
}
