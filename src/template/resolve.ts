/** From a template's declarations to values: what a goal says of each resource, and what the stack gives out. */
import { HomeostatError, InvalidError, type Problem } from "../errors.js";
import { canonicalJson, type Json, type JsonObject } from "../json.js";
import { mergeParts, type PolicyDocument, partOf } from "../observer/policy.js";
import { type Evaluated, evaluate, type Scope, type View } from "./evaluate.js";
import { callOf } from "./functions.js";
import { metadataPolicy } from "./policy.js";
import type {
  BoundDefinition,
  Expression,
  OutputDefinition,
  ParameterValues,
  ResolvedOutput,
  ResolvedProperties,
  ResourceDefinition,
  Template,
} from "./types.js";

/** Puts a definition together with the parameters that it uses, and with what the template's policy says of it. */
export function bindDefinition(
  definition: ResourceDefinition,
  parameters: ParameterValues,
  policy: PolicyDocument = {},
): BoundDefinition {
  const used = new Set<string>();
  collectParameters(definition.properties, used);
  const names = [...used].filter((name) => Object.hasOwn(parameters.values, name)).sort();
  return {
    definition,
    parameters: Object.fromEntries(names.map((name) => [name, parameters.values[name] ?? null])),
    hidden: names.filter((name) => parameters.hidden.includes(name)),
    ...resourcePolicy(definition, policy),
  };
}

function resourcePolicy(
  definition: ResourceDefinition,
  document: PolicyDocument,
): Pick<BoundDefinition, "policy"> {
  const policy = mergeParts(partOf(document, definition.type, definition.name), metadataPolicy(definition));
  return Object.keys(policy).length > 0 ? { policy } : {};
}

function collectParameters(expression: Expression, names: Set<string>): void {
  if (expression === null || typeof expression !== "object") return;
  const call = callOf(expression);
  if (call?.name === "get_param") names.add(parameterOf(call.argument));
  for (const part of Object.values(expression)) collectParameters(part, names);
}

function parameterOf(argument: Json): string {
  return String(Array.isArray(argument) ? argument[0] : argument);
}

/** Equal for two bound definitions exactly if they describe the same goal. */
export function definitionText({ definition, parameters, policy }: BoundDefinition): string {
  const { type, properties, dependsOn, deletionPolicy, metadata } = definition;
  const sorted = [...dependsOn].sort();
  const common = { type, properties, parameters, dependsOn: sorted, deletionPolicy, metadata };
  return canonicalJson(policy === undefined ? common : { ...common, policy: policy as JsonObject });
}

/**
 * Evaluates the functions in a resource's properties. As in HOT, a property whose value is null is as good as absent.
 *
 * @throws InvalidError when a function refers to something that is not there.
 */
export function resolveProperties(bound: BoundDefinition, view: View): ResolvedProperties {
  const { name, properties } = bound.definition;
  const scope: Scope = { parameters: bound.parameters, hiddenParameters: bound.hidden, view };
  const problems: Problem[] = [];
  const resolved: [string, Evaluated][] = [];
  for (const [property, expression] of Object.entries(properties)) {
    const result = attempt(() => evaluate(scope, expression));
    if ("value" in result) resolved.push([property, result]);
    else problems.push({ message: `resource "${name}", property "${property}": ${result.error}` });
  }
  if (problems.length > 0) throw new InvalidError(problems);
  return collect(resolved.filter(([, { value }]) => value !== null));
}

function collect(resolved: readonly [string, Evaluated][]): ResolvedProperties {
  const properties: JsonObject = Object.fromEntries(resolved.map(([name, { value }]) => [name, value]));
  return { properties, hidden: resolved.filter(([, { hidden }]) => hidden).map(([name]) => name) };
}

/** Every output by itself: one that cannot be told yet says why and does not keep the others back. */
export function resolveOutputs(
  template: Template,
  parameters: ParameterValues,
  view: View,
): Record<string, ResolvedOutput> {
  const scope: Scope = { parameters: parameters.values, hiddenParameters: parameters.hidden, view };
  const outputs = [...template.outputs.values()];
  return Object.fromEntries(outputs.map((output) => [output.name, resolveOutput(output, scope)]));
}

function resolveOutput({ description, value }: OutputDefinition, scope: Scope): ResolvedOutput {
  const result = attempt(() => evaluate(scope, value));
  const described = description === undefined ? {} : { description };
  return "value" in result ? { ...described, ...result } : { ...described, ...result, hidden: false };
}

function attempt(action: () => Evaluated): Evaluated | { error: string } {
  try {
    return action();
  } catch (error) {
    if (error instanceof HomeostatError && error.code === "invalid") return { error: error.message };
    throw error;
  }
}
