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
      staleAfter: 2,
      offlineAfter: 3,
      offlineGraceMs: 10_000,
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
    expect(problemsOf({ DROVER_HEARTBEAT_INTERVAL: "100ms", DROVER_LEASE: "300ms" })).toBe("");
  });

  test("the longest wait for a retry is no shorter than the first", () => {
    expect(problemsOf({ DROVER_RETRY_BACKOFF: "10m" })).toMatch(/DROVER_RETRY_BACKOFF_MAX .* 5m < 10m/);
  });

  test("thresholds that cannot work together stop the start, with the inequality that fails", () => {
    const settings = { DROVER_STALE_AFTER: "4", DROVER_OFFLINE_GRACE: "0s" };
    expect(problemsOf(settings)).toBe(
      "DROVER_STALE_AFTER x DROVER_HEARTBEAT_INTERVAL must be less than DROVER_OFFLINE_AFTER x " +
        "DROVER_HEARTBEAT_INTERVAL + DROVER_OFFLINE_GRACE, and 1m >= 45s: an agent would be offline before it is stale.",
    );
    expect(problemsOf({ ...settings, DROVER_OFFLINE_AFTER: "4.5" })).toBe("");
    expect(problemsOf({ DROVER_STALE_AFTER: "0.5" })).toMatch(/15s >= 7s500ms/);
  });

  test("so do thresholds that only work together until a large fleet is told a longer interval", () => {
    // 52.5 s and 55 s by themselves.
    expect(problemsOf({ DROVER_STALE_AFTER: "3.5" })).toBe(
      "DROVER_STALE_AFTER x the longest interval that a large fleet is told must be less than DROVER_OFFLINE_AFTER x " +
        "the longest interval that a large fleet is told + DROVER_OFFLINE_GRACE, and 3h30m >= 3h10s: " +
        "an agent would be offline before it is stale.",
    );
    expect(problemsOf({ DROVER_STALE_AFTER: "3" })).toBe("");
  });

  test.each(["0", "-1", "two", "1e3", "1001", "2s"])("%s is no number of intervals", (text) => {
    expect(problemsOf({ DROVER_OFFLINE_AFTER: text })).toMatch(
      /DROVER_OFFLINE_AFTER \(--offline-after\) must be a number of intervals/,
    );
  });

  test("a bad one is named, every one at once", () => {
    const problems = problemsOf({ DROVER_LEASE: "soon", DROVER_RETRY_BACKOFF: "0s" });
    expect(problems).toMatch(/DROVER_LEASE \(--lease\) must be a duration.*"soon"/);
    expect(problems).toMatch(/DROVER_RETRY_BACKOFF \(--retry-backoff\) must be between/);
  });
});
