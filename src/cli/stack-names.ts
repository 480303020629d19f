/** What to say when a name leads to no stack. */
import { HomeostatError } from "../errors.js";
import { CloseNames } from "../template/close-names.js";
import type { Session } from "./session.js";

const pageSize = 1000;

/** Runs `work`; a stack that was not found gets a suggestion. */
export async function suggesting<T>(session: Session, name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof HomeostatError) || error.code !== "not_found") throw error;
    const { stacks } = await session.call("list", { limit: pageSize }).catch(() => ({ stacks: [] }));
    const names = stacks.map((stack) => stack.name);
    // The stack is there: what was not found is something in it.
    if (names.includes(name)) throw error;
    throw new HomeostatError("not_found", `${error.message}${new CloseNames().hint(name, names)}`, {
      cause: error,
    });
  }
}
