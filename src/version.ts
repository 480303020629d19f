/** The version in package.json, wherever this file was built to. */
import { createRequire } from "node:module";

export const version: string = createRequire(import.meta.url)("homeostat/package.json").version;
