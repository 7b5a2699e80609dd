/** What one look of the doctor found, in words for the operator. */
export interface Finding {
  /** What was looked at, such as `database`. */
  readonly check: string;
  /** `skipped` where there is nothing to look at; only an `error` keeps Drover from working. */
  readonly state: "ok" | "skipped" | "warning" | "error";
  readonly message: string;
  /** What to do about it; undefined where nothing has to be done. */
  readonly cure?: string;
}

export function ok(check: string, message: string): Finding {
  return { check, state: "ok", message };
}

export function skipped(check: string, message: string): Finding {
  return { check, state: "skipped", message };
}

export function warning(check: string, message: string, cure: string): Finding {
  return { check, state: "warning", message, cure };
}

export function error(check: string, message: string, cure: string): Finding {
  return { check, state: "error", message, cure };
}
