import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { DOORS, type EnrolledAgent, enrollAgent, enrolledAgent } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { holdLock, stopAtChange } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { ageTokens, tokensOf } from "./token-ages.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage({ env: { DROVER_AGENT_TOKEN_TTL: "30d" } });
});
afterAll(async () => {
  await stage.close();
});

const beat = (token: string) => stage.fleet.agent(token).heartbeat({ status: AgentStatus.ONLINE });
const rotate = (token: string, requestId = "") => stage.fleet.agent(token).rotateToken({ requestId });
const newAgent = (): Promise<EnrolledAgent> => enrollAgent(stage.fleet, stage.operator);

async function renewalOf(agent: EnrolledAgent): Promise<string> {
  const { renewedToken } = await beat(agent.token);
  if (!renewedToken?.startsWith("drv_agt_")) throw new Error(`no renewal came: ${renewedToken}`);
  return renewedToken;
}

describe("a renewal in the heartbeat's answer", () => {
  test("comes from a third of the token's life on, not before", async () => {
    const agent = await newAgent();
    expect((await beat(agent.token)).renewedToken ?? "").toBe("");
    await ageTokens(stage, agent, "9 days 23 hours");
    expect((await beat(agent.token)).renewedToken ?? "").toBe("");
    await ageTokens(stage, agent, "2 hours");
    await renewalOf(agent);
  });

  test("comes through every door, and in the answer to a repeat too", async () => {
    for (const door of DOORS) {
      const agent = await newAgent();
      await ageTokens(stage, agent, "11 days");
      const api = stage.fleet.agent(agent.token, door);
      const request = { status: AgentStatus.BUSY, session: { bootId: "b", sequence: 1n } };
      expect((await api.heartbeat(request)).renewedToken).toMatch(/^drv_agt_/);
      await ageTokens(stage, agent, "61 minutes", "renewals");
      const repeat = await api.heartbeat(request);
      expect(repeat.duplicate).toBe(true);
      expect(repeat.renewedToken).toMatch(/^drv_agt_/);
    }
  });

  test("is not replaced within an hour, while the agent may be storing it, and then is, the old one worth nothing", async () => {
    const agent = await newAgent();
    await ageTokens(stage, agent, "11 days");
    const first = await renewalOf(agent);
    expect((await beat(agent.token)).renewedToken ?? "").toBe("");
    await ageTokens(stage, agent, "61 minutes", "renewals");
    const second = await renewalOf(agent);
    expect(second).not.toBe(first);
    expect(await codeOf(beat(first))).toBe("Unauthenticated");
    expect(await codeOf(beat(agent.token))).toBe("ok");
    expect(await codeOf(beat(second))).toBe("ok");
    expect(await codeOf(beat(agent.token))).toBe("Unauthenticated");
  });

  test("the old one works until the first use of the new one retires it; several first uses at once are all good", async () => {
    const agent = await newAgent();
    await ageTokens(stage, agent, "11 days");
    const renewed = await renewalOf(agent);
    expect(await codeOf(beat(agent.token))).toBe("ok");
    const codes = await Promise.all(DOORS.map((door) => codeOf(firstUse(renewed, door))));
    expect(codes).toEqual(DOORS.map(() => "ok"));
    expect(await codeOf(beat(agent.token))).toBe("Unauthenticated");
    expect(await tokensOf(stage, agent)).toMatchObject([
      { active: true, retired: true },
      { active: true, retired: false },
    ]);
    const { entries } = await stage.operator.events.listAuditEntries({ action: ["token.activated"] });
    expect(entries.filter(({ actor }) => actor === `agent:${agent.name}`).length).toBe(1);
  });

  const firstUse = (token: string, door: (typeof DOORS)[number]) =>
    stage.fleet.agent(token, door).heartbeat({ status: AgentStatus.ONLINE });

  test("is renewed in its turn", async () => {
    let agent = await newAgent();
    for (let generation = 0; generation < 3; generation++) {
      await ageTokens(stage, agent, "11 days");
      agent = { ...agent, token: await renewalOf(agent) };
      expect(await codeOf(beat(agent.token))).toBe("ok");
    }
    const inForce = (await tokensOf(stage, agent)).filter(({ retired }) => !retired);
    expect(inForce.length).toBe(1);
  });

  test("minted anew just before its first use ends neither the old token nor the new secret", async () => {
    const agent = await newAgent();
    const { secret: first } = await rotate(agent.token);
    const [, slot] = await tokensOf(stage, agent);
    const lock = await holdLock(
      stage.databaseUrl,
      `SELECT 1 FROM tokens WHERE id = '${slot?.id}' FOR UPDATE`,
    );
    const again = rotate(agent.token);
    await lock.reached();
    const late = codeOf(beat(first));
    await waitFor(async () => (await lock.waiting()) === 2, { what: "both behind the lock" });
    await lock.release();
    const { secret: second } = await again;
    expect(await late).toBe("Unauthenticated");
    expect(await codeOf(beat(agent.token))).toBe("ok");
    expect(await codeOf(beat(second))).toBe("ok");
  });
});

