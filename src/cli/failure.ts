import { exitCodeOf, isStatusName, type StatusName } from "./exit-codes.ts";

/** One thing wrong with a request, as google.rpc.BadRequest carries it. */
export interface FieldViolation {
  field: string;
  description: string;
}

/** Where a failure was found: here, on the way to the server, or by the server, whose body is kept as it came. */
export type FailureOrigin =
  | { kind: "local" }
  | { kind: "transport"; mayHaveArrived: boolean }
  | {
      kind: "server";
      httpStatus: number;
      body: string | undefined;
      violations: FieldViolation[];
      reason: string | undefined;
      retryAfterSeconds: number | undefined;
    };

export type ServerOrigin = Extract<FailureOrigin, { kind: "server" }>;

/** Ends a command: its status decides the exit code, its message is for people. */
export class Failure extends Error {
  readonly status: StatusName;
  readonly origin: FailureOrigin;
  /** A sentence on what to do next. */
  hint: string | undefined;

  constructor(status: StatusName, message: string, origin: FailureOrigin, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "Failure";
    this.status = status;
    this.origin = origin;
  }

  get exitCode(): number {
    return exitCodeOf(this.status);
  }
}

/** The failure of a command whose arguments make no sense. */
export function usageFailure(message: string): Failure {
  return new Failure("INVALID_ARGUMENT", message, { kind: "local" });
}

// Codes of HTTP for answers that carry no Status: a proxy's, or those of something that is not Drover.
const statusOfHttp: Readonly<Record<number, StatusName>> = {
  401: "UNAUTHENTICATED",
  403: "PERMISSION_DENIED",
  413: "RESOURCE_EXHAUSTED",
  429: "RESOURCE_EXHAUSTED",
  502: "UNAVAILABLE",
  503: "UNAVAILABLE",
  504: "UNAVAILABLE",
};

/** The failure that an answer of the REST API tells: its Status where it has one, otherwise what HTTP says. */
export function failureOfAnswer(httpStatus: number, body: string, headers: Headers, url: string): Failure {
  const error = statusBodyIn(body);
  const origin: ServerOrigin = {
    kind: "server",
    httpStatus,
    body: error === undefined ? undefined : body,
    violations: error === undefined ? [] : violationsIn(error.details),
    reason: error === undefined ? undefined : reasonIn(error.details),
    retryAfterSeconds: secondsIn(headers.get("retry-after")),
  };
  if (error !== undefined) {
    const requestId = headers.get("x-request-id");
    // The server tells its callers no more than that it failed; its log tells the rest, under this name.
    const named = error.status === "INTERNAL" && requestId !== null ? ` (requestId ${requestId})` : "";
    return new Failure(error.status, `${error.message}${named}`, origin);
  }
  const status = statusOfHttp[httpStatus];
  if (status !== undefined) return new Failure(status, `${url} answered HTTP ${httpStatus}.`, origin);
  const message = `${url} answered HTTP ${httpStatus}, but not as a Drover server does.`;
  const failure = new Failure("UNKNOWN", message, origin);
  failure.hint = "Check the address given by --url or DROVER_URL.";
  return failure;
}

interface StatusBody {
  status: StatusName;
  message: string;
  details: Record<string, unknown>[];
}

function statusBodyIn(body: string): StatusBody | undefined {
  const error = recordIn(parsed(body))?.error;
  const { status, message, details } = recordIn(error) ?? {};
  if (!isStatusName(status)) return undefined;
  return {
    status,
    message: typeof message === "string" ? message : "",
    details: (Array.isArray(details) ? details : []).map((detail: unknown) => recordIn(detail) ?? {}),
  };
}

function violationsIn(details: Record<string, unknown>[]): FieldViolation[] {
  return details
    .flatMap(({ fieldViolations }): unknown[] => (Array.isArray(fieldViolations) ? fieldViolations : []))
    .map((violation) => recordIn(violation) ?? {})
    .map(({ field, description }) => ({
      field: String(field ?? ""),
      description: String(description ?? ""),
    }));
}

function reasonIn(details: Record<string, unknown>[]): string | undefined {
  return details.map(({ reason }) => reason).find((reason) => typeof reason === "string");
}

function secondsIn(retryAfter: string | null): number | undefined {
  return retryAfter !== null && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) : undefined;
}

function recordIn(value: unknown): Record<string, unknown> | undefined {
  // The check leaves exactly what the cast says: an object whose members are not known.
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
