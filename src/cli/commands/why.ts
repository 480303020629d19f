/** `homeostat why NAME [RESOURCE]` */
import type { Reply } from "../../api/schemas.js";
import type { Context } from "../context.js";
import { exitStatus } from "../exit-status.js";
import { oneLine } from "../printable.js";
import { Session } from "../session.js";
import { suggesting } from "../stack-names.js";
import { stateColor, statusColor } from "../state-colors.js";
import type { Colors } from "../terminal.js";
import { refuseUnusedFolder } from "../unused-folder.js";

export async function why(context: Context, name: string, resource: string | undefined): Promise<number> {
  const { settings, terminal, log } = context;
  await refuseUnusedFolder(settings, name);
  const session = await Session.open(settings, "views", log);
  try {
    const request = { name, ...(resource === undefined ? {} : { resource }) };
    const told = await suggesting(session, name, () => session.call("why", request));
    if (terminal.json) terminal.data(told);
    else for (const line of whyLines(told, resource, terminal.colors)) terminal.say(line);
    return exitStatus.reached;
  } finally {
    await session.close();
  }
}

function whyLines(told: Reply<"why">, resource: string | undefined, colors: Colors): string[] {
  const { stack, text, resources, notAtGoal } = told;
  const lines = resources.map((each) => {
    const shown = marked(oneLine(each.text), each.name, each.state, stateColor(colors, each.state), colors);
    return each.current ? shown : `${shown} ${colors.dim("(It is an old one, to be removed.)")}`;
  });
  if (resource !== undefined) return lines;
  const more = notAtGoal - resources.length;
  return [
    marked(oneLine(text), stack.name, stack.status, statusColor(colors, stack.status), colors),
    ...lines.map((line) => `  ${line}`),
    ...(more === 0
      ? []
      : [colors.dim(`  … and ${more} more; ask for one of them: homeostat why ${stack.name} RESOURCE`)]),
  ];
}

/** `NAME is STATE …`, in colours. */
function marked(
  text: string,
  name: string,
  state: string,
  paint: (text: string) => string,
  colors: Colors,
): string {
  const head = `${oneLine(name)} is ${state}`;
  if (!text.startsWith(head)) return text;
  return `${colors.bold(oneLine(name))} is ${paint(state)}${text.slice(head.length)}`;
}
