/** How a started process shows that it is ready: a TCP port, an HTTP answer, a line of its log. */
import { constants, createReadStream } from "node:fs";
import { access } from "node:fs/promises";
import { get as getHttp } from "node:http";
import { get as getHttps } from "node:https";
import { connect } from "node:net";
import { z } from "zod";
import { type Duration, durationSchema } from "../duration.js";

const probeLimitMs = 1000;
const longestLineCharacters = 65_536;
const loopback = ["127.0.0.1", "::1"];
const ownHosts = new Set(["localhost", "127.0.0.1", "[::1]", "0.0.0.0"]);

export type Readiness = { port?: number; http?: string; log?: string; timeout: Duration };

const portSchema = z
  .union([z.number(), z.string().regex(/^\d+$/, "must be a port number").transform(Number)])
  .pipe(z.number().int().min(1).max(65_535));

export const readinessSchema = z
  .strictObject({
    port: portSchema.optional(),
    http: z.string().optional(),
    log: z.string().min(1).optional(),
    timeout: durationSchema.default("30s"),
  })
  .superRefine((readiness, context) => {
    const refuse = (message: string, path: string[] = []) =>
      context.addIssue({ code: "custom", message, path, input: readiness });
    const { port, http, log } = readiness;
    if (port === undefined && http === undefined && log === undefined) refuse("needs port, http or log");
    if (http?.startsWith("/") && port === undefined) refuse("a path alone needs a port", ["http"]);
    if (http !== undefined && !http.startsWith("/") && !(/^https?:/.test(http) && URL.canParse(http))) {
      refuse("must be a URL such as http://127.0.0.1:8080/health, or a path such as /health", ["http"]);
    }
    try {
      if (log !== undefined) linePattern(log);
    } catch (error) {
      refuse(error instanceof Error ? error.message : String(error), ["log"]);
    }
  });

/** The port of this host that the process must have for itself, as far as its readiness tells. */
export function portOf(readiness: Readiness | undefined): number | undefined {
  if (readiness?.port !== undefined) return readiness.port;
  if (readiness?.http === undefined) return undefined;
  const url = new URL(readiness.http);
  if (!ownHosts.has(url.hostname)) return undefined;
  return url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
}

export async function isListening(port: number): Promise<boolean> {
  const answers = await Promise.all(loopback.map((host) => canConnect(host, port)));
  return answers.includes(true);
}

/** Asks again and again; remembers what it has read of the log. */
export class ReadinessProbe {
  readonly #readiness: Readiness;
  readonly #log: LogWatch | undefined;

  constructor(readiness: Readiness, logFile: string) {
    this.#readiness = readiness;
    this.#log = readiness.log === undefined ? undefined : new LogWatch(logFile, linePattern(readiness.log));
  }

  async isReady(): Promise<boolean> {
    const { port, http } = this.#readiness;
    if (this.#log !== undefined && !(await this.#log.isSeen())) return false;
    if (http !== undefined)
      return answersWell(http.startsWith("/") ? `http://localhost:${port}${http}` : http);
    return port === undefined || isListening(port);
  }

  /** What is still waited for, for a person. */
  toString(): string {
    const { port, http, log } = this.#readiness;
    const parts = [
      ...(log === undefined ? [] : [`"${log}" in its log`]),
      ...(http === undefined ? [] : [`an answer of ${http}`]),
      ...(port === undefined || http !== undefined ? [] : [`port ${port}`]),
    ];
    return parts.join(" and ");
  }
}

class LogWatch {
  readonly #file: string;
  readonly #pattern: RegExp;
  #offset = 0;
  #line = "";
  #seen = false;

  constructor(file: string, pattern: RegExp) {
    this.#file = file;
    this.#pattern = pattern;
  }

  async isSeen(): Promise<boolean> {
    if (this.#seen) return true;
    if (!(await isReadable(this.#file))) return false;
    const chunks = createReadStream(this.#file, { start: this.#offset });
    for await (const chunk of chunks as AsyncIterable<Buffer>) {
      this.#offset += chunk.length;
      const lines = (this.#line + chunk.toString("utf8")).split("\n");
      this.#line = (lines.at(-1) ?? "").slice(-longestLineCharacters);
      // The last may be a prompt that never gets its end.
      if (lines.some((line) => this.#pattern.test(line))) {
        this.#seen = true;
        return true;
      }
    }
    return false;
  }
}

/** `/text/flags` is a regular expression, anything else is text that the line must contain. */
function linePattern(log: string): RegExp {
  const [, source, flags] = /^\/(.+)\/([a-z]*)$/.exec(log) ?? [];
  if (source === undefined) return new RegExp(log.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(source, flags?.replace(/[gy]/g, ""));
}

async function isReadable(file: string): Promise<boolean> {
  return access(file, constants.R_OK).then(
    () => true,
    () => false,
  );
}

async function canConnect(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const done = (connected: boolean) => {
      socket.destroy();
      resolve(connected);
    };
    socket.setTimeout(probeLimitMs, () => done(false));
    socket.once("connect", () => done(true));
    socket.once("error", () => done(false));
  });
}

async function answersWell(url: string): Promise<boolean> {
  const get = url.startsWith("https:") ? getHttps : getHttp;
  return new Promise((resolve) => {
    const request = get(url, { agent: false, timeout: probeLimitMs }, (response) => {
      const status = response.statusCode ?? 0;
      response.destroy();
      resolve(status >= 200 && status < 400);
    });
    request.once("timeout", () => request.destroy());
    request.once("error", () => resolve(false));
  });
}
