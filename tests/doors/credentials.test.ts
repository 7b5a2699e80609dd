import { randomBytes, randomUUID } from "node:crypto";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { mintToken, type TokenRole as RoleName } from "../../src/tokens/token.ts";
import { type Failure, messageOf, refusalOf } from "../helpers/door-client.ts";
import { DOORS, useDoors } from "../helpers/door-suite.ts";
import { newAgent, newToken, type TestAgent } from "../helpers/fleet.ts";
import { http2Request, sendHttp2Bytes } from "../helpers/raw-http2.ts";
import { envelope } from "../helpers/raw-rpc.ts";
import { sendHttp } from "../helpers/rest-client.ts";

const { heartbeat } = AgentService.method;
const { getAgent, listAgents } = FleetService.method;
const { revokeToken } = TokenService.method;

const doors = useDoors();
let agent: TestAgent;
/** Values of the authorization header that no door may accept. */
let bad: [what: string, authorization: string | undefined][];

beforeAll(async () => {
  agent = await newAgent(doors);
  const expired = await newToken(doors, { role: TokenRole.VIEWER, ttl: { seconds: 60n } });
  const revoked = await newToken(doors, { role: TokenRole.VIEWER });
  const viewer = await newToken(doors, { role: TokenRole.VIEWER });
  const operator = { token: doors.server.operatorToken };
  messageOf(await doors.anyDoor.call(revokeToken, { token: revoked.id }, operator));
  await doors.server.database`
    UPDATE tokens SET expires_at = clock_timestamp() WHERE id = ${expired.id.replace("token_", "")}::uuid`;
  bad = [
    ["no header", undefined],
    ["no credential", "Bearer"],
    ["another scheme", `Basic ${Buffer.from(`x:${viewer.secret}`).toString("base64")}`],
    ["an unknown scheme", `Token ${viewer.secret}`],
    ["no scheme", viewer.secret],
    ["two credentials", `Bearer ${viewer.secret} ${viewer.secret}`],
    ["two headers in one", `Bearer ${viewer.secret}, Bearer ${viewer.secret}`],
    ["a foreign token", "Bearer eyJhbGciOiJub25lIn0.e30."],
    ["a token cut short", `Bearer ${viewer.secret.slice(0, -1)}`],
    ["a token with a tail", `Bearer ${viewer.secret}x`],
    ["a typing error", `Bearer ${flip(viewer.secret, -10)}`],
    ["a wrong checksum", `Bearer ${flip(viewer.secret, -1)}`],
    ["a token of no one", `Bearer ${mintToken("viewer", randomUUID(), randomBytes(32))}`],
    ["the right id and a wrong secret", `Bearer ${withSecret("viewer", viewer.id)}`],
    ["the right secret and a higher role", `Bearer ${asRole(viewer.secret, "vwr", "opr")}`],
    ["an expired token", `Bearer ${expired.secret}`],
    ["a revoked token", `Bearer ${revoked.secret}`],
    ["a huge header", `Bearer ${"x".repeat(8000)}`],
  ];
});

/** The token with one character changed. */
function flip(token: string, at: number): string {
  const index = token.length + at;
  return token.slice(0, index) + (token[index] === "x" ? "y" : "x") + token.slice(index + 1);
}

function withSecret(role: RoleName, id: string): string {
  return mintToken(role, id.replace("token_", ""), randomBytes(32));
}

/** The same id and secret under another role; the checksum fails then, which is one more way to be wrong. */
function asRole(token: string, from: string, to: string): string {
  return token.replace(`drv_${from}_`, `drv_${to}_`);
}

const shown = ({ code, message, violations, reason, retryAfterMs }: Failure) => ({
  code,
  message,
  violations,
  reason,
  retryAfterMs,
});

describe.each(DOORS)("%s", (name) => {
  test("every bad credential gets one and the same answer", async () => {
    const door = doors.door(name);
    for (const [what, authorization] of bad) {
      const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
      const refusal = refusalOf(await door.call(listAgents, {}, { headers }));
      expect([what, shown(refusal)]).toEqual([
        what,
        {
          code: Code.Unauthenticated,
          message: "a valid token is needed",
          violations: [],
          reason: undefined,
          retryAfterMs: undefined,
        },
      ]);
      expect(refusal.headers.get("www-authenticate")).toBe('Bearer realm="drover"');
      if (name === "REST") expect(refusal.httpStatus).toBe(401);
    }
  });

  test("the scheme may be written in any case", async () => {
    for (const scheme of ["bearer", "BEARER", "Bearer "]) {
      const headers = { authorization: `${scheme} ${doors.server.operatorToken}` };
      messageOf(await doors.door(name).call(listAgents, {}, { headers }));
    }
  });

  test("a revoked token stops at once", async () => {
    const door = doors.door(name);
    const { id, secret } = await newToken(doors, { role: TokenRole.VIEWER });
    messageOf(await door.call(listAgents, {}, { token: secret }));
    messageOf(await door.call(revokeToken, { token: id }, { token: doors.server.operatorToken }));
    expect(refusalOf(await door.call(listAgents, {}, { token: secret })).code).toBe(Code.Unauthenticated);
  });

  test("bad requests of strangers are not read for them", async () => {
    const refusal = refusalOf(
      await doors.door(name).call(heartbeat, { status: AgentStatus.UNSPECIFIED }, {}),
    );
    expect(refusal.code).toBe(Code.Unauthenticated);
  });
});

