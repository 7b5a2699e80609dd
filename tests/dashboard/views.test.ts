import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TaskState } from "../../gen/drover/v1/task_pb.js";
import { launchChromium } from "../helpers/chromium.ts";
import { type ControlPlaneProcess, spawnControlPlane } from "../helpers/control-plane.ts";
import { type FakeGitHub, startFakeGitHub } from "../helpers/fake-github.ts";
import { connectFleet, type EnrolledAgent, type Fleet, type OperatorApi } from "../helpers/fleet-api.ts";
import { waitFor } from "../helpers/wait-for.ts";
import {
  type DashboardPage,
  findBarriers,
  findOverflow,
  openDashboard,
  shoot,
  sizes,
} from "./dashboard-page.ts";
import { type DemoFleet, makeDemoFleet } from "./demo-fleet.ts";

let server: ControlPlaneProcess;
let fleet: Fleet;
let operator: OperatorApi;
let demo: DemoFleet;
let browser: Browser;
let failed: string;
let quarantined: string;
let beating: ReturnType<typeof setInterval>;
let github: FakeGitHub;
let muteStream: AbortController;

beforeAll(async () => {
  execFileSync(process.execPath, [
    fileURLToPath(new URL("../../scripts/build-dashboard.ts", import.meta.url)),
  ]);
  github = await startFakeGitHub();
  [server, browser] = await Promise.all([
    spawnControlPlane({
      settings: {
        DROVER_HEARTBEAT_INTERVAL: "1s",
        DROVER_OFFLINE_GRACE: "1s",
        DROVER_LEASE: "30s",
        DROVER_RETRY_BACKOFF: "10ms",
        DROVER_BRAKE_MIN_AGENTS: "5000",
        DROVER_TRACKER_ALLOWED_HOSTS: github.allowed,
      },
    }),
    launchChromium(),
  ]);
  fleet = connectFleet({ httpUrl: server.httpUrl, grpcTarget: server.grpcAddress });
  operator = fleet.operator(server.operatorToken);
  demo = await makeDemoFleet(fleet, operator);
  const inState = async (state: TaskState) =>
    (await operator.tasks.listTasks({ state: [state] })).tasks[0]?.id ?? "";
  failed = await inState(TaskState.FAILED);
  quarantined = await inState(TaskState.QUARANTINED);
  for (let round = 0; round < 3; round++) await demo.beat();
  (await listen(demo.deaf)).abort();
  muteStream = await listen(demo.mute);
  await server.database`
    INSERT INTO agent_flaps SELECT project_id, id, 5, now(), true FROM agents WHERE name = 'gpu-8'`;
  await runPasses();
  beating = setInterval(() => void demo.beat().catch(() => {}), 400);
}, 120_000);

afterAll(async () => {
  clearInterval(beating);
  muteStream?.abort();
  await browser?.close();
  fleet?.close();
  await server?.stop();
  await github?.stop();
});

/** Opens an agent's stream of commands, as soon as the database knows of it; resolves to what ends it. */
async function listen({ name, uuid, token }: EnrolledAgent): Promise<AbortController> {
  const ending = new AbortController();
  const stream = fleet.agent(token).watchCommands({ bootId: `boot-of-${name}` }, { signal: ending.signal });
  // It hears of nothing here, and ends by the test.
  void (async () => {
    for await (const _ of stream);
  })().catch(() => {});
  await waitFor(
    async () =>
      (await server.database`SELECT 1 FROM agent_streams WHERE agent_id = ${uuid} AND ended_at IS NULL`)
        .length > 0,
    { what: "the stream's row" },
  );
  return ending;
}

