import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { DOORS, enrollAgent } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { stopAtChange } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
});

const count = async (table: "tokens" | "error_reports" | "audit_entries" | "projects") =>
  (await stage.sql`SELECT 1 FROM ${stage.sql(table)}`).length;

const inError = async () => {
  const agent = await enrollAgent(stage.fleet, stage.operator);
  await stage.fleet.agent(agent.token).heartbeat({ status: AgentStatus.ERROR });
  return agent;
};

describe("the same request_id, the same answer, no second effect", () => {
  test("ReportError, through every door", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const before = await count("error_reports");
    const request = { severity: Severity.MAJOR, message: "once", context: { a: 1 }, requestId: "report" };
    const first = await stage.fleet.agent(agent.token).reportError(request);
    for (const door of DOORS)
      expect(await stage.fleet.agent(agent.token, door).reportError(request)).toEqual(first);
    expect(await count("error_reports")).toBe(before + 1);
  });

  test("ResetAgent: a repeat does not reset once more", async () => {
    const agent = await inError();
    const request = { agent: agent.name, requestId: `reset ${agent.name}` };
    const first = await stage.operator.fleet.resetAgent(request);
    expect(first.agent?.status).toBe(AgentStatus.ONLINE);
    await stage.fleet.agent(agent.token).heartbeat({ status: AgentStatus.ERROR });
    expect(await stage.operator.fleet.resetAgent(request)).toEqual(first);
    const { agent: shown } = await stage.operator.fleet.getAgent({ agent: agent.name });
    expect(shown?.status).toBe(AgentStatus.ERROR);
  });

  test("RemoveAgent: a repeat does not remove who has the name now", async () => {
    const { secret } = await stage.operator.tokens.createToken({ role: TokenRole.ENROLLMENT, maxUses: 2 });
    await stage.fleet.agent(secret).enroll({ name: "replaced" });
    const request = { agent: "replaced", requestId: "remove" };
    await stage.operator.fleet.removeAgent(request);
    expect(await codeOf(stage.operator.fleet.removeAgent({ agent: "replaced" }))).toBe("NotFound");
    await stage.fleet.agent(secret).enroll({ name: "replaced" });
    expect(await codeOf(stage.operator.fleet.removeAgent(request))).toBe("ok");
    expect(await codeOf(stage.operator.fleet.getAgent({ agent: "replaced" }))).toBe("ok");
  });

  test("CreateProject, RevokeToken", async () => {
    const first = await stage.operator.projects.createProject({ name: "once", requestId: "project" });
    expect(await stage.operator.projects.createProject({ name: "once", requestId: "project" })).toEqual(
      first,
    );
    expect(await codeOf(stage.operator.projects.createProject({ name: "once" }))).toBe("AlreadyExists");
    const { token } = await stage.operator.tokens.createToken({ role: TokenRole.VIEWER });
    const revocation = { token: token?.id ?? "", requestId: "revoke" };
    await stage.operator.tokens.revokeToken(revocation);
    const before = await count("audit_entries");
    await stage.operator.tokens.revokeToken(revocation);
    expect(await count("audit_entries")).toBe(before);
  });

  test("CreateToken: one token, a fresh secret each time, which kills the one before", async () => {
    const before = await count("tokens");
    const request = { role: TokenRole.VIEWER, requestId: "mint" };
    const answers = [];
    for (let round = 0; round < 3; round++) answers.push(await stage.operator.tokens.createToken(request));
    expect(await count("tokens")).toBe(before + 1);
    expect(new Set(answers.map(({ token }) => token?.id)).size).toBe(1);
    const codes: string[] = [];
    for (const { secret } of answers)
      codes.push(await codeOf(stage.fleet.operator(secret).fleet.listAgents({})));
    expect(codes).toEqual(["Unauthenticated", "Unauthenticated", "ok"]);

    await stage.operator.tokens.revokeToken({ token: answers[0]?.token?.id ?? "" });
    const { secret } = await stage.operator.tokens.createToken(request);
    expect(await codeOf(stage.fleet.operator(secret).fleet.listAgents({}))).toBe("Unauthenticated");
  });
});