describe("an expired token", () => {
  test("may renew itself for as long again, and nothing else", async () => {
    const agent = await newAgent();
    await ageTokens(stage, agent, "31 days");
    expect(await codeOf(beat(agent.token))).toBe("Unauthenticated");
    const report = stage.fleet.agent(agent.token).reportError({ severity: 4, message: "late" });
    expect(await codeOf(report)).toBe("Unauthenticated");
    await ageTokens(stage, agent, "28 days 23 hours");
    const { secret } = await rotate(agent.token);
    expect(await codeOf(beat(secret))).toBe("ok");
    expect(await codeOf(rotate(agent.token))).toBe("Unauthenticated");
  });

  test("beyond that is refused by every method", async () => {
    const agent = await newAgent();
    await ageTokens(stage, agent, "60 days 1 minute");
    expect(await codeOf(rotate(agent.token))).toBe("Unauthenticated");
    expect(await codeOf(beat(agent.token))).toBe("Unauthenticated");
  });

  test("of another role is refused at once", async () => {
    const { secret } = await stage.operator.tokens.createToken({ role: 5, ttl: { seconds: 60n } });
    const list = () => codeOf(stage.fleet.operator(secret).fleet.listAgents({}));
    expect(await list()).toBe("ok");
    await stage.sql`UPDATE tokens SET expires_at = clock_timestamp() WHERE role = 'viewer'`;
    expect(await list()).toBe("Unauthenticated");
    expect(await codeOf(rotate(secret))).toBe("Unauthenticated");
  });
});

describe("RotateToken", () => {
  test("gives a token at any age; the old one lives until the new one is used", async () => {
    const agent = await newAgent();
    const { secret } = await rotate(agent.token);
    expect(await codeOf(beat(agent.token))).toBe("ok");
    expect(await codeOf(beat(secret))).toBe("ok");
    expect(await codeOf(beat(agent.token))).toBe("Unauthenticated");
  });

  test("asked again, with a request_id or without, leaves one renewal, whose newest secret alone works", async () => {
    for (const requestId of ["", "the same"]) {
      const agent = await newAgent();
      const secrets: string[] = [];
      for (let round = 0; round < 3; round++) secrets.push((await rotate(agent.token, requestId)).secret);
      expect(new Set(secrets).size).toBe(3);
      expect((await tokensOf(stage, agent)).length).toBe(2);
      for (const dead of secrets.slice(0, -1)) expect(await codeOf(beat(dead))).toBe("Unauthenticated");
      expect(await codeOf(beat(secrets.at(-1) ?? ""))).toBe("ok");
    }
  });

  test("many at once: one slot, one good secret", async () => {
    const agent = await newAgent();
    const answers = await Promise.all(Array.from({ length: 8 }, () => rotate(agent.token)));
    const codes: string[] = [];
    for (const { secret } of answers) codes.push(await codeOf(beat(secret)));
    expect(codes.filter((code) => code === "ok").length).toBe(1);
    expect((await tokensOf(stage, agent)).length).toBe(2);
  });
});

