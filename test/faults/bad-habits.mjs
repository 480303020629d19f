/** What providers can do wrong, by name. */
const cyclic = () => {
  const self = { text: "round" };
  self.self = self;
  return { physicalId: "cyclic", attributes: self };
};

const nested = (depth) => JSON.parse("[".repeat(depth) + "]".repeat(depth));

export const garbage = {
  nothing: () => undefined,
  null: () => null,
  number: () => 7,
  "no id": () => ({ attributes: {} }),
  "empty id": () => ({ physicalId: "", attributes: {} }),
  "numeric id": () => ({ physicalId: 7, attributes: {} }),
  "huge id": () => ({ physicalId: "x".repeat(20_000_000), attributes: {} }),
  "text for attributes": () => ({ physicalId: "id", attributes: "none" }),
  "list for attributes": () => ({ physicalId: "id", attributes: [1] }),
  "undefined attribute": () => ({ physicalId: "id", attributes: { a: undefined } }),
  function: () => ({ physicalId: "id", attributes: { a: () => 1 } }),
  bigint: () => ({ physicalId: "id", attributes: { a: 7n } }),
  "not a number": () => ({ physicalId: "id", attributes: { a: Number.NaN } }),
  symbol: () => ({ physicalId: "id", attributes: { a: Symbol("a") } }),
  cyclic,
  deep: () => ({ physicalId: "id", attributes: { a: nested(7_000) } }),
  huge: () => ({ physicalId: "id", attributes: { a: "x".repeat(50_000_000) } }),
  "throwing getter": () => ({
    physicalId: "id",
    get attributes() {
      throw new Error("not this one");
    },
  }),
};

export const odd = {
  nothing: () => undefined,
  null: () => null,
  text: () => "a text",
  symbol: () => Symbol("a symbol"),
  "no prototype": () => Object.create(null),
  "error without message": () => Object.assign(new Error("gone"), { message: undefined }),
  "error with an object for a message": () =>
    Object.assign(new Error("gone"), { message: Object.create(null) }),
  "huge message": () => new Error("long ".repeat(1_000_000)),
  "odd retryable": () => Object.assign(new Error("odd"), { retryable: cyclic(), effect: 7n }),
};

export const fail = (what) => {
  throw new Error(what);
};

export const late = {
  "rejection that nobody handles": () => void Promise.reject(new Error("nobody handles this")),
  "rejection with nothing": () => void Promise.reject(undefined),
  "throw in a timer": () => void setTimeout(() => fail("in a timer"), 10),
  "throw in a timer after it has returned": () => void setTimeout(() => fail("long after"), 1_000),
  "throw of nothing in a timer": () =>
    void setTimeout(() => {
      throw undefined;
    }, 10),
};
