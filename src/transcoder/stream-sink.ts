import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Writable } from "node:stream";
import { constants, createBrotliCompress, createGzip } from "node:zlib";

/** Where the frames of a stream go: each one leaves as soon as it is written, compressed or not. */
export interface StreamSink {
  /** False where the caller reads slower than this; then `drained` says when to go on. */
  write(frame: string | Buffer): boolean;
  /** Whether what was written still waits for the caller. */
  readonly isFull: boolean;
  drained(signal: AbortSignal): Promise<unknown>;
  end(last: string): void;
}

/** Frames as they are, or compressed, with a flush after each of them. */
export function openSink(res: ServerResponse, coding: "gzip" | "br" | undefined): StreamSink {
  const target: Writable = coding === undefined ? res : openCompressor(res, coding);
  return {
    write: (frame) => target.write(frame),
    get isFull() {
      return target.writableNeedDrain;
    },
    drained: (signal) => once(target, "drain", { signal }),
    end: (last) => void target.end(last),
  };
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
