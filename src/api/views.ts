/** What people see of observation, from what is stored alone: how resources differ, and why they are not at their goal. */

import { HomeostatError, messageOf } from "../errors.js";
import { cleanupNode, type Plan, planTraversal, updateNode, type Wanted } from "../graph/plan.js";
import type { Json, JsonObject } from "../json.js";
import { matchesPath, morePaths, type PropertyRow, propertyTable } from "../observer/drift.js";
import { contestedPaths, readFights } from "../observer/fights.js";
import { documentsOf, policyOf } from "../observer/look.js";
import { defaultPolicy, type Policy, resolvePolicy } from "../observer/policy.js";
import { readStored } from "../store/damage.js";
import type { IndexEntry, ResourceRecord, View } from "../store/store.js";
import { resolveProperties } from "../template/template.js";
import type { ResourceView } from "../template/types.js";
import type { Engine } from "../traversal/engine.js";
import { emptyGoal } from "../traversal/goal-document.js";
import { lines, readObject, toldState } from "../traversal/record.js";
import { VisitedResource } from "../traversal/visited-resource.js";
import { explainResource, explainStack, type StackFacts, type Wait } from "./explain.js";
import { type FoundStack, findStack, unknownResource } from "./find-stack.js";
import type { ParsedRequest, Reply } from "./schemas.js";
import { stackView } from "./stacks.js";
import { urgencyOf } from "./urgency.js";
import { WantedGoals } from "./wanted-goals.js";

type DriftOfResource = Reply<"drift">["resources"][number];
type ExplanationView = Reply<"why">["resources"][number];

/** Stacks that one page of `drift` looks into. */
const stacksPerPage = 200;
/** And resources, whether they differ or not. */
const resourcesPerPage = 2_000;
const readAtOnce = 50;
/** Properties that are told of one resource. */
const propertiesLimit = 200;
/** Characters of a text among them. */
const longestText = 2_000;
/** Of one resource. */
const namedBlockers = 10;

