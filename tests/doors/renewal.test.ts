import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, type DoorName, useDoors } from "../helpers/door-suite.ts";
import { newAgent, newToken } from "../helpers/fleet.ts";

const { heartbeat, rotateToken } = AgentService.method;
const { listAgents } = FleetService.method;
const { listTokens, revokeToken } = TokenService.method;

const doors = useDoors({ settings: { DROVER_AGENT_TOKEN_TTL: "90m" } });

const uuidOf = (secret: string): string =>
  (secret.split("_")[2] ?? "").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");

/** Moves a token's whole life into the past, so that nobody has to wait for it. */
async function age(secret: string, minutes: number): Promise<void> {
  await doors.server.database`
    UPDATE tokens SET minted_at = minted_at - ${minutes}::int * interval '1 minute',
      expires_at = expires_at - ${minutes}::int * interval '1 minute'
    WHERE id = ${uuidOf(secret)}::uuid`;
}

describe.each(DOORS)("%s", (name) => {
  const online = { status: AgentStatus.ONLINE };
  const beat = (token: string, door: DoorName = name) => doors.door(door).call(heartbeat, online, { token });
  const renewalAt = async (token: string) => {
    const { renewedToken } = messageOf(await beat(token));
    if (renewedToken === undefined) throw new Error("the heartbeat brought no renewal");
    expect(renewedToken).toMatch(/^drv_agt_/);
    return renewedToken;
  };
  const isRefused = async (token: string) => {
    const refusal = refusalOf(await beat(token));
    expect([refusal.code, refusal.message]).toEqual([Code.Unauthenticated, "a valid token is needed"]);
  };

  test("a token younger than a third of its life is not renewed", async () => {
    const { token } = await newAgent(doors);
    await age(token, 29);
    expect(messageOf(await beat(token)).renewedToken).toBeUndefined();
  });

  test("past a third a heartbeat brings the next one, whose first use through any door retires the old", async () => {
    for (const other of DOORS) {
      const { token } = await newAgent(doors);
      await age(token, 31);
      const renewal = await renewalAt(token);
      // Until it is used, the old one works, and no second renewal is handed out.
      expect(messageOf(await beat(token)).renewedToken).toBeUndefined();
      messageOf(await beat(renewal, other));
      await isRefused(token);
      expect(messageOf(await beat(renewal)).renewedToken).toBeUndefined();
    }
  });

  test("an unused renewal is replaced after an hour, and dies of it", async () => {
    const { token } = await newAgent(doors);
    await age(token, 31);
    const first = await renewalAt(token);
    await age(first, 59);
    expect(messageOf(await beat(token)).renewedToken).toBeUndefined();
    await age(first, 2);
    const second = await renewalAt(token);
    await isRefused(first);
    messageOf(await beat(second));
    await isRefused(token);
  });

  test("a repeated heartbeat computes its renewal afresh, and does nothing else again", async () => {
    const { token } = await newAgent(doors);
    const request = { ...online, session: { bootId: "boot", sequence: 1n } };
    const door = doors.door(name);
    const first = messageOf(await door.call(heartbeat, request, { token }));
    expect([first.duplicate, first.renewedToken]).toEqual([false, undefined]);
    await age(token, 31);
    const again = messageOf(await door.call(heartbeat, request, { token }));
    expect([again.duplicate, again.transition]).toEqual([true, first.transition]);
    expect(again.renewedToken).toMatch(/^drv_agt_/);
  });

  test("an expired token may renew itself for as long again as it lived, and nothing else", async () => {
    const door = doors.door(name);
    const { token } = await newAgent(doors);
    await age(token, 91);
    await isRefused(token);
    const { secret } = messageOf(await door.call(rotateToken, {}, { token }));
    messageOf(await beat(secret));
    expect(refusalOf(await door.call(rotateToken, {}, { token })).code).toBe(Code.Unauthenticated);

    const late = await newAgent(doors);
    await age(late.token, 179);
    messageOf(await door.call(rotateToken, {}, { token: late.token }));
    await age(late.token, 2);
    expect(refusalOf(await door.call(rotateToken, {}, { token: late.token })).code).toBe(
      Code.Unauthenticated,
    );
  });

  test("a revoked token renews nothing, expired or not, and takes its renewal with it", async () => {
    const door = doors.door(name);
    const { token } = await newAgent(doors);
    const { secret } = messageOf(await door.call(rotateToken, {}, { token }));
    const id = `token_${uuidOf(token)}`;
    messageOf(await door.call(revokeToken, { token: id }, { token: doors.server.operatorToken }));
    for (const dead of [token, secret]) {
      await isRefused(dead);
      expect(refusalOf(await door.call(rotateToken, {}, { token: dead })).code).toBe(Code.Unauthenticated);
    }
    await age(token, 91);
    expect(refusalOf(await door.call(rotateToken, {}, { token })).code).toBe(Code.Unauthenticated);
  });

  test("a rotated token replaces the renewal that waits, so that at most two work", async () => {
    const door = doors.door(name);
    const { token, name: agent } = await newAgent(doors);
    await age(token, 31);
    const renewed = await renewalAt(token);
    const { secret } = messageOf(await door.call(rotateToken, {}, { token }));
    await isRefused(renewed);
    messageOf(await beat(token));
    messageOf(await beat(secret));
    await isRefused(token);
    const operator = { token: doors.server.operatorToken };
    const { tokens } = messageOf(await door.call(listTokens, { agent, role: [TokenRole.AGENT] }, operator));
    expect(tokens).toHaveLength(2);
  });

  test("only agents' tokens outlive their end in any way", async () => {
    const door = doors.door(name);
    const viewer = await newToken(doors, { role: TokenRole.VIEWER, ttl: { seconds: 5400n } });
    messageOf(await door.call(listAgents, {}, { token: viewer.secret }));
    await age(viewer.secret, 91);
    for (const call of [
      door.call(listAgents, {}, { token: viewer.secret }),
      door.call(rotateToken, {}, { token: viewer.secret }),
    ]) {
      expect(refusalOf(await call).code).toBe(Code.Unauthenticated);
    }
  });
});

test("a renewal first used through all doors at once is used once, and works through all", async () => {
  const { token, id } = await newAgent(doors);
  const { secret } = messageOf(await doors.anyDoor.call(rotateToken, {}, { token }));
  const beats = await Promise.all(
    DOORS.map((name) => doors.door(name).call(heartbeat, { status: AgentStatus.BUSY }, { token: secret })),
  );
  for (const outcome of beats) messageOf(outcome);
  const [entry] = await doors.server.database<{ n: bigint }>`
    SELECT count(*) AS n FROM audit_entries
    WHERE action = 'token.activated' AND subject = ${`token_${uuidOf(secret)}`}`;
  expect(entry?.n).toBe(1n);
  expect(id).toMatch(/^agent_/);
});
