/** The commands, their arguments and their help; what they do is loaded when they run. */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import type { Context } from "./context.js";
import { exitStatusHelp } from "./exit-status.js";
import type { GlobalOptions } from "./settings.js";

const jsonHelp = `With --json, stdout holds one JSON document per line, and messages for people go to stderr.
A command that fails for another reason than its goal ends with
  {"error":{"code":404,"err_code":"not_found","description":"…","problems":[{"message","file","line","column"}]}}
An interrupted one ends with the last event.`;

const showShape = `{"stack":{"id","name","status","action","reason","traversal","updatesLeft","cleanupsLeft","createdAt","updatedAt"},
   "resources":[{"id","name","type","state","physicalId","attributes","requires","reason","current"}],
   "outputs":{"NAME":{"value","error","hidden","description"}}}`;

const eventShape = `{"type","id","time","stack","stackName","resource","resourceId","traversal","what","action","reason"}`;

const waiting = `The command stays until the goal is COMPLETE and shows what happens. Without a daemon (homeostat dev) it hosts the
engine itself: Ctrl-C then lets calls in flight end and stops, and the next up or dev goes on. With a daemon, Ctrl-C
only ends the watching. Ctrl-C twice ends at once.`;

const goalJson = `With --json: the lifecycle events, one per line, ${eventShape},
then what homeostat show --json tells.`;

export function program(): Command {
  const homeostat = new Command("homeostat")
    .description("Declare a stack of resources; Homeostat drives reality to that goal and keeps it there.")
    .version(version(), "--version", "print the version")
    .helpOption("-h, --help", "print help")
    .helpCommand("help [command]", "print help of a command")
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .showSuggestionAfterError()
    .showHelpAfterError("(homeostat --help tells more)");
  addGlobalOptions(homeostat);
  for (const add of [addUp, addDelete, addRollback, addCancel, addList, addShow, addEvents]) add(homeostat);
  for (const add of [addObserve, addReplace, addPause, addResume, addIncidents]) add(homeostat);
  for (const add of [addApprove, addDismiss, addResolve, addPolicy, addWatched]) add(homeostat);
  addOrphans(homeostat);
  for (const add of [addDrift, addWhy, addWatch]) add(homeostat);
  for (const add of [addSimulate, addDev, addDaemon]) add(homeostat);
  return homeostat.addHelpText("after", `\n${examples(intro)}\n\n${exitStatusHelp}\n\n${jsonHelp}`);
}

const intro = [
  ["homeostat up hello -f hello.yaml", "create or update the stack hello"],
  ["homeostat show hello", "see what there is"],
  ["homeostat delete hello", "remove it again"],
  ["homeostat dev", "keep the engine running in this folder"],
] as const;

function addGlobalOptions(homeostat: Command): void {
  homeostat
    .option("--redis-url <url>", "Redis of the daemons (HOMEOSTAT_REDIS_URL)")
    .option("--nats-url <url>", "NATS of the daemons (HOMEOSTAT_NATS_URL, or NATS_CONTEXT)")
    .option("--dir <folder>", "folder of the embedded servers, used without these URLs (default: .homeostat)")
    .option("--providers <file>", "ES module with resource types of your own; may be repeated", collect)
    .option("--sim-world <folder>", "folder in which Sim::Resource keeps its things")
    .option("--state-dir <folder>", "where Local types keep their records; one for all daemons of a host")
    .option("--json", "print JSON")
    .option("--no-color", "print without colours (NO_COLOR)")
    .option("--log-level <level>", "trace, debug, info, warn, error or silent (HOMEOSTAT_LOG)");
}

