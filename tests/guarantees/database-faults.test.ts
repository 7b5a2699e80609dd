import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { type DatabaseProxy, proxyDatabase } from "../helpers/database-proxy.ts";
import { DOORS, enrollAgent } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { backendGone, stopAtChange } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { auditChainProblems } from "./audit-chain.ts";
import { allOfIt, fatalBeat, nothing, onlineAgent, tracesOf } from "./check-fatal-heartbeat.ts";

let stage: Stage;
let proxy: DatabaseProxy;
beforeAll(async () => {
  stage = await setStage({
    through: async (databaseUrl) => {
      proxy = await proxyDatabase(databaseUrl);
      return proxy.url;
    },
  });
});
afterAll(async () => {
  await stage.close();
  await proxy.close();
});

describe("a connection that ends in mid-COMMIT", () => {
  test.each(DOORS)(
    "after the database committed: UNAVAILABLE, and the repeat has no second effect: %s",
    async (door) => {
      const agent = await onlineAgent(stage);
      const api = stage.fleet.agent(agent.token, door);
      const point = await stopAtChange(stage.databaseUrl, "agent_states", "in commit after update");
      const outcome = codeOf(api.heartbeat(fatalBeat));
      await point.reached();
      proxy.holdAnswers();
      await point.release();
      await waitFor(async () => (await tracesOf(stage, agent)).status === "error", { what: "the commit" });
      proxy.cut();
      expect(await outcome).toBe("Unavailable");

      expect(await api.heartbeat(fatalBeat)).toMatchObject({
        duplicate: true,
        agentStatus: AgentStatus.ERROR,
        transition: { from: AgentStatus.ONLINE, to: AgentStatus.ERROR },
      });
      expect(await tracesOf(stage, agent)).toEqual(allOfIt);
    },
  );

  test("before the database committed: UNAVAILABLE, and the repeat has the one effect", async () => {
    const agent = await onlineAgent(stage);
    const api = stage.fleet.agent(agent.token);
    const point = await stopAtChange(stage.databaseUrl, "heartbeat_effects", "after insert");
    const outcome = codeOf(api.heartbeat(fatalBeat));
    const backend = await point.reached();
    await stage.sql`SELECT pg_terminate_backend(${backend})`;
    expect(await outcome).toBe("Unavailable");
    await point.release();
    expect(await tracesOf(stage, agent)).toEqual(nothing);
    expect((await api.heartbeat(fatalBeat)).duplicate).toBe(false);
    expect(await tracesOf(stage, agent)).toEqual(allOfIt);
  });
});

describe("a database that is away for a while", () => {
  test("every call is told UNAVAILABLE, the process lives, says so, and recovers by itself", async () => {
    const agent = await onlineAgent(stage);
    const { pid } = stage.server;
    await proxy.close();
    const calls = [
      ...DOORS.map((door) => stage.fleet.agent(agent.token, door).heartbeat({ status: AgentStatus.BUSY })),
      stage.fleet.agent(agent.token).reportError({ severity: 4, message: "lost", requestId: "r" }),
      stage.operator.fleet.listAgents({}),
      stage.operator.fleet.resetAgent({ agent: agent.name, requestId: "r" }),
    ].map(codeOf);
    expect(await Promise.all(calls)).toEqual(calls.map(() => "Unavailable"));
    const probe = async (path: string) => (await fetch(`${stage.server.httpUrl}${path}`)).status;
    expect(await probe("/healthz")).toBe(200);
    expect(await probe("/readyz")).toBe(503);

    await proxy.open();
    await waitFor(async () => (await probe("/readyz")) === 200, { what: "recovery" });
    for (const door of DOORS) {
      const beat = stage.fleet.agent(agent.token, door).heartbeat({ status: AgentStatus.BUSY });
      expect(await codeOf(beat)).toBe("ok");
    }
    expect(stage.server.running()).toBe(true);
    expect(stage.server.pid).toBe(pid);
  });

  test("connections that were ended while idle are replaced", async () => {
    const agent = await enrollAgent(stage.fleet, stage.operator);
    for (let round = 0; round < 5; round++) {
      const ended = await stage.sql<{ pid: number }[]>`
        SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'drover %'`;
      for (const { pid } of ended) await backendGone(stage.sql, pid);
      // The server hears of it a moment later than the database's own list.
      await waitFor(async () => {
        return (
          (await codeOf(stage.fleet.agent(agent.token).heartbeat({ status: AgentStatus.BUSY }))) === "ok"
        );
      });
    }
    expect(stage.server.running()).toBe(true);
  });
});

test.each(["40001", "40P01"])(
  "a transaction that the database undid for another's sake, %s, runs again",
  async (code) => {
    const agent = await onlineAgent(stage);
    await stage.sql.unsafe(`
    CREATE SEQUENCE tries;
    CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF nextval('tries') < 3 THEN RAISE EXCEPTION 'undone' USING ERRCODE = '${code}'; END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER undo BEFORE INSERT ON heartbeat_effects FOR EACH ROW EXECUTE FUNCTION undo();`);
    const answer = await stage.fleet.agent(agent.token).heartbeat(fatalBeat);
    await stage.sql.unsafe("DROP FUNCTION undo CASCADE; DROP SEQUENCE tries;");
    expect(answer.duplicate).toBe(false);
    expect(await tracesOf(stage, agent)).toEqual(allOfIt);
    expect(await auditChainProblems(stage.sql)).toEqual([]);
  },
);
