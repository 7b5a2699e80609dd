import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { DOORS, type EnrolledAgent, enrollAgent, enrollAgents } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await setStage();
});
afterAll(async () => {
  await stage.close();
});

const report = (agent: EnrolledAgent, message: string, severity = Severity.MAJOR) =>
  stage.fleet.agent(agent.token).reportError({ severity, message });

async function stored({ uuid }: EnrolledAgent): Promise<{ rows: number; occurrences: number; most: number }> {
  const [row] = await stage.sql<{ rows: number; occurrences: number; most: number }[]>`
    SELECT count(*)::int AS rows, coalesce(sum(occurrences), 0)::int AS occurrences,
      coalesce(max(occurrences), 0)::int AS most
    FROM error_reports WHERE agent_id = ${uuid}`;
  if (row === undefined) throw new Error("an aggregate always has a row");
  return row;
}

/** As if that much time had passed since the agent's errors. */
async function age({ uuid }: EnrolledAgent, interval: string): Promise<void> {
  await stage.sql`
    UPDATE error_reports SET created_at = created_at - ${interval}::interval,
      last_seen_at = last_seen_at - ${interval}::interval WHERE agent_id = ${uuid}`;
}

describe("above 60 a minute of one fingerprint from one agent", () => {
  test("rows give way to a count on the last one", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    let last = "";
    for (let number = 1; number <= 60; number++) {
      last = (await report(agent, `disk ${number} failed`)).errorReport?.id ?? "";
    }
    expect(await stored(agent)).toEqual({ rows: 60, occurrences: 60, most: 1 });
    for (let number = 61; number <= 70; number++) {
      const { errorReport } = await report(agent, `disk ${number} failed`);
      expect(errorReport).toMatchObject({ id: last, occurrences: number - 59 });
    }
    expect(await stored(agent)).toEqual({ rows: 60, occurrences: 70, most: 11 });
    const { agent: shown } = await stage.operator.fleet.getAgent({ agent: agent.name });
    expect(shown?.recentErrors?.count).toBe(70);
    const { errorGroups } = await stage.operator.fleet.listErrorGroups({ agent: agent.name });
    expect(errorGroups).toMatchObject([{ count: 70, agentCount: 1 }]);
  });

  test("also when they come at once, from heartbeats and reports alike", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const door = DOORS[index % DOORS.length];
        const api = stage.fleet.agent(agent.token, door);
        const error = { severity: Severity.WARNING, message: "slow fan" };
        await (index % 2 === 0 ? api.reportError(error) : api.heartbeat({ status: AgentStatus.BUSY, error }));
      }),
    );
    expect(await stored(agent)).toEqual({ rows: 60, occurrences: 100, most: 41 });
  });

  test("another severity, another message and another agent have room of their own", async () => {
    const [agent, other] = await enrollAgents(stage.fleet, stage.operator, 2);
    if (agent === undefined || other === undefined) throw new Error("two agents are needed");
    for (let number = 0; number < 61; number++) await report(agent, "out of memory");
    expect((await stored(agent)).rows).toBe(60);
    await report(agent, "out of memory", Severity.MINOR);
    await report(agent, "out of space");
    await report(other, "out of memory");
    expect((await stored(agent)).rows).toBe(62);
    expect((await stored(other)).rows).toBe(1);
  });

  test("a minute later there are rows again", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    for (let number = 0; number < 62; number++) await report(agent, "no route");
    await age(agent, "61 seconds");
    await report(agent, "no route");
    expect(await stored(agent)).toEqual({ rows: 61, occurrences: 63, most: 3 });
  });

  test("a fatal one still stops its agent", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const api = stage.fleet.agent(agent.token);
    const error = { severity: Severity.FATAL, message: "driver lost" };
    for (let number = 0; number < 61; number++) await api.heartbeat({ status: AgentStatus.BUSY, error });
    await api.heartbeat({ status: AgentStatus.ONLINE });
    const answer = await api.heartbeat({ status: AgentStatus.BUSY, error });
    expect(answer.transition?.to).toBe(AgentStatus.ERROR);
    expect(await stored(agent)).toEqual({ rows: 60, occurrences: 62, most: 3 });
  });
});

test("errors of the last 24 hours count as recent, the worst severity among them", async () => {
  const agent = await enrollAgent(stage.fleet, stage.operator);
  const recent = async () => (await stage.operator.fleet.getAgent({ agent: agent.name })).agent?.recentErrors;
  expect(await recent()).toMatchObject({ count: 0 });
  await report(agent, "old and bad", Severity.FATAL);
  await age(agent, "24 hours 1 minute");
  await report(agent, "new and mild", Severity.INFO);
  await report(agent, "new and less mild", Severity.MINOR);
  expect(await recent()).toMatchObject({ count: 2, worstSeverity: Severity.MINOR });
});
