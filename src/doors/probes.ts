import type { FindNotReady } from "./readiness.ts";
import {
  rawPathOf,
  sendJson,
  sendRefusal,
  type WebHandler,
  type WebRequest,
  type WebResponse,
} from "./web-handler.ts";

/**
 * `/healthz`, which says that the process lives, and `/readyz`, which answers 503 with the names and reasons of
 * what is not ready.
 */
export function createProbes(findNotReady: FindNotReady): WebHandler {
  return createGetRoutes({
    "/healthz": async (_request, response) => sendJson(response, 200, { status: "ok" }),
    "/readyz": async (_request, response) => {
      const notReady = await findNotReady();
      if (notReady.length === 0) sendJson(response, 200, { status: "ok" });
      else sendJson(response, 503, { status: "unavailable", notReady });
    },
  });
}

/** Answers GET and HEAD of exact paths; any other method of such a path is 405. */
export function createGetRoutes(
  routes: Readonly<Record<string, (request: WebRequest, response: WebResponse) => Promise<void>>>,
): WebHandler {
  const byPath = new Map(Object.entries(routes));
  return async (request, response) => {
    const route = byPath.get(rawPathOf(request));
    if (route === undefined) return false;
    if (request.method === "GET" || request.method === "HEAD") {
      await route(request, response);
    } else {
      response.setHeader("allow", "GET, HEAD");
      sendRefusal(response, 405, "this path can only be read");
    }
    return true;
  };
}
