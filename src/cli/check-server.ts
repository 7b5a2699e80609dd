import { connect } from "node:tls";
import { headersOf } from "./api.ts";
import type { Connection } from "./credentials.ts";
import { Failure, failureOfAnswer } from "./failure.ts";
import type { Finding } from "./server-entry.ts";
import { fetchWith } from "./tls-fetch.ts";
import { timedOut, transportFailure } from "./transport-failure.ts";

/** Clocks apart by more than this are worth a word; the header that is compared tells whole seconds. */
const CLOCK_APART_MS = 2_000;
const DAY_MS = 86_400_000;
const SOON_DAYS = 14;

export interface ServerCheck {
  readonly connection: Connection;
  readonly timeoutMs: number;
  /** Whether somebody named the server, who then wants to hear that it does not answer. */
  readonly named: boolean;
}

/** Whether each server answers and is ready, how far its clock is off, its certificate's dates, and the token. */
export async function checkServers(check: ServerCheck): Promise<Finding[]> {
  const { url, others = [] } = check.connection;
  const found: Finding[] = [];
  for (const each of [url, ...others]) found.push(...(await checkServer(each, check)));
  return found;
}

async function checkServer(url: string, check: ServerCheck): Promise<Finding[]> {
  let ready: Asked;
  try {
    ready = await ask(url, "/readyz", check);
  } catch (error) {
    return [notAnswering(url, error, check)];
  }
  const readiness = readinessOf(url, ready);
  if (readiness.state === "error" && ready.status !== 503) return [readiness];
  return [
    readiness,
    clockOf(url, ready),
    ...(await certificateOf(url, check)),
    ...(await tokenOf(url, check)),
  ];
}

function notAnswering(url: string, error: unknown, { named }: ServerCheck): Finding {
  const failure = error instanceof Failure ? error : transportFailure(url, "GET", error);
  const cure = failure.hint ?? "Look at that server's log, and at what lies between.";
  if (named) return { check: "server", state: "error", message: failure.message, cure };
  const refused = failure.cause instanceof Error && String(failure.cause.cause).includes("ECONNREFUSED");
  return refused
    ? { check: "server", state: "skipped", message: `No server runs at ${url}.` }
    : { check: "server", state: "warning", message: failure.message, cure };
}

interface Asked {
  status: number;
  text: string;
  /** The server's clock, in whole seconds; undefined where the answer does not tell. */
  date: string | null;
  sentAtMs: number;
  tookMs: number;
}

async function ask(
  url: string,
  path: string,
  { connection, timeoutMs }: ServerCheck,
  withToken = false,
): Promise<Asked> {
  const signal = AbortSignal.timeout(timeoutMs);
  const sentAtMs = Date.now();
  try {
    const response = await fetchWith(connection.tls)(`${url}${path}`, {
      method: "GET",
      headers: withToken ? headersOf(connection, undefined) : {},
      signal,
      redirect: "manual",
    });
    const text = await response.text();
    const tookMs = Date.now() - sentAtMs;
    return { status: response.status, text, date: response.headers.get("date"), sentAtMs, tookMs };
  } catch (error) {
    throw signal.aborted ? timedOut(url, timeoutMs, "GET") : error;
  }
}

function readinessOf(url: string, { status, text }: Asked): Finding {
  const body = parsed(text);
  if (status === 200 && body?.status === "ok")
    return { check: "server", state: "ok", message: `${url} answers, and is ready.` };
  if (status === 503 && Array.isArray(body?.notReady)) {
    // Drover's own answer; what it lacks is printed as it came.
    const reasons = (body.notReady as { name?: unknown; reason?: unknown }[]).map(
      ({ name, reason }) => `${String(name)}: ${String(reason)}`,
    );
    return {
      check: "server",
      state: "error",
      message: `${url} answers, but is not ready: ${reasons.join("; ")}.`,
      cure: "Mend what it names; the server becomes ready by itself. Its log may say more.",
    };
  }
  return {
    check: "server",
    state: "error",
    message: `${url} answered HTTP ${status}, but not as a Drover server does.`,
    cure: "Check the address given by --url or DROVER_URL.",
  };
}

function clockOf(url: string, { date, sentAtMs, tookMs }: Asked): Finding {
  const theirsMs = date === null ? Number.NaN : Date.parse(date);
  if (Number.isNaN(theirsMs))
    return { check: "server clock", state: "skipped", message: `${url} does not tell its time.` };
  // The header leaves fractions of a second out.
  const aheadMs = theirsMs + 500 - (sentAtMs + tookMs / 2);
  const apartMs = Math.abs(aheadMs) - 500 - tookMs / 2;
  if (apartMs < CLOCK_APART_MS)
    return { check: "server clock", state: "ok", message: `The clock of ${url} agrees with this machine's.` };
  return {
    check: "server clock",
    state: "warning",
    message: `The clock of ${url} is ${(Math.abs(aheadMs) / 1000).toFixed(0)} s ${aheadMs > 0 ? "ahead of" : "behind"} this machine's.`,
    cure: "Let both machines follow a time server (NTP). Drover goes by the database's clock, certificates and logs do not.",
  };
}

/** The dates of the certificate that the server shows, whoever vouches for it. */
async function certificateOf(url: string, { connection, timeoutMs }: ServerCheck): Promise<Finding[]> {
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== "https:") return [];
  const validTo = await new Promise<string | undefined>((resolve) => {
    const host = hostname.replace(/^\[|\]$/g, "");
    const socket = connect({ host, port: Number(port || 443), ...connection.tls, rejectUnauthorized: false });
    const end = (value: string | undefined) => {
      socket.destroy();
      resolve(value);
    };
    socket.setTimeout(timeoutMs, () => end(undefined));
    socket.once("error", () => end(undefined));
    socket.once("secureConnect", () => end(socket.getPeerCertificate().valid_to));
  });
  if (validTo === undefined) return [];
  const days = Math.floor((Date.parse(validTo) - Date.now()) / DAY_MS);
  const message = `The certificate of ${url} is good until ${new Date(validTo).toISOString()}.`;
  if (days >= SOON_DAYS) return [{ check: "server certificate", state: "ok", message }];
  const cure = "Renew it: a running server takes new files by itself.";
  return [{ check: "server certificate", state: "warning", message, cure }];
}

async function tokenOf(url: string, check: ServerCheck): Promise<Finding[]> {
  const { token, looked } = check.connection;
  if (token === undefined)
    return [{ check: "token", state: "skipped", message: `There is none in ${looked.join(", ")}.` }];
  const { status, text } = await ask(url, "/api/v1/agents?pageSize=1", check, true);
  // A role that may not list is a good token all the same.
  if (status === 200 || status === 403)
    return [{ check: "token", state: "ok", message: `${url} accepts the token from ${token.from}.` }];
  const { message } = failureOfAnswer(status, text, new Headers(), url);
  const cure =
    "Use another one; where the operator's is lost, `drover tokens recover` on the server's machine makes a new one.";
  return [
    {
      check: "token",
      state: "error",
      message: `${url} refuses the token from ${token.from}: ${message}`,
      cure,
    },
  ];
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    // The check leaves exactly what the cast says: an object whose members are not known.
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
