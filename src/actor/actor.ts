/**
 * Runs the durable machines: load the stored snapshot, step, hand back the next snapshot and what to do (R9).
 *
 * Invariants
 * 1. Nothing here performs an action; the caller commits first and then carries out.
 * 2. A snapshot carries its machine's version. An older one is upgraded, one function per version; a newer one is
 *    refused with `newer_version`, so that a newer worker gets the work.
 */
import {
  type AnyStateMachine,
  type EventFromLogic,
  initialTransition,
  type SnapshotFrom,
  transition,
} from "xstate";
import {
  type ResourceAction,
  type ResourceContext,
  type ResourceEvent,
  type ResourceState,
  resourceMachine,
  resourceMachineVersion,
} from "../../machines/resource.js";
import {
  type StackCommand,
  type StackContext,
  type StackEvent,
  stackMachine,
  stackMachineVersion,
} from "../../machines/stack.js";
import { HomeostatError } from "../errors.js";

/** A stored snapshot: version, state, context. The initial state is the empty text. */
interface Stored {
  v: number;
  s: string;
  c: object;
}

type Upgrade = (stored: Stored) => Stored;

/** Steps that a process keeps, at most. */
const rememberedSteps = 1_000;

export interface Step<State extends string, Context, Action extends string> {
  /** To be stored; opaque to everybody else. */
  snapshot: string;
  state: State;
  context: Readonly<Context>;
  /** What the transition asks for, in order; assignments are already in the context. */
  actions: readonly Action[];
}

class DurableMachine<State extends string, Context extends object, Event, Action extends string> {
  readonly #machine: AnyStateMachine;
  readonly #version: number;
  readonly #upgrades: readonly Upgrade[];
  readonly #commands: ReadonlySet<string>;
  readonly #known = new Map<string, Step<State, Context, Action>>();

  constructor(
    machine: AnyStateMachine,
    version: number,
    upgrades: readonly Upgrade[],
    commands: readonly Action[],
  ) {
    this.#machine = machine;
    this.#version = version;
    this.#upgrades = upgrades;
    this.#commands = new Set(commands);
  }

  /** @throws HomeostatError `newer_version` when the snapshot was written by a newer machine. */
  read(snapshot: string): Step<State, Context, Action> {
    return this.#remember(snapshot, () => this.#describe(this.#restore(snapshot), []));
  }

  /** One event; an event that no transition takes leaves everything as it is. */
  step(snapshot: string, event: Event): Step<State, Context, Action> {
    return this.#remember(`${snapshot}\n${JSON.stringify(event)}`, () => this.#take(snapshot, event));
  }

  #take(snapshot: string, event: Event): Step<State, Context, Action> {
    const [next, actions] = transition(
      this.#machine,
      this.#restore(snapshot),
      event as EventFromLogic<AnyStateMachine>,
    );
    return this.#describe(
      next,
      actions.map((action) => action.type as string as Action).filter((type) => this.#commands.has(type)),
    );
  }

  /** Steps are pure, and most resources take the same few: they are computed once. */
  #remember(key: string, compute: () => Step<State, Context, Action>): Step<State, Context, Action> {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.#known.size >= rememberedSteps) this.#known.clear();
    const step = compute();
    this.#known.set(key, step);
    return step;
  }

  #restore(snapshot: string): SnapshotFrom<AnyStateMachine> {
    if (snapshot === "") return initialTransition(this.#machine)[0];
    let stored = JSON.parse(snapshot) as Stored;
    if (stored.v > this.#version) {
      throw new HomeostatError(
        "newer_version",
        `${this.#machine.id} was stored by version ${stored.v} of its machine; this process has ${this.#version}`,
      );
    }
    for (const upgrade of this.#upgrades.slice(stored.v - 1)) stored = upgrade(stored);
    return this.#machine.resolveState({ value: stored.s, context: stored.c });
  }

  #describe(snapshot: SnapshotFrom<AnyStateMachine>, actions: Action[]): Step<State, Context, Action> {
    const { value, context } = snapshot as { value: State; context: Context };
    const stored: Stored = { v: this.#version, s: value, c: context };
    return { snapshot: JSON.stringify(stored), state: value, context, actions };
  }
}

/** Version 1 knew nothing of observation. */
function withoutSightings({ s, c }: Stored): Stored {
  return { v: 2, s, c: { ...c, spoiled: false, repairing: false } };
}

export const resourceActor = new DurableMachine<
  ResourceState,
  ResourceContext,
  ResourceEvent,
  ResourceAction
>(
  resourceMachine,
  resourceMachineVersion,
  [withoutSightings],
  [
    "create",
    "update",
    "delete",
    "find",
    "replace",
    "pass",
    "forget",
    "again",
    "retryLater",
    "wait",
    "fail",
    "ask",
    "mend",
    "reconverge",
  ],
);

export const stackActor = new DurableMachine<string, StackContext, StackEvent, StackCommand>(
  stackMachine,
  stackMachineVersion,
  [],
  ["announce", "rollback", "stop", "purge"],
);
