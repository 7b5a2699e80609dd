import type { IconName } from "../parts/icon.tsx";

/** A page of the dashboard, as the navigation and the palette list it. */
export interface PageEntry {
  readonly name: string;
  readonly label: string;
  readonly icon: IconName;
  /** The second key of its shortcut, after g. */
  readonly key: string;
}

export const pages: readonly PageEntry[] = [
  { name: "fleet", label: "Fleet", icon: "fleet", key: "f" },
  { name: "tasks", label: "Tasks", icon: "tasks", key: "t" },
  { name: "errors", label: "Errors", icon: "errors", key: "e" },
  { name: "runs", label: "Runs", icon: "runs", key: "r" },
  { name: "trackers", label: "Trackers", icon: "trackers", key: "i" },
  { name: "events", label: "Events", icon: "events", key: "v" },
  { name: "audit", label: "Audit", icon: "audit", key: "a" },
  { name: "tokens", label: "Tokens", icon: "tokens", key: "k" },
];
