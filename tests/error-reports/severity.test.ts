import { expect, it } from "vitest";
import { severities, severityRank } from "../../src/error-reports/severity.ts";

it("ranks from 1 for info to 6 for fatal", () => {
  expect(severities.map(severityRank)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(severityRank("info")).toBe(1);
  expect(severityRank("fatal")).toBe(6);
});
