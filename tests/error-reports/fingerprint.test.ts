import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fingerprint, maskMessage } from "../../src/error-reports/fingerprint.ts";
import { severities } from "../../src/error-reports/severity.ts";

describe("maskMessage", () => {
  it.each([
    ["disk full", "disk full"],
    ["", ""],
    ["retry 3 of 10", "retry # of #"],
    ["took 3.5s, then 1,200 ms", "took #s, then # ms"],
    ["at -5 or +7 or a-5", "at # or # or a-#"],
    ["at 12:30:45.123 from 10.0.0.1:8080", "at # from #"],
    ["gpu3 on node-12", "gpu# on node-#"],
    ["task 01900000-0000-7000-8000-0123456789ab failed", "task # failed"],
    ["task 01900000-0000-7000-8000-0123456789AB failed", "task # failed"],
    ["task_01900000000070008000012345678901 failed", "task_# failed"],
    ["task_01900000-0000-7000-8000-0123456789ab failed", "task_# failed"],
    ["pointer 0xdeadBEEF and 0x7", "pointer # and #"],
    ["commit a1b2c3d of deadbee5", "commit # of #"],
    ["id V1StGXR8Z5jdHi6BmyT", "id #"],
    ["/var/lib/run-17/42/core.9", "/var/lib/run-#/#/core.#"],
    ["decade facade added", "decade facade added"],
    ["größe 5 überschritten", "größe # überschritten"],
    ["already # masked", "already # masked"],
  ])("%j", (message, masked) => {
    expect(maskMessage(message)).toBe(masked);
  });

  it("masks once and for all", () => {
    const parts = fc.constantFrom(..."a1#-+.,:_ xf0".split(""), "0x", "deadbeef", "task_", "3.5", "é");
    const anyMessage = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(parts, { maxLength: 30 }).map((list) => list.join("")),
    );
    fc.assert(
      fc.property(anyMessage, (message) => {
        const once = maskMessage(message);
        expect(maskMessage(once)).toBe(once);
        expect(once).not.toMatch(/[0-9]/);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each(["0", "a", "#", "-", "#.", "#-", "1.", "0x", "a1-", "00000000-", "00000000-0000-"])(
    "takes a megabyte of %j in its length",
    (unit) => {
      const began = performance.now();
      maskMessage(unit.repeat(Math.ceil(1_048_576 / unit.length)));
      expect(performance.now() - began).toBeLessThan(25_000);
    },
  );
});

describe("fingerprint", () => {
  it("is 16 hex digits that never change", () => {
    expect(fingerprint("warning", "retry 3 of 10")).toBe("ffd6c76881548cd7");
  });

  it("tells severities and kinds of message apart", () => {
    const all = severities.flatMap((severity) => [
      fingerprint(severity, "disk full"),
      fingerprint(severity, "fire"),
    ]);
    expect(new Set(all).size).toBe(severities.length * 2);
  });

  it("is one for all numbers and ids of one kind of message", () => {
    fc.assert(
      fc.property(fc.nat(), fc.uuid(), fc.nat(), fc.uuid(), (count, id, otherCount, otherId) => {
        const message = (n: number, uuid: string) =>
          `agent gpu${n % 100}: task_${uuid.replaceAll("-", "")} (${uuid}) failed ${n} times, see /tmp/${n}/log`;
        expect(fingerprint("major", message(count, id))).toBe(
          fingerprint("major", message(otherCount, otherId)),
        );
      }),
    );
  });
});
