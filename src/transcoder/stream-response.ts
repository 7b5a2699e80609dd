import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { JsonObject, Message } from "@bufbuild/protobuf";
import { type CallContext, isGone, untilAborted } from "./call-context.ts";
import { responseHeaders } from "./metadata.ts";
import type { StreamEncoding } from "./stream-encoding.ts";

/** What a streamed response needs to know of its route and its transcoder. */
export interface StreamOptions {
  encoding: StreamEncoding;
  /** A message as it stands in a frame. */
  print(message: Message): string | Buffer;
  eventId(message: Message): string | undefined;
  /** Gives the content type where the first message decides it, and not the encoding. */
  contentType?(first: Message | undefined): string;
  /** An error as the body that ends the stream. */
  printError(thrown: unknown): JsonObject;
  heartbeatMs: number;
  /** How long the first message or error may decide the status line before headers go out without it. */
  openAfterMs: number;
  isHead: boolean;
}

/**
 * Writes a stream of messages. Rejects, with nothing written, if it fails before its first message and soon
 * enough; later an error is the last frame. Waits for the caller to read: no message is asked for before the
 * one before it has left. A caller who goes away, or a deadline, ends the stream through the context's signal.
 */
export async function sendStream(
  res: ServerResponse,
  context: CallContext,
  messages: AsyncIterable<Message>,
  options: StreamOptions,
): Promise<void> {
  const iterator = messages[Symbol.asyncIterator]();
  try {
    await new StreamWriter(res, context, iterator, options).run();
  } finally {
    context.abort();
    // A handler that waits for something forgets it by this; what it throws then concerns nobody any more.
    iterator.return?.().catch(() => undefined);
  }
}

class StreamWriter {
  readonly #res: ServerResponse;
  readonly #context: CallContext;
  readonly #iterator: AsyncIterator<Message>;
  readonly #options: StreamOptions;
  #index = 0;

  constructor(
    res: ServerResponse,
    context: CallContext,
    iterator: AsyncIterator<Message>,
    options: StreamOptions,
  ) {
    this.#res = res;
    this.#context = context;
    this.#iterator = iterator;
    this.#options = options;
  }

  async run(): Promise<void> {
    const first = this.#next();
    // It is awaited below, but not in the answer to HEAD, where it may fail unseen.
    first.catch(() => undefined);
    const contentType = await this.#chooseContentType(first);
    this.#open(contentType);
    if (this.#options.isHead) {
      this.#res.end();
      return;
    }
    const heartbeat = setInterval(() => this.#beat(), this.#options.heartbeatMs);
    try {
      await this.#writeAll(first);
    } catch (error) {
      if (isGone(this.#res)) return;
      const frame = this.#options.encoding.error(this.#options.printError(error), this.#index);
      // Bytes that are not JSON have no place for an error: the connection breaks, so that nobody takes them for whole.
      if (frame === undefined) this.#res.destroy();
      else this.#res.write(frame);
    } finally {
      clearInterval(heartbeat);
    }
    this.#close();
  }

  /** Waits for the first message for as long as its failure shall still be an HTTP status. */
  async #chooseContentType(first: Promise<IteratorResult<Message>>): Promise<string> {
    const { contentType, encoding, openAfterMs } = this.#options;
    if (contentType === undefined) {
      await settledWithin(first, openAfterMs);
      return encoding.contentType;
    }
    const result = await first;
    return contentType(result.done ? undefined : result.value);
  }

  #next(): Promise<IteratorResult<Message>> {
    return untilAborted(this.#iterator.next(), this.#context.signal);
  }

  async #writeAll(first: Promise<IteratorResult<Message>>): Promise<void> {
    const { encoding, eventId, print } = this.#options;
    for (let result = await first; !result.done; result = await this.#next()) {
      const printed = print(result.value);
      const frame =
        typeof printed === "string" ? encoding.frame(printed, this.#index, eventId(result.value)) : printed;
      this.#index++;
      if (!this.#res.write(frame)) await this.#drained();
    }
  }

  async #drained(): Promise<void> {
    const { signal } = this.#context;
    await untilAborted(once(this.#res, "drain", { signal }), signal);
  }

  #open(contentType: string): void {
    const { encoding, isHead } = this.#options;
    this.#res.writeHead(200, {
      ...responseHeaders(this.#context.responseHeader),
      "content-type": contentType,
      "cache-control": "no-cache",
      // Proxies that buffer would hold events back.
      "x-accel-buffering": "no",
    });
    this.#res.flushHeaders();
    if (encoding.opening !== "" && !isHead) this.#res.write(encoding.opening);
  }

  #beat(): void {
    const { heartbeat } = this.#options.encoding;
    if (heartbeat !== undefined && !this.#res.writableNeedDrain) this.#res.write(heartbeat);
  }

  #close(): void {
    this.#res.addTrailers(flatten(responseHeaders(this.#context.responseTrailer)));
    this.#res.end(this.#options.encoding.closing);
  }
}

function flatten(headers: Record<string, string | string[]>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}

/** Resolves when the promise has settled, or after the time; rejects if it rejects within it. */
async function settledWithin(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const time = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  try {
    await Promise.race([promise, time]);
  } finally {
    clearTimeout(timer);
  }
}
