/** Theory: docker-compose.yml holds together, and the image has in it what it runs. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { expect, it } from "vitest";
import { parse } from "yaml";
import { z } from "zod";

const root = resolve(import.meta.dirname, "../..");

const composeSchema = z.object({
  services: z.record(
    z.string(),
    z.object({
      image: z.string(),
      build: z.string().optional(),
      command: z.array(z.string()),
      restart: z.literal("unless-stopped"),
      healthcheck: z.object({ test: z.array(z.string()).min(2) }),
      environment: z.record(z.string(), z.string()).default({}),
      depends_on: z.record(z.string(), z.object({ condition: z.literal("service_healthy") })).default({}),
      ports: z.array(z.string()).default([]),
      volumes: z.array(z.string()).default([]),
    }),
  ),
  volumes: z.record(z.string(), z.null()),
});

async function compose() {
  const text = await readFile(join(root, "docker-compose.yml"), "utf8");
  return composeSchema.parse(parse(text, { merge: true }));
}

it("has two healthy-checked servers and two daemons that wait for them", async () => {
  const { services } = await compose();
  expect(Object.keys(services)).toEqual(["redis", "nats", "daemon-1", "daemon-2"]);
  for (const name of ["daemon-1", "daemon-2"]) {
    const daemon = services[name];
    expect(daemon?.command).toEqual(["homeostat", "daemon"]);
    expect(Object.keys(daemon?.depends_on ?? {})).toEqual(["redis", "nats"]);
    expect(new URL(daemon?.environment.HOMEOSTAT_REDIS_URL ?? "").hostname).toBe("redis");
    expect(new URL(daemon?.environment.HOMEOSTAT_NATS_URL ?? "").hostname).toBe("nats");
    expect(daemon?.environment.HOMEOSTAT_KEY).toMatch(/^\$\{HOMEOSTAT_KEY:\?.*\}$/);
  }
  expect(services.redis?.command.join(" ")).toContain("--appendonly yes --appendfsync always");
  expect(services.nats?.command).toContain("--jetstream");
});

it("publishes on loopback only, and keeps the data in declared volumes", async () => {
  const { services, volumes } = await compose();
  for (const service of Object.values(services)) {
    for (const port of service.ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
    for (const volume of service.volumes) expect(volumes).toHaveProperty(volume.split(":")[0] ?? "");
  }
  expect(services.redis?.volumes).toEqual(["redis:/data"]);
  expect(services.nats?.volumes).toEqual(["nats:/data"]);
});

it("builds an image from what is here and not ignored", async () => {
  const lines = (await readFile(join(root, "Dockerfile"), "utf8")).split("\n");
  const ignored = (await readFile(join(root, ".dockerignore"), "utf8")).split("\n");
  const copied = lines
    .filter((line) => line.startsWith("COPY ") && !line.includes("--from="))
    .flatMap((line) => line.split(" ").slice(1, -1));
  expect(copied).toContain("src");
  for (const path of copied) {
    expect(existsSync(join(root, path)), path).toBe(true);
    expect(ignored, path).toContain(`!${path}`);
  }
  expect(lines).toContain("USER node");
});
