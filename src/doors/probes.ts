import {
  rawPathOf,
  sendJson,
  sendRefusal,
  type WebHandler,
  type WebRequest,
  type WebResponse,
} from "./web-handler.ts";

/** Asks whether one thing is ready: undefined when it is, otherwise a sentence that says what is missing. */
export type ReadinessCheck = () => Promise<string | undefined>;

/** How long a readiness check may take before it counts as failed, in milliseconds. */
const CHECK_TIMEOUT_MS = 2000;

/**
 * `/healthz`, which says that the process lives, and `/readyz`, which asks every check and answers 503 with the
 * names and reasons of those that are not ready.
 */
export function createProbes(checks: Readonly<Record<string, ReadinessCheck>>): WebHandler {
  return createGetRoutes({
    "/healthz": async (_request, response) => sendJson(response, 200, { status: "ok" }),
    "/readyz": async (_request, response) => {
      const answers = await Promise.all(
        Object.entries(checks).map(async ([name, check]) => ({ name, reason: await reasonOf(check) })),
      );
      const notReady = answers.filter(({ reason }) => reason !== undefined);
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

async function reasonOf(check: ReadinessCheck): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve("no answer in time"), CHECK_TIMEOUT_MS);
  });
  try {
    return await Promise.race([check(), late]);
  } catch {
    // What a check throws is for its own log: this path is open to anyone.
    return "the check failed";
  } finally {
    clearTimeout(timer);
  }
}
