import { expect, test } from "vitest";
import { type CordonOrder, type CordonState, decideCordon } from "../../src/agents/decide-cordon.ts";

const drain: CordonOrder = { kind: "drain", withinMs: 1000 };

test.each<[CordonState, CordonOrder, CordonState | "new-deadline" | undefined]>([
  ["none", { kind: "cordon" }, "cordoned"],
  ["none", drain, "draining"],
  ["none", { kind: "uncordon" }, undefined],
  ["none", { kind: "drained" }, undefined],
  ["draining", { kind: "cordon" }, "cordoned"],
  ["draining", drain, "new-deadline"],
  ["draining", { kind: "uncordon" }, "none"],
  ["draining", { kind: "drained" }, "cordoned"],
  ["cordoned", { kind: "cordon" }, undefined],
  ["cordoned", drain, "draining"],
  ["cordoned", { kind: "uncordon" }, "none"],
  ["cordoned", { kind: "drained" }, undefined],
])("%s, told to %o, is %s", (prior, order, to) => {
  const decision = decideCordon(prior, order);
  if (to === undefined) expect(decision).toEqual({ kind: "none" });
  else if (to === "new-deadline") expect(decision).toEqual({ kind: "new-deadline" });
  else expect(decision).toEqual({ kind: "change", from: prior, to });
});
