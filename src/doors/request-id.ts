import { randomUUID } from "node:crypto";
import { createContextKey } from "@connectrpc/connect";

/** The header by which a call is named, in the request by its caller and in the answer by the server. */
export const REQUEST_ID_HEADER = "x-request-id";

/** The name of a call, by which the log's lines of it are found. */
export const requestIdKey = createContextKey<string>("", { description: "the call's id" });

// What proxies and tracing libraries write, and nothing that could pass for something else in a log.
const wellFormed = /^[\w.:/+=@-]{1,64}$/;

/** The caller's own name for the call where it is short and of plain characters, otherwise a fresh one. */
export function requestIdOf(given: string | null | undefined): string {
  return given != null && wellFormed.test(given) ? given : randomUUID();
}
