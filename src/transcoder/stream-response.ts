import type { ServerResponse } from "node:http";
import type { JsonObject, Message } from "@bufbuild/protobuf";
import { AbortableWaits, type CallContext, isGone, untilAborted } from "./call-context.ts";
import { varyBy } from "./encode-response.ts";
import { responseHeaders } from "./metadata.ts";
import type { StreamEncoding } from "./stream-encoding.ts";
import { openSink, type StreamSink } from "./stream-sink.ts";

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
  /** How the frames are compressed; undefined for not at all. */
  coding: "gzip" | "br" | undefined;
}

/**
 * Writes a stream of messages. Rejects, with nothing written, if it fails before its first message and soon
 * enough; later an error is the last frame. Waits for the caller to read: no message is asked for while
 * those before it find no room. A caller who goes away, or a deadline, ends the stream through the context's signal.
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
  readonly #waits: AbortableWaits;
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
    this.#waits = new AbortableWaits(context.signal);
  }

  async run(): Promise<void> {
    const first = this.#next();
    // It is awaited below, but not in the answer to HEAD, where it may fail unseen.
    first.catch(() => undefined);
    const contentType = await this.#chooseContentType(first);
    this.#writeHead(contentType);
    if (this.#options.isHead) {
      this.#res.end();
      return;
    }
    const sink = openSink(this.#res, this.#options.coding);
    if (this.#options.encoding.opening !== "") sink.write(this.#options.encoding.opening);
    const heartbeat = setInterval(() => this.#beat(sink), this.#options.heartbeatMs);
    try {
      await this.#writeAll(first, sink);
    } catch (error) {
      if (isGone(this.#res)) return;
      const frame = this.#options.encoding.error(this.#options.printError(error), this.#index);
      // Bytes that are not JSON have no place for an error: the connection breaks, so that nobody takes them for whole.
      if (frame === undefined) {
        sink.flush();
        this.#res.destroy();
      } else sink.write(frame);
    } finally {
      clearInterval(heartbeat);
    }
    this.#res.addTrailers(flatten(responseHeaders(this.#context.responseTrailer)));
    sink.end(this.#options.encoding.closing);
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
    return this.#waits.wait(this.#iterator.next());
  }

  async #writeAll(first: Promise<IteratorResult<Message>>, sink: StreamSink): Promise<void> {
    const { encoding, eventId, print } = this.#options;
    const { signal } = this.#context;
    for (let result = await first; !result.done; result = await this.#next()) {
      const printed = print(result.value);
      const frame =
        typeof printed === "string" ? encoding.frame(printed, this.#index, eventId(result.value)) : printed;
      this.#index++;
      if (!sink.write(frame)) await untilAborted(sink.drained(signal), signal);
    }
  }

  #writeHead(contentType: string): void {
    const { coding } = this.#options;
    const headers = responseHeaders(this.#context.responseHeader);
    varyBy(this.#res, headers, "accept, accept-encoding");
    this.#res.writeHead(200, {
      ...headers,
      "content-type": contentType,
      ...(coding === undefined ? {} : { "content-encoding": coding }),
      "cache-control": "no-cache",
      // Proxies that buffer would hold events back.
      "x-accel-buffering": "no",
    });
    this.#res.flushHeaders();
  }

  #beat(sink: StreamSink): void {
    const { heartbeat } = this.#options.encoding;
    if (heartbeat !== undefined && !sink.isFull) sink.write(heartbeat);
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
