/** Files, directories and processes of the host that a daemon runs on. */
import type { ResourceType } from "../provider.js";
import { PathClaims } from "./claims.js";
import { localDirectory } from "./directory.js";
import { localFile } from "./file.js";
import { localProcess } from "./process.js";

export interface LocalOptions {
  /** Records of what was made on this host, and logs of processes; one folder for all daemons of the host. */
  stateDir: string;
  /** What relative paths in properties are relative to. */
  baseDir: string;
}

export function localTypes({ stateDir, baseDir }: LocalOptions): ResourceType[] {
  const claims = new PathClaims(stateDir);
  return [localFile(claims, baseDir), localDirectory(claims, baseDir), localProcess(stateDir, baseDir)];
}
