import { Code } from "@connectrpc/connect";
import type { CallRefusal } from "./agent-error.ts";

/** How a stream came to its end. */
export type StreamEnd =
  /** This side left it, to open another. */
  | { readonly kind: "moved" }
  /** The server asked this side to go to another one. */
  | { readonly kind: "sentAway" }
  /** The server took the goodbye. */
  | { readonly kind: "left" }
  /** This side gave up, on its owner's word. */
  | { readonly kind: "closed" }
  /** The server ended it, without a word of trouble. */
  | { readonly kind: "over" }
  /** The server will never take what this agent says of itself. */
  | { readonly kind: "unusable"; readonly refusal: CallRefusal }
  | { readonly kind: "failed"; readonly refusal: CallRefusal; readonly retryAfterMs: number };

/** Which token a stream was opened with. */
export type TokenUsed = "current" | "renewed";

/** What to do after a stream. */
export type NextStep =
  | { readonly kind: "reconnect" }
  /** To another server where there is one, at a moment of one's own: whoever was sent away was so with all others. */
  | { readonly kind: "spread"; readonly because: CallRefusal }
  /** To another server where there is one, after the backoff's next delay, and no sooner than `atLeastMs`. */
  | { readonly kind: "wait"; readonly because: CallRefusal; readonly atLeastMs: number }
  /** The renewed token does not work (any more): use the one before, which was kept for this. */
  | { readonly kind: "useCurrentToken" }
  /** The token may have expired: an expired one can still renew itself, and nothing else. */
  | { readonly kind: "renewExpiredToken"; readonly because: CallRefusal }
  | { readonly kind: "stop"; readonly end: SessionEnd };

/** How a session ended for good. */
export type SessionEnd =
  /** The server took the goodbye: what was held returned at once. */
  | { readonly kind: "left" }
  /** This side stopped without one: leases that were held run out by themselves. */
  | { readonly kind: "closed" }
  /** The server does not want this agent, a newer process took its place, or the SDK itself failed. */
  | { readonly kind: "refused"; readonly refusal: CallRefusal };

// Nothing that time alone would mend. A server that lacks the stream altogether is among them: nothing else is tried
// in its place.
const lasting: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.PermissionDenied,
  Code.FailedPrecondition,
  Code.Unimplemented,
]);

// A stream that is left sooner than this after its welcome could be left again and again without pause.
const SHORT_STAY_MS = 1000;
const moved: CallRefusal = { code: Code.Unavailable, reason: "", message: "The stream was left soon." };
const sentAway: CallRefusal = {
  code: Code.Unavailable,
  reason: "SENT_AWAY",
  message: "The server asked to go elsewhere.",
};
const over: CallRefusal = { code: Code.Unavailable, reason: "", message: "The server ended the stream." };

/** Decides what follows the end of a stream that worked for `workedMs`; 0 where the server never welcomed it. */
export function planReconnect(end: StreamEnd, token: TokenUsed, workedMs: number): NextStep {
  switch (end.kind) {
    case "left":
    case "closed":
      return { kind: "stop", end };
    case "unusable":
      return { kind: "stop", end: { kind: "refused", refusal: end.refusal } };
    case "moved":
      return workedMs >= SHORT_STAY_MS
        ? { kind: "reconnect" }
        : { kind: "wait", because: moved, atLeastMs: 0 };
    case "sentAway":
      return workedMs >= SHORT_STAY_MS
        ? { kind: "spread", because: sentAway }
        : { kind: "wait", because: sentAway, atLeastMs: 0 };
    case "over":
      return { kind: "wait", because: over, atLeastMs: 0 };
    case "failed":
      return afterFailure(end.refusal, end.retryAfterMs, token, workedMs > 0);
  }
}

function afterFailure(
  refusal: CallRefusal,
  retryAfterMs: number,
  token: TokenUsed,
  welcomed: boolean,
): NextStep {
  const stop: NextStep = { kind: "stop", end: { kind: "refused", refusal } };
  if (refusal.reason === "SESSION_SUPERSEDED") return stop;
  // A stream that had worked ends like this when its token was revoked or has expired; the next attempt tells which.
  if (!welcomed && refusal.code === Code.Unauthenticated) {
    if (token === "renewed") return { kind: "useCurrentToken" };
    return { kind: "renewExpiredToken", because: refusal };
  }
  if (!welcomed && lasting.has(refusal.code)) return stop;
  return { kind: "wait", because: refusal, atLeastMs: retryAfterMs };
}
