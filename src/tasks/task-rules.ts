import type { Backoff } from "./task.ts";

/** An answer with tasks ends before 3 MiB; the rest is for what the message adds around them. */
export const MOST_TASK_BYTES: number = 3 * 1024 * 1024 - 64 * 1024;

/** What rules about tasks are set to. */
export interface TaskRules {
  /** How long a lease lasts. */
  leaseMs: number;
  backoff: Backoff;
}
