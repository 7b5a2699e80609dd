import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { launchChromium } from "../helpers/chromium.ts";
import { type ControlPlaneProcess, spawnControlPlane } from "../helpers/control-plane.ts";
import {
  connectFleet,
  enrollAgent,
  enrollAgents,
  type Fleet,
  type OperatorApi,
} from "../helpers/fleet-api.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { startCuttableProxy } from "./cuttable-proxy.ts";
import { type DashboardPage, openDashboard, shoot } from "./dashboard-page.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

let server: ControlPlaneProcess;
let fleet: Fleet;
let operator: OperatorApi;
let browser: Browser;
let tab: DashboardPage;
let home: string;
const groups: number[] = [];

beforeAll(async () => {
  execFileSync(process.execPath, [join(root, "scripts/build-dashboard.ts")]);
  home = await mkdtemp(join(tmpdir(), "drover-story-"));
  [server, browser] = await Promise.all([
    spawnControlPlane({
      settings: { DROVER_HEARTBEAT_INTERVAL: "1s", DROVER_OFFLINE_GRACE: "1s", DROVER_LEASE: "5s" },
    }),
    launchChromium(),
  ]);
  fleet = connectFleet({ httpUrl: server.httpUrl, grpcTarget: server.grpcAddress });
  operator = fleet.operator(server.operatorToken);
}, 120_000);

afterAll(async () => {
  for (const pid of groups) killGroup(pid);
  await browser?.close();
  fleet?.close();
  await server?.stop();
  await rm(home, { recursive: true, force: true });
});