describe("two at once with one request_id", () => {
  test("the second waits for the first and gets its answer", async () => {
    const agent = await inError();
    const point = await stopAtChange(stage.databaseUrl, "audit_entries", "before insert");
    const request = { agent: agent.name, requestId: `at once ${agent.name}` };
    const answers = Promise.all([1, 2, 3].map(() => stage.operator.fleet.resetAgent(request)));
    answers.catch(() => undefined);
    await point.reached();
    const waiting = async () => {
      const [row] = await stage.sql<{ count: number }[]>`
        SELECT count(*)::int AS count FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()`;
      return row?.count === 3;
    };
    await waitFor(waiting, { what: "all three in the database" });
    await point.release();
    const [first, ...others] = await answers;
    for (const other of others) expect(other).toEqual(first);
    const entries = await stage.sql`
      SELECT 1 FROM audit_entries WHERE subject = ${`agent_${agent.uuid}`} AND to_value = 'online'`;
    expect(entries.length).toBe(1);
  });

  test("when the first fails, the second is the first", async () => {
    const { secret } = await stage.operator.tokens.createToken({ role: TokenRole.OPERATOR });
    const { fleet } = stage.fleet.operator(secret);
    const agent = await inError();
    const point = await stopAtChange(stage.databaseUrl, "audit_entries", "before insert");
    const request = { agent: agent.name, requestId: "first fails" };
    const first = codeOf(fleet.resetAgent(request));
    const backend = await point.reached();
    await stage.sql`SELECT pg_terminate_backend(${backend})`;
    expect(await first).toBe("Unavailable");
    await point.release();
    expect((await fleet.resetAgent(request)).agent?.status).toBe(AgentStatus.ONLINE);
  });
});

describe("one request_id", () => {
  test("cannot stand for two requests of one method", async () => {
    const { tokens } = stage.operator;
    await tokens.createToken({ role: TokenRole.VIEWER, requestId: "ambiguous" });
    expect(await codeOf(tokens.createToken({ role: TokenRole.RUNNER, requestId: "ambiguous" }))).toBe(
      "InvalidArgument",
    );
  });

  test("is another one to another method and to another token", async () => {
    const [one, two] = [
      await enrollAgent(stage.fleet, stage.operator),
      await enrollAgent(stage.fleet, stage.operator),
    ];
    const before = await count("error_reports");
    const request = { severity: Severity.MINOR, message: "shared id", requestId: "shared" };
    const ids = new Set<string | undefined>();
    for (const { token } of [one, two]) {
      ids.add((await stage.fleet.agent(token).reportError(request)).errorReport?.id);
      expect(await codeOf(stage.fleet.agent(token).rotateToken({ requestId: "shared" }))).toBe("ok");
    }
    expect(ids.size).toBe(2);
    expect(await count("error_reports")).toBe(before + 2);
  });

  test("whose request was refused is free", async () => {
    const { fleet, tokens } = stage.operator;
    const request = { agent: "comes-later", requestId: "too early" };
    expect(await codeOf(fleet.resetAgent(request))).toBe("NotFound");
    const { secret } = await tokens.createToken({ role: TokenRole.ENROLLMENT });
    await stage.fleet.agent(secret).enroll({ name: "comes-later" });
    expect(await codeOf(fleet.resetAgent(request))).toBe("ok");
  });

  test("is forgotten after 24 hours, and not before", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const request = { severity: Severity.MINOR, message: "forgotten", requestId: "forget" };
    const ask = async () => (await stage.fleet.agent(agent.token).reportError(request)).errorReport?.id;
    const beat = async () => {
      const error = { severity: Severity.WARNING, message: "beat" };
      const session = { bootId: "b", sequence: 1n };
      return await stage.fleet.agent(agent.token).heartbeat({ status: AgentStatus.BUSY, error, session });
    };
    const first = await ask();
    await beat();
    const age = async (interval: string) => {
      await stage.sql`UPDATE answered_requests SET created_at = created_at - ${interval}::interval`;
      await stage.sql`UPDATE heartbeat_effects SET recorded_at = recorded_at - ${interval}::interval`;
    };
    const records = async () => {
      const [row] = await stage.sql<{ answers: number; effects: number }[]>`
        SELECT (SELECT count(*)::int FROM answered_requests) AS answers,
          (SELECT count(*)::int FROM heartbeat_effects) AS effects`;
      return row;
    };
    await age("23 hours 59 minutes");
    await stage.restart();
    expect(await ask()).toBe(first);
    expect((await beat()).duplicate).toBe(true);
    await age("2 minutes");
    // What is old is forgotten when a server starts, and then by the minute.
    await stage.restart();
    await waitFor(async () => (await records())?.answers === 0 && (await records())?.effects === 0, {
      what: "the forgetting",
    });
    expect(await ask()).not.toBe(first);
  });
});
