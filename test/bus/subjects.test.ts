/** Theory: any text becomes one token of a subject, no two become the same, and what was not cut can be read back. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeToken, encodeToken, maxTokenLength, Subjects } from "../../src/bus/subjects.js";

const texts = fc.oneof(
  fc.string({ unit: "binary", maxLength: 400 }),
  fc.string({ maxLength: 60 }),
  fc.constantFrom("", "_", "__", "_stack", "*", ">", ".", "a.b", "$JS", "u:web", "größe", "🙂", "\u0000"),
);
// A lone surrogate is no text: it has no bytes to write down.
const isText = (text: string) => Buffer.from(text).toString() === text;

describe("encodeToken", () => {
  it("makes a safe token of bounded length, never an empty one", () => {
    fc.assert(
      fc.property(texts, (text) => {
        expect(encodeToken(text)).toMatch(/^[A-Za-z0-9_-]+$/);
        expect(encodeToken(text).length).toBeLessThanOrEqual(maxTokenLength);
      }),
    );
  });

  it("can be read back unless it had to be cut", () => {
    fc.assert(
      fc.property(texts.filter(isText), (text) => {
        const token = encodeToken(text);
        const read = decodeToken(token);
        if (token.length < maxTokenLength - 10) expect(read).toBe(text);
        else expect([text, undefined]).toContain(read);
      }),
    );
  });

  it("keeps texts apart", () => {
    fc.assert(
      fc.property(texts.filter(isText), texts.filter(isText), (one, other) => {
        expect(encodeToken(one) === encodeToken(other)).toBe(one === other);
      }),
    );
    expect(encodeToken(`${"x".repeat(500)}1`)).not.toBe(encodeToken(`${"x".repeat(500)}2`));
  });

  it.each([
    ["web-1", "web-1", "the usual names stay as they are"],
    ["my_server", "my__server", "the escape is escaped"],
    ["a.b c", "a_2eb_20c", "other bytes in hexadecimal"],
    ["ü", "_c3_bc", "UTF-8"],
  ])("%s → %s: %s", (text, token) => {
    expect(encodeToken(text)).toBe(token);
  });

  it.each(["_zz", "a_", "a b", "_c3", "_2E"])("decodeToken refuses %s", (token) => {
    expect(decodeToken(token)).toBeUndefined();
  });
});

describe("Subjects", () => {
  it("has names that explain themselves", () => {
    const subjects = new Subjects();
    const ring = { pool: "default", node: "u:web", resource: "r", traversal: 3 };
    expect(subjects.converge(ring, "s1")).toBe("homeostat.converge.default.s1.u_3aweb.3");
    expect(subjects.converge({ ...ring, node: "" }, "s1")).toBe(
      "homeostat.converge.default.s1.operation_3ar.3",
    );
    expect(subjects.event({ stack: "s1", what: "complete" })).toBe("homeostat.event.s1._stack.complete");
    expect(subjects.event({ stack: "s1", resource: "_stack", what: "ready" })).toBe(
      "homeostat.event.s1.__stack.ready",
    );
    expect(subjects.convergeStream).toBe("HOMEOSTAT_CONVERGE");
  });

  it("keeps deployments apart", () => {
    const other = new Subjects("acme.prod");
    expect(other.api("show")).toBe("acme.prod.api.show");
    expect(other.eventStream).toBe("HOMEOSTAT_acme_2eprod_EVENT");
  });

  it.each(["", "a..b", "a.*", "a b", ".a", "x".repeat(65)])("refuses the prefix %j", (prefix) => {
    expect(() => new Subjects(prefix)).toThrow(/cannot be a subject prefix/);
  });
});
