import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { enrollAgent } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
  await enrollAgent(stage.fleet, stage.operator);
});
afterAll(async () => {
  await stage.close();
});

const rows = async () => (await stage.sql`SELECT * FROM audit_entries ORDER BY id`).length;

describe("the audit log is append-only", () => {
  test.each([
    "UPDATE audit_entries SET actor = 'nobody'",
    "UPDATE audit_entries SET to_value = 'online' WHERE false OR id IS NOT NULL",
    "DELETE FROM audit_entries",
    "TRUNCATE audit_entries",
    "INSERT INTO audit_entries SELECT * FROM audit_entries LIMIT 1 ON CONFLICT (project_id, id) DO UPDATE SET actor = 'x'",
    "BEGIN; SET LOCAL drover.pruning = 'errors'; DELETE FROM audit_entries; COMMIT",
    "BEGIN; SET LOCAL drover.pruning = 'audit'; UPDATE audit_entries SET actor = 'nobody'; COMMIT",
    "BEGIN; SET LOCAL drover.pruning = 'audit'; TRUNCATE audit_entries; COMMIT",
  ])("%s is refused", async (statement) => {
    const before = await rows();
    expect(before).toBeGreaterThan(0);
    const attempt = stage.sql.reserve().then(async (sql) => {
      try {
        await sql.unsafe(statement);
      } finally {
        await sql.unsafe("ROLLBACK");
        sql.release();
      }
    });
    await expect(attempt).rejects.toMatchObject({ code: "42501", message: "audit entries are append-only" });
    expect(await rows()).toBe(before);
  });

  test("who prunes says so, for one transaction", async () => {
    const before = await rows();
    await stage.sql.begin(async (sql) => {
      await sql`SET LOCAL drover.pruning = 'audit'`;
      const gone = await sql`
        DELETE FROM audit_entries WHERE (project_id, id) IN (SELECT project_id, id FROM audit_entries LIMIT 1) RETURNING 1`;
      expect(gone.length).toBe(1);
    });
    expect(await rows()).toBe(before - 1);
    await expect(stage.sql`DELETE FROM audit_entries`).rejects.toMatchObject({ code: "42501" });
  });
});

describe("entries", () => {
  test("say who, what, of whom, from, to, why and by which request; by subject also under the agent's name", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const api = stage.fleet.agent(agent.token);
    await api.heartbeat({ status: AgentStatus.ERROR });
    await api.heartbeat({ status: AgentStatus.ERROR });
    await stage.operator.fleet.resetAgent({ agent: agent.name, requestId: "reset-1" });
    await stage.operator.fleet.resetAgent({ agent: agent.name });
    const { entries } = await stage.operator.events.listAuditEntries({
      subject: agent.name,
      orderBy: "time",
    });
    const subject = `agent_${agent.uuid}`;
    expect(entries).toMatchObject([
      { action: "agent.enrolled", subject, to: agent.name },
      { action: "agent.liveness_changed", field: "liveness", from: "never", to: "live", version: 1n },
      {
        action: "agent.status_changed",
        field: "status",
        from: "pending",
        to: "error",
        version: 2n,
        actor: `agent:${agent.name}`,
      },
      { action: "agent.status_changed", from: "error", to: "online", version: 3n, requestId: "reset-1" },
    ]);
    expect(entries[3]?.actor).toMatch(/^token:token_/);
    expect(entries.every(({ reason, action }) => action === "agent.enrolled" || reason !== "")).toBe(true);
    const byId = await stage.operator.events.listAuditEntries({ subject, orderBy: "time" });
    expect(byId.entries).toEqual(entries);

    await stage.operator.fleet.removeAgent({ agent: agent.name });
    const left = await stage.operator.events.listAuditEntries({ subject, orderBy: "time" });
    expect(left.entries.map(({ action }) => action)).toEqual([
      ...entries.map(({ action }) => action),
      "agent.removed",
    ]);
  });

  test("filtered and paged: each once, in order, while more are written", async () => {
    const agents = await Promise.all(
      Array.from({ length: 3 }, () => enrollAgent(stage.fleet, stage.operator)),
    );
    const flap = async (status: AgentStatus) => {
      for (const { token } of agents) await stage.fleet.agent(token).heartbeat({ status });
    };
    for (const status of [2, 3, 4, 2, 3]) await flap(status);
    const action = ["agent.status_changed"];
    const { entries: before } = await stage.operator.events.listAuditEntries({ action, pageSize: 1000 });
    const seen: string[] = [];
    let pageToken = "";
    do {
      const page = await stage.operator.events.listAuditEntries({ action, pageSize: 4, pageToken });
      seen.push(...page.entries.map(({ id }) => id));
      pageToken = page.nextPageToken;
      await flap(seen.length % 8 === 0 ? 2 : 4);
    } while (pageToken !== "");
    expect(before.length).toBeGreaterThanOrEqual(15);
    expect(seen).toEqual(before.map(({ id }) => id));
    const { entries: own } = await stage.operator.events.listAuditEntries({
      actor: `agent:${agents[0]?.name}`,
    });
    expect(new Set(own.map(({ subject }) => subject))).toEqual(new Set([`agent_${agents[0]?.uuid}`]));
  });
});
