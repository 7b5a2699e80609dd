import { setTimeout as pause } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import type { SessionRequestSchema } from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { Outbox } from "../../src/runtime/outbox.ts";
import { DOORS, type EnrolledAgent, enrollAgents, type Fleet } from "../helpers/fleet-api.ts";
import type { Stage } from "../helpers/stage.ts";
import { waitFor } from "../helpers/wait-for.ts";

const BOOT_ID = "boot-1";

/** What one agent sent and what was acknowledged of it, by sequence; 0 stands for none. */
export interface AgentRecord {
  agent: EnrolledAgent;
  sent: number;
  acknowledged: number;
  /** Messages of the errors in acknowledged heartbeats. */
  errors: string[];
}

type AgentApi = ReturnType<Fleet["agent"]>;

/**
 * Lets agents beat through all doors and by streams until `enough` heartbeats were acknowledged, kills the server in the middle of
 * it, and starts another one on the same database.
 */
export async function killUnderLoad(
  stage: Stage,
  agentCount: number,
  enough: number,
): Promise<AgentRecord[]> {
  const agents = await enrollAgents(stage.fleet, stage.operator, agentCount);
  const records = agents.map((agent): AgentRecord => ({ agent, sent: 0, acknowledged: 0, errors: [] }));
  const loads = records.map((record, index) => beatUntilLost(stage.fleet, record, index));
  const total = () => records.reduce((sum, { acknowledged }) => sum + acknowledged, 0);
  await waitFor(() => total() >= enough, { what: `${enough} acknowledged heartbeats`, timeoutMs: 25_000 });
  await stage.server.kill();
  await Promise.all(loads);
  await stage.restart();
  return records;
}

/** Mostly what changes nothing but the sequence, and in between errors, gauges and other statuses. */
function nextBeat(record: AgentRecord) {
  record.sent += 1;
  const sequence = record.sent;
  const error = hasError(sequence) && { severity: Severity.WARNING, message: troubleOf(record, sequence) };
  return {
    status: sequence % 10 === 9 ? AgentStatus.BUSY : AgentStatus.ONLINE,
    session: { bootId: BOOT_ID, sequence: BigInt(sequence) },
    ...(hasGauges(sequence) && { gauges: { sequence } }),
    ...(error && { error }),
  };
}

const hasError = (sequence: number) => sequence % 5 === 0;
const hasGauges = (sequence: number) => sequence % 4 === 0;
const troubleOf = ({ agent }: AgentRecord, sequence: number) => `trouble of ${agent.name} at ${sequence}`;

function noteAcknowledged(record: AgentRecord): void {
  record.acknowledged = record.sent;
  if (hasError(record.sent)) record.errors.push(troubleOf(record, record.sent));
}

async function beatUntilLost(fleet: Fleet, record: AgentRecord, index: number): Promise<void> {
  const way = [...DOORS, "stream" as const][index % (DOORS.length + 1)] ?? "stream";
  try {
    if (way === "stream") await beatByStream(fleet.agent(record.agent.token, "grpc"), record);
    else await beatByCalls(fleet.agent(record.agent.token, way), record);
  } catch {
    // The server is gone, and with it the load.
  }
}

async function beatByCalls(api: AgentApi, record: AgentRecord): Promise<void> {
  for (;;) {
    await api.heartbeat(nextBeat(record));
    noteAcknowledged(record);
    // A turn for the others: without it one door could starve the rest of this process.
    await pause(0);
  }
}

async function beatByStream(api: AgentApi, record: AgentRecord): Promise<void> {
  const said = new Outbox<MessageInitShape<typeof SessionRequestSchema>>(1);
  said.putNow({ id: 1n, message: { case: "hello", value: { bootId: BOOT_ID } } });
  for await (const { message } of api.session(said)) {
    if (message.case === "heartbeat") noteAcknowledged(record);
    else if (message.case !== "welcome") throw new Error(`an answer of ${message.case}`);
    await pause(0);
    said.putNow({ id: 2n, message: { case: "heartbeat", value: nextBeat(record) } });
  }
}

/** What of the acknowledged heartbeats is missing in the database. */
export async function lostHeartbeats(stage: Stage, records: AgentRecord[]): Promise<string[]> {
  const problems: string[] = [];
  for (const { agent, sent, acknowledged, errors } of records) {
    const [state] = await stage.sql<{ sequence: string; gauge: number | null }[]>`
      SELECT sequence::text, (gauges ->> 'sequence')::float AS gauge
      FROM agent_states JOIN agents ON id = agent_id WHERE agent_id = ${agent.uuid}`;
    const stored = Number(state?.sequence ?? -1);
    if (stored < acknowledged) problems.push(`${agent.name}: ${acknowledged} acknowledged, ${stored} stored`);
    if (stored > sent) problems.push(`${agent.name}: ${stored} stored, ${sent} sent`);
    const withGauges = stored - (stored % 4);
    if (withGauges > 0 && state?.gauge !== withGauges)
      problems.push(`${agent.name}: ${stored} stored, but the gauges of ${state?.gauge}`);
    const rows = await stage.sql<{ message: string }[]>`
      SELECT message FROM error_reports WHERE agent_id = ${agent.uuid}`;
    const found = new Set(rows.map((row) => row.message));
    for (const message of errors) if (!found.has(message)) problems.push(`lost: ${message}`);
  }
  return problems;
}

/** Sends the newest acknowledged heartbeat of each agent once more; every answer must call it a duplicate. */
export async function notTakenAsDuplicate(stage: Stage, records: AgentRecord[]): Promise<string[]> {
  const answers = await Promise.all(
    records.map(async ({ agent, acknowledged }) => {
      const session = { bootId: BOOT_ID, sequence: BigInt(acknowledged) };
      const answer = await stage.fleet.agent(agent.token).heartbeat({ status: AgentStatus.ONLINE, session });
      return { name: agent.name, acknowledged, duplicate: answer.duplicate };
    }),
  );
  return answers
    .filter(({ duplicate }) => !duplicate)
    .map(({ name, acknowledged }) => `${name} at ${acknowledged}`);
}
