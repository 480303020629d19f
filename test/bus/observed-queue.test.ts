/** Theory: something that a producer published is lost, or comes to nobody, or comes twice without need. */
import { createConnection } from "node:net";
import { connect, headers, type JetStreamManager, type NatsConnection } from "nats";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { connectNats, type NatsLink, watchConnection } from "../../src/bus/connect.js";
import { readObservations } from "../../src/bus/observation.js";
import { type ObservedMessage, ObservedQueue } from "../../src/bus/observed-queue.js";
import { defaultStreamLimits, type StreamLimits, Streams } from "../../src/bus/streams.js";
import { Subjects } from "../../src/bus/subjects.js";
import { startNats, type TestNats } from "../support/servers.js";
import { RecordingLog, World } from "../worker/world.js";

/** Longer than a busy machine takes; where a test waits for it, shorter. */
const ackWaitMs = 30_000;
const shortAckWaitMs = 1_000;
const subjects = new Subjects("deploy.test");
const subject = "deploy.test.observed.Test_3a_3aThing";

let nats: TestNats;
let connection: NatsConnection;
let manager: JetStreamManager;

beforeAll(async () => {
  nats = await startNats();
  connection = await connect({ servers: nats.url });
  manager = await connection.jetstreamManager();
});
afterAll(async () => {
  await connection.close();
  await nats.stop();
});

const queues: Observer[] = [];
beforeEach(async () => {
  const link = { connection, jetstreamDomain: undefined, inboxPrefix: undefined, where: "" };
  await new Streams(link, subjects, defaultStreamLimits, ackWaitMs).ensure();
});
afterEach(async () => {
  for (const observer of queues.splice(0)) await observer.end();
  await manager.streams.delete(subjects.observedStream);
});

/** A queue on a connection of its own, and what it was given. */
class Observer {
  readonly messages: ObservedMessage[] = [];
  readonly log = new RecordingLog();
  batches = 0;
  losses = 0;
  /** Messages at once that are not acknowledged. */
  bound = 2_000;
  acknowledges = true;
  #open = 0;

  readonly own: ObservedQueue;

  private constructor(
    readonly link: NatsLink,
    streams: Streams,
  ) {
    this.own = new ObservedQueue({
      link,
      streams,
      subjects,
      log: this.log,
      room: () => this.bound - this.#open,
      take: (batch) => this.#take(batch),
      onLoss: () => {
        this.losses += 1;
      },
    });
  }

  static async start(
    set: Partial<Observer> = {},
    limits: Partial<StreamLimits> = {},
    waitMs = ackWaitMs,
  ): Promise<Observer> {
    const link = await connectNats({ url: nats.url }, "observer");
    const streams = new Streams(link, subjects, { ...defaultStreamLimits, ...limits }, waitMs);
    const observer = new Observer(link, streams);
    Object.assign(observer, set);
    queues.push(observer);
    void watchConnection(link, observer.log, {
      lost: () => observer.own.connectionLost(),
      back: () => observer.own.connectionBack(),
    });
    await observer.own.start();
    return observer;
  }

  #take(batch: ObservedMessage[]): void {
    this.batches += 1;
    this.messages.push(...batch);
    this.#open += batch.length;
    if (this.acknowledges) setImmediate(() => this.acknowledge(batch));
  }

  acknowledge(batch: readonly ObservedMessage[] = this.messages): void {
    for (const message of batch) message.acknowledge();
    this.#open -= batch.length;
    this.own.more();
  }

  get ids(): string[] {
    return this.messages.flatMap((message) =>
      readObservations(message, new World().types).map((observed) =>
        observed.kind === "hint" ? observed.physicalId : observed.kind,
      ),
    );
  }

  async end(): Promise<void> {
    this.own.close();
    await this.link.connection.close();
  }
}

function publish(count: number, first = 0): string[] {
  const ids = Array.from({ length: count }, (_, i) => `thing-${first + i}`);
  for (const id of ids) connection.publish(subject, JSON.stringify({ physical_id: id }));
  return ids;
}

const within = { timeout: 20_000, interval: 20 };

