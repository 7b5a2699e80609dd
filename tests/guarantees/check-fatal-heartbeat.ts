import type { MessageInitShape } from "@bufbuild/protobuf";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import type { HeartbeatRequestSchema, HeartbeatResponse } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { codeOf } from "../helpers/code-of.ts";
import { type EnrolledAgent, enrollAgent } from "../helpers/fleet-api.ts";
import { logLines } from "../helpers/log-lines.ts";
import type { Stage } from "../helpers/stage.ts";
import { backendGone, holdLock, type StopPoint, stopAtChange } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { auditChainProblems } from "./audit-chain.ts";
import { unless } from "./problems.ts";

/** A place in a fatal heartbeat where its server dies. */
export interface Moment {
  name: string;
  /** Makes the agent's next fatal heartbeat stand still there. */
  stop(databaseUrl: string, agent: EnrolledAgent): Promise<StopPoint>;
  /** What must be left of it when the server was killed there. */
  leaves: "nothing" | "all of it";
  /** Ends the database's side of it as well, while it still stands still. */
  backendDies?: true;
  /** Lets the database finish before the server is killed, which is frozen meanwhile. */
  databaseFinishes?: true;
}

const ofAgent = ({ uuid }: EnrolledAgent) => `NEW.agent_id = '${uuid}'`;
const auditOf = ({ uuid }: EnrolledAgent) => `NEW.subject = 'agent_${uuid}'`;

export const moments = [
  {
    name: "before it has the agent's lock",
    stop: (url, { uuid }) =>
      holdLock(url, `SELECT 1 FROM agent_states WHERE agent_id = '${uuid}' FOR UPDATE`),
    leaves: "nothing",
  },
  {
    name: "after the lock",
    stop: (url) => holdLock(url, "LOCK TABLE agent_sessions IN ACCESS EXCLUSIVE MODE"),
    leaves: "nothing",
  },
  {
    name: "before the error is inserted",
    stop: (url, agent) => stopAtChange(url, "error_reports", "before insert", ofAgent(agent)),
    leaves: "nothing",
  },
  {
    name: "after the error is inserted",
    stop: (url, agent) => stopAtChange(url, "error_reports", "after insert", ofAgent(agent)),
    leaves: "nothing",
  },
  {
    name: "at the update of the agent's state",
    stop: (url, agent) => stopAtChange(url, "agent_states", "before update", ofAgent(agent)),
    leaves: "nothing",
  },
  {
    name: "between its tasks",
    stop: (url, { uuid }) =>
      stopAtChange(url, "tasks", "before update", `OLD.agent_id = '${uuid}' AND OLD.priority = 4`),
    leaves: "nothing",
  },
  {
    name: "at the end of an attempt",
    stop: (url, agent) => stopAtChange(url, "task_attempts", "before update", ofAgent(agent)),
    leaves: "nothing",
  },
  {
    name: "at the audit entry",
    stop: (url, agent) => stopAtChange(url, "audit_entries", "before insert", auditOf(agent)),
    leaves: "nothing",
  },
  {
    name: "at the record of its effect",
    stop: (url, agent) => stopAtChange(url, "heartbeat_effects", "before insert", ofAgent(agent)),
    leaves: "nothing",
  },
  {
    name: "after the record of its effect",
    stop: (url, agent) => stopAtChange(url, "heartbeat_effects", "after insert", ofAgent(agent)),
    leaves: "nothing",
  },
  {
    name: "in COMMIT, which the database still takes back",
    stop: (url, agent) => stopAtChange(url, "agent_states", "in commit after update", ofAgent(agent)),
    leaves: "nothing",
    backendDies: true,
  },
  {
    name: "in COMMIT, which the database then finishes",
    stop: (url, agent) => stopAtChange(url, "agent_states", "in commit after update", ofAgent(agent)),
    leaves: "all of it",
  },
  {
    name: "after COMMIT, before the reply",
    stop: (url, agent) => stopAtChange(url, "agent_states", "in commit after update", ofAgent(agent)),
    leaves: "all of it",
    databaseFinishes: true,
  },
] satisfies Moment[];

/** What the database holds of an agent that can only come from a fatal heartbeat. */
export interface Traces {
  errors: number;
  status: string;
  auditEntries: number;
  effects: number;
  sequence: number;
  /** Tasks that it holds. */
  held: number;
  /** Attempts of its that have ended. */
  ended: number;
}

const TASKS = 3;

export const nothing = {
  errors: 0,
  status: "online",
  auditEntries: 0,
  effects: 0,
  sequence: 1,
  held: TASKS,
  ended: 0,
} satisfies Traces;

export const allOfIt = {
  errors: 1,
  status: "error",
  auditEntries: 1,
  effects: 1,
  sequence: 2,
  held: 0,
  ended: TASKS,
} satisfies Traces;

export const fatalBeat = {
  status: AgentStatus.BUSY,
  error: { severity: Severity.FATAL, message: "driver lost", context: { device: 0 } },
  session: { bootId: "boot-1", sequence: 2n },
} satisfies MessageInitShape<typeof HeartbeatRequestSchema>;

