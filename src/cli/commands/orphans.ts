/** `homeostat orphans` */

import { formatAge } from "../../age.js";
import type { Reply } from "../../api/schemas.js";
import type { Context } from "../context.js";
import { exitStatus } from "../exit-status.js";
import { oneLine } from "../printable.js";
import { Session } from "../session.js";
import { type Column, table } from "../table.js";
import { isUnusedFolder } from "../unused-folder.js";
import { widthFor } from "./list.js";

type Orphan = Reply<"orphans">["orphans"][number];

export async function orphans(context: Context, { remove = [] }: { remove?: string[] }): Promise<number> {
  const { terminal } = context;
  const reply = await ask(context, remove);
  if (terminal.json) {
    terminal.data(reply);
    return exitStatus.reached;
  }
  if (reply.orphans.length === 0) terminal.note("there are no orphans");
  else
    for (const line of table(reply.orphans, columns, widthFor(context), terminal.colors.dim))
      terminal.say(line);
  for (const type of reply.held) {
    terminal.note(`so many of ${type} have no record that none is removed by itself: were records lost?`);
  }
  if (remove.length > 0) terminal.note("a daemon that observes removes what was named");
  return exitStatus.reached;
}

async function ask({ settings, log }: Context, remove: string[]): Promise<Reply<"orphans">> {
  if (remove.length === 0 && (await isUnusedFolder(settings))) return { orphans: [], held: [] };
  const session = await Session.open(settings, "views", log);
  try {
    return await session.call("orphans", { remove });
  } finally {
    await session.close();
  }
}

const columns: Column<Orphan>[] = [
  { title: "ID", text: ({ id }) => id },
  { title: "TYPE", text: ({ type }) => type, flexible: true },
  { title: "PHYSICAL ID", text: ({ physicalId }) => oneLine(physicalId), flexible: true },
  { title: "STACK", text: ({ stackName, stack }) => oneLine(stackName || stack), flexible: true },
  { title: "RESOURCE", text: ({ resource }) => oneLine(resource), flexible: true },
  { title: "SEEN FOR", text: ({ firstSeen }) => formatAge(Date.now() - Date.parse(firstSeen)) },
  { title: "WHY", text: sentence, flexible: true },
];

function sentence({ why, certain, ours, decided, failure }: Orphan): string {
  const more = [
    ...(certain ? [] : ["not certain yet"]),
    ...(ours ? [] : ["made by an older version, perhaps for another deployment"]),
    ...(decided ? ["to be removed"] : []),
    ...(failure === "" ? [] : [oneLine(failure)]),
  ];
  return [why, ...more].join("; ");
}