/** One pass that goes well, and one with a tracker that fails. */
async function runPasses(): Promise<void> {
  const call = async (path: string, body: object) => {
    const answer = await fetch(`${server.httpUrl}${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${server.operatorToken}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(await answer.text());
  };
  const labels = ["triage"];
  github.put("acme/pipeline", [
    { number: 41, title: "Nightly build hangs on arm64", labels },
    { number: 42, title: "Flaky checksum in the importer", labels: ["bug", "importer"] },
    { number: 37, title: "Document the retry policy", state: "closed" },
  ]);
  const rule = { label: "triage", taskKind: "triage" };
  await call("/api/v1/trackers", { repository: "acme/pipeline", baseUrl: github.url, rule });
  await call("/api/agents/ci-runner-1/heartbeat", {});
  await call("/api/v1/trackers", { repository: "acme/moved-away", baseUrl: github.url });
  await call("/api/agents/ci-runner-2/heartbeat", {});
}

/** Every view: its address, and what is to be seen once it has been read. */
const views = [
  { name: "fleet", hash: "#/fleet", shows: '[data-agent="gpu-1"]' },
  { name: "agent", hash: "#/agents/gpu-4", shows: "text=fallen off the bus" },
  { name: "agent-busy", hash: "#/agents/gpu-1", shows: ".gauge-line" },
  { name: "task", hash: "#/task-that-failed", shows: "text=best64.rule" },
  { name: "task-quarantined", hash: "#/task-set-aside", shows: "text=killed by the kernel" },
  { name: "tasks", hash: "#/tasks", shows: "[data-task]" },
  { name: "errors", hash: "#/errors", shows: ".group" },
  { name: "events", hash: "#/events", shows: ".event-rows li" },
  { name: "runs", hash: "#/runs", shows: ".group" },
  { name: "trackers", hash: "#/trackers", shows: "text=Flaky checksum" },
  { name: "audit", hash: "#/audit", shows: ".audit-rows li" },
  { name: "tokens", hash: "#/tokens", shows: '[role="table"] .grid-row' },
] as const;

test("agents that are deaf, mute, flapping or cordoned are told apart, filtered and explained", {
  timeout: 90_000,
}, async () => {
  const { page, close } = await openDashboard(browser, `${server.httpUrl}/#/fleet`, {
    token: server.operatorToken,
  });
  const tag = (name: string, word: string) => page.locator(`[data-agent="${name}"] .tag`, { hasText: word });
  await tag(demo.deaf.name, "Deaf").waitFor();
  await tag(demo.mute.name, "Mute").waitFor();
  await tag("gpu-8", "Flapping").waitFor();
  // The README's picture: `cp screenshots/fleet-watched.png docs/dashboard.png`.
  for (let lists = 0; lists < 2; lists++) await page.waitForResponse(/ListAgents$/);
  await shoot(page, "fleet-watched");
  await page.getByRole("button", { name: "Flapping" }).click();
  expect(await page.locator("[data-agent]").evaluateAll((rows) => rows.length)).toBe(1);
  await page.locator('[data-agent="gpu-8"] a').click();
  await page.getByRole("region", { name: "Explanation" }).getByText("it is flapping").waitFor();
  await close();
});

