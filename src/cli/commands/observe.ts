/** `homeostat observe NAME [RESOURCE]` */
import { setTimeout as sleep } from "node:timers/promises";
import type { Reply } from "../../api/schemas.js";
import type { Context } from "../context.js";
import { exitStatus } from "../exit-status.js";
import { Session } from "../session.js";
import { parseDuration } from "../settings.js";
import { suggesting } from "../stack-names.js";
import { stateColor } from "../state-colors.js";
import { type Column, table } from "../table.js";
import { refuseUnusedFolder } from "../unused-folder.js";
import { widthFor } from "./list.js";

const defaultTimeoutMs = 60_000;
const firstPauseMs = 50;
const longestPauseMs = 1_000;
/** To ask costs what the stack has: big ones are asked about less often. */
const costFactor = 10;

type Observed = Reply<"observe">;
type Seen = Observed["seen"][number];

export async function observe(
  context: Context,
  name: string,
  resource: string | undefined,
  options: { timeout?: string },
): Promise<number> {
  const { settings, interruption, log } = context;
  const timeoutMs = options.timeout === undefined ? defaultTimeoutMs : parseDuration(options.timeout);
  await refuseUnusedFolder(settings, name);
  const session = await Session.open(settings, "engine", log);
  try {
    const observed = await waitForLooks(context, session, name, resource, timeoutMs);
    if (interruption.signal.aborted) return interruption.status;
    return report(context, observed);
  } finally {
    await session.close();
  }
}

async function waitForLooks(
  { interruption }: Context,
  session: Session,
  given: string,
  resource: string | undefined,
  timeoutMs: number,
): Promise<Observed> {
  const only = resource === undefined ? {} : { resource };
  const asked = await suggesting(session, given, () => session.call("observe", { name: given, ...only }));
  const request = { name: asked.stack, asked: asked.askedAt, ...only };
  const giveUp = performance.now() + timeoutMs;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    const began = performance.now();
    const observed = await session.call("observe", request);
    const now = performance.now();
    if (observed.waiting === 0 || now >= giveUp || interruption.signal.aborted) return observed;
    const waitMs = Math.min(Math.max(pauseMs, (now - began) * costFactor), giveUp - now);
    await sleep(waitMs, undefined, { signal: interruption.signal }).catch(() => undefined);
  }
}

function report(context: Context, observed: Observed): number {
  const { terminal } = context;
  const { name, resources, waiting, seen } = observed;
  const isWell = seen.every(({ finding }) => finding === "inLine" || finding === "repaired");
  if (terminal.json) terminal.data(observed);
  else if (seen.length > 0) for (const line of seenTable(seen, context)) terminal.say(line);
  else if (resources === 0) terminal.note(`${name} has nothing to look at`);
  if (waiting > 0) {
    terminal.note(
      `${waiting} of ${resources} were not looked at in time, or are being mended; homeostat show ${name} tells more`,
    );
    return exitStatus.timedOut;
  }
  return isWell ? exitStatus.reached : exitStatus.failed;
}

function seenTable(seen: readonly Seen[], context: Context): string[] {
  const { colors } = context.terminal;
  const columns: Column<Seen>[] = [
    { title: "RESOURCE", text: ({ name }) => name, flexible: true },
    { title: "TYPE", text: ({ type }) => type, color: () => colors.dim, flexible: true },
    {
      title: "SEEN",
      text: ({ finding }) => (finding === "inLine" ? "in line" : finding),
      color: ({ finding }) =>
        finding === "inLine" || finding === "repaired" ? colors.green : stateColor(colors, finding),
    },
    { title: "REASON", text: ({ reason }) => reason, flexible: true },
  ];
  return table(seen, columns, widthFor(context), colors.dim);
}
