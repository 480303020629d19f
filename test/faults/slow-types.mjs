/** A type whose create takes effect when a file says so, whatever became of its call, and whose answer then never comes. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

const folder = process.env.FAULT_WORLD;
const at = (name) => join(folder, name);
const things = () => readdirSync(folder).filter((name) => name.startsWith("thing-"));
const read = (name) => JSON.parse(readFileSync(at(name), "utf8"));

async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

export const types = [
  {
    type: "Slow::Thing",
    deadlinesMs: { create: 4_000, read: 2_000, update: 2_000, delete: 2_000, find: 2_000 },
    async create({ token, stack, resource, deployment }) {
      writeFileSync(at(`waits-${process.pid}`), "");
      await until(() => existsSync(at(`go-${process.pid}`)) || existsSync(at(`go-mute-${process.pid}`)));
      const name = `thing-${process.pid}`;
      writeFileSync(at(name), JSON.stringify({ token, stack, resource, deployment }));
      if (existsSync(at(`go-mute-${process.pid}`))) await new Promise(() => {});
      return { physicalId: name, attributes: {} };
    },
    async read(_call, physicalId) {
      return existsSync(at(physicalId)) ? { physicalId, attributes: {}, properties: {} } : undefined;
    },
    async delete(_call, physicalId) {
      rmSync(at(basename(physicalId)), { force: true });
    },
    async find({ token }) {
      const physicalId = things().find((name) => read(name).token === token);
      return physicalId === undefined ? undefined : { physicalId, attributes: {} };
    },
    async *list() {
      for (const physicalId of things()) yield { physicalId, ...read(physicalId) };
    },
  },
];