/** Lets a new renewal be minted, but not committed, while `meanwhile` is asked for. */
async function duringRotation(agent: EnrolledAgent, meanwhile: () => Promise<unknown>): Promise<string> {
  const point = await stopAtChange(
    stage.databaseUrl,
    "tokens",
    "after insert",
    `NEW.agent_id = '${agent.uuid}'`,
  );
  const rotation = rotate(agent.token);
  await point.reached();
  const done = meanwhile();
  await backendsWaiting(2);
  await point.release();
  const [{ secret }] = await Promise.all([rotation, done]);
  return secret;
}

async function backendsWaiting(count: number): Promise<void> {
  const look = async () => {
    const [row] = await stage.sql<{ waiting: number }[]>`
      SELECT count(*)::int AS waiting FROM pg_stat_activity
      WHERE wait_event_type = 'Lock' AND datname = current_database()`;
    return row?.waiting === count;
  };
  await waitFor(look, { what: `${count} transactions that wait` });
}

describe("a renewal that is being minted does not escape", () => {
  test("the revocation of the token that asked for it", async () => {
    const agent = await newAgent();
    const [inUse] = await tokensOf(stage, agent);
    const revoke = () => stage.operator.tokens.revokeToken({ token: `token_${inUse?.id}` });
    const secret = await duringRotation(agent, revoke);
    expect(await codeOf(beat(secret))).toBe("Unauthenticated");
    expect((await tokensOf(stage, agent)).every(({ revoked }) => revoked)).toBe(true);
  });

  test("the removal of its agent", async () => {
    const agent = await newAgent();
    const secret = await duringRotation(agent, () => stage.operator.fleet.removeAgent({ agent: agent.name }));
    expect(await codeOf(beat(secret))).toBe("Unauthenticated");
    expect((await tokensOf(stage, agent)).every(({ revoked }) => revoked)).toBe(true);
  });

  test("a new enrollment of its agent", async () => {
    const { secret: enrollment } = await stage.operator.tokens.createToken({ role: TokenRole.ENROLLMENT });
    const enroll = () => stage.fleet.agent(enrollment).enroll({ name: "enrolled-again", nonce: "n" });
    const agent = enrolledAgent(await enroll());
    let fresh = "";
    const enrollAgain = async () => {
      fresh = (await enroll()).secret;
    };
    const secret = await duringRotation(agent, enrollAgain);
    expect(await codeOf(beat(secret))).toBe("Unauthenticated");
    expect(await codeOf(beat(fresh))).toBe("ok");
  });
});

describe("the revocation of an agent's token", () => {
  test("ends its unused renewal too, and every way to a new one", async () => {
    const agent = await newAgent();
    await ageTokens(stage, agent, "11 days");
    const renewed = await renewalOf(agent);
    const [inUse] = await tokensOf(stage, agent);
    await stage.operator.tokens.revokeToken({ token: `token_${inUse?.id}` });
    for (const token of [agent.token, renewed]) {
      expect(await codeOf(beat(token))).toBe("Unauthenticated");
      expect(await codeOf(rotate(token))).toBe("Unauthenticated");
    }
    expect(await tokensOf(stage, agent)).toMatchObject([{ revoked: true }, { revoked: true }]);
  });

  test("leaves no renewal behind a heartbeat that was under way", async () => {
    const agent = await newAgent();
    await ageTokens(stage, agent, "11 days");
    const lock = await holdLock(
      stage.databaseUrl,
      `SELECT 1 FROM agent_states WHERE agent_id = '${agent.uuid}' FOR UPDATE`,
    );
    const settled = codeOf(beat(agent.token));
    await lock.reached();
    const [inUse] = await tokensOf(stage, agent);
    await stage.operator.tokens.revokeToken({ token: `token_${inUse?.id}` });
    await lock.release();
    expect(await settled).toBe("Unauthenticated");
    expect((await tokensOf(stage, agent)).every(({ revoked }) => revoked)).toBe(true);
  });
});