describe.each(["light", "dark"] as const)("in %s", (theme) => {
  test.each(["desktop", "mobile"] as const)(
    "every view shows, complains of nothing and has no barrier: %s",
    { timeout: 180_000 },
    async (size) => {
      const barriers: string[] = [];
      const options = { token: server.operatorToken, theme, size };
      const tab = await openDashboard(browser, `${server.httpUrl}/`, options);
      try {
        for (const [place, { name, hash, shows }] of views.entries()) {
          await see(tab, addressOf(hash), shows);
          await shoot(tab.page, `${name}-${size}-${theme}`);
          // Where columns go away and the pages are arranged anew; the dark ones are as wide as the light ones.
          const widths =
            size === "desktop" && theme === "light" ? [1440, 1200, 1050, 900, 770] : [sizes[size].width];
          expect(await findOverflow(tab.page, widths), name).toEqual([]);
          // What differs between the themes are colours; each dark page is looked at in one of the sizes.
          if (theme === "dark" && (size === "mobile") !== (place % 2 === 0)) continue;
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

test("a wall of 3840 × 2160 shows the pages larger, whole and where they are pointed at", {
  timeout: 60_000,
}, async () => {
  const options = { token: server.operatorToken, theme: "dark", size: "wall" } as const;
  const { page, close, complaints } = await openDashboard(browser, `${server.httpUrl}/`, options);
  const rows = page.locator("[data-agent]");
  await rows.first().waitFor();
  await shoot(page, "fleet-wall-dark");
  expect(await page.locator(".shell").boundingBox()).toEqual({ x: 0, y: 0, ...sizes.wall });
  const map = page.locator(".fleet-map canvas");
  const last = (await rows.count()) - 1;
  const { width = 0 } = (await map.boundingBox()) ?? {};
  const tile = (22 * width) / (await map.evaluate((canvas) => canvas.clientWidth));
  await map.hover({ position: { x: tile * (last + 0.4), y: tile * 0.4 } });
  expect(await map.getAttribute("title")).toContain(`${await rows.nth(last).getAttribute("data-agent")}:`);
  await see({ page }, "#/agents/gpu-4", "text=fallen off the bus");
  await shoot(page, "agent-wall-dark");
  expect(complaints).toEqual([]);
  await close();
});

async function see({ page }: Pick<DashboardPage, "page">, hash: string, shows: string): Promise<void> {
  await page.evaluate((to) => {
    location.hash = to;
  }, hash);
  await page.locator(shows).first().waitFor();
  await page.waitForFunction(() => document.querySelector(".skeleton") === null);
}

/** The tasks' ids are not known before there are some. */
const addressOf = (hash: string): string =>
  hash.replace("task-that-failed", `tasks/${failed}`).replace("task-set-aside", `tasks/${quarantined}`);

test("an operator acts by the screen, each time asked once more; keys go everywhere", {
  timeout: 120_000,
}, async () => {
  const { page, close, complaints } = await openDashboard(browser, `${server.httpUrl}/#/agents/ci-runner-3`, {
    token: server.operatorToken,
  });
  const dialog = page.getByRole("dialog");
  const act = async (label: string, fill?: readonly [field: string, text: string]) => {
    await page.locator("main").getByRole("button", { name: label, exact: true }).first().click();
    if (fill !== undefined) await dialog.getByLabel(fill[0]).fill(fill[1]);
    await dialog.getByRole("button", { name: label, exact: true }).click();
    await dialog.waitFor({ state: "detached" });
  };
  const head = page.locator(".page-head");
  // What is not confirmed is not done.
  await page.getByRole("button", { name: "Remove", exact: true }).click();
  await dialog.waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await act("Drain", ["Reason", "new disk"]);
  await act("Uncordon");
  await act("Cordon", ["Reason", "moved to another rack"]);
  await head.locator(".tag", { hasText: "Cordoned" }).waitFor();
  await page.getByText("moved to another rack").first().waitFor();
  await page.getByRole("img", { name: /^Cordon: .*Draining for .*, then Cordoned for / }).waitFor();
  await act("Rotate token");
  await page.getByText("is told to rotate its token").waitFor();
  await act("Remove");
  await page.locator(".fleet-grid").waitFor();
  await page.locator('[data-agent="ci-runner-3"]').waitFor({ state: "detached" });
  await see({ page }, "#/agents/gpu-1", "text=boot-before");
  const runs = page.getByRole("region", { name: "Sessions" }).getByRole("listitem");
  expect(await runs.allTextContents()).toEqual([
    expect.stringMatching(/^2Present.*boot-of-gpu-1$/),
    expect.stringMatching(/^1began .*heard for .*, the next came .* later.*boot-before$/),
  ]);
  await see({ page }, "#/agents/gpu-4", "text=fallen off the bus");
  await act("Reset");
  await head.locator(".badge", { hasText: "Online" }).waitFor();

  await page.keyboard.press("g");
  await page.keyboard.press("t");
  await act("Submit a task", ["Kind", "by-hand"]);
  await act("Cancel the task", ["Reason", "not needed"]);
  await head.getByText("Cancelled").waitFor();
  await act("Retry");
  await head.getByText("Pending").waitFor();

  await page.keyboard.press("Control+k");
  await dialog.getByRole("combobox").waitFor();
  await page.keyboard.type("toke");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Mint" }).click();
  expect(await page.locator('.mint [role="status"] code').textContent()).toMatch(/^drv_vwr_/);
  const minted = page.locator('[role="table"] .grid-row', { hasText: "Viewer" });
  await minted.getByRole("button", { name: "Revoke" }).click();
  await dialog.getByRole("button", { name: "Revoke" }).click();
  await minted.getByText("revoked").waitFor();

  await see({ page }, "#/audit?action=agent.cordoned", ".audit-rows li");
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export CSV" }).click();
  const lines = (await readFile(await (await download).path(), "utf8")).trimEnd().split("\r\n");
  expect(lines[0]).toMatch(/^id,time,actor,action,/);
  expect(lines.slice(1).every((line) => line.includes(",agent.cordoned,"))).toBe(true);
  expect(lines.join()).toContain("moved to another rack");

  await see({ page }, "#/events?type=task.created", ".event-rows li");
  await page.getByRole("button", { name: "Pause" }).click();
  const { task } = await operator.tasks.createTask({ kind: "held-back" });
  await page.getByText("held back").waitFor();
  expect(await page.locator(`a[href="#/tasks/${task?.id}"]`).count()).toBe(0);
  await page.getByRole("button", { name: "Go on" }).click();
  await page.locator(`a[href="#/tasks/${task?.id}"]`).waitFor();
  expect(complaints).toEqual([]);
  await close();
});
