/** Theory: whoever cannot connect is told why, within seconds; contexts of the NATS command line are honoured. */
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { connectNats, type NatsOptions } from "../../src/bus/connect.js";
import { lookForBinaries } from "../../src/servers/binaries.js";
import { askNats, freePort, host } from "../../src/servers/loopback.js";
import { type PrivateServer, startPrivateServer } from "../../src/servers/private-server.js";
import { startHost } from "../../src/worker/host.js";
import { startNats, startRedis, type TestNats, type TestRedis } from "../support/servers.js";
import { RecordingLog, World } from "../worker/world.js";

const credentials = { user: "ann", pass: "s3cret" };

let redis: TestRedis;
let lockedRedis: TestRedis;
let nats: TestNats;
/** With a password, without JetStream. */
let lockedNats: PrivateServer;
let home: string;

beforeAll(async () => {
  [redis, lockedRedis, nats, lockedNats, home] = await Promise.all([
    startRedis(),
    startRedis(),
    startNats(),
    startLockedNats(),
    mkdtemp(join(tmpdir(), "homeostat-contexts-")),
  ]);
  const client = new Redis(lockedRedis.url);
  await client.config("SET", "requirepass", credentials.pass);
  client.disconnect();
});

afterAll(async () => {
  await Promise.all([redis, lockedRedis, nats, lockedNats].map((server) => server.stop()));
  await rm(home, { recursive: true });
});

afterEach(() => {
  vi.unstubAllEnvs();
});

async function startLockedNats(): Promise<PrivateServer> {
  const { found } = await lookForBinaries();
  const { user, pass } = credentials;
  return startPrivateServer({
    name: "nats",
    program: found.nats ?? "nats-server",
    args: (port) => ["-a", host, "-p", String(port), "--user", user, "--pass", pass],
    ask: (port) => askNats(port, credentials),
  });
}

const start = (options: { redisUrl?: string; nats?: NatsOptions }) =>
  startHost({
    redisUrl: options.redisUrl ?? redis.url,
    nats: options.nats ?? { url: nats.url },
    types: new World().types,
    log: new RecordingLog(),
  });

describe("a host says at start", () => {
  it("that Redis cannot be reached", async () => {
    const refused = start({ redisUrl: `redis://ann:s3cret@127.0.0.1:${await freePort()}` });
    await expect(refused).rejects.toMatchObject({ code: "unavailable" });
    await expect(refused).rejects.toThrow(/^cannot reach Redis at redis:\/\/127.0.0.1:\d+ \(/);
  });

  it("that Redis refuses the password, or wants one", async () => {
    const wrong = start({ redisUrl: lockedRedis.url.replace("://", "://:wrong@") });
    await expect(wrong).rejects.toThrow(/refuses user or password/);
    const none = start({ redisUrl: lockedRedis.url });
    await expect(none).rejects.toThrow(/refuses user or password/);
    const right = await start({ redisUrl: lockedRedis.url.replace("://", `://:${credentials.pass}@`) });
    await right.drain();
  });

  it("that a NATS server is no Redis", async () => {
    const refused = start({ redisUrl: nats.url.replace("nats:", "redis:") });
    await expect(refused).rejects.toMatchObject({ code: "unavailable" });
    await expect(refused).rejects.toThrow(/^cannot reach Redis at .* is a redis-server running there/);
  });

  it("that what listens there says nothing", async () => {
    const mute = createServer(() => {}).listen(0, host);
    await once(mute, "listening");
    const { port } = mute.address() as { port: number };
    const url = `${host}:${port}`;
    await expect(start({ redisUrl: `redis://${url}` })).rejects.toThrow(/no answer within/);
    await expect(start({ nats: { url: `nats://${url}` } })).rejects.toThrow(/cannot reach NATS/);
    mute.close();
  });

  it("that NATS cannot be reached", async () => {
    const refused = start({ nats: { url: `nats://ann:s3cret@127.0.0.1:${await freePort()}` } });
    await expect(refused).rejects.toMatchObject({ code: "unavailable" });
    await expect(refused).rejects.toThrow(/^cannot reach NATS at nats:\/\/127.0.0.1:\d+;/);
  });

  it("that NATS refuses the credentials", async () => {
    const url = `nats://${host}:${lockedNats.port}`;
    await expect(start({ nats: { url } })).rejects.toThrow(/refuses the credentials/);
    await expect(start({ nats: { url, user: "ann", password: "wrong" } })).rejects.toThrow(
      /refuses the credentials/,
    );
  });

  it("that a NATS server has no JetStream", async () => {
    const url = `nats://ann:s3cret@${host}:${lockedNats.port}`;
    await expect(start({ nats: { url } })).rejects.toThrow(/has no JetStream; start nats-server with -js/);
  });

  it("that a Redis server is no NATS", async () => {
    await expect(start({ nats: { url: redis.url.replace("redis:", "nats:") } })).rejects.toMatchObject({
      code: "unavailable",
    });
  });

  it("that a URL makes no sense", async () => {
    await expect(start({ redisUrl: "nonsense" })).rejects.toMatchObject({ code: "invalid" });
    await expect(start({ nats: { url: "nats://[" } })).rejects.toMatchObject({ code: "invalid" });
  });
});

describe("a context of the NATS command line", () => {
  const write = async (name: string, context: object | string) => {
    const folder = join(home, "nats", "context");
    await mkdir(folder, { recursive: true });
    const text = typeof context === "string" ? context : JSON.stringify(context);
    await writeFile(join(folder, `${name}.json`), text);
    return join(folder, `${name}.json`);
  };
  const connects = async (options: NatsOptions) => {
    vi.stubEnv("XDG_CONFIG_HOME", home);
    const { connection, where } = await connectNats(options, "test");
    await connection.close();
    return where;
  };
  const locked = () => ({
    description: "",
    url: `nats://${host}:${lockedNats.port}`,
    user: "ann",
    password: "s3cret",
    token: "",
    creds: "",
    nkey: "",
    jetstream_domain: "",
    tls_first: false,
  });

  it("is found by name, by path and by NATS_CONTEXT", async () => {
    const path = await write("locked", locked());
    const where = `nats://${host}:${lockedNats.port}`;
    expect(await connects({ context: "locked" })).toBe(where);
    expect(await connects({ context: path })).toBe(where);
    vi.stubEnv("NATS_CONTEXT", "locked");
    expect(await connects({})).toBe(where);
  });

  it("gives way to what is said explicitly, and to a URL", async () => {
    await write("locked", locked());
    await expect(connects({ context: "locked", password: "wrong" })).rejects.toThrow(/refuses/);
    vi.stubEnv("NATS_CONTEXT", "locked");
    expect(await connects({ url: nats.url })).toBe(nats.url);
  });

  it.each([
    ["missing", undefined, /cannot use the NATS context missing/],
    ["broken", "{", /cannot use the NATS context broken/],
    ["odd", '{"url": 4222}', /cannot use the NATS context odd/],
  ])("that is %s is refused by name", async (name, text, message) => {
    if (text !== undefined) await write(name, text);
    const refused = connects({ context: name });
    await expect(refused).rejects.toMatchObject({ code: "invalid" });
    await expect(refused).rejects.toThrow(message);
  });

  it("may name files that are not there", async () => {
    await write("files", { creds: "~/no-such.creds" });
    await expect(connects({ context: "files" })).rejects.toThrow(/cannot read the credentials file/);
  });
});
