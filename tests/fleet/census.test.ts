import { expect, test } from "vitest";
import { createCensus } from "../../src/fleet/census.ts";
import type { Census } from "../../src/fleet/census-store.ts";

const nothing: Census = {
  agents: [],
  tasks: [],
  oldestSeconds: { pending: 0, leased: 0, running: 0 },
  outboxLagSeconds: 0,
  brakesEngaged: 0,
};

test("all who ask share one census, and one that failed is not kept", async () => {
  let taken = 0;
  let isBroken = false;
  const census = createCensus(async () => {
    taken += 1;
    if (isBroken) throw new Error("no database");
    return nothing;
  });
  expect(await Promise.all([census(), census(), census()])).toEqual([nothing, nothing, nothing]);
  await census();
  expect(taken).toBe(1);
  isBroken = true;
  const broken = createCensus(async () => {
    taken += 1;
    if (isBroken) throw new Error("no database");
    return nothing;
  });
  await expect(broken()).rejects.toThrow("no database");
  isBroken = false;
  expect(await broken()).toBe(nothing);
});
