import { assertNever } from "../runtime/assert-never.ts";
import { type LivenessThresholds, offlineAfterMs, staleAfterMs } from "./thresholds.ts";

/** An agent as the rule sees it; times in ms by the database's clock. */
export type WatchedAgent =
  | { readonly liveness: "never" | "offline" }
  | { readonly liveness: "live" | "stale"; readonly lastSeenMs: number };

/** Who watches; times in ms by the database's clock. */
export interface Watch {
  readonly nowMs: number;
  /** Since when there has been a control plane without a break: nobody was heard while there was none. */
  readonly sinceMs: number;
}

/** What an agent's silence makes of it; `silentMs` counts only while someone listened. */
export type LivenessDecision =
  | { readonly kind: "keep" }
  | { readonly kind: "stale"; readonly silentMs: number }
  | { readonly kind: "offline"; readonly silentMs: number };

/**
 * Decides what becomes of an agent that is silent. Heartbeats alone make one live.
 *
 *              heartbeat
 *     never ──────────────▶ live ◀──────────────┐
 *       │                   │  ▲                │
 *       │   silent for      │  │ heartbeat      │
 *       │   stale-after     ▼  │                │ heartbeat
 *       │                  stale                │
 *       │                     │ silent for      │
 *       │                     ▼ offline-after   │
 *       └────────────────▶ offline ─────────────┘
 *          the agent left     (also from live and stale when it left,
 *                              and from live where nobody looked between)
 */
export function decideLiveness(
  agent: WatchedAgent,
  watch: Watch,
  thresholds: LivenessThresholds,
): LivenessDecision {
  switch (agent.liveness) {
    case "never":
    case "offline":
      return { kind: "keep" };
    case "live":
    case "stale": {
      const silentMs = watch.nowMs - Math.max(agent.lastSeenMs, watch.sinceMs);
      if (silentMs >= offlineAfterMs(thresholds)) return { kind: "offline", silentMs };
      if (agent.liveness === "live" && silentMs >= staleAfterMs(thresholds))
        return { kind: "stale", silentMs };
      return { kind: "keep" };
    }
    default:
      return assertNever(agent);
  }
}

/** Whether the watch has lasted long enough to call anyone anything. */
export function maySomeoneBeDue(watch: Watch, thresholds: LivenessThresholds): boolean {
  return watch.nowMs - watch.sinceMs >= Math.min(staleAfterMs(thresholds), offlineAfterMs(thresholds));
}
