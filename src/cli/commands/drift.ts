/** `homeostat drift [NAME] [RESOURCE]` */
import type { Reply } from "../../api/schemas.js";
import type { Context } from "../context.js";
import { driftLines } from "../drift-view.js";
import { exitStatus } from "../exit-status.js";
import { Session } from "../session.js";
import { suggesting } from "../stack-names.js";
import { isUnusedFolder, refuseUnusedFolder } from "../unused-folder.js";
import { widthFor } from "./list.js";

export interface DriftOptions {
  all?: boolean;
}

type Drift = Reply<"drift">;

const pageSize = 100;

export async function drift(
  context: Context,
  name: string | undefined,
  resource: string | undefined,
  { all = false }: DriftOptions,
): Promise<number> {
  const { settings, terminal, log } = context;
  if (name !== undefined) await refuseUnusedFolder(settings, name);
  else if (await isUnusedFolder(settings)) return exitStatus.reached;
  const session = await Session.open(settings, "views", log);
  try {
    const question = {
      ...(name === undefined ? {} : { name }),
      ...(resource === undefined ? {} : { resource }),
      all,
    };
    let differs = false;
    const told: Drift["resources"] = [];
    for (let after = ""; ; ) {
      const request = { ...question, after, limit: pageSize };
      const page = await suggesting(session, name ?? "", () => session.call("drift", request));
      differs ||= page.resources.some((each) => each.differs);
      if (terminal.json) told.push(...page.resources);
      else for (const line of pageLines(context, page, name === undefined)) terminal.say(line);
      after = page.next;
      if (after !== "") continue;
      if (terminal.json) terminal.data({ now: page.now, differs, resources: told });
      else if (!differs) terminal.note(`${name ?? "everything"} is in line`);
      return differs ? exitStatus.differs : exitStatus.reached;
    }
  } finally {
    await session.close();
  }
}

function pageLines(context: Context, { now, resources }: Drift, withStack: boolean): string[] {
  const { colors } = context.terminal;
  const nowMs = Date.parse(now);
  return resources.flatMap((each) => driftLines(each, nowMs, colors, widthFor(context), withStack));
}
