/** The template that a person names on the command line, with the files that it embeds. */
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, extname, resolve } from "node:path";
import { text as readAll } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { HomeostatError, InvalidError, messageOf, type Problem } from "../errors.js";
import type { Json } from "../json.js";
import { errno } from "../servers/folder-lock.js";
import { readText } from "../template/read-text.js";
import type { Locate, Path, TemplateSource } from "../template/types.js";

const standardInput = "-";
const extensions = [".yaml", ".yml", ".json", ".hot", ".template"];
/** Names that say nothing about a stack: its folder's name is better. */
const plainNames = ["template", "stack", "homeostat", "main", "index"];

/** @throws HomeostatError `invalid` when it, or a file that it names, cannot be read. */
export async function readTemplate(file: string): Promise<TemplateSource> {
  if (file === standardInput) return withFiles("stdin", await readAll(process.stdin), ".");
  return withFiles(file, await readTemplateFile(file), dirname(file));
}

/** YAML or JSON that is no template. @throws HomeostatError `invalid` */
export async function readDocument(file: string): Promise<Json> {
  const isInput = file === standardInput;
  const text = isInput ? await readAll(process.stdin) : await readTemplateFile(file);
  const { value, problems } = readText({ text, name: isInput ? "stdin" : file, files: {} });
  if (problems.length > 0) throw new InvalidError(problems);
  return value;
}

/** What the stack is called when nobody says. @throws HomeostatError `invalid` */
export function nameFromFile(file: string): string {
  if (file === standardInput)
    throw new HomeostatError("invalid", "give the stack a name: homeostat up NAME -f -");
  const own = withoutExtension(basename(file));
  const name = plainNames.includes(own) ? basename(dirname(resolve(file))) : own;
  const safe = name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[._-]+/, "");
  if (isStackName(safe)) return safe;
  throw new HomeostatError(
    "invalid",
    `no stack name can be made of ${file}: give one, homeostat up NAME -f ${file}`,
  );
}

function isStackName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(name);
}

/** `command`: for the advice, with the name in its place. @throws HomeostatError `invalid` */
export function checkStackName(name: string): string {
  if (isStackName(name)) return name;
  const advice = name.includes("/") ? ", not a path" : "";
  throw new HomeostatError(
    "invalid",
    `"${name}" is not a stack name: it has letters, digits, dot, dash and underscore, at most 128${advice}`,
  );
}

export function looksLikeFile(name: string): boolean {
  return name.includes("/") || extensions.includes(extname(name));
}

function withoutExtension(name: string): string {
  return extensions.includes(extname(name)) ? withoutExtension(name.slice(0, -extname(name).length)) : name;
}

async function readTemplateFile(file: string): Promise<string> {
  try {
    return decode(await readFile(file));
  } catch (error) {
    if (errno(error) === "EISDIR") throw await folderGiven(file);
    throw new InvalidError([{ file, message: unreadable(error) }]);
  }
}

async function folderGiven(folder: string): Promise<HomeostatError> {
  const names = await readdir(folder).catch((): string[] => []);
  const found = names.filter((name) => extensions.includes(extname(name))).sort();
  const hint = found.length === 0 ? "" : ` (there: ${found.slice(0, 5).join(", ")})`;
  return new InvalidError([{ file: folder, message: `is a folder: give the file of the template${hint}` }]);
}

async function withFiles(name: string, text: string, folder: string): Promise<TemplateSource> {
  const { value, locate } = readText({ text, name, files: {} });
  const embedding = new Embedding(folder, locate);
  await embedding.embed(value, []);
  if (embedding.problems.length > 0) throw new InvalidError(embedding.problems);
  return { text, name, files: embedding.files };
}

/** Looks for get_file anywhere; whether it may stand there is for the template's own checks. */
class Embedding {
  readonly files: Record<string, string> = {};
  readonly problems: Problem[] = [];
  readonly #folder: string;
  readonly #locate: Locate;

  constructor(folder: string, locate: Locate) {
    this.#folder = folder;
    this.#locate = locate;
  }

  async embed(value: Json, path: Path): Promise<void> {
    if (value === null || typeof value !== "object") return;
    for (const [key, item] of Array.isArray(value) ? value.entries() : Object.entries(value)) {
      const isCall = key === "get_file" && Object.keys(value).length === 1;
      if (isCall && typeof item === "string") await this.#add(item, [...path, key]);
      else await this.embed(item, [...path, key]);
    }
  }

  async #add(name: string, path: Path): Promise<void> {
    if (Object.hasOwn(this.files, name)) return;
    try {
      this.files[name] = decode(await readFile(await this.#pathOf(name)));
    } catch (error) {
      this.problems.push({ message: `file "${name}" ${unreadable(error)}`, ...this.#locate(path) });
    }
  }

  async #pathOf(name: string): Promise<string> {
    if (name.startsWith("file://")) return fileURLToPath(name);
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(name))
      throw new Error("is not local: only files of this machine can be embedded");
    const path = resolve(this.#folder, name);
    if ((await stat(path)).isFile()) return path;
    throw new Error("is not a regular file");
  }
}

function decode(data: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw new Error("is not text in UTF-8");
  }
}

function unreadable(error: unknown): string {
  switch (errno(error)) {
    case undefined:
      return messageOf(error);
    case "ENOENT":
    case "ENOTDIR":
      return "cannot be read: there is no such file";
    case "EACCES":
    case "EPERM":
      return "cannot be read: permission denied";
    default:
      return `cannot be read: ${messageOf(error)}`;
  }
}
