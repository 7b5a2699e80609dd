import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { AgentStatus, Liveness } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent, newToken, uniqueName } from "../helpers/fleet.ts";

const { enroll, heartbeat } = AgentService.method;
const { getAgent, removeAgent } = FleetService.method;
const { getToken } = TokenService.method;

const doors = useDoors({ settings: { DROVER_HEARTBEAT_INTERVAL: "7s" } });

const usesOf = async (id: string): Promise<number> => {
  const answer = await doors.anyDoor.call(getToken, { token: id }, { token: doors.server.operatorToken });
  return messageOf(answer).token?.uses ?? -1;
};
const enrollments = (maxUses: number, labels = {}) =>
  newToken(doors, { role: TokenRole.ENROLLMENT, maxUses, labels });
const online = { status: AgentStatus.ONLINE };

describe.each(DOORS)("%s", (name) => {
  test("an enrollment token makes one agent, with its own labels on top", async () => {
    const door = doors.door(name);
    const { id, secret: token } = await enrollments(0, { zone: "token", rack: "1" });
    const request = {
      name: uniqueName("agent"),
      labels: { zone: "agent", owner: "me" },
      capabilities: ["gpu", "cpu"],
      deviceInfo: { os: "linux", cores: 8 },
    };
    const { agent, secret, heartbeatInterval } = messageOf(await door.call(enroll, request, { token }));
    expect(secret).toMatch(/^drv_agt_[0-9a-f]{32}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$/);
    expect(heartbeatInterval?.seconds).toBe(7n);
    expect(agent).toMatchObject({
      name: request.name,
      status: AgentStatus.PENDING,
      liveness: Liveness.NEVER,
      labels: { zone: "token", rack: "1", owner: "me" },
      capabilities: request.capabilities,
      deviceInfo: request.deviceInfo,
    });
    expect(await usesOf(id)).toBe(1);
    messageOf(await door.call(heartbeat, online, { token: secret }));
    const refusal = refusalOf(await door.call(enroll, { name: uniqueName("agent") }, { token }));
    expect(refusal.code).toBe(Code.Unauthenticated);
    expect(refusal.reason).toBe("ENROLLMENT_TOKEN_USED_UP");
    expect(refusal.headers.get("www-authenticate")).toMatch(/^Bearer/);
  });

  test("a repeated nonce is the same enrollment: a new secret, the old one dead, nothing counted", async () => {
    const { id, secret: token } = await enrollments(1);
    const request = { name: uniqueName("agent"), nonce: uniqueName("nonce") };
    let last: { agentId: string | undefined; secret: string } | undefined;
    for (const each of [name, ...DOORS]) {
      const door = doors.door(each);
      const { agent, secret } = messageOf(await door.call(enroll, request, { token }));
      if (last !== undefined) {
        expect(agent?.id).toBe(last.agentId);
        const refusal = refusalOf(await door.call(heartbeat, online, { token: last.secret }));
        expect(refusal.code).toBe(Code.Unauthenticated);
      }
      messageOf(await door.call(heartbeat, online, { token: secret }));
      last = { agentId: agent?.id, secret };
    }
    expect(await usesOf(id)).toBe(1);
  });

  test("a nonce is its name's own: another name is another enrollment", async () => {
    const door = doors.door(name);
    const { id, secret: token } = await enrollments(2);
    const nonce = uniqueName("nonce");
    const ids: (string | undefined)[] = [];
    for (let i = 0; i < 2; i++) {
      const { agent } = messageOf(await door.call(enroll, { name: uniqueName("agent"), nonce }, { token }));
      ids.push(agent?.id);
    }
    expect(new Set(ids).size).toBe(2);
    expect(await usesOf(id)).toBe(2);
    const third = refusalOf(await door.call(enroll, { name: uniqueName("agent"), nonce }, { token }));
    expect(third.code).toBe(Code.Unauthenticated);
  });

  test("a name that is taken is ALREADY_EXISTS, and costs no use", async () => {
    const door = doors.door(name);
    const taken = await newAgent(doors);
    const { id, secret: token } = await enrollments(1);
    for (const nonce of ["", uniqueName("nonce")]) {
      const refusal = refusalOf(await door.call(enroll, { name: taken.name, nonce }, { token }));
      expect(refusal.code).toBe(Code.AlreadyExists);
      if (name === "REST") expect(refusal.httpStatus).toBe(409);
    }
    expect(await usesOf(id)).toBe(0);
    messageOf(await door.call(heartbeat, online, { token: taken.token }));
    messageOf(await door.call(enroll, { name: uniqueName("agent") }, { token }));
  });

  test("the nonce of another token means nothing to this one", async () => {
    const door = doors.door(name);
    const [one, two] = [await enrollments(1), await enrollments(1)];
    const request = { name: uniqueName("agent"), nonce: uniqueName("nonce") };
    messageOf(await door.call(enroll, request, { token: one.secret }));
    expect(refusalOf(await door.call(enroll, request, { token: two.secret })).code).toBe(Code.AlreadyExists);
  });

  test("a removed agent's name is free, for a new agent with a new id", async () => {
    const door = doors.door(name);
    const operator = { token: doors.server.operatorToken };
    const { id, secret: token } = await enrollments(2);
    const request = { name: uniqueName("agent"), nonce: uniqueName("nonce") };
    const first = messageOf(await door.call(enroll, request, { token }));
    messageOf(await door.call(removeAgent, { agent: request.name }, operator));
    expect(refusalOf(await door.call(heartbeat, online, { token: first.secret })).code).toBe(
      Code.Unauthenticated,
    );
    expect(refusalOf(await door.call(getAgent, { agent: request.name }, operator)).code).toBe(Code.NotFound);
    const second = messageOf(await door.call(enroll, request, { token }));
    expect(second.agent?.id).not.toBe(first.agent?.id);
    expect(await usesOf(id)).toBe(2);
  });

  test("labels of token and agent together stay within their cap", async () => {
    const door = doors.door(name);
    const many = (prefix: string, size: number) =>
      Object.fromEntries(Array.from({ length: size }, (_, i) => [`${prefix}${i}`, ""]));
    const { secret: token } = await enrollments(2, many("t", 32));
    const wish = (size: number) => ({ name: uniqueName("agent"), labels: many("a", size) });
    messageOf(await door.call(enroll, wish(32), { token }));
    const refusal = refusalOf(await door.call(enroll, wish(33), { token }));
    expect(refusal.code).toBe(Code.InvalidArgument);
    expect(refusal.violations.map(({ field }) => field)).toEqual(["labels"]);
  });

  test("an expired enrollment token makes nothing, nonce or not", async () => {
    const door = doors.door(name);
    const { id, secret: token } = await enrollments(5);
    const request = { name: uniqueName("agent"), nonce: uniqueName("nonce") };
    messageOf(await door.call(enroll, request, { token }));
    await doors.server.database`
      UPDATE tokens SET expires_at = clock_timestamp() WHERE id = ${id.replace("token_", "")}::uuid`;
    for (const each of [request, { name: uniqueName("agent") }]) {
      const refusal = refusalOf(await door.call(enroll, each, { token }));
      expect([refusal.code, refusal.message]).toEqual([Code.Unauthenticated, "a valid token is needed"]);
    }
  });
});

