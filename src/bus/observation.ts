/**
 * What a message on `homeostat.observed.>` tells of. It is a hint to look and nothing else (R12): no value of it is
 * believed. Anybody may publish there, so every size is bounded and nothing throws. docs/EVENTS.md has the formats.
 */
import { messageOf } from "../errors.js";
import type { Json } from "../json.js";
import type { ForeignEvent, ResourceType, ResourceTypes } from "../providers/provider.js";
import { decodeToken } from "./subjects.js";

export interface Observation {
  /** What follows `PREFIX.observed.` in the subject. */
  readonly topic: string;
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
  readonly data: Uint8Array;
}

export type Observed =
  | { kind: "hint"; type: string; physicalId: string }
  | { kind: "heartbeat"; type: string }
  | { kind: "unknown"; why: string };

/** A larger body is not read. */
const maxBodyBytes = 1024 * 1024;
/** What one message can tell of; the rest is passed over. */
const maxObserved = 1_000;
/** Characters of a physical id. */
const maxIdLength = 4_096;
/** Of the events that are given to providers. */
const maxDepth = 100;
const maxWhyLength = 300;
/** Parts of a type's name that a subject can spell as tokens. */
const maxTypeParts = 8;

/** At least one, or none for an event that its provider knows and that tells of no thing. Every type is one of `types`. */
export function readObservations(message: Observation, types: ResourceTypes): Observed[] {
  try {
    const { type, isHeartbeat } = readTopic(message.topic, types);
    if (!isHeartbeat) return new Reader(message.topic, type, types).read(message);
    return [
      type === undefined
        ? unknown("a heartbeat, of no type that is known here")
        : { kind: "heartbeat", type },
    ];
  } catch (error) {
    return [unknown(messageOf(error))];
  }
}

/** @throws Error for a token that names a type which is not known. */
function readTopic(topic: string, types: ResourceTypes): { type: string | undefined; isHeartbeat: boolean } {
  const tokens = topic.split(".");
  const isHeartbeat = tokens.at(-1) === "heartbeat";
  if (isHeartbeat) tokens.pop();
  const [first = ""] = tokens;
  const whole = first.includes("::") ? first : decodeToken(first);
  if (whole?.includes("::")) return { type: known(whole, types).type, isHeartbeat };
  for (let parts = Math.min(tokens.length, maxTypeParts); parts > 1; parts -= 1) {
    const type = tokens.slice(0, parts).join("::");
    if (types.get(type) !== undefined) return { type, isHeartbeat };
  }
  return { type: undefined, isHeartbeat };
}

/** @throws Error */
function known(name: string, types: ResourceTypes): ResourceType {
  const type = types.get(name);
  if (type === undefined) throw new Error(`no resource type ${name} is known here`);
  return type;
}

type Attributes = Readonly<Record<string, string>>;
type Fields = { readonly [key: string]: Json | undefined };

/** Of one message. */
class Reader {
  readonly #topic: string;
  /** Which the subject names. */
  readonly #type: string | undefined;
  readonly #types: ResourceTypes;
  readonly #found: Observed[] = [];

  constructor(topic: string, type: string | undefined, types: ResourceTypes) {
    this.#topic = topic;
    this.#type = type;
    this.#types = types;
  }

  read({ headers, data }: Observation): Observed[] {
    if (data.length > maxBodyBytes) throw new Error(`its body is larger than ${maxBodyBytes} bytes`);
    if (isBinaryEvent(headers)) {
      this.#event(binaryAttributes(headers), parse(data) ?? null);
      return this.#found;
    }
    const body = parse(data);
    if (body === undefined) throw new Error("its body is not JSON");
    const items = Array.isArray(body) ? body : [body];
    for (const item of items.slice(0, maxObserved)) if (!this.#isFull()) this.#item(item);
    if (items.length > maxObserved && !this.#isFull()) this.#found.push(tooMany);
    return this.#found;
  }

  #item(item: Json): void {
    if (!isObject(item)) this.#found.push(unknown("it is neither an object nor an array of objects"));
    else if (typeof item.specversion === "string") this.#event(attributesIn(item), dataIn(item));
    else this.#event({}, item);
  }

  #event(attributes: Attributes, body: Json): void {
    try {
      this.#readEvent(attributes, body);
    } catch (error) {
      this.#found.push(unknown(messageOf(error)));
    }
  }

  /** What says itself which thing it means; else the types are asked; else a CloudEvent's `subject` names it. */
  #readEvent(attributes: Attributes, body: Json): void {
    const fields: Fields = isObject(body) ? body : {};
    const { homeostattype, subject } = attributes;
    const beside = typeName(fields.type);
    const id = statedId(fields, beside !== undefined);
    if (id !== undefined) {
      this.#hint(homeostattype ?? beside ?? this.#type, id);
      return;
    }
    const type = homeostattype ?? this.#type ?? (beside !== undefined && this.#types.get(beside)?.type);
    const asked = type ? [this.#allowed(type)] : this.#all();
    if (this.#ask(asked, { topic: this.#topic, attributes, body })) return;
    if (!type || subject === undefined) throw new Error("nothing here knows what it tells of");
    this.#hint(type, subject);
  }

  #hint(name: string | undefined, id: Json): void {
    if (name === undefined) throw new Error("it names no resource type");
    const { type } = this.#allowed(name);
    if (!isId(id)) throw new Error(`a physical id is text of 1 to ${maxIdLength} characters`);
    this.#found.push({ kind: "hint", type, physicalId: id });
  }

