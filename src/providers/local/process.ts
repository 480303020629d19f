import type { ChildProcess } from "node:child_process";
import { constants } from "node:os";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { canonicalJson } from "../../json.js";
import { isAlive, type ProcessIdentity } from "../../servers/process-identity.js";
import { type Duration, durationMs, durationSchema } from "../duration.js";
import {
  type CallContext,
  defineResource,
  ProviderError,
  type ResourceType,
  type Thing,
} from "../provider.js";
import { Pulse } from "../pulse.js";
import { sha256 } from "./file-system.js";
import { type Command, type Launched, Launches } from "./launch.js";
import { endProcesses, leadersWithToken } from "./process-group.js";
import { isListening, portOf, type Readiness, ReadinessProbe, readinessSchema } from "./readiness.js";

const deadlineMs = 30_000;
/** Without a readiness of its own, a process counts as ready when it has lived so long. */
const graceMs = 200;
const firstPollMs = 10;
const lastPollMs = 250;
/** Between the start of a wrapper and its record. */
const recordLimitMs = 5000;

type ProcessProperties = {
  command: string | string[];
  env: Record<string, string>;
  cwd?: string;
  readiness?: Readiness;
  stopSignal: NodeJS.Signals;
  stopTimeout: Duration;
};

const stopping: Pick<ProcessProperties, "stopSignal" | "stopTimeout"> = {
  stopSignal: "SIGTERM",
  stopTimeout: "10s",
};

const word = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const noNul = (text: string) => !text.includes("\0");

const properties = z.strictObject({
  command: z.union([
    z.string().min(1, "must not be empty").refine(noNul, "must not contain a NUL character"),
    z.array(word.refine(noNul, "must not contain a NUL character")).min(1, "must not be empty"),
  ]),
  env: z
    .record(
      z
        .string()
        .regex(/^[^=\0]+$/, "is not a name for an environment variable")
        .refine(
          (name) => !name.startsWith("HOMEOSTAT_"),
          "names that start with HOMEOSTAT_ are the engine's",
        ),
      word.refine(noNul, "must not contain a NUL character"),
    )
    .default({}),
  cwd: z.string().min(1).refine(noNul, "must not contain a NUL character").optional(),
  readiness: readinessSchema.optional(),
  stopSignal: z
    .string()
    .refine((name) => name in constants.signals, "must be the name of a signal, such as SIGTERM")
    .default(stopping.stopSignal),
  stopTimeout: durationSchema.default(stopping.stopTimeout),
});

