/** A CPU profile of this process, by what the time was spent in. */
import { Session } from "node:inspector/promises";

export interface Profile {
  totalMs: number;
  /** Self time in ms, largest first: parts of the program, packages, node itself. */
  parts: [part: string, ms: number][];
  functions: [what: string, ms: number][];
}

interface ProfileNode {
  id: number;
  callFrame: { functionName: string; url: string; lineNumber: number };
  children?: number[];
}

const session = new Session();
const samplingUs = 500;

export async function startProfile(): Promise<void> {
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.setSamplingInterval", { interval: samplingUs });
  await session.post("Profiler.start");
}

export async function stopProfile(): Promise<Profile> {
  const { profile } = await session.post("Profiler.stop");
  session.disconnect();
  const nodes = new Map((profile.nodes as ProfileNode[]).map((node) => [node.id, node]));
  const parents = new Map<number, ProfileNode>();
  for (const node of nodes.values()) for (const child of node.children ?? []) parents.set(child, node);
  const parts = new Map<string, number>();
  const functions = new Map<string, number>();
  let totalMs = 0;
  for (const [i, id] of (profile.samples ?? []).entries()) {
    const ms = (profile.timeDeltas?.[i] ?? 0) / 1000;
    const node = nodes.get(id);
    if (node === undefined) continue;
    totalMs += ms;
    const owner = ownerOf(node, parents);
    const part = partOf(owner);
    add(parts, part, ms);
    const { functionName } = node.callFrame;
    const within = owner === node ? "" : ` in ${owner.callFrame.functionName || "(anonymous)"}`;
    add(functions, `${functionName || "(anonymous)"}${within} [${part}]`, ms);
  }
  return { totalMs, parts: largest(parts, 30), functions: largest(functions, 30) };
}

/** Natives and built-ins count for whoever called them. */
function ownerOf(node: ProfileNode, parents: ReadonlyMap<number, ProfileNode>): ProfileNode {
  for (let at: ProfileNode | undefined = node; at !== undefined; at = parents.get(at.id)) {
    if (at.callFrame.url !== "") return at;
  }
  return node;
}

function partOf({ callFrame }: ProfileNode): string {
  const { url, functionName } = callFrame;
  const found =
    /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url) ??
    /\/((?:src\/[^/]+|machines|test\/bench))\b/.exec(url);
  if (found?.[1] !== undefined) return found[1];
  if (/^node:internal\/(?:process|timers|async)/.test(url) || url.startsWith("node:timers"))
    return "node: promises, timers";
  if (url.startsWith("node:")) return "node: sockets, buffers, crypto";
  return functionName;
}

function add(sums: Map<string, number>, key: string, ms: number): void {
  sums.set(key, (sums.get(key) ?? 0) + ms);
}

function largest(sums: ReadonlyMap<string, number>, count: number): [string, number][] {
  return [...sums].sort((a, b) => b[1] - a[1]).slice(0, count);
}
