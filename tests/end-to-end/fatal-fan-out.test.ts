import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import {
  allOfIt as failedAgent,
  fatalBeat,
  killAt,
  type Moment,
  onlineAgent,
  nothing as untouchedAgent,
} from "../guarantees/check-fatal-heartbeat.ts";
import type { EnrolledAgent } from "../helpers/fleet-api.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { stopAtChange } from "../helpers/stop-point.ts";

const TASKS = 100;
const RUNNING = 40;

// All tasks are rows of one statement; it stands still at the one that differs, with others written before or after it.
const oneTaskOf = ({ uuid }: EnrolledAgent) => `NEW.agent_id = '${uuid}' AND NEW.priority = 7`;

const moments = [
  {
    name: "with a part of the tasks written",
    stop: (url, agent) =>
      stopAtChange(url, "tasks", "before update", `${oneTaskOf(agent)} AND NEW.state = 'pending'`),
    leaves: "nothing",
  },
  {
    name: "with a part of the attempts written",
    stop: (url, { uuid }) =>
      stopAtChange(
        url,
        "task_attempts",
        "before update",
        `NEW.agent_id = '${uuid}' AND NEW.outcome = 'agent_failed'`,
      ),
    leaves: "nothing",
  },
  {
    name: "with the tasks written and not the record of the heartbeat",
    stop: (url, { uuid }) =>
      stopAtChange(url, "heartbeat_effects", "before insert", `NEW.agent_id = '${uuid}'`),
    leaves: "nothing",
  },
  {
    name: "in COMMIT, which the database still takes back",
    stop: (url, agent) => stopAtChange(url, "tasks", "in commit after update", oneTaskOf(agent)),
    leaves: "nothing",
    backendDies: true,
  },
  {
    name: "in COMMIT, which the database then finishes",
    stop: (url, agent) => stopAtChange(url, "tasks", "in commit after update", oneTaskOf(agent)),
    leaves: "all of it",
  },
] satisfies Moment[];

/** How many of an agent's tasks are in which state, after how many retries, with which end of their one attempt. */
type Tally = Record<string, number>;

const held: Tally = {
  "leased, 0 retries, attempt open": TASKS - RUNNING,
  "running, 0 retries, attempt open": RUNNING,
};
const failedOver: Tally = { "pending, 1 retries, attempt agent_failed": TASKS };

describe("a fatal heartbeat of an agent with a hundred active tasks", () => {
  let stage: Stage;

  beforeAll(async () => {
    // So long that no task is claimed again or lost while a test looks.
    stage = await setStage({ env: { DROVER_RETRY_BACKOFF: "5m", DROVER_LEASE: "10m" } });
  });
  afterAll(async () => {
    await stage?.close();
  });

  test("fails them all over in one transaction", async () => {
    const agent = await busyAgent(stage);
    await recordTransactions(stage, agent);
    const answer = await stage.fleet.agent(agent.token).heartbeat(fatalBeat);
    expect(answer).toMatchObject({
      agentStatus: AgentStatus.ERROR,
      taskFailures: { attempted: TASKS, requeued: TASKS, failed: 0 },
    });
    expect(await tallyOf(stage, agent)).toEqual(failedOver);
    expect(await recordedTransactions(stage)).toEqual({
      transactions: 1,
      tables: ["agent_states", "error_reports", "heartbeat_effects", "task_attempts", "tasks"],
    });
  });

  test.each(moments)(
    "is all or nothing when the server is killed $name",
    { timeout: 60_000 },
    async (moment) => {
      const agent = await busyAgent(stage);
      const left = await killAt(stage, agent, moment);
      expect(left).toEqual(
        moment.leaves === "nothing" ? { ...untouchedAgent, held: TASKS } : { ...failedAgent, ended: TASKS },
      );
      expect(await tallyOf(stage, agent)).toEqual(moment.leaves === "nothing" ? held : failedOver);

      // The agent repeats it to the next server, and is told the same either way.
      await stage.restart();
      const repeated = await stage.fleet.agent(agent.token).heartbeat(fatalBeat);
      expect(repeated).toMatchObject({
        duplicate: moment.leaves === "all of it",
        taskFailures: { attempted: TASKS, requeued: TASKS, failed: 0 },
      });
      expect(await tallyOf(stage, agent)).toEqual(failedOver);
    },
  );
});

/** An online agent with a hundred tasks in its hands, some of which it has begun. */
async function busyAgent(stage: Stage): Promise<EnrolledAgent> {
  const agent = await onlineAgent(stage);
  const api = stage.fleet.agent(agent.token);
  const transport = createConnectTransport({ baseUrl: stage.server.httpUrl, httpVersion: "1.1" });
  const operator = { headers: { authorization: `Bearer ${stage.operatorToken}` } };
  const operate = createClient(TaskService, transport);
  const create = (index: number) =>
    operate.createTask({ kind: agent.name, priority: index === TASKS / 2 ? 7 : 5 }, operator);
  // An online agent of these tests comes with a few tasks in its hands.
  const missing = TASKS - untouchedAgent.held;
  await Promise.all(Array.from({ length: missing }, (_, index) => create(index)));
  const { tasks } = await api.claimTasks({ kinds: [agent.name], max: missing });
  const begun = tasks.slice(0, RUNNING);
  await Promise.all(
    begun.map(({ id, lease }) => api.updateTask({ task: id, leaseEpoch: lease?.epoch ?? 0n })),
  );
  expect(await tallyOf(stage, agent)).toEqual(held);
  return agent;
}

async function tallyOf({ sql }: Stage, { uuid }: EnrolledAgent): Promise<Tally> {
  const rows = await sql<{ what: string; count: number }[]>`
    SELECT concat(t.state, ', ', t.retries, ' retries, attempt ', COALESCE(a.outcome, 'open')) AS what, count(*)::int
    FROM tasks t JOIN task_attempts a ON a.project_id = t.project_id AND a.task_id = t.id
    WHERE a.agent_id = ${uuid} GROUP BY what`;
  return Object.fromEntries(rows.map(({ what, count }) => [what, count]));
}

/** Has the database write down which transactions change something of the agent. */
async function recordTransactions({ sql }: Stage, { uuid }: EnrolledAgent): Promise<void> {
  await sql.unsafe(`
    CREATE TABLE transactions_seen (xid xid8 NOT NULL, name text NOT NULL);
    CREATE FUNCTION record_transaction() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO transactions_seen VALUES (pg_current_xact_id(), TG_TABLE_NAME);
      RETURN NULL;
    END $$;`);
  for (const table of ["tasks", "task_attempts", "agent_states", "error_reports", "heartbeat_effects"])
    await sql.unsafe(`
      CREATE TRIGGER record_transaction AFTER INSERT OR UPDATE ON ${table} FOR EACH ROW
      WHEN (NEW.agent_id = '${uuid}') EXECUTE FUNCTION record_transaction()`);
}

async function recordedTransactions({ sql }: Stage): Promise<{ transactions: number; tables: string[] }> {
  const [row] = await sql<{ transactions: number; tables: string[] }[]>`
    SELECT count(DISTINCT xid)::int AS transactions, array_agg(DISTINCT name ORDER BY name) AS tables
    FROM transactions_seen`;
  if (row === undefined) throw new Error("a count makes one row");
  return row;
}
