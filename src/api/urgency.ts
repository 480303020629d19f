/** A resource's states, with what is most in need of a person first. */
const states = [
  "failed",
  "uncertain",
  "contested",
  "missing",
  "drifted",
  "unreadable",
  "retrying",
  "creating",
  "updating",
  "deleting",
  "declared",
  "replaced",
];

/** Less is more urgent. */
export function urgencyOf(state: string): number {
  const place = states.indexOf(state);
  return place < 0 ? states.length : place;
}
