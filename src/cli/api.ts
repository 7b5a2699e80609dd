import { DelegateBackoff, handleType, type RetryPolicy, retry } from "cockatiel";
import { v7 as uuidv7 } from "uuid";
import { adviseOn } from "./advise.ts";
import type { Connection } from "./credentials.ts";
import { Failure, failureOfAnswer } from "./failure.ts";

/** Query fields in their JSON spelling; what is undefined is left out, a list is repeated. */
export type Query = Readonly<Record<string, string | number | readonly string[] | undefined>>;

/** The answer of a call: its JSON as the server wrote it, and what it says. */
export interface Answer<T> {
  text: string;
  value: T;
}

/** Drover's REST API, with the credentials of one command. */
export interface Api {
  readonly connection: Connection;
  get<T>(path: string, query?: Query): Promise<Answer<T>>;
  /** `body` is sent as it is: it names the call by itself, by a nonce or a request_id. */
  post<T>(path: string, body: object): Promise<Answer<T>>;
  delete<T>(path: string, query: Query): Promise<Answer<T>>;
}

// One try and two more: enough for a restart of the server, short enough for a person who waits.
const RETRIES = 2;
const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 5_000;

/** An API whose every call, retries included, ends within `timeoutMs`. */
export function openApi(connection: Connection, timeoutMs: number): Api {
  const call = async <T>(method: string, path: string, query: Query, body?: object): Promise<Answer<T>> => {
    const signal = AbortSignal.timeout(timeoutMs);
    const request = { method, url: address(connection.url, path, query), body, signal };
    try {
      return await retrying().execute(() => attempt<T>(connection, request), signal);
    } catch (error) {
      if (error instanceof Failure) error.hint = adviseOn(error, connection);
      if (error instanceof Failure || !signal.aborted) throw error;
      throw timedOut(connection.url, timeoutMs, method, error);
    }
  };
  return {
    connection,
    get: (path, query = {}) => call("GET", path, query),
    post: (path, body) => call("POST", path, {}, body),
    delete: (path, query) => call("DELETE", path, query),
  };
}

/** Names one mutation, so that repeating it has no second effect. */
export function newRequestId(): string {
  return uuidv7();
}

interface Attempt {
  method: string;
  url: string;
  body: object | undefined;
  signal: AbortSignal;
}

async function attempt<T>(connection: Connection, request: Attempt): Promise<Answer<T>> {
  const { response, text } = await exchange(connection, request);
  if (!response.ok)
    throw failureOfAnswer(response.status, text, response.headers.get("retry-after"), connection.url);
  try {
    // The contract says what a successful answer holds; whatever is printed of it copes with missing members.
    return { text: text.trim(), value: JSON.parse(text) as T };
  } catch {
    throw failureOfAnswer(response.status, "", null, connection.url);
  }
}

async function exchange(
  connection: Connection,
  request: Attempt,
): Promise<{ response: Response; text: string }> {
  try {
    const response = await fetch(request.url, {
      method: request.method,
      headers: headersOf(connection, request.body),
      signal: request.signal,
      // The API never redirects: whatever does is something else, and gets no token.
      redirect: "manual",
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
    });
    return { response, text: await response.text() };
  } catch (error) {
    if (request.signal.aborted) throw error;
    throw transportFailure(connection.url, request.method, error);
  }
}

function headersOf(connection: Connection, body: object | undefined): Record<string, string> {
  return {
    accept: "application/json",
    ...(body === undefined ? {} : { "content-type": "application/json" }),
    ...(connection.token === undefined ? {} : { authorization: `Bearer ${connection.token.token}` }),
    ...(connection.project === undefined ? {} : { "x-drover-project": connection.project }),
  };
}

function address(base: string, path: string, query: Query): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one));
  }
  return search.size === 0 ? `${base}${path}` : `${base}${path}?${search}`;
}

function retrying(): RetryPolicy {
  return retry(handleType(Failure, isWorthRetrying), {
    maxAttempts: RETRIES,
    backoff: new DelegateBackoff(({ attempt: count, result }) => {
      const error = "error" in result ? result.error : undefined;
      return delayMs(count, error);
    }),
  });
}

function delayMs(attemptNumber: number, error: unknown): number {
  const asked =
    error instanceof Failure && error.origin.kind === "server" ? error.origin.retryAfterSeconds : undefined;
  return Math.min(LONGEST_DELAY_MS, Math.max(FIRST_DELAY_MS * 2 ** (attemptNumber - 1), (asked ?? 0) * 1000));
}

// A connection that was never made is not retried: a person who forgot to start the server wants to hear it now.
const neverConnected = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);
const lost = new Set(["ECONNRESET", "EPIPE", "ETIMEDOUT", "UND_ERR_SOCKET"]);

function isWorthRetrying(failure: Failure): boolean {
  if (failure.origin.kind === "server") return failure.status === "UNAVAILABLE";
  return failure.origin.kind === "transport" && lost.has(codeOf(failure.cause) ?? "");
}

function transportFailure(url: string, method: string, error: unknown): Failure {
  const code = codeOf(error);
  if (code !== undefined && lost.has(code)) {
    const doubt = method === "GET" ? "" : " The call may have taken effect.";
    const message = `The connection to ${url} broke before an answer came (${code}).${doubt}`;
    return new Failure("UNAVAILABLE", message, { kind: "transport" }, error);
  }
  const why = code === "ECONNREFUSED" ? "" : ` (${code ?? wordsOf(error)})`;
  const message = `No Drover server answers at ${url}${why}.`;
  const failure = new Failure("UNAVAILABLE", message, { kind: "transport" }, error);
  if (code === undefined || neverConnected.has(code))
    failure.hint = "Start one with `drover serve`, or name another with --url or DROVER_URL.";
  return failure;
}

function timedOut(url: string, timeoutMs: number, method: string, cause: unknown): Failure {
  const doubt = method === "GET" ? "" : " The call may have taken effect.";
  const message = `${url} gave no answer within ${timeoutMs / 1000} s.${doubt}`;
  const failure = new Failure("DEADLINE_EXCEEDED", message, { kind: "transport" }, cause);
  failure.hint = "Give it longer with --timeout.";
  return failure;
}

function codeOf(error: unknown): string | undefined {
  // `fetch` hides the socket's error one level down.
  for (const one of [error instanceof Error ? error.cause : undefined, error]) {
    if (one instanceof Error && "code" in one && typeof one.code === "string") return one.code;
  }
  return undefined;
}

function wordsOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error ? cause.message : String(error);
}
