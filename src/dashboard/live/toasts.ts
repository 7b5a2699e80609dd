import { signal } from "@preact/signals";

export interface Toast {
  readonly id: number;
  readonly text: string;
  readonly tone: "good" | "warn" | "bad";
}

export const toasts = signal<readonly Toast[]>([]);
let last = 0;

/** Says something in passing. */
export function say(text: string, tone: Toast["tone"] = "good"): void {
  last += 1;
  const toast = { id: last, text, tone };
  toasts.value = [...toasts.value.slice(-3), toast];
  setTimeout(() => dismiss(toast.id), tone === "good" ? 5000 : 12_000);
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}
