/**
 * Whether an agent gets work.
 *
 *              cordon
 *      none ────────────────▶ cordoned ◀───────────────┐
 *       ▲  ◀──────────────────   │                     │ it holds nothing any more,
 *       │        uncordon        │ drain               │ the deadline has passed,
 *       │                        ▼                     │ or cordon
 *       └───────────────────── draining ───────────────┘
 *              uncordon           ▲
 *      none ──────────────────────┘
 *              drain
 *
 * Neither a cordoned nor a draining agent gets anything new. One that is cordoned goes on with what it holds for as long
 * as that takes; at the end of a drain what it still holds goes back.
 */
export const cordonStates = ["none", "draining", "cordoned"] as const;
/** One of `cordonStates`. */
export type CordonState = (typeof cordonStates)[number];

/** What is to become of an agent's cordon. */
export type CordonOrder =
  | { readonly kind: "cordon" }
  | { readonly kind: "uncordon" }
  /** `withinMs` undefined: for as long as its work takes. */
  | { readonly kind: "drain"; readonly withinMs: number | undefined }
  /** A drain has come to its end. */
  | { readonly kind: "drained" };

export type CordonDecision =
  | { readonly kind: "change"; readonly from: CordonState; readonly to: CordonState }
  /** It drains already, and gets another deadline. */
  | { readonly kind: "new-deadline" }
  | { readonly kind: "none" };

/** Decides what an order makes of an agent; what is so already stays so. */
export function decideCordon(prior: CordonState, order: CordonOrder): CordonDecision {
  if (order.kind === "drained" && prior !== "draining") return { kind: "none" };
  const to = targets[order.kind];
  if (to !== prior) return { kind: "change", from: prior, to };
  return order.kind === "drain" ? { kind: "new-deadline" } : { kind: "none" };
}

const targets = {
  cordon: "cordoned",
  uncordon: "none",
  drain: "draining",
  drained: "cordoned",
} satisfies Record<CordonOrder["kind"], CordonState>;
