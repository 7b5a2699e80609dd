import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { build } from "vite";
import { launchChromium } from "./chromium.ts";

/** An empty page of its own origin in a real browser. */
export interface BrowserPage {
  readonly origin: string;
  /** Bundles a module, runs it in the page and calls one of its exports. */
  call(modulePath: string, exportName: string, argument: unknown): Promise<unknown>;
  close(): Promise<void>;
}

export async function openBrowserPage(): Promise<BrowserPage> {
  const server = createServer((_request, response) => {
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end("<!doctype html><title>a page of somebody else</title>");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A server that listens on TCP has an address of this shape.
  const { port } = server.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  const browser = await launchChromium();
  const page = await browser.newPage();
  await page.goto(origin);
  return {
    origin,
    async call(modulePath, exportName, argument) {
      await page.addScriptTag({ content: await bundle(modulePath) });
      return await page.evaluate(
        ([name, value]) =>
          // The bundle has put its exports there.
          (globalThis as unknown as { snippet: Record<string, (value: unknown) => unknown> }).snippet[
            String(name)
          ]?.(value),
        [exportName, argument],
      );
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}

async function bundle(entry: string): Promise<string> {
  const result = await build({
    configFile: false,
    logLevel: "error",
    build: { write: false, minify: false, lib: { entry, formats: ["iife"], name: "snippet" } },
  });
  const [output] = Array.isArray(result) ? result : [];
  const [chunk] = output?.output ?? [];
  if (chunk?.type !== "chunk") throw new Error("the bundler gave no code");
  return chunk.code;
}
