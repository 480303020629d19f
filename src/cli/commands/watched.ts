/** `homeostat watched` */
import type { Reply } from "../../api/schemas.js";
import type { Context } from "../context.js";
import { exitStatus } from "../exit-status.js";
import { Session } from "../session.js";
import { type Column, table } from "../table.js";
import { isUnusedFolder } from "../unused-folder.js";
import { widthFor } from "./list.js";

const pageSize = 1000;

type Watched = Reply<"watched">["watched"][number];

export async function watched(context: Context, filter: { type?: string; pool?: string }): Promise<number> {
  const { settings, terminal } = context;
  const found = (await isUnusedFolder(settings)) ? [] : await all(context, filter);
  if (terminal.json) for (const each of found) terminal.data(each);
  else if (found.length === 0) terminal.note("there is nothing to watch");
  else for (const line of watchedTable(found, context)) terminal.say(line);
  return exitStatus.reached;
}

async function all({ settings, log }: Context, filter: { type?: string; pool?: string }): Promise<Watched[]> {
  const session = await Session.open(settings, "views", log);
  try {
    const found: Watched[] = [];
    for (let offset = 0; ; offset += pageSize) {
      const page = await session.call("watched", { ...filter, offset, limit: pageSize });
      found.push(...page.watched);
      if (offset + pageSize >= page.total) return found;
    }
  } finally {
    await session.close();
  }
}

function watchedTable(found: readonly Watched[], context: Context): string[] {
  const { colors } = context.terminal;
  const columns: Column<Watched>[] = [
    { title: "STACK", text: ({ stack_name }) => stack_name, flexible: true },
    { title: "RESOURCE", text: ({ name }) => name, flexible: true },
    { title: "TYPE", text: ({ type }) => type, color: () => colors.dim, flexible: true },
    { title: "POOL", text: ({ pool }) => (pool === "default" ? "" : pool), flexible: true },
    { title: "PHYSICAL ID", text: ({ physical_id }) => physical_id, flexible: true },
  ];
  return table(found, columns, widthFor(context), colors.dim);
}
