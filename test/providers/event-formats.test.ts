/** Theory: an event as the other system really sends it is not read, or read wrongly. */
import { describe, expect, it } from "vitest";
import type { Json } from "../../src/json.js";
import {
  dockerEvent,
  eventBridgeEvent,
  kubernetesWatchEvent,
  openstackNotification,
} from "../../src/providers/event-formats.js";

const of = (body: Json) => ({ topic: "foreign", attributes: {}, body });

const docker = {
  status: "exec_start: sh -c true",
  id: "4cc4",
  from: "nginx",
  Type: "container",
  Action: "exec_start: sh -c true",
  Actor: { ID: "4cc4", Attributes: { image: "nginx", name: "web", exitCode: "137" } },
  scope: "local",
  time: 1_717_000_000,
  timeNano: 1_717_000_000_000_000_000,
};

const deployment = {
  type: "MODIFIED",
  object: {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "web", namespace: "shop", uid: "5f1", resourceVersion: "10596", labels: { a: "b" } },
    spec: { replicas: 3 },
  },
};

const server = {
  message_id: "86bd",
  publisher_id: "compute.host1",
  event_type: "compute.instance.delete.end",
  priority: "INFO",
  timestamp: "2024-06-01 12:00:00.000000",
  payload: { tenant_id: "t1", instance_id: "9f2e", state: "deleted" },
};

const instance = {
  version: "0",
  id: "7bf7",
  "detail-type": "EC2 Instance State-change Notification",
  source: "aws.ec2",
  account: "123456789012",
  time: "2024-06-01T12:00:00Z",
  region: "eu-west-1",
  resources: ["arn:aws:ec2:eu-west-1:123456789012:instance/i-1234"],
  detail: { "instance-id": "i-1234", state: "terminated" },
};

describe("Docker", () => {
  it("tells kind, action and id", () => {
    expect(dockerEvent(of(docker))).toEqual({
      kind: "container",
      action: "exec_start",
      id: "4cc4",
      attributes: docker.Actor.Attributes,
    });
    const volume = { Type: "volume", Action: "destroy", Actor: { ID: "data", Attributes: null } };
    expect(dockerEvent(of(volume))).toEqual({
      kind: "volume",
      action: "destroy",
      id: "data",
      attributes: {},
    });
  });
});

describe("Kubernetes", () => {
  it("tells what the object is", () => {
    expect(kubernetesWatchEvent(of(deployment))).toEqual({
      action: "MODIFIED",
      apiVersion: "apps/v1",
      kind: "Deployment",
      namespace: "shop",
      name: "web",
      uid: "5f1",
      object: deployment.object,
    });
    const node = { apiVersion: "v1", kind: "Node", metadata: { name: "n1", uid: "1" } };
    expect(kubernetesWatchEvent(of({ type: "DELETED", object: node }))).toMatchObject({
      action: "DELETED",
      name: "n1",
      namespace: undefined,
    });
  });

  it.each([
    {
      type: "BOOKMARK",
      object: { kind: "Pod", apiVersion: "v1", metadata: { resourceVersion: "12746", name: "x", uid: "y" } },
    },
    { type: "ERROR", object: { kind: "Status", apiVersion: "v1", metadata: {}, code: 410 } },
  ])("tells of nothing with $type", (body) => {
    expect(kubernetesWatchEvent(of(body))).toBeUndefined();
  });
});

describe("OpenStack", () => {
  const read = (event_type: string, payload: { [key: string]: Json }) =>
    openstackNotification(of({ event_type, publisher_id: "x.y", payload }));

  it("tells kind, action, phase and id", () => {
    expect(openstackNotification(of(server))).toEqual({
      eventType: "compute.instance.delete.end",
      kind: "compute.instance",
      action: "delete",
      phase: "end",
      id: "9f2e",
      payload: server.payload,
    });
  });

  it("is opened from its envelope", () => {
    const envelope = { "oslo.version": "2.0", "oslo.message": JSON.stringify(server) };
    expect(openstackNotification(of(envelope))).toEqual(openstackNotification(of(server)));
    expect(openstackNotification(of({ ...envelope, "oslo.message": "{" }))).toBeUndefined();
  });

  it.each([
    ["volume.create.start", { volume_id: "v1" }, "volume", "create", "start", "v1"],
    ["snapshot.delete.end", { snapshot_id: "s1", volume_id: "v1" }, "snapshot", "delete", "end", "s1"],
    ["port.update.end", { port: { id: "p1", device_id: "d" } }, "port", "update", "end", "p1"],
    ["port.delete.end", { port_id: "p1" }, "port", "delete", "end", "p1"],
    ["image.update", { id: "i1", status: "active" }, "image", "update", undefined, "i1"],
    ["identity.project.created", { resource_info: "k1" }, "identity.project", "created", undefined, "k1"],
    [
      "instance.update",
      { "nova_object.name": "InstanceUpdatePayload", "nova_object.data": { uuid: "u1" } },
      "instance",
      "update",
      undefined,
      "u1",
    ],
  ])("%s has its id where that service puts it", (eventType, payload, kind, action, phase, id) => {
    expect(read(eventType, payload)).toEqual({ eventType, kind, action, phase, id, payload });
  });

  it("without an id tells of nothing", () => {
    expect(read("compute.instance.update", { state: "active" })).toBeUndefined();
    expect(read("update", { id: "x" })).toBeUndefined();
  });
});

describe("EventBridge", () => {
  it("tells source, kind, resources and detail", () => {
    expect(eventBridgeEvent(of(instance))).toEqual({
      source: "aws.ec2",
      kind: "EC2 Instance State-change Notification",
      id: "7bf7",
      resources: instance.resources,
      account: "123456789012",
      region: "eu-west-1",
      detail: instance.detail,
    });
  });
});

describe("every reader", () => {
  const readers = { dockerEvent, kubernetesWatchEvent, openstackNotification, eventBridgeEvent };
  const events = [docker, deployment, server, instance];

  it.each(Object.entries(readers))("%s knows one of the formats", (_name, reader) => {
    expect(events.filter((event) => reader(of(event)) !== undefined)).toHaveLength(1);
    for (const body of [null, 7, "x", [], [docker], {}, { type: "Local::File", physical_id: "/x" }]) {
      expect(reader(of(body))).toBeUndefined();
    }
  });
});
