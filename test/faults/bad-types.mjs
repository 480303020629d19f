/** Resource types that break the rules of providers, each in the way that its property says. */
import { fail, garbage, late, odd } from "./bad-habits.mjs";

const thing = (call, attributes = {}) => ({ physicalId: call.token, attributes });
const known = new Map();

/** What every type here has; nothing is ever found. */
const rest = {
  deadlinesMs: { create: 3_000, update: 3_000, delete: 3_000, find: 3_000 },
  async read() {},
  async delete() {},
  async find() {},
};

export const types = [
  { ...rest, type: "Bad::Garbage", create: async (_call, { what }) => garbage[what]() },
  {
    ...rest,
    type: "Bad::Throw",
    create: async (_call, { what }) => {
      throw odd[what]();
    },
  },
  {
    ...rest,
    type: "Bad::SyncThrow",
    create: () => fail("before there is a promise"),
  },
  {
    ...rest,
    type: "Bad::Late",
    create: async (call, { what }) => {
      late[what]();
      return thing(call);
    },
  },
  {
    // Ignores that it is aborted; the second attempt works.
    ...rest,
    type: "Bad::Hang",
    timeoutsMs: { create: 500 },
    create: (call) => {
      if (known.has(call.token)) return thing(call);
      known.set(call.token, 1);
      return new Promise(() => {});
    },
  },
  {
    // Fails long after it was given up.
    ...rest,
    type: "Bad::LateThrow",
    timeoutsMs: { create: 500 },
    create: (call) => {
      if (known.has(call.token)) return thing(call);
      known.set(call.token, 1);
      return new Promise((_resolve, reject) => setTimeout(() => reject(new Error("much too late")), 5_000));
    },
  },
  {
    // How things stand is not told by the one whose property says "never".
    ...rest,
    type: "Bad::Silent",
    create: async (call) => thing(call),
    read: async (_call, physicalId, { what }) =>
      what === "never" ? new Promise(() => {}) : { physicalId, attributes: {}, properties: { what } },
  },
];