function addUp(homeostat: Command): void {
  const up = homeostat
    .command("up")
    .summary("create a stack, or update it")
    .description(
      "Creates the stack, or updates it if there is one. NAME comes from the file when it is not given.",
    )
    .argument("[name...]", "stack name")
    .usage("[NAME] -f FILE [-p key=value …] [options]")
    .option("-f, --file <file>", "template, YAML or JSON; - reads it from stdin")
    .option("-p, --param <key=value>", "value of a parameter; may be repeated", collect)
    .option("--rollback-on-failure", "go back to the last goal that was reached when this one fails")
    .option("--detach", "return once the goal is set; needs a daemon");
  waitingCommand(up, [
    ["homeostat up -f hello.yaml", "the stack is called hello"],
    ["homeostat up shop -f shop/template.yaml -p port=8080 -p greeting=hi", ""],
    ["homeostat up shop -f - --rollback-on-failure --timeout 10m < shop.yaml", ""],
  ]).action(async (args: string[], options, command: Command) => {
    const given: string[] = options.param ?? [];
    const [name, ...more] = args.filter((arg) => given.length === 0 || !arg.includes("="));
    if (more.length > 0)
      command.error(`error: too many arguments: up takes one name, and there is ${more.join(" ")} as well`);
    const param = [...given, ...args.filter((arg) => arg !== name)];
    const { up } = await import("./commands/goals.js");
    await run(command, (context) => up(context, name, { ...options, param }));
  });
}

function addDelete(homeostat: Command): void {
  const remove = homeostat
    .command("delete")
    .summary("delete a stack and its resources")
    .description("Deletes the stack and all that belongs to it, in the order of what requires what.")
    .argument("<name>", "stack name or id")
    .option("--detach", "return once the goal is set; needs a daemon");
  const json = `\nThe last line is {"stack":{…,"status":"DELETED"},"resources":[],"outputs":{}}.`;
  waitingCommand(remove, [["homeostat delete hello", ""]], json).action(
    async (name: string, options, command) => {
      const { remove } = await import("./commands/goals.js");
      await run(command, (context) => remove(context, name, options));
    },
  );
}

function addRollback(homeostat: Command): void {
  const rollback = homeostat
    .command("rollback")
    .summary("go back to the last goal that was reached")
    .description("Goes back to the last goal that was in service; to an empty stack if none ever was.")
    .argument("<name>", "stack name or id")
    .option("--detach", "return once the goal is set; needs a daemon");
  waitingCommand(rollback, [["homeostat rollback hello", ""]]).action(
    async (name: string, options, command) => {
      const { rollback } = await import("./commands/goals.js");
      await run(command, (context) => rollback(context, name, options));
    },
  );
}

function addCancel(homeostat: Command): void {
  const cancel = homeostat
    .command("cancel")
    .summary("stop going for the current goal")
    .description("Stops where the stack is: calls in flight end, nothing new begins.")
    .argument("<name>", "stack name or id")
    .option("--rollback", "also go back to the last goal that was reached")
    .option("--detach", "return once the goal is set; needs a daemon");
  waitingCommand(cancel, [
    ["homeostat cancel hello", ""],
    ["homeostat cancel hello --rollback", ""],
  ]).action(async (name: string, options, command) => {
    const { cancel } = await import("./commands/goals.js");
    await run(command, (context) => cancel(context, name, options));
  });
}

function waitingCommand(command: Command, shown: Examples, more = ""): Command {
  return command
    .option("--timeout <duration>", "how long the goal may take: 200ms, 30s, 10m, 1h")
    .addHelpText("after", `\n${waiting}\n\n${examples(shown)}\n\n${goalJson}${more}\n\n${exitStatusHelp}`);
}

function addList(homeostat: Command): void {
  homeostat
    .command("list")
    .description("Lists the stacks.")
    .addHelpText(
      "after",
      `\nWith --json: {"total","offset","limit","stacks":[{"id","name","status",…}]}\n\n${exitStatusHelp}`,
    )
    .action(async (_options, command) => {
      const { list } = await import("./commands/list.js");
      await run(command, list);
    });
}

function addShow(homeostat: Command): void {
  homeostat
    .command("show")
    .summary("show a stack with its resources and outputs")
    .description("Shows the stack's status, its resources as they are now, and its outputs.")
    .argument("<name>", "stack name or id")
    .addHelpText(
      "after",
      `\n${examples([["homeostat show hello --json", ""]])}\n\nWith --json:\n  ${showShape}\n\n${exitStatusHelp}`,
    )
    .action(async (name: string, _options, command) => {
      const { show } = await import("./commands/show.js");
      await run(command, (context) => show(context, name));
    });
}

