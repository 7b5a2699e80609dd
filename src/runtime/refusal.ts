/** The ways in which a call can be refused; each is one code of every protocol that Drover speaks. */
export type RefusalKind =
  | "aborted"
  | "already-exists"
  | "deadline-exceeded"
  | "failed-precondition"
  | "invalid-argument"
  | "not-found"
  | "out-of-range"
  | "permission-denied"
  | "resource-exhausted"
  | "unauthenticated"
  | "unavailable";

/** One thing wrong with a request: the path of the field in its proto spelling, such as `error.message`, and what is wrong. */
export interface Violation {
  field: string;
  description: string;
}

export interface RefusalDetails {
  /** A constant that programs can compare, such as `AGENT_IN_ERROR`. */
  reason?: string;
  violations?: Violation[];
  /** After how many milliseconds a retry may succeed. */
  retryAfterMs?: number;
  /** Response headers that only this refusal carries. */
  headers?: Record<string, string>;
  cause?: unknown;
}

/** Thrown when a call cannot be served for a reason that its caller may know; the message is shown to the caller. */
export class Refusal extends Error {
  readonly kind: RefusalKind;
  readonly reason: string | undefined;
  readonly violations: readonly Violation[];
  readonly retryAfterMs: number | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(kind: RefusalKind, message: string, details: RefusalDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "Refusal";
    this.kind = kind;
    this.reason = details.reason;
    this.violations = details.violations ?? [];
    this.retryAfterMs = details.retryAfterMs;
    this.headers = details.headers ?? {};
  }
}

/** The refusal of a request for one bad field. */
export function invalidField(field: string, description: string): Refusal {
  return new Refusal("invalid-argument", `${field}: ${description}`, {
    violations: [{ field, description }],
  });
}
