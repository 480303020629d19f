/** Things that no record knows, as people see them and decide about them. */
import { HomeostatError } from "../errors.js";
import { askedNote, certainAfterMs, heldNote, whys } from "../observer/orphans.js";
import type { Orphan } from "../store/store.js";
import type { Engine } from "../traversal/engine.js";
import type { ParsedRequest, Reply } from "./schemas.js";

/** @throws HomeostatError `not_found` when something to be removed is not among them */
export async function answerOrphans(
  engine: Engine,
  { remove }: ParsedRequest<"orphans">,
): Promise<Reply<"orphans">> {
  const { store, random } = engine;
  if (remove.length > 0) {
    const decided = await store.changeOrphans(new Map(remove.map((id) => [id, { decided: true }])));
    const unknown = remove.filter((id) => !decided.has(id));
    await store.noteSweep(askedNote, random.id());
    if (unknown.length > 0) {
      throw new HomeostatError("not_found", `there is no orphan ${unknown.join(", ")} (any more)`);
    }
  }
  const orphans = [...(await store.orphans())].map(([id, orphan]) => viewOf(engine, id, orphan));
  const types = [...new Set(orphans.map(({ type }) => type))];
  const held = await Promise.all(types.map((type) => store.sweepNote(heldNote(type))));
  return {
    orphans: orphans.sort((a, b) => a.firstSeen.localeCompare(b.firstSeen) || a.id.localeCompare(b.id)),
    held: types.filter((_type, i) => held[i] !== ""),
  };
}

function viewOf(engine: Engine, id: string, orphan: Orphan): Reply<"orphans">["orphans"][number] {
  const { type, physicalId, stack, stackName, resource, token, deployment, why, decided, failure } = orphan;
  const known = engine.types.get(type);
  const ageMs = orphan.lastSeen - orphan.firstSeen;
  return {
    id,
    type,
    physicalId,
    stack,
    stackName,
    resource,
    token,
    ours: deployment !== "",
    why: whys[why],
    certain: known !== undefined && ageMs >= certainAfterMs(engine, known),
    decided: decided === true,
    failure: failure ?? "",
    firstSeen: new Date(orphan.firstSeen).toISOString(),
    lastSeen: new Date(orphan.lastSeen).toISOString(),
  };
}
