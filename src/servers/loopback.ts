/** Ports of the loopback interface, and whether a server of ours answers there: by its own protocol, with its password. */
import { connect, createServer } from "node:net";

export const host = "127.0.0.1";
const answerLimitMs = 2000;

/** `ready`; `loading`: up, and reading its data; `foreign`: somebody else's server; `silent`: no usable answer. */
export type Answer = "ready" | "loading" | "foreign" | "silent";

export async function freePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, host, () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

export async function isFreePort(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

export async function askRedis(port: number, password?: string): Promise<Answer> {
  const opening = password === undefined ? "PING\r\n" : `AUTH ${password}\r\nPING\r\n`;
  return await converse(port, opening, (lines) => {
    const errorLine = lines.find((line) => line.startsWith("-"));
    if (errorLine !== undefined) return redisRefusal(errorLine);
    return lines.includes("+PONG") ? "ready" : undefined;
  });
}

function redisRefusal(line: string): Answer {
  switch (line.slice(1).split(" ")[0]) {
    case "LOADING":
      return "loading";
    case "WRONGPASS":
    case "NOAUTH":
    case "ERR":
      return "foreign";
    default:
      return "silent";
  }
}

export interface NatsCredentials {
  user: string;
  pass: string;
}

export async function askNats(port: number, credentials?: NatsCredentials): Promise<Answer> {
  const options = JSON.stringify({
    verbose: false,
    pedantic: false,
    lang: "node",
    version: "1",
    ...credentials,
  });
  return await converse(port, `CONNECT ${options}\r\nPING\r\n`, (lines) => {
    if (lines.some((line) => line.startsWith("-ERR"))) return "foreign";
    return lines.includes("PONG") ? "ready" : undefined;
  });
}

/** Sends one opening and looks at the whole lines that come back, until they decide. */
async function converse(
  port: number,
  opening: string,
  judge: (lines: string[]) => Answer | undefined,
): Promise<Answer> {
  return await new Promise((resolve) => {
    const socket = connect({ host, port });
    let text = "";
    const end = (answer: Answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(answerLimitMs, () => end("silent"));
    socket.on("error", () => end("silent"));
    socket.on("close", () => end("silent"));
    socket.on("connect", () => socket.write(opening));
    socket.on("data", (data) => {
      text += data.toString("latin1");
      const answer = judge(text.split("\r\n").slice(0, -1));
      if (answer !== undefined) end(answer);
    });
  });
}
