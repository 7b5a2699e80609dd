import { type Finding, ok, warning } from "./finding.ts";

/** Certificates, logs and people compare clocks; what Drover decides goes by the database's alone. */
const WORTH_TELLING_MS = 2_000;

/** How far another clock is ahead of ours (behind it when negative), known to within `doubtMs`. */
export function describeClock(check: string, whose: string, aheadMs: number, doubtMs: number): Finding {
  const apartMs = Math.max(0, Math.abs(aheadMs) - doubtMs);
  if (apartMs < WORTH_TELLING_MS) return ok(check, `${whose} agrees with this machine's.`);
  const way = aheadMs > 0 ? "ahead of" : "behind";
  return warning(
    check,
    `${whose} is ${(Math.abs(aheadMs) / 1000).toFixed(1)} s ${way} this machine's.`,
    "Let both machines follow a time server (NTP). Drover goes by the database's clock, certificates and logs do not.",
  );
}
