import { computed, signal } from "@preact/signals";
import { fleetState } from "./fleet-store.ts";

/** How the page hears of changes. */
export type Feed =
  | { readonly kind: "connecting" }
  | { readonly kind: "live" }
  /** Cut off; the page resumes from where it was. */
  | { readonly kind: "reconnecting" };

export const feed = signal<Feed>({ kind: "connecting" });

/** What the page's corner says of its connection. */
export const connection = computed<"live" | "connecting" | "reconnecting">(() => {
  const fleet = fleetState.value;
  if (fleet.kind === "failed" || (fleet.kind === "ready" && fleet.stale !== undefined)) return "reconnecting";
  return feed.value.kind;
});
