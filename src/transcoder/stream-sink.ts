import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Writable } from "node:stream";
import { constants, createBrotliCompress, createGzip } from "node:zlib";
import { isGone } from "./call-context.ts";

/** Where the frames of a stream go: they leave in the turn in which they are written, together, compressed or not. */
export interface StreamSink {
  /** False where the caller reads slower than this; then `drained` says when to go on. */
  write(frame: string | Buffer): boolean;
  /** Whether what was written still waits for the caller. */
  readonly isFull: boolean;
  drained(signal: AbortSignal): Promise<unknown>;
  /** Lets go what was written, now. */
  flush(): void;
  end(last: string): void;
}

/** Frames as they are, or compressed, with a flush at the end of each turn that wrote some. */
export function openSink(res: ServerResponse, coding: "gzip" | "br" | undefined): StreamSink {
  const target: Writable = coding === undefined ? res : openCompressor(res, coding);
  return new JoiningSink(target, () => isGone(res) || target.destroyed);
}

/** Joins the frames of one turn of the event loop: a write costs much more than a frame. */
class JoiningSink implements StreamSink {
  readonly #target: Writable;
  readonly #isGone: () => boolean;
  #waiting: (string | Buffer)[] = [];
  #size = 0;

  constructor(target: Writable, isGone: () => boolean) {
    this.#target = target;
    this.#isGone = isGone;
  }

  get isFull(): boolean {
    return this.#target.writableNeedDrain;
  }

  write(frame: string | Buffer): boolean {
    if (this.#waiting.push(frame) === 1) setImmediate(() => this.flush());
    this.#size += frame.length;
    if (this.#size >= JOINED_SIZE) this.flush();
    return !this.isFull;
  }

  drained(signal: AbortSignal): Promise<unknown> {
    return once(this.#target, "drain", { signal });
  }

  flush(): void {
    const frames = this.#waiting;
    this.#waiting = [];
    this.#size = 0;
    // A caller who left in this turn: Node takes a write to what is destroyed for an error.
    if (frames.length > 0 && !this.#isGone()) this.#target.write(join(frames));
  }

  end(last: string): void {
    this.flush();
    this.#target.end(last);
  }
}

/** Characters or bytes; about what Node holds before it asks to wait. */
const JOINED_SIZE = 16_384;

function join(frames: (string | Buffer)[]): string | Buffer {
  const isText = (frame: string | Buffer): frame is string => typeof frame === "string";
  if (frames.every(isText)) return frames.join("");
  return Buffer.concat(frames.map((frame) => (isText(frame) ? Buffer.from(frame) : frame)));
}

function openCompressor(res: ServerResponse, coding: "gzip" | "br"): Writable {
  const compressor = coding === "gzip" ? createGzip(GZIP) : createBrotliCompress(BROTLI);
  compressor.pipe(res);
  // Its memory lies outside of the heap and is held until this, also where the caller leaves in the middle.
  res.on("close", () => compressor.destroy());
  compressor.on("error", () => res.destroy());
  return compressor;
}

// A stream may stay open for days and thousands of them together, so the windows are small: about 50 KB for each
// one with gzip, where its defaults take 270 KB.
const GZIP = { flush: constants.Z_SYNC_FLUSH, windowBits: 13, memLevel: 5 };
const BROTLI = {
  flush: constants.BROTLI_OPERATION_FLUSH,
  params: { [constants.BROTLI_PARAM_QUALITY]: 3, [constants.BROTLI_PARAM_LGWIN]: 14 },
};
