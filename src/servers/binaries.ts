/** Where the server programs are, and what to install when they are missing. */
import { access, constants, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { HomeostatError } from "../errors.js";

/** Service programs live in folders that are often not on the PATH of a person. */
const furtherFolders = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"];

export interface Binaries {
  redis: string;
  nats: string;
}

export interface FoundBinaries {
  found: Partial<Binaries>;
  /** Names of the programs that are not there. */
  missing: string[];
}

export async function lookForBinaries(path: string = process.env.PATH ?? ""): Promise<FoundBinaries> {
  const redis = (await findProgram("redis-server", path)) ?? (await findProgram("valkey-server", path));
  const nats = await findProgram("nats-server", path);
  return {
    found: { ...(redis && { redis }), ...(nats && { nats }) },
    missing: [...(redis ? [] : ["redis-server"]), ...(nats ? [] : ["nats-server"])],
  };
}

export async function findBinaries(): Promise<Binaries> {
  const {
    found: { redis, nats },
    missing,
  } = await lookForBinaries();
  if (redis !== undefined && nats !== undefined) return { redis, nats };
  throw new HomeostatError(
    "unavailable",
    [
      ...installAdvice(missing),
      "  Docker:  docker compose up --detach",
      "Or use servers that run elsewhere: set HOMEOSTAT_REDIS_URL and HOMEOSTAT_NATS_URL.",
    ].join("\n"),
  );
}

/** Lines for people. */
export function installAdvice(missing: readonly string[]): string[] {
  const debian = missing.join(" ");
  const brew = missing.map((name) => (name === "redis-server" ? "redis" : name)).join(" ");
  return [
    `${missing.join(" and ")} not found. Install what is missing:`,
    `  Debian, Ubuntu:  sudo apt-get install ${debian}`,
    `  macOS:  brew install ${brew}`,
  ];
}

async function findProgram(name: string, path: string): Promise<string | undefined> {
  for (const folder of [...path.split(delimiter).filter((part) => part !== ""), ...furtherFolders]) {
    const file = join(folder, name);
    if (await isProgram(file)) return file;
  }
  return undefined;
}

async function isProgram(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}
