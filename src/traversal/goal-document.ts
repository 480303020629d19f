/** A goal as it is stored: the template with its files, and the parameter values. Immutable, sealed if anything is hidden. */
import { z } from "zod";
import type { JsonObject } from "../json.js";
import { readStored } from "../store/damage.js";
import { parseTemplate } from "../template/template.js";
import type { ParameterValues, Template, TemplateSource } from "../template/types.js";
import type { Engine } from "./engine.js";

export interface GoalDocument {
  source: TemplateSource;
  parameters: ParameterValues;
}

/** The goal of a stack that nobody gave a template, or that is to go. */
export const emptyGoal = "empty";

/** The goal that a stack is created with; its id is known, so that a create that never came can be cleared away. */
export const firstGoal = "first";

const goalSchema: z.ZodType<GoalDocument> = z.object({
  source: z.object({ text: z.string(), name: z.string(), files: z.record(z.string(), z.string()) }),
  parameters: z.object({
    values: z.record(z.string(), z.unknown()) as unknown as z.ZodType<JsonObject>,
    hidden: z.array(z.string()),
    given: z.array(z.string()),
  }),
});

const emptyDocument: GoalDocument = {
  source: { text: "resources: {}", name: "empty", files: {} },
  parameters: { values: {}, hidden: [], given: [] },
};

export async function writeGoal(
  engine: Engine,
  stack: string,
  id: string,
  goal: GoalDocument,
): Promise<void> {
  const text = engine.sealing.sealIf(goal.parameters.hidden.length > 0, JSON.stringify(goal));
  await engine.store.writeTemplate(stack, id, text);
}

/** Undefined when it is gone, because its stack is. */
export async function readGoal(engine: Engine, stack: string, id: string): Promise<GoalDocument | undefined> {
  if (id === emptyGoal) return emptyDocument;
  const text = await engine.store.readTemplate(stack, id);
  if (text === undefined) return undefined;
  return readStored(engine.store.keys.template(stack, id), () =>
    goalSchema.parse(JSON.parse(engine.sealing.open(text))),
  );
}

/** It was valid when it was stored. */
export function templateOf(goal: GoalDocument): Template {
  return parseTemplate(goal.source);
}
