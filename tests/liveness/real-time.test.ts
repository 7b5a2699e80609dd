import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { waitFor } from "../helpers/wait-for.ts";

let plane: TestControlPlane;
beforeAll(async () => {
  plane = await startControlPlane({
    settings: {
      DROVER_HEARTBEAT_INTERVAL: "1s",
      DROVER_STALE_AFTER: "1.5",
      DROVER_OFFLINE_AFTER: "3",
      DROVER_OFFLINE_GRACE: "0s",
    },
  });
});
afterAll(() => plane.stop());

interface Answer {
  secret: string;
  nextHeartbeat: string;
  entries: { subject: string; from: string; to: string; reason: string }[];
}

async function rest(token: string, method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(`${plane.httpUrl}/api/v1/${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  expect(response.status).toBe(200);
  // The fields that a call lacks are not looked at.
  return (await response.json()) as Answer;
}

async function enroll(name: string): Promise<string> {
  const { secret } = await rest(plane.operatorToken, "POST", "tokens", { role: "enrollment" });
  return (await rest(secret, "POST", "agents:enroll", { name })).secret;
}

const losses = async () => {
  const { entries } = await rest(
    plane.operatorToken,
    "GET",
    "audit?action=agent.liveness_changed&orderBy=time",
  );
  return entries.filter(({ to }) => to === "offline");
};

test("who beats when told to is never called offline; who stops is, within its time", async () => {
  const beating = await Promise.all(["one", "two", "three"].map(enroll));
  const silent = await enroll("silent");
  const beat = (token: string) => rest(token, "POST", "agent/heartbeat", { status: "online" });
  await beat(silent);
  const stoppedMs = performance.now();
  let over = false;
  // Agents that keep to the interval that they are told.
  const work = beating.map(async (token) => {
    while (!over) {
      const { nextHeartbeat } = await beat(token);
      await delay(Number.parseFloat(nextHeartbeat) * 1000);
    }
  });
  try {
    await waitFor(async () => (await losses()).length > 0, { what: "the loss", everyMs: 100 });
  } finally {
    over = true;
  }
  await Promise.all(work);
  expect(performance.now() - stoppedMs).toBeGreaterThan(2_900);
  expect(await losses()).toEqual([
    expect.objectContaining({
      from: "live",
      to: "offline",
      reason: expect.stringMatching(/^not heard for \ds$/),
    }),
  ]);
  expect(plane.output()).toMatch(/"agent":"silent","from":"live","to":"offline".*agent liveness changed/);
});
