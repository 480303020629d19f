/** Walks a durable machine through every event that it may ever get, from state to state until nothing new comes. */
import type { Step } from "../../src/actor/actor.js";

export interface Reached<State extends string, Context, Action extends string, Event, Ghost> {
  step: Step<State, Context, Action>;
  ghost: Ghost;
  /** How one gets there, for messages. */
  path: readonly Event[];
}

export interface Walk<State extends string, Context, Action extends string, Event extends object, Ghost> {
  actor: {
    read(snapshot: string): Step<State, Context, Action>;
    step(snapshot: string, event: Event): Step<State, Context, Action>;
  };
  start: Ghost;
  events(reached: Reached<State, Context, Action, Event, Ghost>): Event[];
  /** What the world looks like after an event, as far as the test keeps it. */
  follow(
    before: Reached<State, Context, Action, Event, Ghost>,
    event: Event,
    after: Step<State, Context, Action>,
  ): Ghost;
  /** Two that have the same key behave alike; counters must be cut down to something finite. */
  key(reached: Reached<State, Context, Action, Event, Ghost>): string;
}

export function walk<State extends string, Context, Action extends string, Event extends object, Ghost>(
  given: Walk<State, Context, Action, Event, Ghost>,
): Reached<State, Context, Action, Event, Ghost>[] {
  type Here = Reached<State, Context, Action, Event, Ghost>;
  const first: Here = { step: given.actor.read(""), ghost: given.start, path: [] };
  const found = new Map<string, Here>([[given.key(first), first]]);
  // Shortest paths first: what is appended while iterating is visited too.
  for (const here of found.values()) {
    for (const event of given.events(here)) {
      const step = given.actor.step(here.step.snapshot, event);
      const next: Here = { step, ghost: given.follow(here, event, step), path: [...here.path, event] };
      const key = given.key(next);
      if (!found.has(key)) found.set(key, next);
    }
  }
  return [...found.values()];
}
