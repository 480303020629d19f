/**
 * Readers for the event formats of other systems, for the `events` of a resource type. Each returns `undefined` for what
 * is not in its format.
 *
 * ```js
 * events(event) {
 *   const docker = dockerEvent(event);
 *   return docker?.kind === "container" ? [docker.id] : undefined;
 * }
 * ```
 */
import { z } from "zod";
import type { JsonObject } from "../json.js";
import type { ForeignEvent } from "./provider.js";

const text = z.string().min(1);
const object = z.custom<JsonObject>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
);

function read<T>(schema: z.ZodType<T>, value: unknown): T | undefined {
  const parsed = schema.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}

export interface DockerEvent {
  /** `container`, `image`, `volume`, `network`, … */
  kind: string;
  /** `start`, `die`, `destroy`, …; what follows a colon (`exec_start: sh`) is left out. */
  action: string;
  /** Of containers 64 hexadecimal digits, of volumes their name. */
  id: string;
  /** `name` for containers and networks, and their labels. */
  attributes: JsonObject;
}

const dockerSchema = z.object({
  Type: text,
  Action: text,
  Actor: z.object({ ID: text, Attributes: object.nullish() }),
});

/** One line of `docker events --format '{{json .}}'`, or of the Docker API's `/events`. */
export function dockerEvent({ body }: ForeignEvent): DockerEvent | undefined {
  const event = read(dockerSchema, body);
  if (event === undefined) return undefined;
  const [action = ""] = event.Action.split(":");
  return { kind: event.Type, action, id: event.Actor.ID, attributes: event.Actor.Attributes ?? {} };
}

export interface KubernetesEvent {
  action: "ADDED" | "MODIFIED" | "DELETED";
  /** `v1`, `apps/v1`. */
  apiVersion: string;
  /** `Deployment`. */
  kind: string;
  /** Undefined for what is in no namespace. */
  namespace: string | undefined;
  name: string;
  uid: string;
  object: JsonObject;
}

const kubernetesSchema = z.object({
  type: z.enum(["ADDED", "MODIFIED", "DELETED"]),
  object: object.and(
    z.object({
      apiVersion: text,
      kind: text,
      metadata: z.object({ name: text, namespace: text.optional(), uid: text }),
    }),
  ),
});

/** One event of a watch. Bookmarks and errors tell of no object and give `undefined`. */
export function kubernetesWatchEvent({ body }: ForeignEvent): KubernetesEvent | undefined {
  const event = read(kubernetesSchema, body);
  if (event === undefined) return undefined;
  const { apiVersion, kind, metadata } = event.object;
  const { name, namespace, uid } = metadata;
  return { action: event.type, apiVersion, kind, namespace, name, uid, object: event.object };
}

export interface OpenstackNotification {
  /** As it came: `compute.instance.delete.end`. */
  eventType: string;
  /** `compute.instance`, `volume`, `port`, `identity.project`: the event type without action and phase. */
  kind: string;
  /** `create`, `update`, `delete`, … */
  action: string;
  phase: "start" | "end" | "error" | undefined;
  id: string;
  payload: JsonObject;
}

const notificationSchema = z.object({ event_type: text, publisher_id: text, payload: object });
const envelopeSchema = z.object({ "oslo.message": text });
const phases = ["start", "end", "error"] as const;

/** A notification of an OpenStack service, versioned or not, with or without the envelope of oslo.messaging. */
export function openstackNotification({ body }: ForeignEvent): OpenstackNotification | undefined {
  const notification = read(notificationSchema, opened(body));
  if (notification === undefined) return undefined;
  const { event_type: eventType, payload } = notification;
  const parts = eventType.split(".");
  const phase = phases.find((name) => name === parts.at(-1));
  if (phase !== undefined) parts.pop();
  const action = parts.pop();
  const noun = parts.at(-1);
  if (action === undefined || noun === undefined) return undefined;
  const id = openstackId(noun, payload);
  return id === undefined ? undefined : { eventType, kind: parts.join("."), action, phase, id, payload };
}

function opened(body: unknown): unknown {
  const envelope = read(envelopeSchema, body);
  if (envelope === undefined) return body;
  try {
    return JSON.parse(envelope["oslo.message"]);
  } catch {
    return undefined;
  }
}

/** Every service has its own place for it. */
function openstackId(noun: string, payload: JsonObject): string | undefined {
  const inside = read(object, payload[noun]);
  const versioned = read(object, payload["nova_object.data"]);
  const places = [
    payload[`${noun}_id`],
    inside?.id,
    versioned?.uuid,
    payload.resource_info,
    payload.id,
    payload.uuid,
  ];
  return places.find((place): place is string => typeof place === "string" && place !== "");
}

export interface EventBridgeEvent {
  /** `aws.ec2`. */
  source: string;
  /** The `detail-type`: `EC2 Instance State-change Notification`. */
  kind: string;
  /** The event's own id. */
  id: string;
  /** Amazon resource names; empty where the source gives none. */
  resources: string[];
  account: string | undefined;
  region: string | undefined;
  detail: JsonObject;
}

const eventBridgeSchema = z.object({
  id: text,
  source: text,
  "detail-type": text,
  account: text.optional(),
  region: text.optional(),
  resources: z.array(text).default([]),
  detail: object,
});

/** An event as EventBridge gives it to its targets. */
export function eventBridgeEvent({ body }: ForeignEvent): EventBridgeEvent | undefined {
  const event = read(eventBridgeSchema, body);
  if (event === undefined) return undefined;
  const { "detail-type": kind, source, id, resources, account, region, detail } = event;
  return { source, kind, id, resources, account, region, detail };
}
