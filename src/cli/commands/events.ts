/** `homeostat events [NAME]` */
import type { EventStream } from "../../api/client.js";
import { HomeostatError } from "../../errors.js";
import type { LifecycleEvent } from "../../traversal/lifecycle-event.js";
import type { Context } from "../context.js";
import { exitStatus } from "../exit-status.js";
import { eventLine } from "../progress.js";
import { Session } from "../session.js";
import { parseDuration } from "../settings.js";
import { suggesting } from "../stack-names.js";
import { isUnusedFolder, refuseUnusedFolder } from "../unused-folder.js";

export interface EventsOptions {
  follow?: boolean;
  since?: string;
}

export async function events(
  context: Context,
  name: string | undefined,
  options: EventsOptions,
): Promise<number> {
  const { settings, log } = context;
  const since = options.since === undefined ? ("all" as const) : parseDuration(options.since);
  if (name !== undefined) await refuseUnusedFolder(settings, name);
  else if (!options.follow && (await isUnusedFolder(settings))) return exitStatus.reached;
  const session = await Session.open(settings, "views", log);
  try {
    return await tell(context, session, name, since, options.follow ?? false);
  } finally {
    await session.close();
  }
}

/** What is there is there at once; a pause means that there is no more. */
const quietMs = 700;

async function tell(
  context: Context,
  session: Session,
  name: string | undefined,
  since: "all" | number,
  follow: boolean,
): Promise<number> {
  const { interruption, terminal } = context;
  const stack = name === undefined ? undefined : await idOf(session, name);
  const stream = session.client.events({ since, ...(stack === undefined ? {} : { stack }) });
  const reader = new EventReader(stream, follow && (name === undefined || stack !== undefined));
  const stop = () => void stream.close();
  interruption.signal.addEventListener("abort", stop);
  terminal.readerGone.addEventListener("abort", stop);
  const matches = (event: LifecycleEvent) =>
    name === undefined || stack !== undefined || event.stackName === name;
  let told = 0;
  for await (const event of reader.read()) {
    if (!matches(event)) continue;
    told++;
    if (terminal.json) terminal.data(event);
    else terminal.say(eventLine(event, terminal.colors, { withStack: name === undefined }));
    if (stack !== undefined && isEnd(event)) stop();
  }
  if (interruption.received !== undefined) return interruption.status;
  if (name !== undefined && stack === undefined && told === 0) await refuse(session, name);
  return exitStatus.reached;
}

function isEnd({ resource, what }: LifecycleEvent): boolean {
  return resource === undefined && what === "deleted";
}

/** Undefined: it is not there any more, but its events may be. */
async function idOf(session: Session, name: string): Promise<string | undefined> {
  try {
    return (await session.call("show", { name, resources: false })).stack.id;
  } catch (error) {
    if (error instanceof HomeostatError && error.code === "not_found") return undefined;
    throw error;
  }
}

async function refuse(session: Session, name: string): Promise<void> {
  await suggesting(session, name, () => session.call("show", { name, resources: false }));
}

class EventReader {
  readonly #stream: EventStream;
  readonly #follow: boolean;

  constructor(stream: EventStream, follow: boolean) {
    this.#stream = stream;
    this.#follow = follow;
  }

  async *read(): AsyncGenerator<LifecycleEvent> {
    await this.#stream.ready;
    let timer = this.#closeLater();
    for await (const event of this.#stream) {
      clearTimeout(timer);
      yield event;
      timer = this.#closeLater();
    }
    clearTimeout(timer);
  }

  #closeLater(): NodeJS.Timeout | undefined {
    return this.#follow ? undefined : setTimeout(() => void this.#stream.close(), quietMs);
  }
}
