/**
 * YAML or JSON text to a plain JSON value, and from a path in that value back to line and column.
 *
 * YAML is read by its 1.2 core rules, with two exceptions where guessing would be worse: a number with a leading zero
 * (`0644`) stays text, because YAML 1.1 reads it as octal and 1.2 as decimal, and a whole number that JavaScript
 * cannot hold exactly is refused.
 */
import {
  type Alias,
  Composer,
  CST,
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type Pair,
  Parser,
  type Scalar,
  visit,
  type YAMLMap,
} from "yaml";
import { InvalidError, messageOf, type Problem } from "../errors.js";
import type { Json } from "../json.js";
import { lexemesLimit, nestingLimit, repeatedNodesLimit } from "./limits.js";
import { pathLocator } from "./read-value.js";
import type { Locate, Location, Path, TemplateSource } from "./types.js";

export interface ReadTemplate {
  value: Json;
  /** About what JSON cannot hold; null stands in its place. */
  problems: Problem[];
  locate: Locate;
}

/** @throws InvalidError when the text is not YAML, or has too many parts to be read as such. */
export function readText(source: TemplateSource): ReadTemplate {
  const json = readPlainJson(source.text);
  if (json !== undefined) return { value: json, problems: [], locate: locator(source) };
  const document = new PositionedDocument(source);
  return { ...document.toJson(), locate: locator(source, document) };
}

/** A parsed document is a hundred times its text, so it is held weakly and parsed again for a late question. */
function locator(source: TemplateSource, parsed?: PositionedDocument): Locate {
  let held = parsed === undefined ? undefined : new WeakRef(parsed);
  let byPath: Locate | undefined;
  return (path, part = "value") => {
    if (byPath !== undefined) return byPath(path);
    try {
      const document = held?.deref() ?? new PositionedDocument(source);
      held = new WeakRef(document);
      return document.locate(path, part);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      // Plain JSON with more parts than can be read with their positions.
      byPath = pathLocator(source.name);
      return byPath(path);
    }
  };
}

type MapPair = Pair<unknown, unknown>;

class PositionedDocument {
  readonly #file: string;
  readonly #lines = new LineCounter();
  readonly #document: Document;
  readonly #targets = new Map<Alias, Node | undefined>();
  readonly #pairs = new WeakMap<YAMLMap, Map<string, MapPair>>();

