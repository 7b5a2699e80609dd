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
  agent: { id: string };
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

async function enroll(name: string): Promise<{ id: string; token: string }> {
  const enrollment = await rest(plane.operatorToken, "POST", "tokens", { role: "enrollment" });
  const { agent, secret } = await rest(enrollment.secret, "POST", "agents:enroll", { name });
  return { id: agent.id, token: secret };
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
  await beat(silent.token);
  const stoppedMs = performance.now();
  let over = false;
  // Agents that keep to the interval that they are told, and for how long each was not acknowledged, at most.
  const work = beating.map(async ({ token }) => {
    let [since, longestMs] = [performance.now(), 0];
    while (!over) {
      const { nextHeartbeat } = await beat(token);
      longestMs = Math.max(longestMs, performance.now() - since);
      since = performance.now();
      await delay(Number.parseFloat(nextHeartbeat) * 1000);
    }
    return longestMs;
  });
  try {
    const isLost = async () => (await losses()).some(({ subject }) => subject === silent.id);
    await waitFor(isLost, { what: "the loss", everyMs: 100 });
  } finally {
    over = true;
  }
  const gaps = await Promise.all(work);
  expect(performance.now() - stoppedMs).toBeGreaterThan(2_900);
  // On a machine that stands still for so long the others may be lost as well: nobody heard them in time.
  const late = beating.filter((_, index) => (gaps[index] ?? 0) > 2_500).map(({ id }) => id);
  const lost = (await losses()).filter(({ subject }) => !late.includes(subject));
  expect(lost).toEqual([
    expect.objectContaining({
      subject: silent.id,
      from: "live",
      to: "offline",
      reason: expect.stringMatching(/^not heard for \d+s$/),
    }),
  ]);
  expect(plane.output()).toMatch(/"agent":"silent","from":"live","to":"offline".*agent liveness changed/);
});