async function untilAcknowledged(): Promise<void> {
  await vi.waitFor(async () => {
    const { num_pending, num_ack_pending } = await manager.consumers.info(
      subjects.observedStream,
      subjects.observers,
    );
    expect(num_pending + num_ack_pending).toBe(0);
  }, within);
}

describe("messages", () => {
  it("by the ten thousand are all handed over, each once, in large batches and within the bound", async () => {
    const observer = await Observer.start();
    const ids = publish(20_000);
    await vi.waitFor(() => expect(observer.messages.length).toBeGreaterThanOrEqual(20_000), within);
    await untilAcknowledged();
    expect(observer.ids).toEqual(ids);
    expect(observer.batches).toBeLessThan(2_000);
  });

  it("that came while there was no observer are waiting", async () => {
    // What the server still sends to who has just gone comes again.
    const first = await Observer.start({}, {}, shortAckWaitMs);
    await first.end();
    const ids = publish(10);
    const began = Date.now();
    await connection.flush();
    const second = await Observer.start({}, {}, shortAckWaitMs);
    await vi.waitFor(() => expect(second.ids).toEqual(ids), within);
    for (const { storedAt } of second.messages) expect(Math.abs(storedAt - began)).toBeLessThan(5_000);
  });

  it("are shared by all observers", async () => {
    const all = [await Observer.start({ bound: 300 }), await Observer.start({ bound: 300 })];
    const ids = publish(5_000);
    await vi.waitFor(() => expect(all.flatMap((each) => each.messages).length).toBe(5_000), within);
    await untilAcknowledged();
    expect(all.flatMap((each) => each.ids).sort()).toEqual([...ids].sort());
    for (const { messages } of all) expect(messages.length).toBeGreaterThan(500);
  });

  it("are not more than there is room for", async () => {
    const observer = await Observer.start({ bound: 100, acknowledges: false });
    publish(1_000);
    await vi.waitFor(() => expect(observer.messages).toHaveLength(100), within);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(observer.messages).toHaveLength(100);
    observer.acknowledges = true;
    observer.acknowledge([...observer.messages]);
    await untilAcknowledged();
    expect(new Set(observer.ids).size).toBe(1_000);
  });

  it("that nobody acknowledged come again, to another observer too", async () => {
    const first = await Observer.start({ acknowledges: false }, {}, shortAckWaitMs);
    const ids = publish(50);
    await vi.waitFor(() => expect(first.messages).toHaveLength(50), within);
    await first.end();
    const second = await Observer.start({}, {}, shortAckWaitMs);
    await vi.waitFor(() => expect(second.ids).toEqual(ids), within);
    await untilAcknowledged();
  });

  it("beyond the bound of all observers together wait on NATS", async () => {
    const observer = await Observer.start({ acknowledges: false }, { observedMaxAckPending: 30 });
    const ids = publish(100);
    await vi.waitFor(() => expect(observer.messages).toHaveLength(30), within);
    observer.acknowledges = true;
    observer.acknowledge([...observer.messages]);
    await untilAcknowledged();
    expect(new Set(observer.ids)).toEqual(new Set(ids));
  });

  it("are given back when the queue stops", async () => {
    const first = await Observer.start();
    first.own.stop();
    const ids = publish(20);
    await connection.flush();
    const second = await Observer.start();
    await vi.waitFor(() => expect(second.ids.sort()).toEqual([...ids].sort()), within);
    await untilAcknowledged();
    expect(first.messages).toEqual([]);
  });

  it("have topic, headers in lower case and data", async () => {
    const observer = await Observer.start();
    const header = headers();
    header.append("CE-SpecVersion", "1.0");
    header.append("ce-subject", "thing%2d1");
    connection.publish(`${subject}.host.x`, "", { headers: header });
    await vi.waitFor(() => expect(observer.messages).toHaveLength(1), within);
    const [message] = observer.messages;
    expect(message?.topic).toBe("Test_3a_3aThing.host.x");
    expect(message?.headers).toEqual(
      new Map([
        ["ce-specversion", "1.0"],
        ["ce-subject", "thing%2d1"],
      ]),
    );
    expect(observer.ids).toEqual(["thing-1"]);
  });

  it("with tens of thousands of bytes of headers cost nothing", async () => {
    const observer = await Observer.start();
    await publishRaw(`NATS/1.0\r\n${Array.from({ length: 9_000 }, (_, i) => `${i}:\r\n`).join("")}\r\n`);
    publish(1);
    await vi.waitFor(() => expect(observer.messages).toHaveLength(2), within);
    const began = performance.now();
    expect(observer.ids).toEqual(["unknown", "thing-0"]);
    expect(performance.now() - began).toBeLessThan(100);
  });
});