export class Views {
  readonly #engine: Engine;
  readonly #goals: WantedGoals;

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#goals = new WantedGoals(engine);
  }

  async drift(request: ParsedRequest<"drift">): Promise<Reply<"drift">> {
    if (request.name === undefined && request.resource !== undefined) {
      throw new HomeostatError("invalid", "a resource is of a stack: give its name too");
    }
    const page = new DriftPage(request.limit);
    const cursor = readCursor(request.after);
    if (request.name !== undefined) {
      const found = await findStack(this.#engine, request.name);
      await this.#driftOfStack(found, request, cursor, page);
    } else {
      const names = (await this.#engine.store.names()).sort(([a], [b]) => (a < b ? -1 : 1));
      const left = names.filter(([name]) => name >= cursor.stack);
      for (const [i, [name, stack]] of left.entries()) {
        if (page.isFull) break;
        if (i === stacksPerPage) {
          page.goOn({ stack: name, resource: "", id: "" });
          break;
        }
        const record = await this.#engine.store.stack(stack);
        if (record === undefined) continue;
        const after = name === cursor.stack ? cursor : { stack: name, resource: "", id: "" };
        await this.#driftOfStack({ stack, name, record }, request, after, page);
      }
    }
    return page.reply(Date.parse(this.#engine.clock.timestamp()));
  }

  async #driftOfStack(
    { stack, name, record }: FoundStack,
    { name: asked, resource, all }: ParsedRequest<"drift">,
    after: Cursor,
    page: DriftPage,
  ): Promise<void> {
    const standing = await this.#standing(stack, record, asked !== undefined);
    if (resource !== undefined && !standing.items.some((item) => item.name === resource)) {
      throw noResource(name, resource, standing);
    }
    const items = standing.items
      .filter((item) => item.current && (resource === undefined || item.name === resource))
      .filter((item) => asked !== undefined || isAwry(item.entry))
      .sort((a, b) => compare(a.name, b.name) || compare(a.id, b.id))
      .filter(
        (item) =>
          compare(item.name, after.resource) > 0 || (item.name === after.resource && item.id > after.id),
      );
    for (let first = 0; first < items.length && !page.isFull; first += readAtOnce) {
      const some = items.slice(first, first + readAtOnce);
      const found = { stack, name, record };
      const told = await Promise.all(some.map((item) => this.#driftOf(found, standing, item, all)));
      for (const [i, [drift, nowMs]] of told.entries()) {
        if (page.isFull) return;
        const { name: resourceName = "", id = "" } = some[i] ?? {};
        const isWanted = all || resource !== undefined || asked === undefined || drift.differs;
        page.take(isWanted ? drift : undefined, { stack: name, resource: resourceName, id }, nowMs);
      }
    }
  }

  async #driftOf(
    found: FoundStack,
    standing: Standing,
    item: Item,
    all: boolean,
  ): Promise<[DriftOfResource, nowMs: number]> {
    const { store, sealing, types } = this.#engine;
    const view = await store.view(found.stack, item.id, []);
    const nowMs = view?.nowMs ?? 0;
    const stack = view?.stack ?? found.record;
    const resource = this.#resourceOf(found.stack, item.id, view);
    const field = (key: string) => resource?.field(key) ?? "";
    const type = types.get(item.type);
    const goal = await this.#desired(found.stack, standing, item);
    let problem = goal.problem;
    let applied: JsonObject = {};
    let observed: JsonObject | undefined;
    try {
      applied = readObject(sealing, field("properties"));
      observed = observedOf(
        resource,
        applied,
        field("observed") === "" ? {} : readObject(sealing, field("observed")),
      );
    } catch (error) {
      problem = messageOf(error);
    }
    const hidden = [
      ...new Set([...lines(field("hidden")), ...goal.hidden, ...(type?.hiddenProperties ?? [])]),
    ];
    const policy = resource === undefined ? defaultPolicy : policyOf(stack, described(resource));
    const rows = rowsOf(
      { desired: goal.properties, applied, observed, hidden },
      lines(field("drift")),
      policy,
    );
    const shown = all ? rows : rows.filter(({ differs }) => differs);
    const state = resource?.toldState ?? "declared";
    const awry = state !== "ready" || resource?.context.dirty === true || problem !== "";
    const fights = readFights({ fights: field("fights"), appliedAt: field("appliedAt") });
    const told: DriftOfResource = {
      stack: found.stack,
      stackName: found.name,
      resource: item.name,
      type: item.type,
      id: item.id,
      state,
      reason: field("reason"),
      ...moments({
        since: field("differsAt") || field("since"),
        desiredAt: stack.goalAt,
        appliedAt: field("appliedAt"),
        observedAt: field("observedAt"),
      }),
      differs: awry || rows.some(({ differs }) => differs),
      policy: policy.mode,
      paused: (stack.paused ?? "") !== "",
      contested: contestedPaths(fights, nowMs, policy.fight),
      problem,
      properties: shown.slice(0, propertiesLimit).map(shortened),
      more: Math.max(0, shown.length - propertiesLimit),
    };
    return [told, nowMs];
  }

  /** What the current goal says of it, resolved with what is recorded now. */
  async #desired(
    stack: string,
    standing: Standing,
    { name }: Item,
  ): Promise<{ properties: JsonObject | undefined; hidden: string[]; problem: string }> {
    const wanted = standing.wanted.get(name);
    if (wanted === undefined) {
      return { properties: undefined, hidden: [], problem: "the goal does not have it any more" };
    }
    try {
      const views = await this.#viewsOf(stack, standing, wanted);
      const { properties, hidden } = resolveProperties(wanted.bound, (other) => views.get(other));
      const type = this.#engine.types.get(wanted.bound.definition.type);
      const parsed = type?.schema.safeParse(properties);
      return { properties: parsed?.success ? parsed.data : properties, hidden, problem: "" };
    } catch (error) {
      if (!(error instanceof HomeostatError)) throw error;
      return {
        properties: undefined,
        hidden: [],
        problem: `what is desired cannot be told: ${error.message}`,
      };
    }
  }

  async #viewsOf(stack: string, standing: Standing, { bound }: Wanted): Promise<Map<string, ResourceView>> {
    const { store, sealing } = this.#engine;
    const names = bound.definition.dependencies;
    const ids = names.map((name) => standing.idOf(name));
    const records = await store.resources(stack, ids, ["physical", "attributes", "hiddenAttributes"]);
    const views = new Map<string, ResourceView>();
    for (const [i, name] of names.entries()) {
      const record = records[i];
      if (record === undefined || record.physical === "") continue;
      views.set(name, {
        physicalId: record.physical ?? "",
        attributes: readObject(sealing, record.attributes),
        hiddenAttributes: lines(record.hiddenAttributes),
      });
    }
    return views;
  }

  async why(request: ParsedRequest<"why">): Promise<Reply<"why">> {
    const found = await findStack(this.#engine, request.name);
    const { stack, name } = found;
    const view = await this.#engine.store.view(stack, "", []);
    if (view === undefined) throw new HomeostatError("not_found", `there is no stack ${name}`);
    const shown = stackView(this.#engine, stack, view.stack, view.incident?.lost);
    const standing = await this.#standing(stack, view.stack, true);
    const facts: StackFacts = {
      view,
      name,
      status: shown.status,
      action: shown.action,
      reason: shown.reason,
      limits: this.#engine.limits,
      policy: resolvePolicy(
        ...documentsOf({ goalPolicy: view.stack.goalPolicy ?? "", policy: view.stack.policy ?? "" }),
      ),
    };
    const away = standing.items.filter(({ awry }) => awry);
    const { atGoal, sinceMs, waits, text } = explainStack(facts, standing.items.length, away.length);
    const asked = standing.items.filter((item) => item.name === request.resource);
    if (request.resource !== undefined && asked.length === 0)
      throw noResource(name, request.resource, standing);
    const chosen = (request.resource === undefined ? away : asked).sort(byImportance).slice(0, request.limit);
    const resources = await Promise.all(chosen.map((item) => this.#explain(stack, facts, standing, item)));
    const states: Record<string, number> = {};
    for (const { entry } of standing.items) {
      const state = entry === undefined ? "declared" : toldState(entry);
      states[state] = (states[state] ?? 0) + 1;
    }
    return {
      now: new Date(view.nowMs).toISOString(),
      stack: shown,
      atGoal,
      ...moments({ since: sinceMs }),
      text,
      waits: waits.map(waitView),
      paused: (view.stack.paused ?? "") !== "",
      incident: view.incident?.id ?? "",
      states,
      total: standing.items.length,
      notAtGoal: away.length,
      resources,
    };
  }

  async #explain(stack: string, facts: StackFacts, standing: Standing, item: Item): Promise<ExplanationView> {
    const { store } = this.#engine;
    const nodes = [
      ...(item.current ? [updateNode(item.name)] : []),
      ...(item.id === "" ? [] : [cleanupNode(item.id)]),
    ];
    const view = (await store.view(stack, item.id, nodes)) ?? facts.view;
    const resource = this.#resourceOf(stack, item.id, view);
    const explained = explainResource({
      stack: { ...facts, view },
      view,
      name: item.name,
      entry: item.entry,
      resource,
      policy: resource === undefined ? facts.policy : policyOf(view.stack, described(resource)),
      needs: item.needs,
      blockers: standing.blockersOf(item),
      nameOf: (id) => standing.index.get(id)?.name ?? id,
      nextLookMs: await this.#nextLook(stack, item, resource),
    });
    const { lastCall, waits, sinceMs, ...rest } = explained;
    return {
      name: item.name,
      id: item.id,
      type: item.type,
      current: item.current,
      ...rest,
      ...moments({ since: sinceMs }),
      ...(lastCall === undefined
        ? {}
        : {
            lastCall: {
              operation: lastCall.operation,
              began: new Date(lastCall.beganMs).toISOString(),
              inFlight: lastCall.inFlight,
              ...moments({ deadline: lastCall.deadlineMs }),
            },
          }),
      waits: waits.map(waitView),
    };
  }

  async #nextLook(
    stack: string,
    { id, type }: Item,
    resource: VisitedResource | undefined,
  ): Promise<number | undefined> {
    const physicalId = resource?.field("physical") ?? "";
    if (resource === undefined || physicalId === "") return undefined;
    return this.#engine.store.nextLook(resource.field("pool"), { stack, resource: { id, type, physicalId } });
  }

  #resourceOf(stack: string, id: string, view: View | undefined): VisitedResource | undefined {
    const record = view?.record ?? {};
    if (record.snapshot === undefined) return undefined;
    return readStored(this.#engine.store.keys.resource(stack, id), () => new VisitedResource(record));
  }

  /** `planned`: also says what the goal asks of each, which costs as much as beginning a traversal. */
  async #standing(stack: string, record: ResourceRecord, planned: boolean): Promise<Standing> {
    const index = await this.#engine.store.index(stack);
    if (!planned && ![...index.values()].some(isAwry)) return new Standing(new Map(), new Map(), undefined);
    const wanted = await this.#goals.of(stack, record.goal ?? emptyGoal);
    const purpose = { observing: true, condemned: new Set<string>() };
    return new Standing(
      index,
      wanted,
      planTraversal(wanted, index, () => "", purpose),
    );
  }
}

/** One incarnation, or a resource of the goal that has none yet. */
interface Item {
  name: string;
  /** Empty: none yet. */
  id: string;
  type: string;
  entry: IndexEntry | undefined;
  /** It stands for its name in the goal. */
  current: boolean;
  needs: "update" | "cleanup" | undefined;
  /** It is not at its goal. */
  awry: boolean;
}

/** What the goal and what exists have to do with each other. */
class Standing {
  readonly items: readonly Item[];
  readonly index: ReadonlyMap<string, IndexEntry>;
  readonly wanted: ReadonlyMap<string, Wanted>;
  readonly #plan: Plan | undefined;
  readonly #byNode = new Map<string, Item>();
  readonly #current: ReadonlyMap<string, Item>;

  constructor(
    index: ReadonlyMap<string, IndexEntry>,
    wanted: ReadonlyMap<string, Wanted>,
    plan: Plan | undefined,
  ) {
    this.index = index;
    this.wanted = wanted;
    this.#plan = plan;
    this.items = this.#itemsOf();
    this.#current = new Map(this.items.filter(({ current }) => current).map((item) => [item.name, item]));
    for (const item of this.items) {
      if (item.needs === "update") this.#byNode.set(updateNode(item.name), item);
      if (item.needs === "cleanup") this.#byNode.set(cleanupNode(item.id), item);
    }
  }

  #itemsOf(): Item[] {
    const updates = new Map<string, string>();
    const leftovers = new Set<string>();
    for (const { node, name, resource } of this.#plan?.nodes ?? []) {
      if (node.startsWith("u:")) updates.set(name, this.#successorOf(resource));
      else leftovers.add(resource);
    }
    for (const id of updates.values()) leftovers.delete(id);
    const items = [...this.index].map(([id, entry]): Item => {
      const current = !leftovers.has(id);
      const needs = current ? (updates.has(entry.name) ? "update" : undefined) : "cleanup";
      const awry = needs !== undefined || isAwry(entry);
      return { name: entry.name, id, type: entry.type, entry, current, needs, awry };
    });
    for (const [name, id] of updates) {
      if (this.index.has(id)) continue;
      const type = this.wanted.get(name)?.bound.definition.type ?? "";
      items.push({ name, id: "", type, entry: undefined, current: true, needs: "update", awry: true });
    }
    return items;
  }

  /** A replacement that was begun stands for the name. */
  #successorOf(id: string): string {
    const entry = this.index.get(id);
    const next = entry?.replacedBy ?? "";
    return entry?.state === "replaced" && this.index.has(next) ? next : id;
  }

  /** Of the incarnation that stands for a name; empty when there is none. */
  idOf(name: string): string {
    return this.#current.get(name)?.id ?? "";
  }

  /** Those that come before it and are not at their goal. */
  blockersOf(item: Item): string[] {
    const id = item.needs === "cleanup" ? cleanupNode(item.id) : updateNode(item.name);
    const node = this.#plan?.nodes.find((one) => one.node === id);
    const before = (node?.predecessors ?? []).flatMap((predecessor) => this.#byNode.get(predecessor) ?? []);
    const told = before
      .slice(0, namedBlockers)
      .map(({ name, entry }) => `${name} (${entry === undefined ? "declared" : toldState(entry)})`);
    return before.length > namedBlockers ? [...told, `${before.length - namedBlockers} more`] : told;
  }
}

function isAwry(entry: IndexEntry | undefined): boolean {
  return (
    entry === undefined || entry.state !== "ready" || entry.dirty === true || (entry.intent ?? "") !== ""
  );
}

function byImportance(a: Item, b: Item): number {
  const rank = ({ entry }: Item) => {
    return urgencyOf(entry?.state ?? "");
  };
  return rank(a) - rank(b) || compare(a.name, b.name);
}

/** What a look has found: undefined when that is not known, or is that nothing is there. */
function observedOf(
  resource: VisitedResource | undefined,
  applied: JsonObject,
  observed: JsonObject,
): JsonObject | undefined {
  if (resource === undefined || resource.field("observedAt") === "") return undefined;
  if (resource.field("observed") !== "") return observed;
  return resource.state === "ready" ? applied : undefined;
}

interface Sides {
  desired: JsonObject | undefined;
  applied: JsonObject;
  observed: JsonObject | undefined;
  hidden: readonly string[];
}

type Row = PropertyRow & { ignored: boolean };

/** What a look did not call drift is none, though the values are not the same: the type's own comparison decides. */
function rowsOf(
  { desired, applied, observed, hidden }: Sides,
  drift: readonly string[],
  policy: Policy,
): Row[] {
  const changed = propertyTable(desired, applied, undefined, hidden).filter(({ differs }) => differs);
  const drifted = (path: string) => drift.some((each) => each === morePaths || touches(each, path));
  return propertyTable(desired, applied, observed, hidden).map((row) => {
    const ignored = policy.ignore.some((pattern) => matchesPath(pattern, row.path));
    const isChanged = desired !== undefined && changed.some(({ path }) => touches(path, row.path));
    return { ...row, ignored, differs: row.differs && (isChanged || (!ignored && drifted(row.path))) };
  });
}

/** One is the other, or lies below it. */
function touches(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}.`) || b.startsWith(`${a}.`);
}

function shortened({
  path,
  desired,
  applied,
  observed,
  differs,
  ignored,
}: Row): DriftOfResource["properties"][number] {
  return {
    path,
    ...(desired === undefined ? {} : { desired: cut(desired) }),
    ...(applied === undefined ? {} : { applied: cut(applied) }),
    ...(observed === undefined ? {} : { observed: cut(observed) }),
    differs,
    ignored,
  };
}

function cut(value: Json): Json {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (text.length <= longestText) return value;
  return `${text.slice(0, longestText)}… (${text.length} characters)`;
}

function waitView({ kind, text, sinceMs, untilMs, on }: Wait): Reply<"why">["waits"][number] {
  return { kind, text, ...moments({ since: sinceMs, until: untilMs }), ...(on === undefined ? {} : { on }) };
}

/** Times that are known, as text. */
function moments<K extends string>(times: Record<K, string | number | undefined>): { [key in K]?: string } {
  const known = Object.entries<string | number | undefined>(times).filter(
    ([, ms]) => ms !== undefined && ms !== "",
  );
  return Object.fromEntries(known.map(([key, ms]) => [key, new Date(Number(ms)).toISOString()])) as {
    [key in K]?: string;
  };
}

/** The last resource of a page. */
interface Cursor {
  stack: string;
  resource: string;
  id: string;
}

function readCursor(text: string): Cursor {
  const [stack = "", id = "", ...resource] = text.split("\n");
  return { stack, id, resource: resource.join("\n") };
}

class DriftPage {
  readonly #limit: number;
  #nowMs: number | undefined;
  #seen = 0;
  readonly #resources: DriftOfResource[] = [];
  #next: Cursor | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get isFull(): boolean {
    return this.#next !== undefined;
  }

  /** The resource that the cursor stands for; undefined when it is not to be told. */
  take(resource: DriftOfResource | undefined, cursor: Cursor, nowMs: number): void {
    this.#nowMs = nowMs;
    this.#seen += 1;
    if (resource !== undefined) this.#resources.push(resource);
    if (this.#resources.length === this.#limit || this.#seen === resourcesPerPage) this.goOn(cursor);
  }

  goOn(cursor: Cursor): void {
    this.#next = cursor;
  }

  /** `otherwiseMs`: the time when no stack was read that could tell it. */
  reply(otherwiseMs: number): Reply<"drift"> {
    const nowMs = this.#nowMs ?? otherwiseMs;
    const next =
      this.#next === undefined ? "" : [this.#next.stack, this.#next.id, this.#next.resource].join("\n");
    return { now: new Date(nowMs).toISOString(), resources: this.#resources, next };
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function noResource(stack: string, resource: string, { items }: Standing): HomeostatError {
  return unknownResource(stack, resource, [...new Set(items.map(({ name }) => name))]);
}

function described(resource: VisitedResource): { type: string; name: string; policy: string } {
  const [type = "", name = "", policy = ""] = ["type", "name", "policy"].map((field) =>
    resource.field(field),
  );
  return { type, name, policy };
}
