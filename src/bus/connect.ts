/** Connects to NATS as operators expect: by URL, or by a context of the NATS command line (ADR-21). */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import {
  type Authenticator,
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  ErrorCode,
  Events,
  jwtAuthenticator,
  type NatsConnection,
  NatsError,
  nkeyAuthenticator,
  type TlsOptions,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from "nats";
import { z } from "zod";
import { HomeostatError, messageOf } from "../errors.js";

/** Whatever is not given comes from the context, if there is one. */
export interface NatsOptions {
  /** One server, or several of a cluster. `nats://user:password@host:port` and `nats://token@host:port` work. */
  url?: string | readonly string[] | undefined;
  /** Name of a context, or path of its file. Without url and context, NATS_CONTEXT names it. */
  context?: string | undefined;
  /** Path of a credentials file. */
  creds?: string | undefined;
  /** Path of an nkey seed file. */
  nkey?: string | undefined;
  userJwt?: string | undefined;
  user?: string | undefined;
  password?: string | undefined;
  token?: string | undefined;
  /** Paths of PEM files. */
  cert?: string | undefined;
  key?: string | undefined;
  ca?: string | undefined;
  /** TLS before the server says anything. */
  tlsFirst?: boolean | undefined;
  inboxPrefix?: string | undefined;
  jetstreamDomain?: string | undefined;
}

export interface ConnectionLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** How long the first connection may take. */
const connectMs = 5_000;
const reconnectWaitMs = 250;
const reconnectJitterMs = 250;
/** A dead connection is noticed after three of these. */
const pingMs = 5_000;
const defaultUrl = "nats://127.0.0.1:4222";

const contextSchema = z.object({
  url: z.string().optional(),
  creds: z.string().optional(),
  nkey: z.string().optional(),
  user_jwt: z.string().optional(),
  user: z.string().optional(),
  password: z.string().optional(),
  token: z.string().optional(),
  cert: z.string().optional(),
  key: z.string().optional(),
  ca: z.string().optional(),
  tls_first: z.boolean().optional(),
  inbox_prefix: z.string().optional(),
  jetstream_domain: z.string().optional(),
});

export interface NatsLink {
  connection: NatsConnection;
  jetstreamDomain: string | undefined;
  inboxPrefix: string | undefined;
  /** Servers without credentials, for people. */
  where: string;
}

/**
 * The first connection must succeed within seconds; later ones are tried for ever.
 *
 * @throws HomeostatError `unavailable`, or `invalid` when a context or file cannot be used.
 */
export async function connectNats(given: NatsOptions, name: string): Promise<NatsLink> {
  const options = await withContext(given);
  const urls = [options.url ?? defaultUrl].flat().flatMap((url) => url.split(","));
  const where = urls.map(withoutCredentials).join(", ");
  const authenticator = await authenticatorOf(options, urls);
  const tls = tlsOf(options, urls);
  const connection: ConnectionOptions = {
    servers: urls.map(serverOf),
    name,
    timeout: connectMs,
    // Each publish would otherwise build errors with stack traces that nobody reads.
    noAsyncTraces: true,
    maxReconnectAttempts: -1,
    reconnectTimeWait: reconnectWaitMs,
    reconnectJitter: reconnectJitterMs,
    reconnectJitterTLS: reconnectJitterMs,
    pingInterval: pingMs,
    ignoreAuthErrorAbort: true,
    ...(authenticator === undefined ? {} : { authenticator }),
    ...(tls === undefined ? {} : { tls }),
    ...(options.inboxPrefix === undefined ? {} : { inboxPrefix: options.inboxPrefix }),
  };
  try {
    return {
      connection: await connect(connection),
      jetstreamDomain: options.jetstreamDomain,
      inboxPrefix: options.inboxPrefix,
      where,
    };
  } catch (error) {
    throw new HomeostatError("unavailable", explain(error, where), { cause: error });
  }
}

/** Tells when the connection is lost and back; ends with it. */
export async function watchConnection(
  link: NatsLink,
  log: ConnectionLog,
  on: { lost?: () => void; back?: () => void } = {},
): Promise<void> {
  for await (const status of link.connection.status()) {
    if (status.type === Events.Disconnect) {
      log.warn({ nats: link.where }, "lost the connection to NATS; trying again until it is back");
      on.lost?.();
    } else if (status.type === Events.Reconnect) {
      log.info({ nats: link.where }, "NATS is back");
      on.back?.();
    } else if (status.type === Events.Error) {
      log.warn({ nats: link.where, error: status.data }, "NATS reports an error");
    }
  }
}

function explain(error: unknown, where: string): string {
  switch (error instanceof NatsError ? error.code : undefined) {
    case ErrorCode.AuthorizationViolation:
    case ErrorCode.AuthenticationExpired:
    case ErrorCode.AuthenticationTimeout:
    case ErrorCode.BadAuthentication:
      return `NATS at ${where} refuses the credentials; check user, password, token or credentials file`;
    case ErrorCode.ConnectionRefused:
    case ErrorCode.ConnectionTimeout:
    case ErrorCode.Timeout:
      return `cannot reach NATS at ${where}; is a nats-server running there?`;
    default:
      return `cannot connect to NATS at ${where}: ${messageOf(error)}`;
  }
}

async function withContext(given: NatsOptions): Promise<NatsOptions> {
  const name = given.context ?? (given.url === undefined ? process.env.NATS_CONTEXT : undefined);
  if (name === undefined || name === "") return given;
  const context = await readContext(name);
  const defined = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...context, ...Object.fromEntries(defined) };
}

