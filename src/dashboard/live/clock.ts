import { signal } from "@preact/signals";

let offsetMs = 0;

/** Learns from an answer's Date header how far this machine's clock is off; the header knows whole seconds. */
export function hearServerTime(date: string | null): void {
  const serverMs = date === null ? Number.NaN : Date.parse(date);
  if (Number.isNaN(serverMs)) return;
  const difference = serverMs + 500 - Date.now();
  offsetMs = Math.abs(difference) < 1500 ? 0 : difference;
}

/** The server's time, in ms since 1970. */
export const serverNow = (): number => Date.now() + offsetMs;

/** The server's time, once a second, for what shows ages. */
export const now = signal(serverNow());
setInterval(() => {
  if (document.visibilityState === "visible") now.value = serverNow();
}, 1000);
