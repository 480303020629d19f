/**
 * Loads the Lua files and runs them by name. A file's header is the contract: K.name and A.name stand for what its KEYS
 * and ARGV name so, and every call is checked against them, so that the two sides cannot drift apart.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { type Redis, ReplyError } from "ioredis";

const folder = new URL("./lua/", import.meta.url);

export interface Script {
  name: string;
  keys: readonly string[];
  args: readonly string[];
  /** Result tags that the header documents. */
  results: readonly string[];
  /** As it is written, with what it includes. */
  named: string;
  /** As it runs: with places for the names of keys and arguments. */
  text: string;
  /** What Redis knows the text by. */
  sha: string;
}

/** @throws Error when a file has no proper header. */
export function loadScripts(): ReadonlyMap<string, Script> {
  const files = readdirSync(folder).filter((file) => file.endsWith(".lua"));
  return new Map(files.map((file) => [file.slice(0, -4), loadScript(file.slice(0, -4))]));
}

function loadScript(name: string): Script {
  const source = readFileSync(new URL(`${name}.lua`, folder), "utf8");
  const header = /^--\[\[\n([\s\S]*?)\n\]\]\n/.exec(source);
  if (header?.[1] === undefined) throw new Error(`${name}.lua has no header`);
  const section = (title: string): string => {
    const found = new RegExp(`^${title} *(.*(?:\\n {7}.*)*)$`, "m").exec(header[1] ?? "");
    if (found?.[1] === undefined) throw new Error(`the header of ${name}.lua lacks ${title}`);
    return found[1];
  };
  const words = (title: string) => section(title).split(/\s+/).filter(Boolean);
  section("ATOMIC");
  const keys = words("KEYS");
  const args = words("ARGV");
  const results = section("RESULT")
    .split("|")
    .map((result) => result.trim().split(/\s/)[0] ?? "");
  const named = source
    .slice(header[0].length)
    .replace(/^--@include (.*)$/gm, (_line, parts: string) => parts.split(" ").map(readPart).join("\n"));
  const text = placed(placed(named, "K", "KEYS", keys), "A", "ARGV", args);
  return { name, keys, args, results, named, text, sha: createHash("sha1").update(text).digest("hex") };
}

function readPart(name: string): string {
  return readFileSync(new URL(`lib/${name}.lua`, folder), "utf8");
}

/** A name becomes its place. What a shared part names and this script does not have is nil: nothing here calls for it. */
function placed(body: string, name: string, list: string, fields: readonly string[]): string {
  const places = fields.map((field, i): [string, string] =>
    isList(field) ? [field.slice(0, -1), `{ unpack(${list}, ${i + 1}) }`] : [field, `${list}[${i + 1}]`],
  );
  const known = new Map(places);
  return body.replace(
    new RegExp(`\\b${name}\\.(\\w+)`, "g"),
    (_, field: string) => known.get(field) ?? "nil",
  );
}

/** The last key of a script may stand for any number of them: `resources…`. */
function isList(name: string): boolean {
  return name.endsWith("…");
}

export type Value = string | number;

/** By name; a list for a name that stands for several. */
export type KeysByName = Record<string, string | readonly string[]>;

/** The scripts, run over one connection. */
export class ScriptRunner {
  static #loaded: ReadonlyMap<string, Script> | undefined;
  readonly #scripts: ReadonlyMap<string, Script>;
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
    ScriptRunner.#loaded ??= loadScripts();
    this.#scripts = ScriptRunner.#loaded;
  }

  /** @throws Error when keys or arguments are not the header's. */
  async run(name: string, keys: KeysByName, args: Record<string, Value>): Promise<unknown[]> {
    const script = this.#scripts.get(name);
    if (script === undefined) throw new Error(`no script ${name}`);
    const ofKeys = inOrder<string | readonly string[]>(script, "KEYS", script.keys, keys).flat();
    const values = [...ofKeys, ...inOrder(script, "ARGV", script.args, args)];
    const count = ofKeys.length;
    try {
      return (await this.#redis.evalsha(script.sha, count, ...values)) as unknown[];
    } catch (error) {
      // The server does not know it yet, or has forgotten it.
      if (!(error instanceof ReplyError) || !(error as Error).message.startsWith("NOSCRIPT")) throw error;
      return (await this.#redis.eval(script.text, count, ...values)) as unknown[];
    }
  }
}

function inOrder<V>(script: Script, what: string, names: readonly string[], values: Record<string, V>): V[] {
  const given = Object.keys(values).length;
  const ordered = names.map((name) => {
    const value = values[isList(name) ? name.slice(0, -1) : name];
    if (value === undefined) throw new Error(`${script.name}.lua: ${what} lacks ${name}`);
    return value;
  });
  if (given !== names.length)
    throw new Error(`${script.name}.lua: ${what} has names its header does not know`);
  return ordered;
}