function addEvents(homeostat: Command): void {
  const shown = [
    ["homeostat events hello", "what happened, also to a stack that is deleted now"],
    ["homeostat events --follow", "what happens to all stacks, until Ctrl-C"],
  ] as const;
  homeostat
    .command("events")
    .summary("show what happened")
    .description("Prints the lifecycle events of one stack, or of all.")
    .argument("[name]", "stack name or id")
    .option("--follow", "go on until Ctrl-C, or until the stack is deleted")
    .option("--since <duration>", "only events that are not older: 30s, 10m, 1h")
    .addHelpText(
      "after",
      `\n${examples(shown)}\n\nWith --json: one event per line,\n  ${eventShape}\n\n${exitStatusHelp}`,
    )
    .action(async (name: string | undefined, options, command) => {
      const { events } = await import("./commands/events.js");
      await run(command, (context) => events(context, name, options));
    });
}

function addObserve(homeostat: Command): void {
  const shown = [
    ["homeostat observe hello", "look at all of it now, and mend what the policy says is to be mended"],
    ["homeostat observe hello page --timeout 5s --json", ""],
  ] as const;
  homeostat
    .command("observe")
    .summary("look at reality now")
    .description(
      "Has the things of a stack looked at now, and says of each what was seen, and whether it was mended.",
    )
    .argument("<name>", "stack name or id")
    .argument("[resource]", "only this one")
    .option("--timeout <duration>", "how long to wait for that: 200ms, 30s, 10m (default: 1m)")
    .addHelpText(
      "after",
      `\n${examples(shown)}

With --json: {"stack","name","askedAt","resources","waiting","seen":[{"id","name","type","finding","paths","reason"}]}
Exit status 0 means that all is in line or was repaired, 3 that something is not, 4 that not all was looked at in time.

${exitStatusHelp}`,
    )
    .action(async (name: string, resource: string | undefined, options, command) => {
      const { observe } = await import("./commands/observe.js");
      await run(command, (context) => observe(context, name, resource, options));
    });
}

function addReplace(homeostat: Command): void {
  const replace = homeostat
    .command("replace")
    .summary("replace a resource; what depends on it follows")
    .description(
      "Makes another thing for the resource, has what depends on it follow, and removes the old one.",
    )
    .argument("<name>", "stack name or id")
    .argument("<resource>", "name of the resource")
    .option("--detach", "return once the goal is set; needs a daemon");
  waitingCommand(replace, [["homeostat replace hello page", ""]]).action(
    async (name: string, resource: string, options, command) => {
      const { replace } = await import("./commands/goals.js");
      await run(command, (context) => replace(context, name, resource, options));
    },
  );
}

function addPause(homeostat: Command): void {
  const pause = homeostat
    .command("pause")
    .summary("repair nothing of a stack by itself")
    .description(
      "Nothing of the stack is repaired or tried again until resume. Looks go on; goals of people work.",
    )
    .option("--reason <text>", "for whoever asks");
  attention(pause, '{"stack","name","paused"}').action(async (name: string, options, command) => {
    const { pause } = await import("./commands/attention.js");
    await run(command, (context) => pause(context, name, options));
  });
}

function addResume(homeostat: Command): void {
  const resume = homeostat
    .command("resume")
    .summary("end a pause")
    .description("Ends a pause. What is not in line is looked at at once.");
  attention(resume, '{"stack","name","paused"}').action(async (name: string, _options, command) => {
    const { resume } = await import("./commands/attention.js");
    await run(command, (context) => resume(context, name));
  });
}

