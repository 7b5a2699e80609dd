import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { createApiDocs } from "../../src/doors/api-docs.ts";
import { describeApi } from "../../src/rpc/openapi.ts";
import { createTranscoder } from "../../src/transcoder/transcoder.ts";
import { launchChromium } from "../helpers/chromium.ts";
import { type OpenDoors, openDoors } from "../helpers/every-door.ts";

// The page breaks long paths with invisible characters, so that their text is not searched for.
const HEARTBEAT = '[data-path="/api/v1/agent/heartbeat"]';

let doors: OpenDoors;
let browser: Browser;
const { routes } = createTranscoder({ services: [{ service: AgentService, implementation: {} }] });
const description = describeApi(routes);

beforeAll(async () => {
  doors = await openDoors({ services: [], handlers: [createApiDocs(description)] });
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await doors.stop();
});

describe("/openapi.json", () => {
  test("is the description", async () => {
    const answer = await fetch(`${doors.webUrl}/openapi.json`);
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(await answer.json()).toEqual(description);
  });

  test("can only be read", async () => {
    const answer = await fetch(`${doors.webUrl}/openapi.json`, { method: "POST" });
    expect(answer.status).toBe(405);
    expect(answer.headers.get("allow")).toBe("GET, HEAD");
  });
});

describe("/docs", () => {
  test("has no script or style of its own, and loads from nowhere else", async () => {
    const answer = await fetch(`${doors.webUrl}/docs`);
    expect(answer.headers.get("content-security-policy")).toMatch(
      /^default-src 'none'; script-src 'self'; style-src 'self'/,
    );
    const page = await answer.text();
    expect(page).not.toMatch(/<script>|<style|style=|\bon\w+=|https?:/);
  });

  test("shows the API in a browser, and breaks none of its own rules", async () => {
    const page = await browser.newPage();
    const complaints: string[] = [];
    const foreign: string[] = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => {
      if (!/^(data:|blob:)/.test(request.url()) && !request.url().startsWith(doors.webUrl))
        foreign.push(request.url());
    });
    await page.goto(`${doors.webUrl}/docs`);
    await page.waitForSelector(HEARTBEAT);
    await page.click(HEARTBEAT);
    await page.waitForSelector("text=durable once it is acknowledged.");
    expect(complaints).toEqual([]);
    expect(foreign).toEqual([]);
    await page.close();
  });
});
