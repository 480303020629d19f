/** What a program that embeds or extends Homeostat may use. */
export { Client, type ClientOptions } from "./api/client.js";
export type { Reply, Request, ResourceView, StackView, Verb } from "./api/schemas.js";
export type { ConnectionLog, NatsOptions } from "./bus/connect.js";
export { describeProblem, type ErrorCode, HomeostatError, InvalidError, type Problem } from "./errors.js";
export type { Json, JsonObject } from "./json.js";
export { type BuiltinOptions, builtinTypes } from "./providers/builtin.js";
export {
  type DockerEvent,
  dockerEvent,
  type EventBridgeEvent,
  eventBridgeEvent,
  type KubernetesEvent,
  kubernetesWatchEvent,
  type OpenstackNotification,
  openstackNotification,
} from "./providers/event-formats.js";
export {
  type CallContext,
  defineResource,
  type ForeignEvent,
  type ListContext,
  type Marked,
  type Operation,
  ProviderError,
  type Reading,
  type ResourceType,
  type ResourceTypeDefinition,
  ResourceTypes,
  type Thing,
} from "./providers/provider.js";
export {
  attr,
  file,
  listJoin,
  type ParameterOptions,
  param,
  type ResourceOptions,
  ref,
  stackTemplate,
  strReplace,
  type Value,
} from "./template/builder.js";
export type { LifecycleEvent } from "./traversal/lifecycle-event.js";
export { type Host, type HostOptions, startHost } from "./worker/host.js";
