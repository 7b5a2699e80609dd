import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  addressProblem,
  isPublicAddress,
  mayConnect,
  parseAllowedHost,
} from "../../src/trackers/address-guard.ts";

const inside = [
  "0.0.0.0",
  "10.0.0.1",
  "100.64.0.1",
  "100.127.255.255",
  "127.0.0.1",
  "127.255.255.254",
  "169.254.169.254",
  "172.16.0.1",
  "172.31.255.255",
  "192.0.0.8",
  "192.168.1.1",
  "198.18.0.1",
  "224.0.0.1",
  "240.0.0.1",
  "255.255.255.255",
  "::",
  "::1",
  "::ffff:127.0.0.1",
  "::ffff:8.8.8.8",
  "::127.0.0.1",
  "64:ff9b::7f00:1",
  "64:ff9b::169.254.169.254",
  "64:ff9b:1::1",
  "2001::1",
  "2001:db8::1",
  "2002:7f00:1::",
  "3fff::1",
  "fc00::1",
  "fd12:3456::1",
  "fe80::1",
  "fe80::1%eth0",
  "fec0::1",
  "ff02::1",
  "nonsense",
];
const outside = [
  "1.1.1.1",
  "100.63.255.255",
  "100.128.0.0",
  "140.82.112.5",
  "172.15.255.255",
  "172.32.0.0",
  "192.167.255.255",
  "223.255.255.255",
  "2606:4700::1111",
  "2001:200::1",
  "3fff:1000::1",
  "64:ff9b::140.82.112.5",
];

describe("addresses", () => {
  test.each(inside)("%s is none of the public internet", (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });

  test.each(outside)("%s is one", (address) => {
    expect(isPublicAddress(address)).toBe(true);
  });

  const octet = fc.integer({ min: 0, max: 255 });
  const privateV4 = fc.oneof(
    fc.tuple(fc.constant(10), octet, octet, octet),
    fc.tuple(fc.constant(127), octet, octet, octet),
    fc.tuple(fc.constant(192), fc.constant(168), octet, octet),
    fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), octet, octet),
    fc.tuple(fc.constant(169), fc.constant(254), octet, octet),
    fc.tuple(fc.constant(100), fc.integer({ min: 64, max: 127 }), octet, octet),
  );

  test("whatever is private stays so in every spelling, alone and within IPv6", () => {
    fc.assert(
      fc.property(privateV4, ([a, b, c, d]) => {
        const dotted = [a, b, c, d].join(".");
        const number = ((a * 256 + b) * 256 + c) * 256 + d;
        const hex = `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
        for (const address of [
          dotted,
          `::ffff:${dotted}`,
          `::ffff:${hex}`,
          `64:ff9b::${hex}`,
          `2002:${hex}::1`,
        ]) {
          expect([address, isPublicAddress(address)]).toEqual([address, false]);
        }
        const octal = [a, b, c, d].map((part) => `0${part.toString(8)}`).join(".");
        for (const host of [dotted, String(number), `0x${number.toString(16)}`, octal, `[::ffff:${hex}]`]) {
          expect([host, addressProblem(`https://${host}/api`, [])]).toEqual([
            host,
            expect.stringContaining("private"),
          ]);
        }
      }),
    );
  });

  test("unique local, link-local and multicast addresses are private whatever follows", () => {
    const group = fc.integer({ min: 0, max: 0xffff });
    const first = fc.oneof(
      fc.integer({ min: 0xfc00, max: 0xffff }),
      fc.integer({ min: 0, max: 0x63 }),
      fc.integer({ min: 0x4000, max: 0xfbff }),
    );
    fc.assert(
      fc.property(first, fc.array(group, { minLength: 7, maxLength: 7 }), (head, rest) => {
        const address = [head, ...rest].map((part) => part.toString(16)).join(":");
        expect([address, isPublicAddress(address)]).toEqual([address, false]);
      }),
    );
  });
});

describe("addresses of trackers", () => {
  test.each([
    ["http://api.github.com", "https://"],
    ["ftp://api.github.com", "https://"],
    ["api.github.com", "an address"],
    ["", "an address"],
    ["https://", "an address"],
    ["https://user:pw@api.github.com", "credential"],
    ["https://token@api.github.com", "credential"],
    ["https://api.github.com?x=1", "query"],
    ["https://api.github.com/#a", "query"],
    ["https://127.0.0.1", "private"],
    ["https://[::1]:8443/api/v3", "private"],
  ])("%s is refused", (address, why) => {
    expect(addressProblem(address, [])).toContain(why);
  });

  test.each(["https://api.github.com", "https://ghe.example.com:8443/api/v3", "https://140.82.112.5"])(
    "%s is good",
    (address) => {
      expect(addressProblem(address, [])).toBeUndefined();
    },
  );

  test("a named host may be private, on its port and by its scheme alone", () => {
    const allowed = ["ghe.corp:8443", "http://127.0.0.1:4000", "10.0.0.5"].map((text) => {
      const host = parseAllowedHost(text);
      if (host === undefined) throw new Error(text);
      return host;
    });
    const connects = (url: string, address: string) => mayConnect(new URL(url), address, allowed);
    expect(connects("https://ghe.corp:8443", "10.1.2.3")).toBe(true);
    expect(connects("https://ghe.corp:8443", "fd00::5")).toBe(true);
    expect(connects("https://ghe.corp", "10.1.2.3")).toBe(false);
    expect(connects("https://other.corp:8443", "10.1.2.3")).toBe(false);
    expect(connects("http://127.0.0.1:4000", "127.0.0.1")).toBe(true);
    expect(connects("http://127.0.0.1:4001", "127.0.0.1")).toBe(false);
    expect(addressProblem("http://127.0.0.1:4000", allowed)).toBeUndefined();
    expect(addressProblem("http://127.0.0.1:4001", allowed)).toContain("https://");
    expect(addressProblem("https://10.0.0.5:9999/api", allowed)).toBeUndefined();
    expect(addressProblem("http://10.0.0.5/api", allowed)).toContain("https://");
    // A name must not lead to where machines hand out credentials, whoever named it.
    expect(connects("https://ghe.corp:8443", "169.254.169.254")).toBe(false);
    expect(connects("https://ghe.corp:8443", "::ffff:169.254.169.254")).toBe(false);
  });

  test.each(["a/b", "http://a/", "http://a:1/x", "user@a", "a b", "", "https://a?x", "a#b"])(
    "%j names no host",
    (text) => {
      expect(parseAllowedHost(text)).toBeUndefined();
    },
  );
});