/** The client takes long to write so many headers. */
async function publishRaw(header: string): Promise<void> {
  const { port } = new URL(nats.url);
  await new Promise<void>((resolve, reject) => {
    const socket = createConnection(Number(port), "127.0.0.1");
    socket.on("error", reject);
    socket.on("data", (data) => {
      if (data.includes("PONG")) socket.end(resolve);
    });
    socket.write(
      `CONNECT {"headers":true,"verbose":false}\r\nHPUB ${subject} ${header.length} ${header.length + 2}\r\n`,
    );
    socket.write(`${header}{}\r\nPING\r\n`);
  });
}

describe("what somebody deletes", () => {
  it("is made again: the consumer, and what it had not taken comes", async () => {
    const observer = await Observer.start();
    await untilAcknowledged();
    await manager.consumers.delete(subjects.observedStream, subjects.observers);
    const ids = publish(10);
    await vi.waitFor(() => expect(observer.ids).toEqual(ids), within);
    expect(observer.losses).toBe(1);
    expect(observer.log.has("was missing on NATS")).toBe(true);
  });

  it.each([1, 2, 3, 4, 5, 6])("is made again: the stream, also just after it was asked (%i)", async () => {
    const observer = await Observer.start();
    await manager.streams.delete(subjects.observedStream);
    await vi.waitFor(() => manager.consumers.info(subjects.observedStream, subjects.observers), within);
    const ids = publish(10);
    await vi.waitFor(() => expect(observer.ids).toEqual(ids), within);
    expect(observer.losses).toBe(1);
  });
});

describe("a server that goes away and comes back", () => {
  it("still has what came before, and takes what comes after", async () => {
    const other = await startNats();
    const [before, after] = [nats, connection];
    [nats, connection] = [
      other,
      await connect({ servers: other.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 }),
    ];
    try {
      const observer = await Observer.start({ acknowledges: false }, {}, shortAckWaitMs);
      const ids = publish(20);
      await vi.waitFor(() => expect(observer.messages).toHaveLength(20), within);
      await other.kill();
      await other.restart();
      await vi.waitFor(() => connection.flush(), within);
      observer.acknowledges = true;
      ids.push(...publish(20, 20));
      await vi.waitFor(() => expect(new Set(observer.ids)).toEqual(new Set(ids)), within);
      await observer.end();
      await connection.close();
    } finally {
      [nats, connection] = [before, after];
      await other.stop();
    }
  });
});

describe("stream and consumer", () => {
  it("are bounded, shared, and say what they are", async () => {
    await Observer.start();
    const { config } = await manager.streams.info(subjects.observedStream);
    expect(config).toMatchObject({
      subjects: ["deploy.test.observed.>"],
      retention: "limits",
      discard: "old",
      max_age: 86_400e9,
      max_bytes: 128 * 1024 * 1024,
      duplicate_window: 10e9,
    });
    const consumer = await manager.consumers.info(subjects.observedStream, subjects.observers);
    expect(consumer.config).toMatchObject({
      durable_name: "observers",
      ack_policy: "explicit",
      ack_wait: ackWaitMs * 1e6,
      max_deliver: -1,
      max_ack_pending: 20_000,
      deliver_policy: "all",
    });
  });

  it("drop a publish that is tried again", async () => {
    const observer = await Observer.start();
    const jetstream = connection.jetstream();
    for (const msgID of ["1", "1", "2"]) await jetstream.publish(subject, '{"physical_id":"x"}', { msgID });
    await untilAcknowledged();
    expect(observer.ids).toEqual(["x", "x"]);
  });
});