async function readContext(name: string): Promise<NatsOptions> {
  const config = process.env.XDG_CONFIG_HOME || join(homedir(), ".config");
  const path = /[/\\]/.test(name) ? atHome(name) : join(config, "nats", "context", `${name}.json`);
  try {
    const context = contextSchema.parse(JSON.parse(await readFile(path, "utf8")));
    const { user_jwt, tls_first, inbox_prefix, jetstream_domain, ...same } = context;
    return withoutEmpty({
      ...same,
      userJwt: user_jwt,
      tlsFirst: tls_first,
      inboxPrefix: inbox_prefix,
      jetstreamDomain: jetstream_domain,
    });
  } catch (error) {
    throw new HomeostatError("invalid", `cannot use the NATS context ${name} (${path}): ${messageOf(error)}`);
  }
}

/** The NATS command line writes what is not set as empty text. */
function withoutEmpty(options: NatsOptions): NatsOptions {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined && value !== ""),
  );
}

async function authenticatorOf(
  options: NatsOptions,
  urls: readonly string[],
): Promise<Authenticator | undefined> {
  if (options.creds !== undefined) return credsAuthenticator(await readBytes(options.creds, "credentials"));
  const seed = options.nkey === undefined ? undefined : await readBytes(options.nkey, "nkey");
  if (options.userJwt !== undefined) return jwtAuthenticator(options.userJwt, seed);
  if (seed !== undefined) return nkeyAuthenticator(Buffer.from(seed.toString("utf8").trim()));
  if (options.token !== undefined) return tokenAuthenticator(options.token);
  if (options.user !== undefined) return usernamePasswordAuthenticator(options.user, options.password ?? "");
  const { username, password } = urls.map(parsed).find((url) => url.username !== "") ?? parsed(defaultUrl);
  if (username === "") return undefined;
  return password === ""
    ? tokenAuthenticator(decodeURIComponent(username))
    : usernamePasswordAuthenticator(decodeURIComponent(username), decodeURIComponent(password));
}

function tlsOf(options: NatsOptions, urls: readonly string[]): TlsOptions | undefined {
  const { cert, key, ca, tlsFirst } = options;
  const wanted = urls.some((url) => parsed(url).protocol === "tls:") || cert || key || ca || tlsFirst;
  if (!wanted) return undefined;
  return {
    ...(cert === undefined ? {} : { certFile: atHome(cert) }),
    ...(key === undefined ? {} : { keyFile: atHome(key) }),
    ...(ca === undefined ? {} : { caFile: atHome(ca) }),
    ...(tlsFirst === undefined ? {} : { handshakeFirst: tlsFirst }),
  };
}

async function readBytes(path: string, what: string): Promise<Buffer> {
  try {
    return await readFile(atHome(path));
  } catch (error) {
    throw new HomeostatError("invalid", `cannot read the ${what} file ${path}: ${messageOf(error)}`);
  }
}

function atHome(path: string): string {
  return path.startsWith("~/") ? join(homedir(), path.slice(2)) : path;
}

/** @throws HomeostatError `invalid` */
function parsed(url: string): URL {
  const trimmed = url.trim();
  try {
    return new URL(trimmed.includes("://") ? trimmed : `nats://${trimmed}`);
  } catch {
    throw new HomeostatError("invalid", "a NATS URL looks like nats://host:4222");
  }
}

function serverOf(url: string): string {
  const { hostname, port } = parsed(url);
  return `${hostname}:${port || "4222"}`;
}

function withoutCredentials(url: string): string {
  return `${parsed(url).protocol}//${serverOf(url)}`;
}
