import { type DescMessage, type JsonObject, toJson } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TokenRole, TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { messageOf, type Outcome, refusalOf } from "../helpers/door-client.ts";
import { DOORS, type DoorName, useDoors } from "../helpers/door-suite.ts";
import { newAgent, newToken, type TestAgent, uniqueName } from "../helpers/fleet.ts";

const { enroll, heartbeat, reportError, rotateToken } = AgentService.method;
const { getAgent, listAgents, listErrorGroups, listErrors } = FleetService.method;
const { listAuditEntries, listEvents } = EventService.method;
const { createToken, getToken, listTokens } = TokenService.method;

const doors = useDoors({ settings: { DROVER_LOG_LEVEL: "trace" } });

/** Everything that must be found nowhere. */
const planted = new Set<string>();
/** All that came back over the wire, but for the answers whose purpose is a secret. */
const answers: string[] = [];

/** A fresh secret with nothing in it that gives it away, planted. */
function plant(): string {
  const secret = `Zq${uniqueName("x").replaceAll("-", "")}Kw`;
  planted.add(secret);
  return secret;
}

function planted40(): string {
  const secret = plant();
  return secret + "a1B2c3D4e5".repeat(4).slice(0, 40 - secret.length);
}

/** The secret part of a token of ours, which is what must not be found. */
function plantToken(token: string): string {
  planted.add(token.split("_")[3] ?? token);
  return token;
}

/** A context with a secret under every kind of key, at several depths, and one in every form that gives itself away. */
function leakyContext(): JsonObject {
  return {
    agentToken: plant(),
    "X-Api-Key": plant(),
    AWS_SECRET_ACCESS_KEY: plant(),
    env: { PASSWORD: plant(), passwords: [plant(), { deep: plant() }], jwt: { header: plant() } },
    list: [{ clientSecret: plant() }, { "set-cookie": plant() }, { Authorization: plant() }],
    url: `postgres://admin:${plant()}@db.example/x?password=${plant()}`,
    header: `Authorization: Bearer ${planted40()}`,
    log: `export GITHUB=ghp_${planted40()}; token=${plant()}`,
    json: JSON.stringify({ session_key: 1, api_key: plant(), nested: { password: plant() } }),
    ours: `found drv_agt_0190f3a2c4d57e8f9a0b1c2d3e4f5a6b_${planted40()}abc_123456`,
    pem: `-----BEGIN RSA PRIVATE KEY-----\n${plant()}\n-----END RSA PRIVATE KEY-----`,
    [`key with password=${plant()}`]: 1,
    tokenCount: 7,
    cookieDomain: "kept.example",
  };
}

const leakyMessage = () =>
  `login failed: https://bob:${plant()}@git.example/ with token=${plant()} and Bearer ${planted40()}`;

async function noted<O extends DescMessage>(output: O, call: Promise<Outcome<O>>): Promise<Outcome<O>> {
  const outcome = await call;
  answers.push(outcome.ok ? JSON.stringify(toJson(output, outcome.message)) : JSON.stringify(outcome));
  return outcome;
}

/** Every row of every table as text, bytes also as the text that they may be. */
async function dump(): Promise<string> {
  const tables = await doors.server.database<{ name: string }>`
    SELECT table_schema || '."' || table_name || '"' AS name FROM information_schema.tables
    WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'`;
  const parts: string[] = [];
  for (const { name } of tables) {
    const statement = `SELECT t::text AS row FROM ${name} t`;
    // A statement without values, so that the table can be named.
    const rows = await doors.server.database<{ row: string }>(
      Object.assign([statement], { raw: [statement] }),
    );
    for (const { row } of rows) {
      parts.push(row);
      for (const [, hex = ""] of row.matchAll(/\\\\x([0-9a-f]+)/g))
        parts.push(Buffer.from(hex, "hex").toString("latin1"));
    }
  }
  return parts.join("\n");
}

const found = (text: string) => [...planted].filter((secret) => text.includes(secret));

const agents = new Map<DoorName, TestAgent>();
beforeAll(async () => {
  plantToken(doors.server.operatorToken);
  for (const name of DOORS) {
    const agent = await newAgent(doors);
    plantToken(agent.token);
    plantToken(agent.enrollment);
    agents.set(name, agent);
  }
});

const agentOf = (name: DoorName): TestAgent => {
  const agent = agents.get(name);
  if (agent === undefined) throw new Error("each door has its agent");
  return agent;
};

