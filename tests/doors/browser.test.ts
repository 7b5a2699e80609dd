import { fileURLToPath } from "node:url";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Browser, Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BadRequestSchema } from "../../gen/google/rpc/error_details_pb.js";
import { serve } from "../../src/doors/door.ts";
import { createGetRoutes } from "../../src/doors/probes.ts";
import { TlsIdentity } from "../../src/doors/tls.ts";
import { createAuthority, createTlsFolder, type TlsFolder } from "../helpers/certificates.ts";
import { launchChromium } from "../helpers/chromium.ts";
import { EchoService } from "../helpers/echo-service.ts";
import { type OpenDoors, openDoors } from "../helpers/every-door.ts";
import type { callFromPage } from "./browser/page.ts";

let browser: Browser;
let page: Page;
let home: OpenDoors;
let friendly: OpenDoors;
let closed: OpenDoors;
let secure: OpenDoors;
let tlsFolder: TlsFolder;
let streamsCancelled = 0;

const echo = serve(EchoService, {
  say({ text }) {
    if (text === "refuse") {
      throw new ConnectError("not you", Code.Unauthenticated, undefined, [
        { desc: BadRequestSchema, value: { fieldViolations: [{ field: "text", description: "is wrong" }] } },
      ]);
    }
    return { text };
  },
  async *count({ count }, { signal }) {
    signal.addEventListener("abort", () => {
      streamsCancelled += 1;
    });
    for (let i = 1; i <= count; i++) yield { count: i };
  },
});

beforeAll(async () => {
  const code = await bundle(fileURLToPath(new URL("./browser/page.ts", import.meta.url)));
  const pages = createGetRoutes({
    "/": async (_request, response) => {
      response.setHeader("content-type", "text/html; charset=utf-8");
      response.end('<!doctype html><title>a page</title><script src="/page.js"></script>');
    },
    "/page.js": async (_request, response) => {
      response.setHeader("content-type", "text/javascript; charset=utf-8");
      response.end(code);
    },
  });
  home = await openDoors({ services: [echo], handlers: [pages] });
  friendly = await openDoors({ services: [echo], corsOrigins: [home.webUrl] });
  closed = await openDoors({ services: [echo], corsOrigins: ["https://another.example"] });
  const authority = await createAuthority();
  tlsFolder = await createTlsFolder(await authority.issue(), authority.ca);
  const tls = new TlsIdentity(
    { ...tlsFolder, clientCa: undefined },
    { renewed: () => {}, refused: () => {} },
  );
  secure = await openDoors({ services: [echo], handlers: [pages], tls });
  browser = await launchChromium();
  page = await browser.newPage();
  await page.goto(home.webUrl);
}, 120_000);

afterAll(async () => {
  await browser?.close();
  await Promise.all([home, friendly, closed, secure].map((doors) => doors?.stop()));
  await tlsFolder?.remove();
});

/** One script that brings everything it imports. */
async function bundle(entry: string): Promise<string> {
  const result = await build({
    configFile: false,
    logLevel: "error",
    build: { write: false, minify: false, lib: { entry, formats: ["iife"], name: "page" } },
  });
  const [output] = Array.isArray(result) ? result : [];
  const [chunk] = output?.output ?? [];
  if (chunk?.type !== "chunk") throw new Error("the bundler gave no code");
  return chunk.code;
}

const call = (baseUrl: string, protocol: Parameters<typeof callFromPage>[1], from: Page = page) =>
  from.evaluate(
    ([url, way]) =>
      // Put there by the page's own script.
      (
        globalThis as unknown as { callFromPage: typeof import("./browser/page.ts").callFromPage }
      ).callFromPage(url, way),
    [baseUrl, protocol] as const,
  );

describe.each(["connect-binary", "connect-json", "grpc-web"] as const)("%s in Chromium", (protocol) => {
  const good = {
    unary: "from the page",
    stream: [1, 2, 3],
    cancelledAfter: expect.any(Number),
    refusal: { code: "Unauthenticated", message: "not you", details: 1, hint: "Bearer" },
  };

  test("calls its own origin", async () => {
    streamsCancelled = 0;
    const outcome = await call(home.webUrl, protocol);
    expect(outcome).toEqual(good);
    expect(streamsCancelled).toBeGreaterThan(0);
  });

  test("calls another origin that allows it, and reads errors and their headers", async () => {
    expect(await call(friendly.webUrl, protocol)).toEqual(good);
  });

  test("calls its own origin over TLS, where ALPN gives it HTTP/2", async () => {
    const { host, port } = secure.web.address;
    const url = `https://${host}:${port}`;
    // It trusts no root of a test.
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    try {
      const own = await context.newPage();
      await own.goto(url);
      expect(await call(url, protocol, own)).toEqual(good);
      const spoken = await own.evaluate(() =>
        performance
          .getEntries()
          .flatMap((entry) => ("nextHopProtocol" in entry ? [entry.nextHopProtocol] : [])),
      );
      expect(spoken.length).toBeGreaterThan(3);
      expect(new Set(spoken)).toEqual(new Set(["h2"]));
    } finally {
      await context.close();
    }
  });

  test("cannot call an origin that does not allow it", async () => {
    const outcome = await call(closed.webUrl, protocol);
    expect(outcome.unary).toBeUndefined();
    expect(outcome.failure).toContain("Failed to fetch");
  });
});
