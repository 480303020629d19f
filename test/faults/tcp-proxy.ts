/** A TCP proxy on loopback whose connections a test can cut, stall, leave half-open, or rob of replies. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket, connect as tcp } from "node:net";
import type { Prng } from "../../src/simulator/prng.js";

const host = "127.0.0.1";

interface Pair {
  near: Socket;
  far: Socket;
  /** Half-open for good: neither side hears anything any more, not even an end. */
  forgotten: boolean;
}

export class TcpProxy {
  readonly #server: Server;
  readonly #target: number;
  readonly #prng: Prng;
  readonly #pairs = new Set<Pair>();
  #stalled = false;
  #refusing = false;
  #replyLoss = 0;
  /** Replies that were cut off. */
  lost = 0;

  private constructor(target: number, prng: Prng) {
    this.#target = target;
    this.#prng = prng;
    this.#server = createServer((near) => this.#accept(near));
  }

  static async open(target: number, prng: Prng): Promise<TcpProxy> {
    const proxy = new TcpProxy(target, prng);
    proxy.#server.listen(0, host);
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Resets connections; new ones are taken. */
  cut(share = 1): void {
    for (const pair of this.#some(share)) this.#reset(pair);
  }

  /** Connections stay open and silent for ever; new ones work. */
  forget(share = 1): void {
    for (const pair of this.#some(share)) {
      pair.forgotten = true;
      pair.near.pause();
      pair.far.pause();
    }
  }

  /** Nothing passes, on old and new connections, until `heal`; then all that was sent arrives. */
  stall(): void {
    this.#stalled = true;
    for (const { near, far } of this.#pairs) {
      near.pause();
      far.pause();
    }
  }

  /** Resets connections, new ones too, until `heal`. */
  refuse(): void {
    this.#refusing = true;
    this.cut();
  }

  /** From now on, each time the server says something: the chance that the connection breaks before all is told. */
  loseReplies(chance: number): void {
    this.#replyLoss = chance;
  }

  heal(): void {
    this.#stalled = false;
    this.#refusing = false;
    this.#replyLoss = 0;
    for (const { near, far, forgotten } of this.#pairs) {
      if (forgotten) continue;
      near.resume();
      far.resume();
    }
  }

  async close(): Promise<void> {
    for (const pair of [...this.#pairs]) this.#reset(pair);
    this.#server.close();
    await once(this.#server, "close");
  }

  #some(share: number): Pair[] {
    return [...this.#pairs].filter(({ forgotten }) => !forgotten && this.#prng.chance(share));
  }

  #accept(near: Socket): void {
    if (this.#refusing) {
      near.resetAndDestroy();
      return;
    }
    const far = tcp(this.#target, host);
    const pair: Pair = { near, far, forgotten: false };
    this.#pairs.add(pair);
    near.setNoDelay();
    far.setNoDelay();
    near.on("data", (data) => far.write(data));
    far.on("data", (data) => this.#reply(pair, data));
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      socket.on("error", () => this.#broken(pair));
      socket.on("close", () => this.#broken(pair));
      socket.on("end", () => other.end());
    }
    if (this.#stalled) {
      near.pause();
      far.pause();
    }
  }

  /** A broken reply has told a part at most: the server has done what it was asked to. */
  #reply(pair: Pair, data: Buffer): void {
    if (!this.#prng.chance(this.#replyLoss)) {
      pair.near.write(data);
      return;
    }
    this.lost += 1;
    const told = this.#prng.chance(0.5) ? 0 : this.#prng.below(data.length);
    pair.near.write(data.subarray(0, told), () => this.#reset(pair));
  }

  #broken(pair: Pair): void {
    if (!pair.forgotten) this.#reset(pair);
  }

  #reset(pair: Pair): void {
    if (!this.#pairs.delete(pair)) return;
    pair.near.resetAndDestroy();
    pair.far.resetAndDestroy();
  }
}
