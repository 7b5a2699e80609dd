import { useSignal, useSignalEffect } from "@preact/signals";
import { clockTime } from "../format.ts";
import { serverNow } from "../live/clock.ts";
import { connection } from "../live/connection.ts";

/** A gap that is over so soon is not worth a sentence. */
const UNNOTICED_MS = 1500;

/** Says, while the server cannot be reached, since when, and that nothing will be missed. */
export function LostConnection() {
  const sinceMs = useSignal<number | undefined>(undefined);
  useSignalEffect(() => {
    if (connection.value !== "reconnecting") {
      sinceMs.value = undefined;
      return;
    }
    const lostMs = serverNow();
    const timer = setTimeout(() => {
      sinceMs.value = lostMs;
    }, UNNOTICED_MS);
    return () => clearTimeout(timer);
  });
  if (sinceMs.value === undefined) return null;
  return (
    <p class="notice lost-connection" data-tone="warn" role="status">
      The server has not answered since {clockTime(sinceMs.value)}. What you see is from then; this page tries
      again by itself and misses nothing.
    </p>
  );
}
