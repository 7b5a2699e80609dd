/**
 * What an agent last said of itself, as decided by the server.
 *
 *                    online, busy, benchmarked
 *      pending ─────────────────────────────────▶ ┌────────────────────┐
 *         │                                       │ online             │──┐ one of the three
 *         │                                       │ busy               │  │ reports another
 *         │ fatal error,                          │ benchmarked        │◀─┘
 *         │ or ERROR reported                     └────────────────────┘
 *         │                                          │              ▲
 *         │                             fatal error, │              │ any report that is neither
 *         ▼                        or ERROR reported ▼              │ fatal nor ERROR; a reset
 *      ┌──────────────────────────────────────────────────────────────┐ (to online)
 *      │ error                                                        │
 *      └──────────────────────────────────────────────────────────────┘
 *
 * Nothing leads back to `pending`.
 */
export const agentStatuses = ["pending", "online", "busy", "benchmarked", "error"] as const;
/** One of `agentStatuses`; `pending` is enrolled and never heard. */
export type AgentStatus = (typeof agentStatuses)[number];

/** The statuses that an agent can report; `pending` is the server's word alone. */
export const reportedStatuses = ["online", "busy", "benchmarked", "error"] as const;
/** One of `reportedStatuses`. */
export type ReportedStatus = (typeof reportedStatuses)[number];

/** What the server sees of an agent; an axis of its own, so that `error` survives `offline`. */
export const livenessStates = ["never", "live", "stale", "offline"] as const;
/** One of `livenessStates`. */
export type Liveness = (typeof livenessStates)[number];
