/**
 * Daemons with short times. Preloaded, it makes the limits smaller that a daemon takes; as a module of providers, it gives
 * the built-in types under the family Brisk, with a short deadline.
 */
const at = (path) => new URL(path, process.env.FAULT_DIST).href;

const { defaultLimits } = await import(at("limits.js"));
Object.assign(defaultLimits, {
  leaseMs: 2_500,
  renewMs: 800,
  graceMs: 200,
  ringMs: 1_500,
  beginMs: 1_000,
  earlyAckMs: 400,
  sweepMs: 1_000,
  holdMs: 2_500,
  backoffMs: 200,
  backoffMaxMs: 2_000,
  attempts: 12,
  abortGraceMs: 1_000,
  firstSlowSweepMs: 1_000,
  slowSweepMs: 2_000,
});

const { defaultStreamLimits } = await import(at("bus/streams.js"));
Object.assign(defaultStreamLimits, { eventMaxBytes: 8 * 2 ** 20, observedMaxBytes: 2 ** 20 });

// A test that is killed takes its daemons along.
const parent = process.ppid;
setInterval(() => process.ppid === parent || process.exit(), 1_000).unref();

const deadlineMs = () => 5_000;

export async function types() {
  const { builtinTypes } = await import(at("providers/builtin.js"));
  const { FAULT_STATE: stateDir, FAULT_WORLD: simWorld } = process.env;
  const builtin = builtinTypes({ stateDir, simWorld });
  return builtin.names().map((name) => {
    const type = builtin.get(name);
    return { ...type, type: name.replace(/^\w+/, "Brisk"), deadlineMs };
  });
}
