import { Refusal } from "../runtime/refusal.ts";

/**
 * The database could not be reached, or gave up on a statement. `outcome` says what became of the transaction:
 * `unknown` when the connection was lost between the sending of COMMIT and its answer, so that only a caller whose
 * request is idempotent may repeat it.
 */
export class DatabaseUnavailable extends Refusal {
  readonly outcome: "not-committed" | "unknown";

  constructor(message: string, outcome: "not-committed" | "unknown", cause?: unknown) {
    super("unavailable", message, { retryAfterMs: 1000, ...(cause === undefined ? {} : { cause }) });
    this.name = "DatabaseUnavailable";
    this.outcome = outcome;
  }
}

/** Why the storage cannot start or go on, in sentences for the operator that name the cure. */
export class StorageStartError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "StorageStartError";
  }
}

const RETRYABLE = new Set(["40001", "40P01"]);

/** What callers are told when PostgreSQL answered, but cannot serve for now. */
const UNAVAILABLE: Record<string, string> = {
  "25006": "the database takes no writes for now",
  "25P03": "the database ended a transaction that stood still too long",
  "53100": "the database has no disk space left",
  "53200": "the database has no memory left",
  "53300": "the database has no connection left",
  "55P03": "the database waited too long for a lock",
  "57014": "the database took too long",
  "57P01": "the database is shutting down",
  "57P02": "the database is recovering from a crash",
  "57P03": "the database is starting",
  "57P05": "the database ended an idle connection",
};

/** What postgres.js and Node report when a connection, not a statement, failed. */
const CONNECTION_LOST =
  /^(CONNECTION_(CLOSED|ENDED|DESTROYED)|CONNECT_TIMEOUT|E(CONNREFUSED|CONNRESET|PIPE|TIMEDOUT|HOSTUNREACH|NETUNREACH|NOTFOUND|NOENT|AI_AGAIN|HOSTDOWN)|08...)$/;

/**
 * The SQLSTATE (`23505`) or system code (`ECONNREFUSED`) of an error, looked for down its causes;
 * undefined when there is none.
 */
export function databaseErrorCode(error: unknown): string | undefined {
  for (const each of causes(error)) {
    if ("code" in each && typeof each.code === "string") return each.code;
  }
  return undefined;
}

/** Whether a unique constraint was violated; with a name, that one. */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  if (databaseErrorCode(error) !== "23505") return false;
  return (
    constraint === undefined ||
    causes(error).some((each) => "constraint_name" in each && each.constraint_name === constraint)
  );
}

/** Whether PostgreSQL undid the transaction only for the sake of another, so that it may simply run again. */
export function isRetryable(error: unknown): boolean {
  const code = databaseErrorCode(error);
  return code !== undefined && RETRYABLE.has(code);
}

/** Whether PostgreSQL gave up a statement that waited for a lock, or took, for too long; the connection is well. */
export function isGivenUp(error: unknown): boolean {
  const code = databaseErrorCode(error);
  return code === "55P03" || code === "57014";
}

/** Whether the same call may succeed later: a conflict, a lost connection, a database that cannot serve for now. */
export function isTransient(error: unknown): boolean {
  return isRetryable(error) || causes(error).some((each) => each instanceof DatabaseUnavailable);
}

/** What a connection throws, given what postgres.js threw: the same, or DatabaseUnavailable. */
export function translateError(error: unknown): unknown {
  const code = databaseErrorCode(error);
  if (code === undefined || error instanceof Refusal) return error;
  const message =
    UNAVAILABLE[code] ?? (CONNECTION_LOST.test(code) ? "the database cannot be reached" : undefined);
  return message === undefined ? error : new DatabaseUnavailable(message, "not-committed", error);
}

function causes(error: unknown): Error[] {
  const found: Error[] = [];
  // A cause that leads back to itself must not hold us.
  for (let at = error; at instanceof Error && found.length < 10; at = at.cause) found.push(at);
  return found;
}
