import { v7 as uuidv7 } from "uuid";
import { adviseOn } from "./advise.ts";
import type { Connection } from "./credentials.ts";
import { Failure, failureOfAnswer } from "./failure.ts";
import { withRetries } from "./retries.ts";
import { fetchWith } from "./tls-fetch.ts";
import { timedOut, transportFailure } from "./transport-failure.ts";

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
  patch<T>(path: string, body: object): Promise<Answer<T>>;
  delete<T>(path: string, query: Query): Promise<Answer<T>>;
}

/** An API whose every call, retries included, ends within `timeoutMs`. */
export function openApi(connection: Connection, timeoutMs: number): Api {
  // All calls of a command go to the server that answered the one before.
  const servers = [connection.url, ...(connection.others ?? [])];
  let at = 0;
  const base = () => servers[at] ?? connection.url;
  const call = async <T>(method: string, path: string, query: Query, body?: object): Promise<Answer<T>> => {
    try {
      return await withRetries(
        (signal) =>
          attempt<T>(connection, { method, base: base(), url: address(base(), path, query), body, signal }),
        {
          timeoutMs,
          timedOut: () => timedOut(base(), timeoutMs, method),
          others: servers.length - 1,
          moveOn: () => {
            at = (at + 1) % servers.length;
          },
        },
      );
    } catch (error) {
      if (error instanceof Failure) error.hint = adviseOn(error, connection);
      throw error;
    }
  };
  return {
    connection,
    get: (path, query = {}) => call("GET", path, query),
    post: (path, body) => call("POST", path, {}, body),
    patch: (path, body) => call("PATCH", path, {}, body),
    delete: (path, query) => call("DELETE", path, query),
  };
}

/** Names one mutation, so that repeating it has no second effect. */
export function newRequestId(): string {
  return uuidv7();
}

interface Attempt {
  method: string;
  /** The server that is asked. */
  base: string;
  url: string;
  body: object | undefined;
  signal: AbortSignal;
}

async function attempt<T>(connection: Connection, request: Attempt): Promise<Answer<T>> {
  const { response, text } = await exchange(connection, request);
  if (!response.ok) throw failureOfAnswer(response.status, text, response.headers, request.base);
  try {
    // The contract says what a successful answer holds; whatever is printed of it copes with missing members.
    return { text: text.trim(), value: JSON.parse(text) as T };
  } catch {
    throw failureOfAnswer(response.status, "", response.headers, request.base);
  }
}

async function exchange(
  connection: Connection,
  request: Attempt,
): Promise<{ response: Response; text: string }> {
  try {
    const response = await fetchWith(connection.tls)(request.url, {
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
    throw transportFailure(request.base, request.method, error);
  }
}

/** What every request of a connection carries. */
export function headersOf(connection: Connection, body: object | undefined): Record<string, string> {
  return {
    accept: "application/json",
    ...(body === undefined ? {} : { "content-type": "application/json" }),
    ...(connection.token === undefined ? {} : { authorization: `Bearer ${connection.token.token}` }),
    ...(connection.project === undefined ? {} : { "x-drover-project": connection.project }),
  };
}

/** The address of a path on one server. */
export function address(base: string, path: string, query: Query): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one));
  }
  return search.size === 0 ? `${base}${path}` : `${base}${path}?${search}`;
}
