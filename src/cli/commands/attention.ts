/** What people say of a stack's observation: pause, resume, incidents, approve, dismiss; and of a call, resolve. */
import type { Reply, Request, Verb } from "../../api/schemas.js";
import type { Context } from "../context.js";
import { exitStatus } from "../exit-status.js";
import { oneLine } from "../printable.js";
import { Session } from "../session.js";
import { suggesting } from "../stack-names.js";
import { ago } from "../stack-view.js";
import { type Column, table } from "../table.js";
import { isUnusedFolder, refuseUnusedFolder } from "../unused-folder.js";
import { widthFor } from "./list.js";

export function pause(context: Context, name: string, { reason }: { reason?: string }): Promise<number> {
  const request = { name, ...(reason === undefined ? {} : { reason }) };
  return say(context, "pause", request, ({ name }) => `${name} is paused`);
}

export function resume(context: Context, name: string): Promise<number> {
  return say(context, "resume", { name }, ({ name }) => `${name} is observed again`);
}

export function resolve(
  context: Context,
  name: string,
  resource: string,
  made: string | null,
): Promise<number> {
  return say(context, "resolve", { name, resource, made }, (told) =>
    told.made === null
      ? `${resource} was not made; its goal may make it anew`
      : `${told.made} is the thing of ${resource}`,
  );
}

export function answer(
  context: Context,
  verb: "approve" | "dismiss",
  name: string,
  incident: string | undefined,
): Promise<number> {
  const request = { name, ...(incident === undefined ? {} : { incident }) };
  const what = verb === "approve" ? "is made again" : "is left missing";
  return say(
    context,
    verb,
    request,
    ({ name, resources }) => `${name}: ${resources} missing; what is still missing ${what}`,
  );
}

/** Looks follow from it: without a daemon, whoever runs the engine next takes them up. */
async function say<V extends "pause" | "resume" | "approve" | "dismiss" | "resolve">(
  context: Context,
  verb: V,
  request: Request<V> & { name: string },
  told: (reply: Reply<V>) => string,
): Promise<number> {
  const { settings, terminal, log } = context;
  await refuseUnusedFolder(settings, request.name);
  const session = await Session.open(settings, "views", log);
  try {
    const reply = await suggesting(session, request.name, () =>
      session.call(verb as Verb, request as Request<Verb>),
    );
    if (terminal.json) terminal.data(reply);
    else terminal.say(told(reply as Reply<V>));
    return exitStatus.reached;
  } finally {
    await session.close();
  }
}

type Incident = Reply<"incidents">["incidents"][number];

export async function incidents(context: Context, name: string | undefined): Promise<number> {
  const { settings, terminal, log } = context;
  if (name !== undefined) await refuseUnusedFolder(settings, name);
  const reply = (await isUnusedFolder(settings)) ? { incidents: [] } : await ask(context, log, name);
  if (terminal.json) terminal.data(reply);
  else if (reply.incidents.length === 0) terminal.note("there are no open incidents");
  else for (const line of incidentTable(reply.incidents, context)) terminal.say(line);
  return exitStatus.reached;
}

async function ask({ settings }: Context, log: Context["log"], name: string | undefined) {
  const session = await Session.open(settings, "views", log);
  try {
    if (name === undefined) return await session.call("incidents", {});
    return await suggesting(session, name, () => session.call("incidents", { name }));
  } finally {
    await session.close();
  }
}

function incidentTable(found: readonly Incident[], context: Context): string[] {
  const { colors } = context.terminal;
  const columns: Column<Incident>[] = [
    { title: "STACK", text: ({ name }) => name, flexible: true },
    { title: "INCIDENT", text: ({ id }) => id },
    { title: "SINCE", text: ({ since }) => ago(since), color: () => colors.dim },
    { title: "MISSING", text: ({ missing }) => String(missing), color: () => colors.yellow },
    { title: "RESOURCES", text: ({ resources }) => oneLine(resources.join(", ")), flexible: true },
  ];
  return table(found, columns, widthFor(context), colors.dim);
}