describe.each(DOORS)("%s", (name) => {
  test("takes errors full of secrets, and minted tokens, and gives back none of them", async () => {
    const door = doors.door(name);
    const { token, name: agent } = agentOf(name);
    const operator = { token: doors.server.operatorToken };
    const report = { message: leakyMessage(), context: leakyContext(), requestId: uniqueName("request") };
    const request = { ...report, severity: Severity.CRITICAL };
    const first = messageOf(await noted(reportError.output, door.call(reportError, request, { token })));
    expect(first.errorReport?.context).toMatchObject({ tokenCount: 7, cookieDomain: "kept.example" });
    expect(first.errorReport?.message).toContain("login failed: https://bob:[REDACTED]@git.example/");
    await noted(reportError.output, door.call(reportError, request, { token }));
    for (const severity of [Severity.WARNING, Severity.FATAL]) {
      const error = { severity, message: leakyMessage(), context: leakyContext() };
      const session = { bootId: "boot", sequence: BigInt(severity) };
      const beat = { status: AgentStatus.BUSY, error, session };
      messageOf(await noted(heartbeat.output, door.call(heartbeat, beat, { token })));
      messageOf(await noted(heartbeat.output, door.call(heartbeat, beat, { token })));
    }
    // Answers that carry a secret on purpose are not noted; what they carry is looked for everywhere else.
    const requestId = uniqueName("request");
    for (let i = 0; i < 2; i++) {
      plantToken(
        messageOf(await door.call(createToken, { role: TokenRole.VIEWER, requestId }, operator)).secret,
      );
      plantToken(messageOf(await door.call(rotateToken, { requestId }, { token })).secret);
    }
    const { secret: enrollment } = await newToken(doors, { role: TokenRole.ENROLLMENT });
    const wish = { name: uniqueName("agent"), nonce: uniqueName("nonce") };
    plantToken(enrollment);
    plantToken(messageOf(await door.call(enroll, wish, { token: enrollment })).secret);
    await noted(getAgent.output, door.call(getAgent, { agent }, operator));
    await noted(listAgents.output, door.call(listAgents, { pageSize: 1000 }, operator));
    await noted(listErrors.output, door.call(listErrors, { pageSize: 1000 }, operator));
    await noted(listErrorGroups.output, door.call(listErrorGroups, { pageSize: 1000 }, operator));
    await noted(listAuditEntries.output, door.call(listAuditEntries, { pageSize: 1000 }, operator));
    await noted(listEvents.output, door.call(listEvents, { pageSize: 1000 }, operator));
    const { tokens } = messageOf(
      await noted(listTokens.output, door.call(listTokens, { pageSize: 1000 }, operator)),
    );
    await noted(getToken.output, door.call(getToken, { token: tokens[0]?.id ?? "" }, operator));
    expect(found(answers.join("\n"))).toEqual([]);
  });

  test("refuses requests full of secrets without repeating one", async () => {
    const door = doors.door(name);
    const { token } = agentOf(name);
    const operator = { token: doors.server.operatorToken };
    const secret = plant();
    const calls: [DescMessage, Promise<Outcome<DescMessage>>][] = [
      [
        heartbeat.output,
        door.call(
          heartbeat,
          { status: 0, error: { message: secret, context: { a: `${secret}\0` } } },
          { token },
        ),
      ],
      [
        heartbeat.output,
        door.call(heartbeat, { status: AgentStatus.BUSY, capabilities: [`${secret}\0`] }, { token }),
      ],
      [
        listAgents.output,
        door.call(listAgents, { pageToken: secret, orderBy: secret, labels: [secret] }, operator),
      ],
      [listAgents.output, door.call(listAgents, {}, { token: secret })],
      [listAgents.output, door.call(listAgents, {}, { headers: { authorization: `Basic ${secret}` } })],
    ];
    for (const [output, call] of calls) refusalOf(await noted(output, call));
    expect(found(answers.join("\n"))).toEqual([]);
  });

  test("a failure inside tells its caller nothing, and its log no secret", async () => {
    const door = doors.door(name);
    const { token } = agentOf(name);
    const beat = {
      status: AgentStatus.BUSY,
      error: { severity: Severity.FATAL, message: leakyMessage(), context: leakyContext() },
    };
    await doors.server.database`ALTER TABLE error_reports RENAME TO gone`;
    try {
      const refusal = refusalOf(await noted(heartbeat.output, door.call(heartbeat, beat, { token })));
      expect([refusal.code, refusal.violations, refusal.reason]).toEqual([Code.Internal, [], undefined]);
      expect(refusal.message).not.toMatch(/select|insert|update|relation|gone|error_reports/i);
    } finally {
      await doors.server.database`ALTER TABLE gone RENAME TO error_reports`;
    }
    expect(doors.server.output()).toContain("a call failed");
    messageOf(await door.call(heartbeat, { status: AgentStatus.ONLINE }, { token }));
  });
});

test("no planted secret is in the database, in the log or in an answer", async () => {
  expect(planted.size).toBeGreaterThan(DOORS.length * 100);
  const stored = await dump();
  // The dump sees what it should: a word that was stored on purpose, and a remembered answer's bytes.
  expect(stored).toContain("kept.example");
  expect(stored.match(/login failed/g)?.length).toBeGreaterThan(DOORS.length);
  expect(found(stored)).toEqual([]);
  const log = doors.server.output();
  expect(log).toContain("agent status changed");
  expect(found(log)).toEqual([]);
  expect(found(answers.join("\n"))).toEqual([]);
});
