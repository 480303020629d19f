/** Templates: read, check, and resolve to values. Everything here is pure. */
export { checkAgainstTypes } from "./check-types.js";
export { parameterValues } from "./parameters.js";
export { parseTemplate, parseTemplateValue } from "./parse.js";
export { templatePolicy } from "./policy.js";
export { bindDefinition, definitionText, resolveOutputs, resolveProperties } from "./resolve.js";
export type * from "./types.js";
