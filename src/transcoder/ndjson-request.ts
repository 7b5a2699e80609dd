import type { IncomingMessage } from "node:http";
import { pipeline, type Readable } from "node:stream";
import { createBrotliDecompress, createGunzip } from "node:zlib";
import { Code, ConnectError } from "@connectrpc/connect";
import { contentCoding, tooLarge } from "./request-body.ts";

const NEWLINE = 0x0a;

/**
 * The lines of a request's body, decompressed, as they arrive; empty ones are left out. The body is read no
 * faster than the lines are taken. Throws where one is longer than `maxBytes`, or where decompression fails.
 */
export async function* readLines(req: IncomingMessage, maxBytes: number): AsyncGenerator<Uint8Array> {
  let pending: Buffer[] = [];
  let length = 0;
  for await (const chunk of chunks(req)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      pending.push(chunk.subarray(start, end));
      if (length + end - start > maxBytes) throw tooLarge(maxBytes);
      const line = Buffer.concat(pending);
      if (!isBlank(line)) yield line;
      pending = [];
      length = 0;
      start = end + 1;
    }
    pending.push(chunk.subarray(start));
    length += chunk.length - start;
    if (length > maxBytes) throw tooLarge(maxBytes);
  }
  const last = Buffer.concat(pending);
  if (!isBlank(last)) yield last;
}

async function* chunks(req: IncomingMessage): AsyncGenerator<Buffer> {
  const source = decompressed(req);
  try {
    // A handler may stop reading before the end; the connection must outlive that to carry the answer.
    for await (const chunk of source.iterator({ destroyOnReturn: false })) yield chunk;
  } catch (error) {
    throw new ConnectError(
      "the body is cut off or corrupt",
      Code.InvalidArgument,
      undefined,
      undefined,
      error,
    );
  } finally {
    source.resume();
  }
}

function decompressed(req: IncomingMessage): Readable {
  const coding = contentCoding(req);
  if (coding === "identity") return req;
  // Its error also arrives where the output is read.
  return pipeline(req, coding === "gzip" ? createGunzip() : createBrotliDecompress(), () => undefined);
}

function isBlank(line: Buffer): boolean {
  return line.length === 0 || (line.length === 1 && line[0] === 0x0d);
}
