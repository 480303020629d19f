/** What a call of the store changed, in a line of the trace. Properties and attributes are left out. */
import type {
  Begin,
  BeginAnswer,
  ClaimAnswer,
  Commit,
  CommitAnswer,
  Observation,
  ObserveAnswer,
  Ring,
  SweepAnswer,
  Visit,
} from "../store/store.js";

type Describe = (args: readonly unknown[], answer: unknown) => string | undefined;

const rung = (rings: readonly Ring[]): string =>
  rings.length === 0 ? "" : `, to ring ${rings.map((ring) => ring.node || ring.resource).join(", ")}`;

/** Only what changes the goal's way; plain reads and chunks of a graph would drown it. */
const descriptions: Readonly<Record<string, Describe>> = {
  begin: ([begin], answer) => {
    const { kind, request } = begin as Begin;
    const { tag, ...rest } = answer as BeginAnswer & { traversal?: number };
    return `begins ${kind} (${request}): ${tag}${rest.traversal === undefined ? "" : ` ${rest.traversal}`}`;
  },
  open: ([, traversal, attempt], answer) => {
    const { opened, rings } = answer as { opened: boolean; rings: Ring[] };
    return `opens ${traversal} as prepared by ${attempt}: ${opened ? "ok" : "stale"}${rung(rings)}`;
  },
  claim: ([visit], answer) => {
    const { node, resource } = visit as Visit;
    const claim = answer as ClaimAnswer;
    const what = `claims ${node || "the call"} (${resource}): ${claim.tag}`;
    if (claim.tag !== "claimed") return "rings" in claim ? `${what}${rung(claim.rings)}` : what;
    const { record, current, late } = claim;
    const about = [
      stateOf(record.snapshot),
      `fence ${record.fence ?? 0}`,
      current ? "" : "stale",
      record.intent ? `intent ${record.intent}${late ? ", past its deadline" : ""}` : "",
      record.mark ? `mark ${record.mark.split("\n").join(" ")}` : "",
    ];
    return `${what}, ${about.filter(Boolean).join(", ")}`;
  },
  commit: ([visit, given], answer) => {
    const { node, resource } = visit as Visit;
    const { mode, effect, fields, operation, requires, next } = given as Commit;
    const about = [
      stateOf(fields?.snapshot),
      operation === undefined ? "" : `intent ${operation}`,
      requires === undefined ? "" : `requires ${requires.length === 0 ? "nothing" : requires.join(" ")}`,
      next === undefined ? "" : `replaced by ${next.resource}`,
    ];
    const stored = about.filter(Boolean).join(", ");
    const outcome = answer as CommitAnswer;
    const rings = "rings" in outcome ? rung(outcome.rings) : "";
    return `commits ${mode} ${effect} for ${node || "the call"} (${resource})${stored && `, ${stored}`}: ${outcome.tag}${rings}`;
  },
  passOn: ([visit], answer) =>
    `passes on ${(visit as Visit).node}${rung((answer as { rings: Ring[] }).rings)}`,
  end: ([visit], answer) => {
    const { stuck, rings } = answer as { stuck: boolean; rings: Ring[] };
    return `ends ${(visit as Visit).node}${stuck ? ", nothing can move any more" : ""}${rung(rings)}`;
  },
  renew: ([visit], answer) =>
    `renews its lease of ${(visit as Visit).resource}: ${answer === true ? "ok" : "lost"}`,
  resolve: ([, resource], answer) => `is told what became of ${resource}: ${answer}`,
  handOver: ([, resource], answer) => `hands over what it made for ${resource}: ${answer}`,
  sweep: ([stack], answer) => {
    const swept = answer as SweepAnswer;
    if (swept.tag === "moved" || (swept.tag === "ok" && swept.rings.length === 0)) return undefined;
    return `sweeps ${stack}: ${swept.tag}${"rings" in swept ? rung(swept.rings) : ""}`;
  },
  settle: ([, traversal, settle], answer) =>
    `settles ${traversal}: ${(settle as { status: string }).status}, ${answer === true ? "ok" : "stale"}`,
  observe: ([, resource, observation], answer) => {
    const { finding, want } = observation as Observation;
    const outcome = answer as ObserveAnswer;
    const why = outcome.tag === "noted" ? `: ${outcome.why}` : "";
    return `finds ${resource} ${finding}${want === undefined ? "" : `, to ${want.how}`}: ${outcome.tag}${why}`;
  },
  purge: ([stack], answer) => `purges ${stack}: ${answer}`,
};

/** Undefined: not worth a line. */
export function describeStoreCall(
  method: string,
  args: readonly unknown[],
  answer: unknown,
): string | undefined {
  return descriptions[method]?.(args, answer);
}

function stateOf(snapshot: string | undefined): string {
  if (snapshot === undefined || snapshot === "") return "";
  return (JSON.parse(snapshot) as { s: string }).s;
}
