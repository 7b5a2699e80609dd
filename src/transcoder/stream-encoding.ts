import type { JsonObject } from "@bufbuild/protobuf";
import { chooseAlternative } from "./quality-list.ts";

/** How the messages of a stream are laid out in a response body. */
export interface StreamEncoding {
  contentType: string;
  /** What stands before the first frame. */
  opening: string;
  /** A message's JSON as a frame; `index` counts from 0, `id` is the event's, where it has one. */
  frame(json: string, index: number, id: string | undefined): string;
  /** The error that ends a stream after its first byte. */
  error(body: JsonObject, index: number): string | undefined;
  /** What stands after the last frame. */
  closing: string;
  /** What keeps an idle connection open, where the format has something that means nothing. */
  heartbeat: string | undefined;
}

const NDJSON: StreamEncoding = {
  contentType: "application/x-ndjson",
  opening: "",
  frame: (json) => `${json}\n`,
  error: (body) => `${JSON.stringify(body)}\n`,
  closing: "",
  heartbeat: undefined,
};

const SERVER_SENT_EVENTS: StreamEncoding = {
  contentType: "text/event-stream",
  opening: "",
  frame: (json, _index, id) => `${id === undefined ? "" : `id: ${singleLine(id)}\n`}data: ${json}\n\n`,
  error: (body) => `event: error\ndata: ${JSON.stringify(body)}\n\n`,
  closing: "",
  heartbeat: ":\n\n",
};

const JSON_ARRAY: StreamEncoding = {
  contentType: "application/json",
  opening: "[",
  frame: (json, index) => (index === 0 ? json : `,\n${json}`),
  error: (body, index) => (index === 0 ? JSON.stringify(body) : `,\n${JSON.stringify(body)}`),
  closing: "]\n",
  // Whitespace between the elements of an array means nothing.
  heartbeat: "\n",
};

/** Bytes of google.api.HttpBody messages one after the other; the first one says of what type they are. */
export const RAW_ENCODING: StreamEncoding = {
  contentType: "application/octet-stream",
  opening: "",
  frame: (text) => text,
  error: () => undefined,
  closing: "",
  heartbeat: undefined,
};

const ENCODINGS = {
  "application/x-ndjson": NDJSON,
  "text/event-stream": SERVER_SENT_EVENTS,
  "application/json": JSON_ARRAY,
} as const;

/** Chooses by the Accept header; newline-delimited JSON where it says nothing, anything, or nothing we have. */
export function chooseStreamEncoding(accept: string | undefined): StreamEncoding {
  if (accept === undefined) return NDJSON;
  const types = ["application/x-ndjson", "text/event-stream", "application/json"] as const;
  const type = chooseAlternative(accept, types, ["*/*"]);
  return type === undefined ? NDJSON : ENCODINGS[type];
}

/** A line break inside an id would end the field and let the rest be taken for another. */
function singleLine(id: string): string {
  return id.replace(/[\r\n\0]/g, "");
}
