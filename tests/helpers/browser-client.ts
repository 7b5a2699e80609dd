import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { create, type DescMessage, type DescMethodUnary, toBinary } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import type { Page } from "playwright-core";
import { build } from "vite";
import type { PageAnswer, PageCall } from "./browser-page.ts";
import { launchChromium } from "./chromium.ts";
import {
  type DoorClient,
  failureOf,
  headersOf,
  messageFromBase64,
  type Outcome,
  toBase64,
} from "./door-client.ts";

/** A page open in Chromium, at an origin of its own. */
export interface BrowserPage {
  readonly origin: string;
  readonly page: Page;
  close(): Promise<void>;
}

/** Serves a page on a free port and opens it. */
export async function openBrowserPage(): Promise<BrowserPage> {
  const [script, browser] = await Promise.all([bundle(), launchChromium()]);
  const server = createServer((request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? script : '<!doctype html><title>Doors</title><script src="/page.js"></script>');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A string would be the path of a Unix socket.
  const { port } = server.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  const page = await browser.newPage();
  await page.goto(origin);
  return {
    origin,
    page,
    close: async () => {
      await browser.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function bundle(): Promise<string> {
  const output = await build({
    configFile: false,
    logLevel: "error",
    build: {
      write: false,
      minify: false,
      lib: {
        entry: fileURLToPath(new URL("browser-page.ts", import.meta.url)),
        formats: ["iife"],
        name: "doors",
      },
    },
  });
  const [chunk] = [output].flat().flatMap((each) => ("output" in each ? each.output : []));
  if (chunk?.type !== "chunk") throw new Error("the page's script was not built");
  return chunk.code;
}

/** connect-web in the page: Connect with JSON, which is its default, or gRPC-Web, which is protobuf. */
export function createBrowserClient(
  { page }: BrowserPage,
  baseUrl: string,
  protocol: "connect" | "grpc-web",
): DoorClient {
  const send = async <O extends DescMessage>(
    method: DescMethodUnary<DescMessage, O>,
    request: PageCall["request"],
    headers: Record<string, string>,
  ): Promise<Outcome<O>> => {
    const call: PageCall = {
      baseUrl,
      protocol,
      service: method.parent.typeName,
      method: method.name,
      headers,
      request,
    };
    const answer = await page.evaluate(
      (each) =>
        (globalThis as unknown as { callFromPage(call: PageCall): Promise<PageAnswer> }).callFromPage(each),
      call,
    );
    if (answer.ok) return { ok: true, message: messageFromBase64(method.output, answer.message) };
    const error = new ConnectError(answer.message, answer.code, new Headers(answer.headers));
    error.details = answer.details.map(({ type, value }) => ({ type, value: Buffer.from(value, "base64") }));
    return failureOf(error);
  };
  return {
    carries: protocol === "connect" ? "json" : "protobuf",
    call: (method, init, options = {}) => {
      const message = toBase64(toBinary(method.input, create(method.input, init)));
      return send(method, { message }, headersOf(options));
    },
    callRaw: (method, { bytes, json }, options = {}) =>
      send(method, protocol === "connect" ? { json } : { bytes: toBase64(bytes) }, headersOf(options)),
    close: async () => {},
  };
}
