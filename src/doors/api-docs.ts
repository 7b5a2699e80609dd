import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { JsonObject } from "@bufbuild/protobuf";
import { createGetRoutes } from "./probes.ts";
import { sendHeaders, type WebHandler, type WebRequest, type WebResponse } from "./web-handler.ts";

/**
 * `/openapi.json`, and `/docs` that shows it. The page runs no script but the ones it names, which come from this
 * server, and loads nothing from anywhere else.
 */
export function createApiDocs(description: JsonObject): WebHandler {
  const json = Buffer.from(JSON.stringify(description));
  return createGetRoutes({
    "/openapi.json": send("application/json", async () => json),
    "/docs": send("text/html; charset=utf-8", async () => Buffer.from(PAGE)),
    "/docs/start.js": send("text/javascript; charset=utf-8", async () => Buffer.from(START)),
    "/docs/swagger-ui.css": send("text/css; charset=utf-8", () => readAsset("swagger-ui.css")),
    "/docs/swagger-ui-bundle.js": send("text/javascript; charset=utf-8", () =>
      readAsset("swagger-ui-bundle.js"),
    ),
    "/docs/favicon.png": send("image/png", () => readAsset("favicon-32x32.png")),
  });
}

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Drover API</title>
<link rel="icon" href="/docs/favicon.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`;

// Without validatorUrl it would send the description to a service on the internet.
const START = `SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  validatorUrl: null,
});
`;

// The page's own styles hold images as data, and its script sets styles on elements, which is no style-src matter.
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

function send(contentType: string, read: () => Promise<Buffer>) {
  return async (_request: WebRequest, response: WebResponse): Promise<void> => {
    const bytes = await read();
    sendHeaders(response, 200, {
      "content-type": contentType,
      "content-length": bytes.length,
      "content-security-policy": CONTENT_SECURITY_POLICY,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
    });
    // Both classes take the same arguments here, but their overloads do not unite into one call signature.
    if ("stream" in response) response.end(bytes);
    else response.end(bytes);
  };
}

/** Read when first asked for and kept: most servers are never asked. */
const assets = new Map<string, Promise<Buffer>>();

function readAsset(name: string): Promise<Buffer> {
  const folder = dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
  const asset = assets.get(name) ?? readFile(join(folder, name));
  assets.set(name, asset);
  return asset;
}
