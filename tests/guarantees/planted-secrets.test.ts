import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { JsonObject } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { DOORS, enrollAgent } from "../helpers/fleet-api.ts";
import { logLines } from "../helpers/log-lines.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { foundIn, foundInDatabase } from "./check-planted-secrets.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage({ env: { DROVER_LOG_LEVEL: "trace" } });
});
afterAll(async () => {
  await stage.close();
});

const answers: string[] = [];
/** Keeps what was answered, errors and their details too, to be searched later. */
async function keep(call: Promise<unknown>): Promise<string> {
  const code = await codeOf(call);
  const answer = await call.catch((error: unknown) => [String(error), error]);
  answers.push(
    JSON.stringify(answer, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value)),
  );
  return code;
}

function plant(name: string): string {
  return `Planted${name}${randomBytes(6).toString("hex")}`;
}

test("planted secrets are found in no table, no log and no answer", async () => {
  const planted: string[] = [];
  const secret = (name: string) => {
    const word = plant(name);
    planted.push(word);
    return word;
  };
  for (const door of DOORS) {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const api = stage.fleet.agent(agent.token, door);
    const context: JsonObject = {
      agentToken: secret("Key"),
      nested: {
        list: [{ AWS_SECRET_ACCESS_KEY: secret("Deep") }],
        "X-Api-Key": { inside: secret("Inside") },
      },
      url: `postgres://user:${secret("Url")}@db.example/fleet`,
      header: `Authorization: Bearer ${secret("Bearer")}`,
      copied: agent.token,
      tokenCount: 3,
    };
    const message = `login failed, password=${secret("Message")} with ${agent.token}`;
    const session = { bootId: "boot", sequence: 1n };
    for (const severity of [Severity.FATAL, Severity.WARNING]) {
      expect(
        await keep(api.heartbeat({ status: AgentStatus.BUSY, error: { severity, message, context } })),
      ).toBe("ok");
    }
    const beat = { status: AgentStatus.BUSY, session, error: { severity: Severity.FATAL, message, context } };
    for (let repeat = 0; repeat < 2; repeat++) expect(await keep(api.heartbeat(beat))).toBe("ok");
    for (let repeat = 0; repeat < 2; repeat++) {
      const report = { severity: Severity.MAJOR, message, context, requestId: "once" };
      expect(await keep(api.reportError(report))).toBe("ok");
    }
    planted.push(agent.token, agent.token.split("_")[3] ?? "?");
  }
  await keep(stage.operator.fleet.listErrors({}));
  await keep(stage.operator.fleet.listErrorGroups({}));
  await keep(stage.operator.events.listAuditEntries({}));
  const texts = answers.join("\n");
  expect(texts).toContain("[REDACTED]");
  expect(texts).toContain("tokenCount");
  expect(foundIn("an answer", texts, planted)).toEqual([]);
  expect(foundIn("the log", stage.server.output(), planted)).toEqual([]);
  expect(await foundInDatabase(stage, planted)).toEqual([]);
  expect(await foundInDatabase(stage, ["[REDACTED]"])).not.toEqual([]);
});

test("no token's secret is stored or logged, whatever minted it", async () => {
  const { operator, fleet } = stage;
  const minted: string[] = [stage.operatorToken];
  const ask = async (call: Promise<{ secret: string }>) => {
    const { secret } = await call;
    minted.push(secret);
    return secret;
  };
  for (const role of [TokenRole.OPERATOR, TokenRole.VIEWER, TokenRole.RUNNER, TokenRole.ENROLLMENT]) {
    for (let repeat = 0; repeat < 2; repeat++)
      await ask(operator.tokens.createToken({ role, requestId: `mint-${role}` }));
  }
  const enrollment = await ask(operator.tokens.createToken({ role: TokenRole.ENROLLMENT }));
  for (let repeat = 0; repeat < 2; repeat++)
    await ask(fleet.agent(enrollment).enroll({ name: "secretive", nonce: "n" }));
  const agent = fleet.agent(minted.at(-1) ?? "");
  for (let repeat = 0; repeat < 2; repeat++) await ask(agent.rotateToken({ requestId: "rotate" }));
  await stage.sql`UPDATE tokens SET minted_at = minted_at - interval '29 days', expires_at = expires_at - interval '29 days'
    WHERE agent_id IS NOT NULL AND activated_at IS NOT NULL`;
  await stage.sql`UPDATE tokens SET minted_at = minted_at - interval '2 hours' WHERE activated_at IS NULL`;
  const { renewedToken } = await agent.heartbeat({ status: AgentStatus.ONLINE });
  expect(renewedToken).toMatch(/^drv_agt_/);
  minted.push(renewedToken ?? "");

  const secrets = minted.map((token) => token.split("_")[3] ?? "?");
  expect(new Set(secrets).size).toBe(minted.length);
  expect(await foundInDatabase(stage, secrets)).toEqual([]);
  expect(foundIn("the log", stage.server.output(), secrets)).toEqual([]);
  const file = (await readFile(join(stage.server.dataDir, "operator.token"), "utf8")).trim();
  expect(file).toBe(stage.operatorToken);
});

test("refusals and failures quote no secret, in the answer or in the log", async () => {
  const planted = { word: plant("Refused") };
  const agent = await enrollAgent(stage.fleet, stage.operator);
  const before = answers.length;
  const badToken = `${stage.operatorToken.slice(0, -4)}0000`;
  for (const door of DOORS) {
    const api = stage.fleet.agent(agent.token, door);
    const error = {
      severity: Severity.CRITICAL,
      message: `password=${planted.word}`,
      context: { secret: planted.word },
    };
    expect(await keep(api.heartbeat({ status: AgentStatus.BUSY, error }))).toBe("InvalidArgument");
    const long = { severity: Severity.FATAL, message: planted.word.repeat(400) };
    expect(await keep(api.heartbeat({ status: AgentStatus.BUSY, error: long }))).toBe("InvalidArgument");
    const guess = stage.fleet.agent(badToken, door).heartbeat({ status: AgentStatus.ONLINE });
    expect(await keep(guess)).toBe("Unauthenticated");
  }
  // The database refuses rows that the server means to write: a failure that nobody foresaw, parameters and all.
  await stage.sql`ALTER TABLE agents ADD CONSTRAINT refuse CHECK (device_info IS NULL) NOT VALID`;
  const deviceInfo = { serial: planted.word };
  for (const door of DOORS) {
    const api = stage.fleet.agent(agent.token, door);
    expect(await keep(api.heartbeat({ status: AgentStatus.ONLINE, deviceInfo }))).toBe("Internal");
  }
  await stage.sql`ALTER TABLE agents DROP CONSTRAINT refuse`;
  const failures = await logLines(stage.server, { level: "error" }, DOORS.length);
  expect(failures.length).toBe(DOORS.length);

  const words = [planted.word, badToken, badToken.slice(0, -5)];
  expect(foundIn("an answer", answers.slice(before).join("\n"), words)).toEqual([]);
  expect(foundIn("the log", stage.server.output(), words)).toEqual([]);
});
