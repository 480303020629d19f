/**
 * Where a template says how its resources are kept in line: under `homeostat` in a resource's metadata, and in the
 * parameter `homeostat_policy`. Both are plain HOT, so that other tools take such a template as it is.
 */
import type { Json } from "../json.js";
import {
  checkPolicyDocument,
  checkPolicyPart,
  isPolicyDocument,
  isPolicyPart,
  type PolicyDocument,
  type PolicyNames,
  type PolicyPart,
} from "../observer/policy.js";
import { Problems } from "./problems.js";
import type { ParameterValues, ResourceDefinition, Template } from "./types.js";

export const policyKey = "homeostat";
export const policyParameter = "homeostat_policy";

/** Also of the parameter's default, even where another value is given. */
export function checkTemplatePolicy(problems: Problems, template: Template): void {
  for (const { name, metadata } of template.resources.values()) {
    const part = metadata[policyKey];
    if (part !== undefined) checkPolicyPart(problems, ["resources", name, "metadata", policyKey], part);
  }
  const parameter = template.parameters.get(policyParameter);
  if (parameter === undefined) return;
  const path = ["parameters", policyParameter];
  if (parameter.type !== "json") problems.add([...path, "type"], `${policyParameter} must be of type json`);
  if (parameter.hidden) problems.add([...path, "hidden"], `${policyParameter} cannot be hidden`);
  if (parameter.type !== "json" || parameter.default === undefined) return;
  checkPolicyDocument(problems, [...path, "default"], parameter.default, namesOf(template));
}

/** Of a value that somebody gave: its place in the template is the parameter. */
export function checkGivenPolicy(problems: Problems, template: Template, value: Json): void {
  const found = new Problems(() => ({}));
  checkPolicyDocument(found, [], value, namesOf(template));
  for (const { message } of found.list()) {
    problems.add(["parameters", policyParameter], `parameter "${policyParameter}": ${message}`, "key");
  }
}

function namesOf({ resources }: Template): PolicyNames {
  return { types: [...resources.values()].map(({ type }) => type), resources: resources.keys() };
}

/** What a goal says of its whole stack. A goal from before there were policies may have another thing there: no policy. */
export function templatePolicy({ values }: ParameterValues): PolicyDocument {
  const value = values[policyParameter];
  return value !== undefined && isPolicyDocument(value) ? value : {};
}

export function metadataPolicy({ metadata }: ResourceDefinition): PolicyPart {
  const part = metadata[policyKey];
  return part !== undefined && isPolicyPart(part) ? part : {};
}
