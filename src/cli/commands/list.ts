/** `homeostat list` */
import type { Reply } from "../../api/schemas.js";
import type { Context } from "../context.js";
import { exitStatus } from "../exit-status.js";
import { Session } from "../session.js";
import { stackTable } from "../stack-view.js";
import { isUnusedFolder } from "../unused-folder.js";

const pageSize = 500;

export async function list(context: Context): Promise<number> {
  const { settings, terminal, log } = context;
  const reply = (await isUnusedFolder(settings)) ? nothing : await listAll(context, log);
  if (terminal.json) terminal.data(reply);
  else if (reply.stacks.length === 0) terminal.note("there are no stacks");
  else for (const line of stackTable(reply.stacks, terminal.colors, widthFor(context))) terminal.say(line);
  return exitStatus.reached;
}

const nothing: Reply<"list"> = { total: 0, offset: 0, limit: 0, stacks: [] };

async function listAll({ settings }: Context, log: Context["log"]): Promise<Reply<"list">> {
  const session = await Session.open(settings, "views", log);
  try {
    const stacks: Reply<"list">["stacks"] = [];
    for (;;) {
      const page = await session.call("list", { offset: stacks.length, limit: pageSize });
      stacks.push(...page.stacks);
      if (page.stacks.length === 0 || stacks.length >= page.total) {
        return { total: stacks.length, offset: 0, limit: stacks.length, stacks };
      }
    }
  } finally {
    await session.close();
  }
}

/** Nothing is cut when a program or a file reads it. */
export function widthFor({ terminal }: Context): number {
  return terminal.live ? terminal.columns : Number.POSITIVE_INFINITY;
}
