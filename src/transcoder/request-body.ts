import type { IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { brotliDecompress, gunzip } from "node:zlib";
import { Code, ConnectError } from "@connectrpc/connect";
import { HttpRefusal } from "./error-response.ts";

const inflate = { gzip: promisify(gunzip), br: promisify(brotliDecompress) };

const EMPTY = new Uint8Array(0);

/**
 * Reads a request's whole body, decompressed. Throws where it is larger than `maxBytes` before or after that
 * (RESOURCE_EXHAUSTED, 413), compressed in a way we do not know (UNIMPLEMENTED), or corrupt (INVALID_ARGUMENT).
 */
export async function readBody(req: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  if (hasNoBody(req)) return EMPTY;
  const coding = contentCoding(req);
  return coding === "identity" ? collect(req, maxBytes) : readCompressed(req, coding, maxBytes);
}

async function readCompressed(
  req: IncomingMessage,
  coding: "gzip" | "br",
  maxBytes: number,
): Promise<Uint8Array> {
  const body = await collect(req, maxBytes);
  if (body.length === 0) return body;
  try {
    // The limit is zlib's own, so that a bomb stops where it exceeds it.
    return await inflate[coding](body, { maxOutputLength: maxBytes });
  } catch (error) {
    if (error instanceof RangeError) throw tooLarge(maxBytes);
    throw new ConnectError(
      `the body is not valid ${coding}`,
      Code.InvalidArgument,
      undefined,
      undefined,
      error,
    );
  }
}

/** How a request's body is compressed. */
export function contentCoding(req: IncomingMessage): "gzip" | "br" | "identity" {
  const header = req.headers["content-encoding"];
  if (header === undefined) return "identity";
  const coding = header.trim().toLowerCase();
  switch (coding) {
    case "":
    case "identity":
      return "identity";
    case "gzip":
    case "x-gzip":
      return "gzip";
    case "br":
      return "br";
    default: {
      req.resume();
      const message = `the content encoding ${JSON.stringify(coding)} is unknown; gzip and br are known`;
      throw new ConnectError(message, Code.Unimplemented, { "accept-encoding": "gzip, br" });
    }
  }
}

/** A body over the cap: RESOURCE_EXHAUSTED, whose HTTP status is 413 here, since it is the request that is at fault. */
export function tooLarge(maxBytes: number): HttpRefusal {
  const error = new ConnectError(`the body is larger than ${maxBytes} bytes`, Code.ResourceExhausted);
  return new HttpRefusal(413, error);
}

function hasNoBody(req: IncomingMessage): boolean {
  if (req.readableEnded) return true;
  const { headers } = req;
  if (headers["content-length"] === "0") return true;
  // Only HTTP/1.1 says by its headers that there is none.
  return (
    req.httpVersionMajor === 1 &&
    headers["content-length"] === undefined &&
    headers["transfer-encoding"] === undefined
  );
}

function collect(req: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    let isOver = false;
    const refuse = (): void => {
      isOver = true;
      // The rest is read and dropped, so that the caller, still writing, gets to read the answer.
      req.off("data", onData).resume();
      reject(tooLarge(maxBytes));
    };
    const onData = (chunk: Buffer): void => {
      length += chunk.length;
      if (length > maxBytes) refuse();
      else chunks.push(chunk);
    };
    if (Number(req.headers["content-length"]) > maxBytes) {
      refuse();
      return;
    }
    // Every request closes, most of them after their end; an error nobody hears of would cost its stack all the same.
    const onGone = (): void => {
      if (!isOver) reject(new ConnectError("the request was cut off", Code.Canceled));
    };
    req.on("data", onData);
    req.on("end", () => {
      isOver = true;
      resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks));
    });
    req.on("error", onGone);
    req.on("close", onGone);
  });
}