test("a token for three agents makes three, however many try at once through all doors", async () => {
  const { id, secret: token } = await enrollments(3);
  const attempts = [...DOORS, ...DOORS].map((name) =>
    doors.door(name).call(enroll, { name: uniqueName("agent") }, { token }),
  );
  const outcomes = await Promise.all(attempts);
  expect(outcomes.filter(({ ok }) => ok)).toHaveLength(3);
  for (const outcome of outcomes.filter(({ ok }) => !ok)) {
    expect(refusalOf(outcome).reason).toBe("ENROLLMENT_TOKEN_USED_UP");
  }
  expect(await usesOf(id)).toBe(3);
});

test("one nonce sent through all doors at once makes one agent, and the last secret works", async () => {
  const { id, secret: token } = await enrollments(1);
  const request = { name: uniqueName("agent"), nonce: uniqueName("nonce") };
  const outcomes = await Promise.all(DOORS.map((name) => doors.door(name).call(enroll, request, { token })));
  const answers = outcomes.map(messageOf);
  expect(new Set(answers.map(({ agent }) => agent?.id)).size).toBe(1);
  const beats = await Promise.all(
    answers.map(({ secret }) => doors.anyDoor.call(heartbeat, online, { token: secret })),
  );
  expect(beats.filter(({ ok }) => ok)).toHaveLength(1);
  expect(await usesOf(id)).toBe(1);
});