/** A command that keeps running. It outlives the worker that starts it, and is found again by its token. */
export function localProcess(stateDir: string, baseDir: string): ResourceType {
  const base = defineResource<ProcessProperties>({
    type: "Local::Process",
    description: "A process on this host that keeps running",
    properties: properties as unknown as z.ZodType<ProcessProperties>,
    updatable: ["readiness", "stopSignal", "stopTimeout"],
    attributes: {
      pid: "process id, which is also the id of its group",
      logFile: "file that receives its standard output and error",
      port: "the port of its readiness, if that has one",
    },
    idempotent: true,
    deadlinesMs: {
      create: deadlineMs,
      read: deadlineMs,
      update: deadlineMs,
      delete: deadlineMs,
      find: deadlineMs,
    },

    async create(call, wanted) {
      const pulse = new Pulse(call);
      const launches = new Launches(stateDir, call.token);
      const [newest] = await launches.all();
      if (newest !== undefined && (await isAlive(newest))) {
        return untilReady({ launched: newest }, launches, call, wanted, pulse);
      }
      // What a dead leader left in its group must not meet the new process.
      await end(call, wanted, pulse, await launches.all());
      return start((newest?.generation ?? 0) + 1, launches, call, wanted, pulse);
    },

    async read(call, physicalId, wanted) {
      const launches = new Launches(stateDir, call.token);
      const [newest] = await launches.all();
      if (newest !== undefined && (await isAlive(newest))) {
        const asWanted = newest.launch === launchHash(wanted);
        const seen = asWanted ? wanted : { ...wanted, command: "(started with other properties)" };
        return { ...describe(newest, launches.logFile(newest.generation), wanted), properties: seen };
      }
      const identity = parseIdentity(physicalId);
      if (identity === undefined || !(await isAlive(identity))) return undefined;
      return { ...describe(identity, launches.logFile(newest?.generation ?? 1), wanted), properties: wanted };
    },

    /** A changed command arrives here only with a fixed port: see `compare` below. */
    async update(call, physicalId, wanted) {
      const pulse = new Pulse(call);
      const launches = new Launches(stateDir, call.token);
      const [newest] = await launches.all();
      if (newest !== undefined && newest.launch === launchHash(wanted) && (await isAlive(newest))) {
        return describe(newest, launches.logFile(newest.generation), wanted);
      }
      await end(call, wanted, pulse, await launches.all(), physicalId);
      try {
        return await start((newest?.generation ?? 0) + 1, launches, call, wanted, pulse);
      } catch (error) {
        throw afterStop(error);
      }
    },

    async delete(call, physicalId, wanted) {
      const launches = new Launches(stateDir, call.token);
      await end(call, wanted, new Pulse(call), await launches.all(), physicalId);
      await launches.remove();
    },

    async find(call, wanted) {
      const pulse = new Pulse(call);
      const launches = new Launches(stateDir, call.token);
      const [newest] = await launches.all();
      if (newest !== undefined && (await isAlive(newest))) {
        return describe(newest, launches.logFile(newest.generation), wanted);
      }
      const [leader] = await leadersWithToken(call.token);
      if (leader === undefined) return undefined;
      const launched = await recordOf(leader, launches, pulse);
      if (!(await isAlive(leader))) return undefined;
      return describe(leader, launches.logFile(launched?.generation ?? 1), wanted);
    },

    async *list({ signal, log }) {
      for await (const marks of Launches.marks(stateDir)) {
        signal.throwIfAborted();
        try {
          const [newest] = await new Launches(stateDir, marks.token).all();
          if (newest === undefined || !(await isAlive(newest))) continue;
          yield { physicalId: physicalIdOf(newest), ...marks };
        } catch (error) {
          if (!(error instanceof ProviderError)) throw error;
          log.warn({ error: error.message }, "a process cannot be listed");
        }
      }
    },
  });

  /**
   * A replacement runs before what it replaces is stopped, which two processes on one port cannot do: there, a
   * change that would replace stops the process and starts it again in place.
   */
  function compare(
    ...[previous, next]: Parameters<ResourceType["compare"]>
  ): ReturnType<ResourceType["compare"]> {
    const change = base.compare(previous, next);
    const port = portOf((next as ProcessProperties).readiness);
    const restart = port !== undefined && port === portOf((previous as ProcessProperties).readiness);
    return restart ? { ...change, replace: false } : change;
  }

  function commandOf(wanted: ProcessProperties): Command {
    const { command, env } = wanted;
    return {
      argv: typeof command === "string" ? ["/bin/sh", "-c", command] : command,
      env,
      cwd: resolve(baseDir, wanted.cwd ?? "."),
      launch: launchHash(wanted),
    };
  }

  async function start(
    generation: number,
    launches: Launches,
    call: CallContext,
    wanted: ProcessProperties,
    pulse: Pulse,
  ): Promise<Thing> {
    const port = portOf(wanted.readiness);
    if (port !== undefined && (await isListening(port))) {
      throw new ProviderError(`port ${port} is already in use by another process`, { effect: "none" });
    }
    pulse.beat();
    const child = await launches.start(generation, commandOf(wanted), call);
    const ended = endOf(child);
    const launched = await untilRecorded(generation, launches, ended, pulse);
    if (launched === undefined) {
      const said = await launches.tail(generation);
      throw new ProviderError(`the process could not be started${quote(said)}`, { retryable: true });
    }
    const own = launched.pid === child.pid;
    return untilReady({ launched, ...(own ? { ended } : {}) }, launches, call, wanted, pulse);
  }

  return { ...base, compare };
}

/** The former process is gone by now, whatever its successor's error says. */
function afterStop(error: unknown): unknown {
  if (!(error instanceof ProviderError)) return error;
  return new ProviderError(error.message, { retryable: error.retryable, effect: "unknown", cause: error });
}

interface Running {
  launched: Launched;
  /** How it ended; only of this process's own child. */
  ended?: Ended;
}

interface Ended {
  text: string | undefined;
  told: Promise<void>;
}

/** How long a child's end may be known before its parent is told of it. */
const toldMs = 2_000;

function endOf(child: ChildProcess): Ended {
  const ended: Ended = { text: undefined, told: Promise.resolve() };
  ended.told = new Promise((resolve) => {
    child.once("exit", (code, signal) => {
      ended.text = code === null ? `was ended by ${signal}` : `exited with status ${code}`;
      resolve();
    });
  });
  return ended;
}