/** Runs a command in a shell of a process group of its own, as somebody would who copied it. */
function runInShell(command: string): number {
  const { PATH = "" } = process.env;
  const child = spawn("bash", ["-c", command], {
    cwd: root,
    env: { PATH, HOME: home },
    stdio: "ignore",
    detached: true,
  });
  const { pid } = child;
  if (pid === undefined) throw new Error("the shell could not be started");
  groups.push(pid);
  return pid;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

/** In the page: writes down when each agent's row first says Offline, in ms since 1970. */
function noteOffline(names: string[]): void {
  const seen: Record<string, number> = {};
  const look = () => {
    for (const name of names) {
      const cell = document.querySelector(`[data-agent="${name}"] .cell-liveness`);
      if (cell?.textContent?.includes("Offline")) seen[name] ??= Date.now();
    }
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
  Object.assign(globalThis, { seenOffline: seen });
}

/** How long after the transition was committed each row said so, in ms: page and database share the machine's clock. */
async function offlineLags(names: readonly string[]): Promise<number[]> {
  const seen = await tab.page.evaluate(
    // Put there by the function above.
    () => (globalThis as unknown as { seenOffline: Record<string, number> }).seenOffline,
  );
  const { events } = await operator.events.listEvents({ types: ["agent.liveness_changed"], pageSize: 1000 });
  return names.map((name) => {
    const lost = events.findLast(({ data }) => data?.agent === name && data.to === "offline");
    return (
      (seen[name] ?? Number.NaN) -
      Number(lost?.time?.seconds ?? 0) * 1000 -
      Math.floor((lost?.time?.nanos ?? 0) / 1e6)
    );
  });
}

const go = (label: string) => tab.page.locator(".navigation li a", { hasText: label }).click();

describe("a stranger with the screen alone", { timeout: 120_000 }, () => {
  let link: string;
  let agentGroup: number;

  test("signs in by the link that the server printed, which works once", async () => {
    // Printed after the addresses, which are all that the server was waited for.
    link = await waitFor(() => /Dashboard: (\S+) /.exec(server.output())?.[1]);
    tab = await openDashboard(browser, link);
    await tab.page.getByText("Your fleet is empty").waitFor();
    expect(tab.page.url()).not.toContain(link.split("/").at(-1));
    await shoot(tab.page, "story-empty");
    const second = await openDashboard(browser, link);
    await second.page.getByText("This link was used before or is too old").waitFor();
    await shoot(second.page, "story-sign-in");
    await second.close();
    const { entries } = await operator.events.listAuditEntries({ action: ["token.created"] });
    expect(entries[0]).toMatchObject({
      actor: "server",
      reason: "signed in to the dashboard by the link that the server printed",
    });
  });

  test("enrolls an agent by the command on the screen", async () => {
    await tab.page.getByLabel("Name of the agent").fill("stranger-1");
    await tab.page.getByRole("button", { name: "Make the enroll command" }).click();
    const command = await tab.page.locator(".enroll-command pre").textContent();
    agentGroup = runInShell(command ?? "");
    await tab.page
      .locator('[data-agent="stranger-1"] .cell-liveness', { hasText: "Live" })
      .waitFor({ timeout: 60_000 });
  });

  test("submits a task and reads its result", async () => {
    await go("Tasks");
    await tab.page.getByText("No work yet").waitFor();
    await tab.page.getByRole("button", { name: "Submit a task" }).click();
    await tab.page.getByRole("dialog").getByLabel("Kind").fill("hello");
    await tab.page.getByLabel("Payload, any JSON").fill('{"name": "world"}');
    await tab.page.getByRole("dialog").getByRole("button", { name: "Submit a task" }).click();
    await tab.page.locator(".page-head .badge", { hasText: "Succeeded" }).waitFor({ timeout: 60_000 });
    const result = tab.page.getByRole("region", { name: "Result" });
    await result.getByText('"world"').waitFor();
    await tab.page.getByRole("region", { name: "Attempts" }).getByText("stranger-1").waitFor();
    await shoot(tab.page, "story-task");
  });

  test("finds the agent that is broken, and why", async () => {
    const broken = await enrollAgent(fleet, operator);
    await fleet.agent(broken.token).heartbeat({
      status: AgentStatus.BUSY,
      error: { severity: Severity.FATAL, message: "the coolant pump has stopped", context: { rpm: 0 } },
    });
    // Whatever page is open says that an agent is in trouble.
    await tab.page.locator(".navigation .bubble", { hasText: "1" }).waitFor();
    const beginsMs = performance.now();
    await go("Fleet");
    // What needs attention comes first.
    await tab.page.locator(".fleet-grid .grid-row a").first().click();
    await tab.page
      .getByRole("region", { name: "Explanation" })
      .getByText("the coolant pump has stopped")
      .waitFor();
    const tookMs = performance.now() - beginsMs;
    console.log(`from any page to the broken agent and its cause: two clicks, ${tookMs.toFixed()} ms`);
    expect(tookMs).toBeLessThan(10_000);
    await tab.page.getByText('"rpm"').waitFor();
    await shoot(tab.page, "story-broken");
  });

  test("sees an agent that was killed go offline by its event within a second, without a list", async () => {
    await go("Fleet");
    // A few that fall silent by and by, besides the one that is killed: one late sight on a busy machine proves nothing.
    const silent = await enrollAgents(fleet, operator, 3);
    for (const agent of silent) {
      await fleet.agent(agent.token).heartbeat({ status: AgentStatus.ONLINE });
      await tab.page.locator(`[data-agent="${agent.name}"] .cell-liveness`, { hasText: "Live" }).waitFor();
    }
    const liveness = tab.page.locator('[data-agent="stranger-1"] .cell-liveness');
    await liveness.filter({ hasText: "Live" }).waitFor();
    await tab.page.route("**/ListAgents", (route) => route.abort());
    const names = ["stranger-1", ...silent.map(({ name }) => name)];
    await tab.page.evaluate(noteOffline, names);
    killGroup(agentGroup);
    for (const name of names)
      await tab.page.locator(`[data-agent="${name}"] .cell-liveness`, { hasText: "Offline" }).waitFor();
    const lags = await offlineLags(names);
    console.log(`offline on the screen after ${lags.map((ms) => `${ms} ms`).join(", ")}`);
    expect(Math.min(...lags)).toBeLessThan(1000);
    await tab.page.unroute("**/ListAgents");
    expect(tab.complaints.filter((text) => !text.includes("ERR_FAILED"))).toEqual([]);
    await tab.close();
  });
});

test("a stream that was cut is resumed without a gap", { timeout: 120_000 }, async () => {
  const proxy = await startCuttableProxy(server.httpUrl);
  const { page, close } = await openDashboard(browser, `${proxy.url}/#/events?type=task.created`, {
    token: server.operatorToken,
  });
  try {
    await page.getByText("Live", { exact: true }).waitFor();
    const made: string[] = [];
    const make = async () => {
      const { task } = await operator.tasks.createTask({ kind: "unseen" });
      if (task !== undefined) made.push(task.id);
    };
    await make();
    await page.locator(`a[href="#/tasks/${made[0]}"]`).waitFor();
    proxy.cut();
    await page.getByText("Reconnecting…").waitFor();
    for (let i = 0; i < 20; i++) await make();
    const banner = page.getByText("The server has not answered since");
    await banner.waitFor();
    await shoot(page, "reconnecting");
    proxy.mend();
    await page.getByText("Live", { exact: true }).waitFor();
    await banner.waitFor({ state: "detached" });
    await make();
    await page.locator(`a[href="#/tasks/${made.at(-1)}"]`).waitFor();
    const shown = await page
      .locator(".event-rows a")
      .evaluateAll((links) => links.map((each) => each.getAttribute("href")));
    expect(shown.slice(0, made.length).reverse()).toEqual(made.map((id) => `#/tasks/${id}`));
  } finally {
    await close();
    await proxy.close();
  }
});

test("a token that is revoked leads back to the sign-in with a sentence; a wrong one is told apart", {
  timeout: 60_000,
}, async () => {
  const { page, close } = await openDashboard(browser, `${server.httpUrl}/`);
  const { token, secret } = await operator.tokens.createToken({ role: 5 });
  await page.getByLabel("Token of an operator or a viewer").fill("nonsense");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("This is not a whole Drover token").waitFor();
  await page.getByLabel("Token of an operator or a viewer").fill(secret);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator(".fleet-grid").waitFor();
  await page.reload();
  await page.locator(".fleet-grid").waitFor();
  await operator.tokens.revokeToken({ token: token?.id ?? "" });
  await page.getByText("Your session has ended").waitFor();
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  await close();
});

test("five thousand agents stay readable: few rows exist, the last is reached, a search finds one", {
  timeout: 120_000,
}, async () => {
  await server.database`
    WITH template AS (SELECT * FROM agents ORDER BY created_at LIMIT 1),
    added AS (
      INSERT INTO agents SELECT (jsonb_populate_record(NULL::agents,
        to_jsonb(template) || jsonb_build_object('id', gen_random_uuid(), 'name', 'mass-' || lpad(n::text, 5, '0')))).*
      FROM template, generate_series(1, 5000) n RETURNING project_id, id)
    INSERT INTO agent_states SELECT (jsonb_populate_record(NULL::agent_states, to_jsonb(state) || jsonb_build_object('agent_id', added.id))).*
    FROM added, (SELECT agent_states.* FROM agent_states JOIN template ON template.id = agent_states.agent_id) state`;
  const { page, close, complaints } = await openDashboard(browser, `${server.httpUrl}/#/fleet?sort=name`, {
    token: server.operatorToken,
  });
  await page.locator('[data-agent="mass-00001"]').waitFor({ timeout: 60_000 });
  const rows = page.locator(".fleet-grid .grid-row");
  expect(await rows.count()).toBeLessThan(80);
  await shoot(page, "fleet-5000");
  const main = page.locator("main");
  const frames = await main.evaluate(async (element) => {
    const times: number[] = [];
    for (let i = 0; i < 60; i++) {
      const before = performance.now();
      element.scrollTop += 900;
      await new Promise((resolve) => requestAnimationFrame(resolve));
      times.push(performance.now() - before);
    }
    element.scrollTop = element.scrollHeight;
    return times.sort((a, b) => a - b);
  });
  console.log(
    `scrolling 5,000 agents: median frame ${frames[30]?.toFixed(1)} ms, worst ${frames[59]?.toFixed(1)} ms`,
  );
  await page.locator('[data-agent^="stranger-1"]').waitFor();
  expect(await rows.count()).toBeLessThan(80);
  await page.getByLabel("Search agents").fill("mass-04321");
  await page.locator('[data-agent="mass-04321"]').waitFor();
  expect(await rows.count()).toBe(1);
  expect(complaints).toEqual([]);
  await close();
});