function addIncidents(homeostat: Command): void {
  homeostat
    .command("incidents")
    .summary("list what waits for an answer")
    .description("Lists the incidents that wait for an answer: many things of a stack went missing at once.")
    .argument("[name]", "stack name or id")
    .addHelpText(
      "after",
      `\nWith --json: {"incidents":[{"stack","name","id","since","missing","resources":["NAME"]}]}\n\n${exitStatusHelp}`,
    )
    .action(async (name: string | undefined, _options, command) => {
      const { incidents } = await import("./commands/attention.js");
      await run(command, (context) => incidents(context, name));
    });
}

function addApprove(homeostat: Command): void {
  const approve = homeostat
    .command("approve")
    .summary("answer an incident: make again what is missing")
    .description("Answers the open incident of a stack: what is missing is made again.");
  addAnswer(approve, "approve");
}

function addDismiss(homeostat: Command): void {
  const dismiss = homeostat
    .command("dismiss")
    .summary("answer an incident: leave missing what is")
    .description("Answers the open incident of a stack: what is missing is left so until a goal makes it.");
  addAnswer(dismiss, "dismiss");
}

function addResolve(homeostat: Command): void {
  const resolve = homeostat
    .command("resolve")
    .summary("say what became of an uncertain create")
    .description(
      "Says what became of a create that was interrupted, where the provider can neither find the thing nor repeat the call. The goal goes on from there: when it is tried again, or with the next up or delete.",
    );
  attention(resolve, '{"stack","name","resource","id","made"}')
    .argument("<resource>", "name of the resource")
    .option("--made <id>", "physical id of the thing that was made")
    .option("--not-made", "nothing was made, and nothing will be")
    .action(async (name: string, resource: string, options, command: Command) => {
      const { made, notMade } = options as { made?: string; notMade?: true };
      if ((made === undefined) === (notMade === undefined)) {
        command.error("error: give --made ID or --not-made");
      }
      const { resolve } = await import("./commands/attention.js");
      await run(command, (context) => resolve(context, name, resource, made ?? null));
    });
}

function addAnswer(command: Command, verb: "approve" | "dismiss"): void {
  attention(command, '{"stack","name","incident","resources"}')
    .argument("[incident]", "id of the incident, to answer no other one")
    .action(async (name: string, incident: string | undefined, _options, command) => {
      const { answer } = await import("./commands/attention.js");
      await run(command, (context) => answer(context, verb, name, incident));
    });
}

function addPolicy(homeostat: Command): void {
  const shown = [
    ["homeostat policy hello", "what holds for each resource"],
    ["homeostat policy hello -f policy.yaml", "set the run-time policy; it goes over the template's"],
    ["homeostat policy hello --reset", "remove it"],
  ] as const;
  homeostat
    .command("policy")
    .summary("show or change what is done about drift")
    .description(
      "Shows the policies of a stack, or sets the run-time one. No goal is set, and it holds at once.",
    )
    .argument("<name>", "stack name or id")
    .option("-f, --file <file>", "policy document, YAML or JSON; - reads it from stdin")
    .option("--reset", "remove the run-time policy")
    .addHelpText(
      "after",
      `\n${examples(shown)}\n\nWith --json: {"stack","name","template","runtime","effective":{"RESOURCE":{"policy","ignore","poll_ms",…}}}\n\n${exitStatusHelp}`,
    )
    .action(async (name: string, options, command) => {
      const { policy } = await import("./commands/policy.js");
      await run(command, (context) => policy(context, name, options));
    });
}

function addWatched(homeostat: Command): void {
  homeostat
    .command("watched")
    .summary("list what there is to watch")
    .description("Lists every thing of every stack with its type and physical id, for observers of your own.")
    .option("--type <type>", "only of this type")
    .option("--pool <name>", "only of this pool")
    .addHelpText(
      "after",
      `\nWith --json: one thing per line, {"type","physical_id","pool","stack","stack_name","resource","name"}\n\n${exitStatusHelp}`,
    )
    .action(async (options, command) => {
      const { watched } = await import("./commands/watched.js");
      await run(command, (context) => watched(context, options));
    });
}

