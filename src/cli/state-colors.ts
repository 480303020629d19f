/** One colour per kind of state and status, everywhere the same. */
import type { Colors } from "./terminal.js";

type Paint = (text: string) => string;

/** By a resource's state. */
export function stateColor(colors: Colors, state: string): Paint {
  switch (state) {
    case "ready":
    case "repaired":
      return colors.green;
    case "creating":
    case "updating":
    case "deleting":
      return colors.cyan;
    case "retrying":
    case "uncertain":
    case "drifted":
    case "missing":
    case "unreadable":
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
    case "RESUMED":
      return colors.green;
    case "CONVERGING":
      return colors.cyan;
    case "FAILED":
    case "INCIDENT":
      return colors.red;
    case "CANCELLED":
    case "PAUSED":
      return colors.yellow;
    default:
      return colors.dim;
  }
}