/** An agent that is online, holds tasks of priorities 3, 4 and 5, and whose next heartbeat may be `fatalBeat`. */
export async function onlineAgent(stage: Stage): Promise<EnrolledAgent> {
  const agent = await enrollAgent(stage.fleet, stage.operator);
  const api = stage.fleet.agent(agent.token);
  await api.heartbeat({ status: AgentStatus.ONLINE, session: { bootId: "boot-1", sequence: 1n } });
  const kind = agent.name;
  for (let task = 0; task < TASKS; task++)
    await stage.operator.tasks.createTask({ kind, priority: 3 + task });
  const { tasks } = await api.claimTasks({ kinds: [kind], max: TASKS });
  if (tasks.length !== TASKS) throw new Error(`${tasks.length} tasks were claimed`);
  return agent;
}

/** Kills the server at a moment of the agent's fatal heartbeat; resolves to what is left when the database is quiet. */
export async function killAt(stage: Stage, agent: EnrolledAgent, moment: Moment): Promise<Traces> {
  const point = await moment.stop(stage.databaseUrl, agent);
  const answer = stage.fleet
    .agent(agent.token, "grpc")
    .heartbeat(fatalBeat)
    .then(
      () => "acknowledged" as const,
      () => "lost" as const,
    );
  const backend = await point.reached();
  if (moment.databaseFinishes) {
    stage.server.signal("SIGSTOP");
    await point.release();
    await waitFor(async () => (await tracesOf(stage, agent)).status === "error", { what: "the commit" });
    await stage.server.kill();
  } else {
    await stage.server.kill();
    if (moment.backendDies) await stage.sql`SELECT pg_terminate_backend(${backend})`;
    await point.release();
  }
  await backendGone(stage.sql, backend);
  if ((await answer) === "acknowledged")
    throw new Error("a heartbeat was acknowledged by a server that was killed");
  return await tracesOf(stage, agent);
}

export async function tracesOf({ sql }: Pick<Stage, "sql">, { uuid }: EnrolledAgent): Promise<Traces> {
  const [row] = await sql<Traces[]>`
    SELECT
      (SELECT count(*)::int FROM error_reports WHERE agent_id = ${uuid}) AS errors,
      status,
      (SELECT count(*)::int FROM audit_entries WHERE subject = ${`agent_${uuid}`} AND to_value = 'error') AS "auditEntries",
      (SELECT count(*)::int FROM heartbeat_effects WHERE agent_id = ${uuid} AND sequence = 2) AS effects,
      sequence::int,
      (SELECT count(*)::int FROM tasks WHERE agent_id = ${uuid} AND state IN ('leased', 'running')) AS held,
      (SELECT count(*)::int FROM task_attempts WHERE agent_id = ${uuid} AND ended_at IS NOT NULL) AS ended
    FROM agent_states WHERE agent_id = ${uuid}`;
  if (row === undefined) throw new Error("the agent is gone");
  return row;
}

/** Kills the server at a moment, starts another one, and repeats the heartbeat; what is wrong then, and before. */
export async function wrongAfterKill(stage: Stage, moment: Moment): Promise<string[]> {
  const agent = await onlineAgent(stage);
  const problems = unless(
    "left",
    await killAt(stage, agent, moment),
    moment.leaves === "nothing" ? nothing : allOfIt,
  );
  await stage.restart();
  for (const duplicate of [moment.leaves === "all of it", true]) {
    const answer = await stage.fleet.agent(agent.token).heartbeat(fatalBeat);
    const { from, to } = answer.transition ?? {};
    problems.push(
      ...unless("duplicate", answer.duplicate, duplicate),
      ...unless(
        "told",
        [answer.agentStatus, from, to],
        [AgentStatus.ERROR, AgentStatus.ONLINE, AgentStatus.ERROR],
      ),
      ...unless("tasks", failuresIn(answer), { attempted: TASKS, requeued: TASKS, failed: 0 }),
      ...unless("after the repeat", await tracesOf(stage, agent), allOfIt),
    );
  }
  return [...problems, ...(await auditChainProblems(stage.sql))];
}

function failuresIn({ taskFailures }: HeartbeatResponse): unknown {
  if (taskFailures === undefined) return undefined;
  const { attempted, requeued, failed } = taskFailures;
  return { attempted, requeued, failed };
}

/** Makes the database take a commit back, then lets the heartbeat be repeated; what is wrong with what was told of it. */
export async function wrongAfterRollback(stage: Stage): Promise<string[]> {
  const agent = await onlineAgent(stage);
  const point = await stopAtChange(stage.databaseUrl, "agent_states", "in commit after update");
  const outcome = codeOf(stage.fleet.agent(agent.token).heartbeat(fatalBeat));
  const backend = await point.reached();
  await stage.sql`SELECT pg_terminate_backend(${backend})`;
  await point.release();
  await backendGone(stage.sql, backend);
  const problems = [
    ...unless("the caller was told", await outcome, "Unavailable"),
    ...unless("left", await tracesOf(stage, agent), nothing),
  ];
  await stage.fleet.agent(agent.token).heartbeat(fatalBeat);
  const lines = await logLines(stage.server, { agent: agent.name, msg: "agent status changed" }, 2);
  const heard = lines.map(({ to }) => to);
  return [
    ...problems,
    ...unless("after the repeat", await tracesOf(stage, agent), allOfIt),
    // Had the log heard of the one that was taken back, that line would stand before the last.
    ...unless("the log heard", heard, ["online", "error"]),
  ];
}