  /** Permissions are written on subjects, so a subject that names a type is about no other. @throws Error */
  #allowed(name: string): ResourceType {
    if (this.#type !== undefined && name !== this.#type) {
      throw new Error(`its subject names ${this.#type}, and it names ${name}`);
    }
    return known(name, this.#types);
  }

  #all(): ResourceType[] {
    return this.#types.names().map((name) => known(name, this.#types));
  }

  /** Whether one of the types took it for its own, or failed. */
  #ask(types: readonly ResourceType[], event: ForeignEvent): boolean {
    const able = types.filter(({ events }) => events !== undefined);
    if (able.length > 0 && isDeeper(event.body, maxDepth))
      throw new Error(`it is nested more than ${maxDepth} deep`);
    let taken = false;
    for (const type of able) {
      const observed = askType(type, event);
      if (observed === undefined) continue;
      taken = true;
      for (const each of observed) if (!this.#isFull()) this.#found.push(each);
    }
    return taken;
  }

  /** Says so once. */
  #isFull(): boolean {
    if (this.#found.length < maxObserved) return false;
    if (this.#found.length === maxObserved) this.#found.push(tooMany);
    return true;
  }
}

/** A provider's code is outside: what it throws and returns is checked here. */
function askType(type: ResourceType, event: ForeignEvent): Observed[] | undefined {
  const unusable = (why: string) => [unknown(`${type.type} cannot read it: ${why}`)];
  let ids: unknown;
  try {
    ids = type.events?.(event);
  } catch (error) {
    return unusable(messageOf(error));
  }
  if (ids === undefined) return undefined;
  if (Array.isArray(ids) && ids.every(isId)) {
    return ids.slice(0, maxObserved + 1).map((physicalId) => ({ kind: "hint", type: type.type, physicalId }));
  }
  // Nobody else would hear of its failure.
  if (ids instanceof Promise) ids.catch(() => {});
  return unusable("events() must return physical ids or undefined, and not a promise");
}

const tooMany = unknown(`it tells of more than ${maxObserved} things; the rest is passed over`);

function unknown(why: string): Observed {
  return { kind: "unknown", why: why.length > maxWhyLength ? `${why.slice(0, maxWhyLength)}…` : why };
}

/** The binding for NATS: a content type of CloudEvents means that all of the event is in the body. */
function isBinaryEvent(headers: Observation["headers"]): boolean {
  if (!headers.has("ce-specversion")) return false;
  return !(headers.get("content-type") ?? "").toLowerCase().startsWith("application/cloudevents");
}

function binaryAttributes(headers: Observation["headers"]): Attributes {
  const attributes = [...headers].filter(([name]) => name.startsWith("ce-"));
  return Object.fromEntries(attributes.map(([name, value]) => [name.slice(3), percentDecoded(value)]));
}

function percentDecoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

function attributesIn(event: Fields): Attributes {
  const texts = Object.entries(event).flatMap(([name, value]): [string, string][] =>
    name !== "data_base64" && typeof value === "string" ? [[name.toLowerCase(), value]] : [],
  );
  return Object.fromEntries(texts);
}

function dataIn({ data, data_base64: encoded }: Fields): Json {
  if (typeof encoded !== "string") return data ?? null;
  return parse(Buffer.from(encoded, "base64")) ?? null;
}

/** In what a resource type's name looks like; the `type` of other formats never does. */
function typeName(value: Json | undefined): string | undefined {
  return typeof value === "string" && value.includes("::") ? value : undefined;
}

/** `id` can be anything's, so it counts only beside a type. @throws Error when there are two */
function statedId(fields: Fields, hasType: boolean): Json | undefined {
  const { physical_id: first, physicalId: second } = fields;
  if (first !== undefined && second !== undefined && first !== second) {
    throw new Error("physical_id and physicalId are not the same");
  }
  return first ?? second ?? (hasType ? fields.id : undefined);
}

function isId(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= maxIdLength;
}

function isObject(value: Json): value is { [key: string]: Json } {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function isDeeper(value: Json, depth: number): boolean {
  if (value === null || typeof value !== "object") return false;
  return depth === 0 || Object.values(value).some((part) => isDeeper(part, depth - 1));
}

/** Undefined for what is no JSON. */
function parse(data: Uint8Array): Json | undefined {
  try {
    return JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.length).toString("utf8")) as Json;
  } catch {
    return undefined;
  }
}
