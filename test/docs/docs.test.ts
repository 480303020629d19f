/**
 * Theory: what the documentation says of the code is so. The generated pages are what the code makes now; what the
 * written ones point to is there, and they name every key, bound and script.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { defaultLimits } from "../../src/limits.js";
import { Keys } from "../../src/store/keys.js";
import { loadScripts } from "../../src/store/script.js";

const root = resolve(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
/** Tables are padded for the eye. */
const architecture = read("ARCHITECTURE.md").replace(/ +/g, " ");

async function renderedDocs(): Promise<Record<string, string>> {
  const generator: string = pathToFileURL(join(root, "src/bootstrap/docs.mjs")).href;
  const { renderDocs } = (await import(generator)) as {
    renderDocs(load: (path: string) => Promise<unknown>): Promise<Record<string, string>>;
  };
  return renderDocs((path) => import(join(root, `${path}.ts`)));
}

describe("generated pages", () => {
  it("are what `npm run docs` makes of the sources", async () => {
    for (const [path, text] of Object.entries(await renderedDocs())) {
      expect(read(path), `${path} is stale: npm run docs`).toBe(text);
    }
  });
});

describe("ARCHITECTURE.md", () => {
  const pages = ["ARCHITECTURE.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)];

  it("points to files and names that exist", () => {
    const broken = pages.flatMap((page) =>
      [...read(page).matchAll(/`((?:src|machines|test)\/[\w./-]*)(?:#([\w-]+))?`/g)]
        .filter(([, path = "", name]) => !exists(path, name))
        .map(([pointer]) => `${page}: ${pointer}`),
    );
    expect(broken).toEqual([]);
  });

  it("has every rule that the code cites", () => {
    const cited = new Set(sources().flatMap((text) => text.match(/\bR\d+\b/g) ?? []));
    const stated = new Set([...architecture.matchAll(/^\*\*(R\d+)\b/gm)].map(([, rule]) => rule));
    expect([...cited].filter((rule) => !stated.has(rule))).toEqual([]);
    expect(stated.size).toBe(18);
  });

  it("names every key of Redis by its method", () => {
    const methods = Object.getOwnPropertyNames(Keys.prototype).filter(
      (name) => !["constructor", "of"].includes(name),
    );
    expect(methods.filter((name) => !architecture.includes(`| \`${name}\` |`))).toEqual([]);
  });

  it("names every script", () => {
    const scripts = [...loadScripts().keys()];
    expect(scripts.filter((name) => !architecture.includes(`\`${name}.lua\``))).toEqual([]);
  });

  it("has every bound with its default", () => {
    const missing = Object.entries(defaultLimits).filter(
      ([name, value]) => !architecture.includes(`| \`${name}\` | ${value} |`),
    );
    expect(missing).toEqual([]);
  });
});

function exists(path: string, name: string | undefined): boolean {
  if (!existsSync(join(root, path))) return false;
  return name === undefined || new RegExp(`\\b${name}\\b`).test(read(path));
}

function sources(): string[] {
  return ["src", "machines"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .map((file) => join(root, folder, file))
      .filter((file) => /\.(ts|lua)$/.test(file) && statSync(file).isFile())
      .map((file) => readFileSync(file, "utf8")),
  );
}