/** Undefined when the wrapper ended and nobody else's record is there either. */
async function untilRecorded(
  generation: number,
  launches: Launches,
  ended: Ended,
  pulse: Pulse,
): Promise<Launched | undefined> {
  const giveUp = performance.now() + recordLimitMs;
  for (;;) {
    const over = ended.text !== undefined || performance.now() > giveUp;
    const launched = await launches.read(generation);
    if (launched !== undefined || over) return launched;
    await pulse.sleep(firstPollMs, "unknown");
  }
}

/** The record of a process that carries the token, once its wrapper has written it. */
async function recordOf(
  leader: ProcessIdentity,
  launches: Launches,
  pulse: Pulse,
): Promise<Launched | undefined> {
  const giveUp = performance.now() + recordLimitMs;
  while (performance.now() < giveUp && (await isAlive(leader))) {
    const found = (await launches.all()).find((launched) => launched.pid === leader.pid);
    if (found !== undefined) return found;
    await pulse.sleep(firstPollMs);
  }
  return undefined;
}

/** @throws ProviderError, terminal, after ending the process, when it ends or its time is over first. */
async function untilReady(
  running: Running,
  launches: Launches,
  call: CallContext,
  wanted: ProcessProperties,
  pulse: Pulse,
): Promise<Thing> {
  const { launched, ended } = running;
  const { readiness } = wanted;
  const logFile = launches.logFile(launched.generation);
  const probe = readiness === undefined ? undefined : new ReadinessProbe(readiness, logFile);
  const begun = performance.now();
  const limitMs = readiness === undefined ? graceMs : durationMs(readiness.timeout, "s");
  for (let pollMs = firstPollMs; ; pollMs = Math.min(pollMs * 1.5, lastPollMs)) {
    const ready = probe !== undefined && (await probe.isReady());
    const alive = await isAlive(launched);
    // Before anything is concluded, from the time that has passed above all: what is left alone is found again.
    pulse.beat("unknown");
    if (!alive) {
      if (ended !== undefined) await Promise.race([ended.told, sleep(toldMs, undefined, { ref: false })]);
      const how = ended?.text ?? "ended";
      const said = quote(await launches.tail(launched.generation));
      await discard(launches, call, wanted, pulse);
      throw new ProviderError(`the process ${how} before it was ready${said}`, { effect: "none" });
    }
    const over = performance.now() - begun > limitMs;
    if (ready || (over && probe === undefined)) return describe(launched, logFile, wanted);
    if (over) {
      const said = quote(await launches.tail(launched.generation));
      await discard(launches, call, wanted, pulse);
      throw new ProviderError(`the process was not ready in time: waited for ${probe}${said}`, {
        effect: "none",
      });
    }
    await pulse.sleep(pollMs, "unknown");
  }
}

async function discard(
  launches: Launches,
  call: CallContext,
  wanted: ProcessProperties,
  pulse: Pulse,
): Promise<void> {
  await end(call, wanted, pulse, await launches.all());
  await launches.remove();
}

async function end(
  call: CallContext,
  wanted: ProcessProperties,
  pulse: Pulse,
  launched: readonly ProcessIdentity[],
  physicalId = "",
): Promise<void> {
  const identity = parseIdentity(physicalId);
  const roots = identity === undefined ? launched : [...launched, identity];
  const { stopSignal, stopTimeout } = { ...stopping, ...wanted };
  await endProcesses(roots, call.token, stopSignal, durationMs(stopTimeout, "s"), pulse);
}

function launchHash(wanted: ProcessProperties): string {
  const { command, env, cwd = "." } = wanted;
  return sha256(canonicalJson({ command, env, cwd }));
}

function describe(identity: ProcessIdentity, logFile: string, wanted: ProcessProperties): Thing {
  const port = portOf(wanted.readiness);
  return {
    physicalId: physicalIdOf(identity),
    attributes: { pid: identity.pid, logFile, ...(port === undefined ? {} : { port }) },
  };
}

function physicalIdOf({ pid, start }: ProcessIdentity): string {
  return `${pid}-${start}`;
}

function parseIdentity(physicalId: string): ProcessIdentity | undefined {
  const [, pid, start] = /^(\d+)-(.+)$/.exec(physicalId) ?? [];
  return pid === undefined || start === undefined ? undefined : { pid: Number(pid), start };
}

function quote(said: string): string {
  return said === "" ? "" : `; the end of its log:\n${said}`;
}
