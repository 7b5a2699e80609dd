import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeBase62, encodeBase62 } from "../../src/tokens/base62.ts";
import { parseBearer } from "../../src/tokens/bearer.ts";
import {
  hashSecret,
  mintToken,
  parseToken,
  secretMatches,
  tokenLength,
  tokenRoles,
} from "../../src/tokens/token.ts";

const id = "01900000-0000-7000-8000-0123456789ab";
const zeros = new Uint8Array(32);
const ones = new Uint8Array(32).fill(255);
const anyRole = fc.constantFrom(...tokenRoles);
const anySecret = fc.uint8Array({ minLength: 32, maxLength: 32 });
const anyId = fc.uuid();

describe("mintToken", () => {
  it("writes the documented form", () => {
    expect(mintToken("agent", id, zeros)).toMatch(
      /^drv_agt_019000000000700080000123456789ab_0{43}_[0-9A-Za-z]{6}$/,
    );
  });

  it.each([
    ["agent", "drv_agt_"],
    ["runner", "drv_run_"],
    ["enrollment", "drv_enr_"],
    ["operator", "drv_opr_"],
    ["viewer", "drv_vwr_"],
  ] as const)("names the role %s", (role, prefix) => {
    expect(mintToken(role, id, ones).startsWith(prefix)).toBe(true);
  });

  it("refuses other ids and secrets of another length", () => {
    expect(() => mintToken("agent", "task_1", zeros)).toThrow(RangeError);
    expect(() => mintToken("agent", id.toUpperCase(), zeros)).toThrow(RangeError);
    expect(() => mintToken("agent", id, new Uint8Array(31))).toThrow(RangeError);
  });

  it("is read back, whatever the bytes", () => {
    fc.assert(
      fc.property(anyRole, anyId, anySecret, (role, uuid, bytes) => {
        const token = mintToken(role, uuid, bytes);
        expect(token).toHaveLength(tokenLength);
        const parsed = parseToken(token);
        expect(parsed).toMatchObject({ kind: "ok", role, id: uuid });
        if (parsed.kind === "ok") expect(decodeBase62(parsed.secret, 32)).toEqual(bytes);
      }),
    );
  });
});

describe("parseToken", () => {
  const good = mintToken("viewer", id, ones);

  it.each([
    ["nothing", ""],
    ["a space before", ` ${good}`],
    ["a line end after", `${good}\n`],
    ["one character less", good.slice(0, -1)],
    ["one character more", `${good}0`],
    ["another prefix", good.replace("drv_", "drx_")],
    ["an unknown role", good.replace("_vwr_", "_adm_")],
    ["a megabyte", "drv_".repeat(262_144)],
    ["other scripts of the same length", "あ".repeat(tokenLength)],
  ])("calls %s malformed", (_, text) => {
    expect(parseToken(text)).toEqual({ kind: "malformed" });
  });

  it("finds every single wrong character", () => {
    const characters = fc.constantFrom(..."0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-");
    fc.assert(
      fc.property(
        anyRole,
        anyId,
        anySecret,
        fc.nat(tokenLength - 1),
        characters,
        (role, uuid, bytes, at, wrong) => {
          const token = mintToken(role, uuid, bytes);
          const typo = token.slice(0, at) + wrong + token.slice(at + 1);
          expect(parseToken(typo).kind).toBe(typo === token ? "ok" : "malformed");
        },
      ),
    );
  });

  it("never throws", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 120 }), (text) => {
        expect(parseToken(text)).toEqual({ kind: "malformed" });
      }),
    );
  });
});

describe("base62", () => {
  it("has a fixed width and order", () => {
    expect(encodeBase62(Uint8Array.of(61), 2)).toBe("0z");
    expect(encodeBase62(Uint8Array.of(62), 2)).toBe("10");
    expect(encodeBase62(new Uint8Array(), 1)).toBe("0");
    expect(() => encodeBase62(ones, 42)).toThrow(RangeError);
  });

  it("refuses what no bytes can have written", () => {
    expect(decodeBase62("z".repeat(43), 32)).toBeUndefined();
    expect(decodeBase62("_", 32)).toBeUndefined();
  });
});

describe("secretMatches", () => {
  it("holds for the secret of the hash and no other", () => {
    expect(secretMatches("abc", hashSecret("abc"))).toBe(true);
    expect(secretMatches("abd", hashSecret("abc"))).toBe(false);
    expect(hashSecret("abc")).toHaveLength(32);
  });

  it("is false without a stored hash, or with a broken one", () => {
    expect(secretMatches("abc", undefined)).toBe(false);
    expect(secretMatches("abc", hashSecret("abc").subarray(1))).toBe(false);
  });
});

describe("parseBearer", () => {
  it.each([
    ["Bearer abc", "abc"],
    ["bearer abc", "abc"],
    ["BEARER   drv_agt_1", "drv_agt_1"],
    ["Bearer YWJj==", "YWJj=="],
  ])("reads %j", (header, credential) => {
    expect(parseBearer(header)).toBe(credential);
  });

  it.each([
    null,
    undefined,
    "",
    "Bearer",
    "Bearer ",
    "abc",
    "Basic abc",
    "Bearerabc",
    " Bearer abc",
    "Bearer abc ",
    "Bearer abc def",
    "Bearer abc, Bearer abc",
    "Bearer abc,",
    "Bearer\tabc",
    "Bearer a\u0000b",
    "Bearer ä",
    `Bearer ${"a".repeat(512)}`,
    `Bearer${" ".repeat(1_000_000)}`,
  ])("refuses other values (%#)", (header) => {
    expect(parseBearer(header)).toBeUndefined();
  });
});
