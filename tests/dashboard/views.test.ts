import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TaskState } from "../../gen/drover/v1/task_pb.js";
import { launchChromium } from "../helpers/chromium.ts";
import { type ControlPlaneProcess, spawnControlPlane } from "../helpers/control-plane.ts";
import { connectFleet, type Fleet, type OperatorApi } from "../helpers/fleet-api.ts";
import { type DashboardPage, findBarriers, openDashboard, shoot, sizes } from "./dashboard-page.ts";
import { type DemoFleet, makeDemoFleet } from "./demo-fleet.ts";

let server: ControlPlaneProcess;
let fleet: Fleet;
let operator: OperatorApi;
let demo: DemoFleet;
let browser: Browser;
let failed: string;
let beating: ReturnType<typeof setInterval>;

beforeAll(async () => {
  execFileSync(process.execPath, [
    fileURLToPath(new URL("../../scripts/build-dashboard.ts", import.meta.url)),
  ]);
  [server, browser] = await Promise.all([
    spawnControlPlane({
      settings: {
        DROVER_HEARTBEAT_INTERVAL: "1s",
        DROVER_OFFLINE_GRACE: "1s",
        DROVER_LEASE: "30s",
        DROVER_BRAKE_MIN_AGENTS: "5000",
      },
    }),
    launchChromium(),
  ]);
  fleet = connectFleet({ httpUrl: server.httpUrl, grpcTarget: server.grpcAddress });
  operator = fleet.operator(server.operatorToken);
  demo = await makeDemoFleet(fleet, operator);
  const { tasks } = await operator.tasks.listTasks({ state: [TaskState.FAILED] });
  failed = tasks[0]?.id ?? "";
  for (let round = 0; round < 3; round++) await demo.beat();
  beating = setInterval(() => void demo.beat().catch(() => {}), 400);
}, 120_000);

afterAll(async () => {
  clearInterval(beating);
  await browser?.close();
  fleet?.close();
  await server?.stop();
});

/** Every view: its address, and what is to be seen once it has been read. */
const views = [
  { name: "fleet", hash: "#/fleet", shows: '[data-agent="gpu-1"]' },
  { name: "agent", hash: "#/agents/gpu-4", shows: "text=fallen off the bus" },
  { name: "agent-busy", hash: "#/agents/gpu-1", shows: ".gauge-line" },
  { name: "task", hash: "#/task-that-failed", shows: "text=best64.rule" },
  { name: "tasks", hash: "#/tasks", shows: "[data-task]" },
  { name: "errors", hash: "#/errors", shows: ".group" },
  { name: "events", hash: "#/events", shows: ".event-rows li" },
  { name: "runs", hash: "#/runs", shows: ".empty, .group" },
  { name: "trackers", hash: "#/trackers", shows: ".empty, .group" },
  { name: "audit", hash: "#/audit", shows: ".audit-rows li" },
  { name: "tokens", hash: "#/tokens", shows: '[role="table"] .grid-row' },
] as const;

describe.each(["light", "dark"] as const)("in %s", (theme) => {
  test.each(["desktop", "mobile"] as const)(
    "every view shows, complains of nothing and has no barrier: %s",
    { timeout: 180_000 },
    async (size) => {
      const barriers: string[] = [];
      const options = { token: server.operatorToken, theme, size };
      const tab = await openDashboard(browser, `${server.httpUrl}/`, options);
      try {
        for (const { name, hash, shows } of views) {
          await see(tab, name === "task" ? `#/tasks/${failed}` : hash, shows);
          await shoot(tab.page, `${name}-${size}-${theme}`);
          const { width } = sizes[size];
          expect(
            await tab.page.evaluate(() => document.documentElement.scrollWidth),
            name,
          ).toBeLessThanOrEqual(width);
          // What differs between the themes are colours, which the wide pages have all of.
          if (size === "mobile" && theme === "dark") continue;
          const found = await findBarriers(tab.page, theme === "dark");
          barriers.push(...found.map((barrier) => `${name}: ${barrier}`));
        }
        expect(barriers).toEqual([]);
        expect(tab.complaints).toEqual([]);
      } finally {
        await tab.close();
      }
    },
  );
});

async function see({ page }: DashboardPage, hash: string, shows: string): Promise<void> {
  await page.evaluate((to) => {
    location.hash = to;
  }, hash);
  await page.locator(shows).first().waitFor();
}
