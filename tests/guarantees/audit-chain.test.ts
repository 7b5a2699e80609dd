import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { logLines } from "../helpers/log-lines.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { auditChainProblems } from "./audit-chain.ts";
import { sendRandomHeartbeats } from "./random-fleet.ts";

describe("the audit log of agents is a chain", () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await setStage();
  });
  afterAll(async () => {
    await stage.close();
  });

  test("after 5,000 random heartbeats of 50 agents from 8 clients at once", {
    timeout: 240_000,
  }, async () => {
    const seed = 1 + (Date.now() % 1_000_000);
    const told = await sendRandomHeartbeats(stage, { agents: 50, clients: 8, heartbeats: 5_000, seed });
    // Nothing is refused but what comes from a run that a newer one took over from.
    expect(Object.keys(told.refused)).toEqual(["Aborted"]);
    expect(told.acknowledged).toBeGreaterThan(4_500);
    expect(told.duplicates).toBeGreaterThan(50);
    expect(told.fatals).toBeGreaterThan(500);

    expect(await auditChainProblems(stage.sql), `seed ${seed}`).toEqual([]);
    const [logged] = await stage.sql<{ byAgents: number; byOperators: number }[]>`
      SELECT count(*) FILTER (WHERE actor LIKE 'agent:%')::int AS "byAgents",
        count(*) FILTER (WHERE actor LIKE 'token:%')::int AS "byOperators"
      FROM audit_entries WHERE field = 'status'`;
    expect(logged?.byAgents).toBe(told.statusChanges);
    expect(logged?.byOperators).toBeGreaterThan(5);
    const entries = (logged?.byAgents ?? 0) + (logged?.byOperators ?? 0);
    const heard = await logLines(stage.server, { msg: "agent status changed" }, entries);
    expect(heard.length).toBe(entries);
  });
});

describe("the check of the chain", () => {
  let stage: Stage;
  const project = "00000000-0000-7000-8000-000000000001";
  const agent = "00000000-0000-7000-8000-000000000002";
  beforeAll(async () => {
    stage = await setStage();
  });
  afterAll(async () => {
    await stage.close();
  });

  async function problemsOf(
    present: { status: string; liveness: string; version: number },
    entries: [field: string, from: string, to: string, version: number][],
  ): Promise<string[]> {
    const rollback = new Error("undo");
    let problems: string[] = [];
    await stage.sql
      .begin(async (sql) => {
        const { status, liveness, version } = present;
        await sql`INSERT INTO agent_states (project_id, agent_id, status, liveness, version)
          VALUES (${project}, ${agent}, ${status}, ${liveness}, ${version})`;
        await sql`ALTER TABLE audit_entries DROP CONSTRAINT audit_entries_one_per_version`;
        for (const [field, from, to, at] of entries) {
          await sql`INSERT INTO audit_entries (project_id, id, actor, action, subject, field, from_value, to_value, version)
            VALUES (${project}, gen_random_uuid(), 'server', 'x', ${`agent_${agent}`}, ${field}, ${from}, ${to}, ${at})`;
        }
        problems = await auditChainProblems(sql);
        throw rollback;
      })
      .catch((error: unknown) => {
        if (error !== rollback) throw error;
      });
    return problems;
  }

  const good: [string, string, string, number][] = [
    ["liveness", "never", "live", 1],
    ["status", "pending", "online", 2],
    ["status", "online", "error", 3],
  ];

  test("finds nothing wrong with a whole chain, nor with one whose beginning was pruned", async () => {
    const present = { status: "error", liveness: "stale", version: 3 };
    expect(await problemsOf(present, good)).toEqual([]);
    expect(await problemsOf({ status: "error", liveness: "never", version: 3 }, good.slice(2))).toEqual([]);
    expect(await problemsOf({ status: "pending", liveness: "never", version: 0 }, [])).toEqual([]);
  });

  test.each([
    ["a gap", "error", 3, [good[0], good[1], ["status", "busy", "error", 3]]],
    ["a change to the same", "online", 3, [good[0], good[1], ["status", "online", "online", 3]]],
    ["another present status", "busy", 3, good],
    ["another present version", "error", 4, good],
    ["an entry that is missing at the end", "error", 3, good.slice(0, 2)],
    ["a version used twice", "error", 2, [good[0], good[1], ["status", "online", "error", 2]]],
    [
      "a first entry that does not start at the beginning",
      "online",
      2,
      [["status", "busy", "online", 1], good[0]],
    ],
    ["stale in the log", "error", 4, [...good, ["liveness", "live", "stale", 4]]],
  ] as [string, string, number, [string, string, string, number][]][])(
    "finds %s",
    async (_, status, version, entries) => {
      expect(await problemsOf({ status, liveness: "live", version }, entries)).not.toEqual([]);
    },
  );
});
