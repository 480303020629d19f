/** What a command's exit status means. Errors carry theirs in errors.ts; these are for outcomes without an error. */
export const exitStatus = {
  reached: 0,
  internal: 1,
  usage: 2,
  failed: 3,
  differs: 3,
  timedOut: 4,
  notFound: 5,
  conflict: 6,
  unreachable: 7,
  interrupted: 130,
} as const;

export const exitStatusHelp = `Exit status:
  0    the goal was reached
  1    internal error
  2    wrong usage or an invalid template
  3    the goal FAILED (also when it was rolled back after that); drift: something differs
  4    timed out
  5    not found
  6    conflict, or superseded by somebody else's newer goal
  7    servers or daemons cannot be reached
  130  interrupted`;