  constructor(source: TemplateSource) {
    this.#file = source.name;
    const text = source.text.replace(/^\uFEFF/, "");
    this.#countLines(text);
    try {
      this.#document = this.#parse(text);
      if (text.includes("*")) this.#resolveAliases();
    } catch (error) {
      if (error instanceof InvalidError) throw error;
      throw new InvalidError([this.#problem(0, `the template cannot be read: ${messageOf(error)}`)]);
    }
    const { errors, warnings } = this.#document;
    const problems = [...errors, ...warnings].map((each) => this.#problem(each.pos[0], each.message));
    if (problems.length > 0) throw new InvalidError(problems);
  }

  /**
   * Keys are checked for uniqueness in toJson: the library's own check takes quadratic time. Nesting is checked before
   * the library composes, which it does by recursion: to run out of stack there can end the process.
   */
  #parse(text: string): Document {
    const tokens = this.#tokens(text);
    const deep = tokens.map(firstTooDeep).find((offset) => offset !== undefined);
    if (deep !== undefined) throw new InvalidError([this.#problem(deep, tooDeepMessage)]);
    const composer = new Composer({ uniqueKeys: false, logLevel: "error" });
    const [document, second] = composer.compose(tokens, true, text.length);
    if (second !== undefined) throw new InvalidError([this.#problem(second.range[0], secondDocument)]);
    return document as Document;
  }

  #tokens(text: string): CST.Token[] {
    const parser = new Parser();
    const tokens: CST.Token[] = [];
    let lexemes = 0;
    for (const lexeme of new Lexer().lex(text)) {
      lexemes += 1;
      if (lexemes > lexemesLimit) throw new InvalidError([this.#problem(0, tooManyMessage)]);
      for (const token of parser.next(lexeme)) tokens.push(token);
    }
    for (const token of parser.end()) tokens.push(token);
    return tokens;
  }

  /** Not left to the parser, which misses lines where text is broken. */
  #countLines(text: string): void {
    this.#lines.addNewLine(0);
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", end + 1)) {
      this.#lines.addNewLine(end + 1);
    }
  }

  #resolveAliases(): void {
    const anchors = new Map<string, Node>();
    visit(this.#document, {
      Node: (_key, node) => {
        if (isAlias(node)) this.#targets.set(node, anchors.get(node.source));
        else if (node.anchor !== undefined) anchors.set(node.anchor, node);
      },
    });
  }

  toJson(): { value: Json; problems: Problem[] } {
    const conversion = new Conversion(this.#targets);
    const value = conversion.toJson(this.#document.contents);
    const problems = conversion.problems.map(({ offset, message }) => this.#problem(offset, message));
    return { value, problems };
  }

  locate(path: Path, part: "key" | "value"): Location {
    let offset = offsetOf(this.#document.contents) ?? 0;
    let node: unknown = this.#document.contents;
    for (const [index, step] of path.entries()) {
      const pair = this.#step(node, step);
      if (pair === undefined) break;
      node = pair.value;
      const wantsKey = index === path.length - 1 && part === "key";
      const keyOffset = offsetOf(pair.key);
      offset = (wantsKey || isEmpty(node) ? keyOffset : undefined) ?? offsetOf(node) ?? keyOffset ?? offset;
    }
    return this.#location(offset);
  }

  #step(node: unknown, step: string | number): { key?: unknown; value: unknown } | undefined {
    const parent = isAlias(node) ? this.#targets.get(node) : node;
    if (isMap(parent)) return this.#pairsOf(parent).get(String(step));
    if (isSeq(parent) && typeof step === "number" && step < parent.items.length) {
      return { value: parent.items[step] };
    }
    return undefined;
  }

  #pairsOf(map: YAMLMap): Map<string, MapPair> {
    const known = this.#pairs.get(map);
    if (known !== undefined) return known;
    const pairs = new Map<string, MapPair>();
    for (const pair of map.items) {
      if (isScalar(pair.key) && !pairs.has(String(pair.key.value))) pairs.set(String(pair.key.value), pair);
    }
    this.#pairs.set(map, pairs);
    return pairs;
  }

  #problem(offset: number, message: string): Problem {
    return { message, ...this.#location(offset) };
  }

  #location(offset: number): Location {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.#file, line: Math.max(1, line), column: Math.max(1, col) };
  }
}

export const tooDeepMessage = `nested deeper than ${nestingLimit} levels`;
const tooManyMessage = `more than ${lexemesLimit} words and signs are possible only in JSON with every key once, at most ${nestingLimit} levels and no number that would lose digits`;
const secondDocument = "a template is one YAML document: there is a second one here";

/** Offset of a map or list that lies deeper than the limit; level by level, without recursion. */
/** Where a text is nested deeper than YAML can be composed; undefined where it is not. */
export function tooDeepAt(text: string): number | undefined {
  for (const token of new Parser().parse(text)) {
    const offset = firstTooDeep(token);
    if (offset !== undefined) return offset;
  }
  return undefined;
}

function firstTooDeep(token: CST.Token): number | undefined {
  let level = token.type === "document" ? [token.value] : [];
  for (let depth = 0; level.length > 0; depth++) {
    const collections = level.filter((each) => CST.isCollection(each));
    if (depth >= nestingLimit && collections[0] !== undefined) return collections[0].offset;
    level = collections.flatMap(({ items }) => items.flatMap(({ key, value }) => [key ?? undefined, value]));
  }
  return undefined;
}

function offsetOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function isEmpty(node: unknown): boolean {
  return node === null || node === undefined || (isScalar(node) && node.value === null && !node.source);
}

/** YAML nodes to JSON, noting what JSON cannot hold. */
class Conversion {
  readonly problems: { offset: number; message: string }[] = [];
  readonly #targets: ReadonlyMap<Alias, Node | undefined>;
  readonly #openAliases = new Set<Node>();
  readonly #refused = new Set<string>();
  #aliasedNodes = 0;
  #depth = 0;

  constructor(targets: ReadonlyMap<Alias, Node | undefined>) {
    this.#targets = targets;
  }

  toJson(node: unknown): Json {
    if (!isNode(node)) return null;
    if (this.#openAliases.size > 0 && ++this.#aliasedNodes > repeatedNodesLimit) return this.#tooMany(node);
    if (isScalar(node)) return this.#scalar(node);
    if (this.#depth >= nestingLimit) return this.#refuse(node, tooDeepMessage);
    this.#depth++;
    const value = isAlias(node) ? this.#alias(node) : this.#collection(node);
    this.#depth--;
    return value;
  }

  #collection(node: Node): Json {
    if (isMap(node)) return this.#map(node);
    if (isSeq(node)) return node.items.map((item) => this.toJson(isPair(item) ? item.value : item));
    return this.#refuse(node, "this YAML value is not supported");
  }

  #map(map: YAMLMap): Json {
    const entries: [string, Json][] = [];
    const names = new Set<string>();
    for (const pair of map.items) {
      const name = this.#key(pair.key, map);
      if (name === undefined) continue;
      if (names.has(name)) this.#refuse(pair.key, `"${name}" is there twice`);
      names.add(name);
      entries.push([name, this.toJson(pair.value)]);
    }
    return Object.fromEntries(entries);
  }

  #key(key: unknown, map: YAMLMap): string | undefined {
    const place = offsetOf(key) === undefined ? map : key;
    if (!isScalar(key) || key.value === null) return this.#refuseKey(place, "a key must be text");
    if (key.value === "__proto__") return this.#refuseKey(place, "__proto__ cannot be used as a key");
    if (key.value === "<<" && key.type === "PLAIN") {
      return this.#refuseKey(place, "merge keys (<<) are not supported yet");
    }
    if (typeof key.value === "string") return key.value;
    return this.#refuseKey(place, `a key must be text: put ${key.source ?? String(key.value)} in quotes`);
  }

  #scalar(scalar: Scalar): Json {
    const { value } = scalar;
    if (value === null || typeof value === "boolean" || typeof value === "string") return value;
    if (typeof value === "number") return this.#number(scalar, value);
    return this.#refuse(scalar, "this YAML value has no counterpart in JSON: put it in quotes");
  }

  #number(scalar: Scalar, value: number): Json {
    const source = scalar.source ?? "";
    if (!Number.isFinite(value)) return this.#refuse(scalar, `${source} is not a number that JSON can hold`);
    if (/^[-+]?0\d/.test(source)) return source;
    if (Number.isInteger(value) && !Number.isSafeInteger(value) && !/[.e]/i.test(source)) {
      return this.#refuse(scalar, `${source} is too large to be kept exactly: put it in quotes`);
    }
    return value;
  }

  #alias(alias: Alias): Json {
    const target = this.#targets.get(alias);
    if (target === undefined) return this.#refuse(alias, `there is no anchor &${alias.source} before this`);
    if (this.#openAliases.has(target)) return this.#refuse(alias, `*${alias.source} contains itself`);
    this.#openAliases.add(target);
    const value = this.toJson(target);
    this.#openAliases.delete(target);
    return value;
  }

  #tooMany(node: Node): null {
    if (this.#aliasedNodes > repeatedNodesLimit + 1) return null;
    return this.#refuse(node, `aliases expand to more than ${repeatedNodesLimit} values`);
  }

  /** Once per place: what an alias leads to is walked again. */
  #refuse(node: unknown, message: string): null {
    const offset = offsetOf(node) ?? 0;
    const id = `${offset} ${message}`;
    if (!this.#refused.has(id)) this.problems.push({ offset, message });
    this.#refused.add(id);
    return null;
  }

  #refuseKey(node: unknown, message: string): undefined {
    this.#refuse(node, message);
  }
}

/**
 * JSON text by the fast way, twenty times faster than as YAML. Nothing where the slow way would have something to say:
 * a key that is there twice, a number that lost digits, too deep a nesting.
 */
function readPlainJson(text: string): Json | undefined {
  if (!/^\s*\{/.test(text)) return undefined;
  try {
    const value = JSON.parse(text) as Json;
    const keys = countKeys(value, 0);
    return keys === countKeyTokens(text) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** NaN when the value needs the slow way. */
function countKeys(value: Json, depth: number): number {
  if (typeof value === "number")
    return Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value))
      ? 0
      : Number.NaN;
  if (value === null || typeof value !== "object") return 0;
  if (depth >= nestingLimit || Object.hasOwn(value, "__proto__")) return Number.NaN;
  const items = Object.values(value);
  let keys = Array.isArray(value) ? 0 : items.length;
  for (const item of items) keys += countKeys(item, depth + 1);
  return keys;
}

function countKeyTokens(text: string): number {
  const strings = /"[^"\\]*(?:\\.[^"\\]*)*"\s*(:?)/g;
  let keys = 0;
  for (let match = strings.exec(text); match !== null; match = strings.exec(text)) {
    if (match[1] === ":") keys++;
  }
  return keys;
}
