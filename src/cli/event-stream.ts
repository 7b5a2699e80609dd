import { setTimeout as delay } from "node:timers/promises";
import { adviseOn } from "./advise.ts";
import { address, headersOf } from "./api.ts";
import type { Connection } from "./credentials.ts";
import { Failure, failureOfAnswer } from "./failure.ts";
import type { EventJson } from "./resources.ts";
import { timedOut, transportFailure } from "./transport-failure.ts";

const PATH = "/api/v1/events:watch";
const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 5_000;
/** A watch says something every 15 s at least; one that is silent for so long has lost its server. */
const SILENCE_MS = 45_000;

export interface StreamWish {
  after: string | undefined;
  types: readonly string[] | undefined;
  agents: readonly string[] | undefined;
  tasks: readonly string[] | undefined;
}

export interface StreamOptions {
  /** For how long one server may take to begin its answer. */
  timeoutMs: number;
  /** Hears that the stream from that server was lost and is resumed. */
  onLost(failure: Failure, base: string): void;
}

/** One frame: its JSON as the server wrote it, and what it says. */
export interface Frame {
  text: string;
  event: EventJson;
}

/**
 * The project's events, without end: a stream that is lost is resumed behind its newest cursor, at another server where
 * there are several. Throws where nothing can be resumed: a token that is refused, a cursor that is not served any more,
 * or no server at the very beginning.
 */
export async function* followEvents(
  connection: Connection,
  wish: StreamWish,
  { timeoutMs, onLost }: StreamOptions,
): AsyncGenerator<Frame, never> {
  const servers = [connection.url, ...(connection.others ?? [])];
  let { after } = wish;
  let [attempts, opened] = [0, false];
  for (let at = 0; ; at += 1) {
    const base = servers[at % servers.length] ?? connection.url;
    try {
      for await (const frame of readStream(connection, base, { ...wish, after }, timeoutMs)) {
        [attempts, opened] = [0, true];
        after = frame.event.cursor ?? after;
        yield frame;
      }
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const isLastChance = !opened && at + 1 >= servers.length;
      if (isLastChance || !isResumable(error)) {
        error.hint = adviseOn(error, connection);
        throw error;
      }
      if (attempts === 0) onLost(error, base);
    }
    attempts += 1;
    const longestMs = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempts);
    await delay(longestMs * (0.5 + Math.random() / 2));
  }
}

/** What another attempt can cure: a server that stops or is lost, a caller that was too slow. */
function isResumable({ status }: Failure): boolean {
  return ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED", "INTERNAL"].includes(status);
}

async function* readStream(
  connection: Connection,
  base: string,
  wish: StreamWish,
  timeoutMs: number,
): AsyncGenerator<Frame> {
  const abort = new AbortController();
  let patience = setTimeout(() => abort.abort(), timeoutMs);
  try {
    const response = await fetch(address(base, PATH, { ...wish }), {
      headers: { ...headersOf(connection, undefined), accept: "application/x-ndjson" },
      signal: abort.signal,
      redirect: "manual",
    });
    if (!response.ok || response.body === null)
      throw failureOfAnswer(response.status, await response.text(), response.headers, base);
    let rest = "";
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      clearTimeout(patience);
      patience = setTimeout(() => abort.abort(), SILENCE_MS);
      const lines = `${rest}${chunk}`.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) yield frameOf(line, response.headers, base);
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw abort.signal.aborted ? timedOut(base, timeoutMs, "GET") : transportFailure(base, "GET", error);
  } finally {
    clearTimeout(patience);
    abort.abort();
  }
}

function frameOf(line: string, headers: Headers, base: string): Frame {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw failureOfAnswer(200, "", headers, base);
  }
  // An error after the first frame is the last one.
  if (typeof value === "object" && value !== null && "error" in value)
    throw failureOfAnswer(200, line, headers, base);
  return { text: line, event: value as EventJson }; // the contract says what a frame holds
}
