/** One colour per kind of state and status, everywhere the same. */
import type { Colors } from "./terminal.js";

type Paint = (text: string) => string;

/** By a resource's state. */
export function stateColor(colors: Colors, state: string): Paint {
  switch (state) {
    case "ready":
      return colors.green;
    case "creating":
    case "updating":
    case "deleting":
      return colors.cyan;
    case "retrying":
    case "uncertain":
    case "drifted":
    case "missing":
      return colors.yellow;
    case "failed":
    case "contested":
      return colors.red;
    default:
      return colors.dim;
  }
}

/** By a stack's status, in either case. */
export function statusColor(colors: Colors, status: string): Paint {
  switch (status.toUpperCase()) {
    case "COMPLETE":
    case "IN_SERVICE":
      return colors.green;
    case "CONVERGING":
      return colors.cyan;
    case "FAILED":
      return colors.red;
    case "CANCELLED":
      return colors.yellow;
    default:
      return colors.dim;
  }
}