describe("two authorization headers", () => {
  const path = "/drover.v1.AgentService/Heartbeat";
  const beat = Buffer.from([0x08, 2]);
  const good = () => `Bearer ${agent.token}`;
  const wrong = "Bearer wrong";

  test.each([
    ["REST", "/api/v1/agent/heartbeat", "application/json", '{"status":"online"}'],
    ["Connect", path, "application/proto", beat],
  ])("%s over HTTP/1.1 refuses them", async (_, target, type, body) => {
    for (const authorization of [
      [good(), wrong],
      [wrong, good()],
      [good(), good()],
    ]) {
      const headers = { "content-type": type, authorization };
      const answer = await sendHttp(doors.server.httpUrl, { method: "POST", target, headers, body });
      expect(answer.status).toBe(401);
      expect(answer.headers.get("www-authenticate")).toBe('Bearer realm="drover"');
    }
    const headers = { "content-type": type, authorization: [good()] };
    const alone = await sendHttp(doors.server.httpUrl, { method: "POST", target, headers, body });
    expect(alone.status).toBe(200);
  });

  /** Whether a heartbeat with these credentials is taken, sent as bytes: no HTTP/2 client would send two of them. */
  async function isTaken(port: string, authorizations: (good: string) => string[]): Promise<boolean> {
    const own = await newAgent(doors);
    const request = http2Request(
      [
        [":method", "POST"],
        [":scheme", "http"],
        [":authority", "localhost"],
        [":path", path],
        ["content-type", "application/grpc"],
        ["te", "trailers"],
        ...authorizations(`Bearer ${own.token}`).map((value): [string, string] => ["authorization", value]),
      ],
      envelope(0, beat),
    );
    await sendHttp2Bytes(Number(port), request);
    // The answer is compressed beyond easy reading; its effect is not.
    const { agent: seen } = messageOf(
      await doors.anyDoor.call(getAgent, { agent: own.name }, { token: doors.server.operatorToken }),
    );
    return seen?.status === AgentStatus.ONLINE;
  }

  test("gRPC over h2c refuses them", async () => {
    const { port } = new URL(doors.server.httpUrl);
    expect(await isTaken(port, (good) => [good])).toBe(true);
    expect(await isTaken(port, (good) => [good, wrong])).toBe(false);
    expect(await isTaken(port, (good) => [wrong, good])).toBe(false);
  });

  test("grpc-js shows only the first of them, which then counts", async () => {
    const port = doors.server.grpcAddress.split(":")[1] ?? "";
    expect(await isTaken(port, (good) => [good])).toBe(true);
    expect(await isTaken(port, (good) => [good, wrong])).toBe(true);
    expect(await isTaken(port, (good) => [wrong, good])).toBe(false);
  });
});

// Last, since it spends what this address may guess.
test("who guesses on and on is told to wait, and locks nobody out", async () => {
  const guess = () => doors.door("REST").call(listAgents, {}, { token: "drv_opr_wrong" });
  let refusal = refusalOf(await guess());
  for (let tries = 0; refusal.code === Code.Unauthenticated && tries < 400; tries++)
    refusal = refusalOf(await guess());
  expect(refusal.code).toBe(Code.ResourceExhausted);
  expect(refusal.httpStatus).toBe(429);
  expect(Number(refusal.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
  for (const name of DOORS) {
    const door = doors.door(name);
    messageOf(await door.call(heartbeat, { status: AgentStatus.ONLINE }, { token: agent.token }));
    const token = mintToken("operator", randomUUID(), randomBytes(32));
    const waiting = refusalOf(await door.call(listAgents, {}, { token }));
    // The budget fills slowly, so one guess in a while is answered as a guess.
    expect([Code.ResourceExhausted, Code.Unauthenticated]).toContain(waiting.code);
    if (waiting.code === Code.ResourceExhausted) expect(waiting.retryAfterMs).toBeGreaterThan(0);
  }
});