/** A command that says something of a stack and is done. */
function attention(command: Command, shape: string): Command {
  return command
    .argument("<name>", "stack name or id")
    .addHelpText("after", `\nWith --json: ${shape}\n\n${exitStatusHelp}`);
}

function addOrphans(homeostat: Command): void {
  const shown = [
    ["homeostat orphans", "what there is"],
    ["homeostat orphans --remove 4f0c1d2e3a5b", "have it removed"],
  ] as const;
  const shape = `{"orphans":[{"id","type","physicalId","stack","stackName","resource","token","ours","why","certain","decided","failure","firstSeen","lastSeen"}],"held":["TYPE"]}`;
  homeostat
    .command("orphans")
    .summary("show things that no stack knows of, and have them removed")
    .description("Lists things that carry the marks of a stack and that no record knows.")
    .option("--remove <id...>", "have these removed by a daemon that observes")
    .addHelpText("after", `\n${examples(shown)}\n\nWith --json:\n  ${shape}\n\n${exitStatusHelp}`)
    .action(async (options, command) => {
      const { orphans } = await import("./commands/orphans.js");
      await run(command, (context) => orphans(context, options));
    });
}

function addDrift(homeostat: Command): void {
  const shown = [
    ["homeostat drift", "what is not in line, of all stacks"],
    ["homeostat drift hello", "what differs in the stack hello; its exit status is for scripts"],
    ["homeostat drift hello web --all", "all properties of one resource"],
  ] as const;
  homeostat
    .command("drift")
    .summary("show how reality differs from what is desired")
    .description(
      "Shows property by property what is desired, what was applied last and what was observed, with their ages.",
    )
    .argument("[name]", "stack name or id")
    .argument("[resource]", "only this resource")
    .option("--all", "also what does not differ")
    .addHelpText(
      "after",
      `\n${examples(shown)}

Exit status: 0 when nothing differs, 3 when something does; the others as with every command.
Nothing is looked at for it: it tells what the last looks have found. Without a name it tells of the resources whose state
is not ready; with one also of those that wait for the goal.

With --json: {"now","differs","resources":[{"stackName","resource","state","differs","desiredAt","appliedAt","observedAt",
   "properties":[{"path","desired","applied","observed","differs","ignored"}],…}]}\n\n${exitStatusHelp}`,
    )
    .action(async (name: string | undefined, resource: string | undefined, options, command) => {
      const { drift } = await import("./commands/drift.js");
      await run(command, (context) => drift(context, name, resource, options));
    });
}

function addWhy(homeostat: Command): void {
  const shown = [
    ["homeostat why hello", "the stack, and every resource that is not at its goal"],
    ["homeostat why hello web", "one resource, also when it is at its goal"],
  ] as const;
  homeostat
    .command("why")
    .summary("say why something is not at its goal")
    .description(
      "Says what a stack or a resource waits for and since when, what was tried and what came of it, what comes next.",
    )
    .argument("<name>", "stack name or id")
    .argument("[resource]", "only this resource")
    .addHelpText(
      "after",
      `\n${examples(shown)}

With --json: {"stack":{…},"atGoal","text","waits":[{"kind","text","since","until","on"}],"states","total","notAtGoal",
   "resources":[{"name","state","since","reason","failures","lastCall","waits","text",…}]}\n\n${exitStatusHelp}`,
    )
    .action(async (name: string, resource: string | undefined, _options, command) => {
      const { why } = await import("./commands/why.js");
      await run(command, (context) => why(context, name, resource));
    });
}

function addWatch(homeostat: Command): void {
  const shown = [
    ["homeostat watch", "all stacks, until Ctrl-C"],
    ["homeostat watch hello", "one stack, with its resources that are not at their goal"],
    ["homeostat watch | tee log", "a line whenever something about a stack has changed"],
  ] as const;
  homeostat
    .command("watch")
    .summary("watch stacks live")
    .description("Shows the stacks as they are, what moves, and what was seen to differ, until Ctrl-C.")
    .argument("[name]", "stack name or id; the command ends when it is deleted")
    .addHelpText(
      "after",
      `\n${examples(shown)}

With --json: a document whenever something has changed, {"time","stack","name","status","action","traversal","ready","total",
   "moving":{STATE: count},"seen":{STATE: count},"drifted","repaired","paused","incident","reason"}\n\n${exitStatusHelp}`,
    )
    .action(async (name: string | undefined, _options, command) => {
      const { watch } = await import("./commands/watch.js");
      await run(command, (context) => watch(context, name));
    });
}

