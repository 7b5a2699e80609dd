import { createGetRoutes } from "./probes.ts";
import { sendHeaders, type WebHandler } from "./web-handler.ts";

/** `/metrics`, for whoever can reach the port: what it tells are numbers, and no name of an agent or project. */
export function createMetricsPage(
  read: () => Promise<{ readonly contentType: string; readonly text: string }>,
): WebHandler {
  return createGetRoutes({
    "/metrics": async (_request, response) => {
      const { contentType, text } = await read();
      const bytes = Buffer.from(text);
      sendHeaders(response, 200, { "content-type": contentType, "content-length": bytes.length });
      // Both classes take the same arguments here, but their overloads do not unite into one call signature.
      if ("stream" in response) response.end(bytes);
      else response.end(bytes);
    },
  });
}
