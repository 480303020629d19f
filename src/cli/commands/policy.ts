/** `homeostat policy NAME [-f FILE | --reset]` */
import { stringify } from "yaml";
import type { Reply } from "../../api/schemas.js";
import { HomeostatError } from "../../errors.js";
import type { Json } from "../../json.js";
import { formatDuration } from "../../providers/duration.js";
import type { Context } from "../context.js";
import { exitStatus } from "../exit-status.js";
import { printable } from "../printable.js";
import { Session } from "../session.js";
import { suggesting } from "../stack-names.js";
import { type Column, table } from "../table.js";
import { readDocument } from "../template-file.js";
import { refuseUnusedFolder } from "../unused-folder.js";
import { widthFor } from "./list.js";

export interface PolicyOptions {
  file?: string;
  reset?: boolean;
}

type Policies = Reply<"policy">;
type Row = Policies["effective"][string] & { name: string };

export async function policy(context: Context, name: string, options: PolicyOptions): Promise<number> {
  const { settings, terminal, log } = context;
  if (options.file !== undefined && options.reset) {
    throw new HomeostatError("invalid", "give either a file or --reset");
  }
  const change = await changeOf(options);
  await refuseUnusedFolder(settings, name);
  const session = await Session.open(settings, "views", log);
  try {
    const policies = await suggesting(session, name, () => session.call("policy", { name, ...change }));
    if (terminal.json) terminal.data(policies);
    else for (const line of policyLines(policies, context)) terminal.say(line);
    return exitStatus.reached;
  } finally {
    await session.close();
  }
}

async function changeOf({ file, reset }: PolicyOptions): Promise<{ document?: Json }> {
  if (reset) return { document: null };
  if (file === undefined) return {};
  const document = await readDocument(file);
  if (document === null)
    throw new HomeostatError("invalid", `${file} says nothing; --reset removes the policy`);
  return { document };
}

function policyLines({ template, runtime, effective }: Policies, context: Context): string[] {
  const { colors } = context.terminal;
  const said = (title: string, document: unknown) =>
    document === null || Object.keys(document as object).length === 0
      ? []
      : [colors.dim(title), ...indented(stringify(document)), ""];
  const rows = Object.entries(effective).map(([name, each]): Row => ({ name, ...each }));
  const columns: Column<Row>[] = [
    { title: "RESOURCE", text: ({ name }) => name, flexible: true },
    { title: "POLICY", text: ({ policy }) => policy },
    { title: "POLL", text: ({ poll_ms }) => formatDuration(poll_ms) },
    { title: "GRACE", text: ({ grace_ms }) => formatDuration(grace_ms) },
    { title: "RETRY", text: ({ retry }) => (retry ? "yes" : "no") },
    {
      title: "INCIDENT",
      text: ({ incident }) => `${incident.missing} in ${formatDuration(incident.within_ms)}`,
    },
    { title: "FIGHT", text: ({ fight }) => `${fight.repairs} in ${formatDuration(fight.within_ms)}` },
    { title: "ORPHANS", text: ({ orphans }) => orphans },
    { title: "IGNORE", text: ({ ignore }) => ignore.join(", "), flexible: true },
  ];
  return [
    ...said("template", template),
    ...said("run time", runtime),
    ...table(rows, columns, widthFor(context), colors.dim),
  ];
}

function indented(text: string): string[] {
  return printable(text)
    .trimEnd()
    .split("\n")
    .map((line) => `  ${line}`);
}