function addSimulate(homeostat: Command): void {
  homeostat
    .command("simulate")
    .summary("run scenarios in a simulated world")
    .description("Runs scenario files against the engine in a simulated world and checks its promises.")
    .argument("[file...]", "scenarios")
    .option("--explore <n>", "so many runs with chosen interleavings")
    .option("--generate <n>", "make up so many scenarios and explore each; one that fails becomes a file")
    .option("--seed <n>", "where the choices of --explore and --generate begin")
    .option("--workers <n>", "simulated workers")
    .option("--faults <list>", "faults to choose from, parted by commas")
    .option("--jobs <n>", "threads that explore (default: one per processor); what is found is the same")
    .addHelpText(
      "after",
      `\nExit status: 0 all held, 1 something failed, 2 a file cannot be used.\nWith --json: one result per line, {"name","ok","runs","visits",…}`,
    )
    .action(async (files: string[], options, command) => {
      const { simulate } = await import("./commands/simulate.js");
      await run(command, (context) => simulate(context, files, options));
    });
}

function addDev(homeostat: Command): void {
  homeostat
    .command("dev")
    .summary("run the engine in this folder, with embedded servers")
    .description(
      "Embedded servers and a daemon in the foreground; prints how to reach them, then what happens.",
    )
    .addHelpText(
      "after",
      `\nWith --json: {"dir","redisUrl","natsUrl","keyFile"}, then one event per line.\nCtrl-C lets calls in flight end and stops; twice ends at once.\n\n${exitStatusHelp}`,
    )
    .action(async (_options, command) => {
      const { dev } = await import("./commands/daemon.js");
      await run(command, dev);
    });
}

function addDaemon(homeostat: Command): void {
  const shown = [
    ["homeostat daemon --redis-url redis://db:6379 --nats-url nats://mq:4222", ""],
    ["homeostat daemon --pool gpu --providers ./my-types.js", ""],
  ] as const;
  homeostat
    .command("daemon")
    .summary("run the engine against servers of yours")
    .description("Runs the engine in the foreground. Logs are JSON lines on stderr.")
    .option("--pool <name>", "work for this pool (default: default); may be repeated", collect)
    .option("--orphans <report|remove>", "what is done about things that no record knows (HOMEOSTAT_ORPHANS)")
    .addHelpText(
      "after",
      `\n${examples(shown)}

Environment: HOMEOSTAT_REDIS_URL, HOMEOSTAT_NATS_URL, NATS_CONTEXT; HOMEOSTAT_KEY (32 bytes in base64, the same for
every daemon) or HOMEOSTAT_KEY_FILE seals hidden values. Without URLs it serves the embedded servers of --dir.
SIGTERM and SIGINT let calls in flight end; a second one ends at once. It exits with 0 after SIGTERM, 130 after SIGINT.\n\n${exitStatusHelp}`,
    )
    .action(async (options, command) => {
      const { daemon } = await import("./commands/daemon.js");
      await run(command, (context) => daemon(context, options));
    });
}

async function run(command: Command, work: (context: Context) => Promise<number>): Promise<void> {
  const { runCommand } = await import("./run-command.js");
  await runCommand(command.optsWithGlobals<GlobalOptions>(), work);
}

type Examples = readonly (readonly [command: string, what: string])[];

function examples(shown: Examples): string {
  const width = Math.max(...shown.map(([command]) => command.length));
  const lines = shown.map(
    ([command, what]) => `  ${what === "" ? command : `${command.padEnd(width)}   ${what}`}`,
  );
  return ["Examples:", ...lines].join("\n");
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

function version(): string {
  const file = new URL("../../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
