/** `homeostat show NAME` */
import type { Context } from "../context.js";
import { exitStatus } from "../exit-status.js";
import { Session } from "../session.js";
import { suggesting } from "../stack-names.js";
import { stackLines } from "../stack-view.js";
import { refuseUnusedFolder } from "../unused-folder.js";
import { widthFor } from "./list.js";

export async function show(context: Context, name: string): Promise<number> {
  const { settings, terminal, log } = context;
  await refuseUnusedFolder(settings, name);
  const session = await Session.open(settings, "views", log);
  try {
    const shown = await suggesting(session, name, () => session.call("show", { name }));
    if (terminal.json) terminal.data(shown);
    else for (const line of stackLines(shown, terminal.colors, widthFor(context))) terminal.say(line);
    return exitStatus.reached;
  } finally {
    await session.close();
  }
}
