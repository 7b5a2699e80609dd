import { describe, expect, test } from "vitest";
import { readConfig, SettingError, settings } from "../src/config.ts";

function problemsOf(environment: Record<string, string>): string {
  try {
    readConfig(environment, {});
  } catch (error) {
    if (error instanceof SettingError) return error.message;
    throw error;
  }
  return "";
}

describe("settings", () => {
  test("have the defaults that their table states", () => {
    expect(readConfig({}, {})).toMatchObject({
      heartbeatIntervalMs: 15_000,
      leaseMs: 60_000,
      retryBackoffMs: 1_000,
      retryBackoffMaxMs: 300_000,
    });
    expect(settings.find(({ env }) => env === "DROVER_LEASE")).toMatchObject({
      flag: "lease",
      default: "60s",
    });
  });

  test("a lease lasts three heartbeat intervals at least, or the inequality that fails is printed", () => {
    expect(problemsOf({ DROVER_LEASE: "45s" })).toBe("");
    expect(problemsOf({ DROVER_LEASE: "44s" })).toBe(
      "DROVER_LEASE must be at least 3 x DROVER_HEARTBEAT_INTERVAL, and 44s < 3 x 15s.",
    );
    expect(problemsOf({ DROVER_HEARTBEAT_INTERVAL: "30s" })).toMatch(/60s|1m < 3 x 30s/);
    expect(problemsOf({ DROVER_HEARTBEAT_INTERVAL: "30s", DROVER_LEASE: "2m" })).toBe("");
  });

  test("the longest wait for a retry is no shorter than the first", () => {
    expect(problemsOf({ DROVER_RETRY_BACKOFF: "10m" })).toMatch(/DROVER_RETRY_BACKOFF_MAX .* 5m < 10m/);
  });

  test("a bad one is named, every one at once", () => {
    const problems = problemsOf({ DROVER_LEASE: "soon", DROVER_RETRY_BACKOFF: "0s" });
    expect(problems).toMatch(/DROVER_LEASE \(--lease\) must be a duration.*"soon"/);
    expect(problems).toMatch(/DROVER_RETRY_BACKOFF \(--retry-backoff\) must be between/);
  });
});
