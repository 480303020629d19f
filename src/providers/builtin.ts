import { localTypes } from "./local/local.js";
import { ResourceTypes } from "./provider.js";
import { simResource } from "./sim/sim-resource.js";
import { FolderWorld, folderSteering } from "./sim/world-folder.js";

export interface BuiltinOptions {
  /** State of the `Local` types on this host, shared by all its daemons. */
  stateDir: string;
  /** What relative paths in properties are relative to. Default: the working directory. */
  baseDir?: string;
  /** Folder of the simulated world. Without it, there is no `Sim::Resource`. */
  simWorld?: string;
}

/** The resource types that come with the engine. */
export function builtinTypes({ stateDir, baseDir = process.cwd(), simWorld }: BuiltinOptions): ResourceTypes {
  const types = new ResourceTypes().add(...localTypes({ stateDir, baseDir }));
  if (simWorld === undefined) return types;
  const world = new FolderWorld(simWorld);
  return types.add(simResource(world, folderSteering(world)));
}
