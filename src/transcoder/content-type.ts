import type { IncomingMessage } from "node:http";
import { Code, ConnectError } from "@connectrpc/connect";
import { HttpRefusal } from "./error-response.ts";

const STREAM_TYPES = new Set(["application/x-ndjson", "application/ndjson", "application/jsonl"]);

/**
 * Refuses (415) a body that does not say it is JSON in UTF-8, or lines of it for a stream. A body without a
 * content type is taken for JSON, which is all that it can be here.
 */
export function requireJson(req: IncomingMessage, isStream: boolean): void {
  const header = req.headers["content-type"];
  if (header === "application/json" || header === undefined || header === "") return;
  const [type = "", ...parameters] = header.split(";").map((part) => part.trim().toLowerCase());
  const isJson = type === "application/json" || /^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+\+json$/.test(type);
  const charset = parameters.find((parameter) => parameter.startsWith("charset="))?.slice("charset=".length);
  const isUtf8 = charset === undefined || /^"?utf-?8"?$/.test(charset);
  if ((isJson || (isStream && STREAM_TYPES.has(type))) && isUtf8) return;
  const wanted = isStream ? "application/x-ndjson" : "application/json";
  const message = `the content type is ${JSON.stringify(header)}, not ${wanted}`;
  throw new HttpRefusal(415, new ConnectError(message, Code.InvalidArgument, { accept: wanted }));
}
