import { sql } from "drizzle-orm";
import type { AgentCommand } from "../commands/command.ts";
import { exchangeCommands } from "../commands/command-service.ts";
import { findRevokedCallers } from "../identity/confirm-caller.ts";
import type { Tx } from "../storage/database.ts";
import type { HeldTasks } from "../tasks/held-tasks.ts";
import type { HeartbeatAnswer } from "./heartbeat.ts";
import type { FoldedBeat, PlainBeat } from "./plain-beat.ts";

/** Beats that cannot be taken the plain way, though the statement took them: the transaction must not commit. */
export class NotPlain extends Error {
  readonly beats: ReadonlySet<FoldedBeat>;

  constructor(beats: ReadonlySet<FoldedBeat>) {
    super(`${beats.size} heartbeats are to be taken the careful way`);
    this.beats = beats;
  }
}

/**
 * Takes plain beats, of each agent one, by one statement: those whose agent is live, in the status that it reports, in the
 * session and below the sequence that it names, and at work on the task that it names. Answers are in the order of the
 * beats; those that it did not take are undefined. Throws NotPlain.
 */
export async function takePlainBeats(
  tx: Tx,
  beats: readonly FoldedBeat[],
  tasks: Pick<HeldTasks, "leaseMs">,
): Promise<(HeartbeatAnswer | undefined)[]> {
  const taken = await writePlainBeats(tx, beats, tasks.leaseMs);
  const commanded: FoldedBeat[] = [];
  const notPlain = new Set<FoldedBeat>();
  for (const [place, { commandSequence }] of taken.agents) {
    const one = beats[place];
    if (one === undefined) continue;
    if (commandSequence > 0n) commanded.push(one);
    // The loan ended while the statement waited for its agent's row.
    if (one.plain.loans[0]?.accept && !taken.loans.has(loanPlace(place, 0))) notPlain.add(one);
  }
  const revoked = await findRevokedCallers(
    tx,
    beats.map(({ plain }) => plain.beat.caller),
  );
  for (const one of beats) if (revoked.has(one.plain.beat.caller)) notPlain.add(one);
  if (notPlain.size > 0) throw new NotPlain(notPlain);
  const commands = await exchangeCommands(
    tx,
    commanded.map(
      ({
        plain: {
          beat: { caller },
        },
      }) => ({ ...caller, sequences: [] }),
    ),
  );
  return beats.map((one, place) =>
    taken.agents.has(place) ? answerOf(one.plain, place, taken, tasks.leaseMs, commands) : undefined,
  );
}

const NO_COMMANDS: AgentCommand[] = [];

function answerOf(
  { beat, status, loans }: PlainBeat,
  place: number,
  taken: TakenPlain,
  leaseMs: number,
  commands: ReadonlyMap<string, AgentCommand[]>,
): HeartbeatAnswer {
  return {
    status,
    transition: undefined,
    taskFailures: undefined,
    duplicate: false,
    renewedToken: undefined,
    reportFullState: false,
    leases: loans.map(({ text, leaseEpoch }, index) => ({
      taskId: text,
      leaseEpoch,
      remainingMs: taken.loans.has(loanPlace(place, index)) ? leaseMs : undefined,
    })),
    commands: commands.get(beat.caller.agentId) ?? NO_COMMANDS,
  };
}

/** What the statement took: places of beats, and of loans within them. */
interface TakenPlain {
  readonly agents: ReadonlyMap<number, { commandSequence: bigint }>;
  readonly loans: ReadonlySet<number>;
}

const MOST_LOANS = 10_000;
const loanPlace = (place: number, index: number) => place * MOST_LOANS + index;

/**
 * One statement for all: agents first, then their tasks. Every value travels as a column of texts that need no quotes.
 * An epoch that the caller does not know is looked up for that beat alone.
 */
async function writePlainBeats(tx: Tx, beats: readonly FoldedBeat[], leaseMs: number): Promise<TakenPlain> {
  const columns = columnsOf(beats);
  const rows = await tx.execute<{ place: number; command_sequence: bigint | null }>(sql`
    WITH beat AS MATERIALIZED (
      SELECT * FROM unnest(${columns.place}::int[], ${columns.project}::uuid[], ${columns.agent}::uuid[],
        ${columns.named}::boolean[], ${columns.epoch}::bigint[], ${columns.boot}::text[], ${columns.sequence}::bigint[], ${columns.first}::bigint[],
        ${columns.status}::text[], ${columns.task}::uuid[], ${columns.lease}::bigint[])
        AS b(place, project_id, agent_id, named, epoch, boot_id, sequence, first_sequence, status, task_id, lease_epoch)
    ), taken AS (
      UPDATE agent_states s
      SET sequence = coalesce(b.sequence, s.sequence), last_seen_at = clock_timestamp(),
        current_task_id = b.task_id, current_lease_epoch = b.lease_epoch
      FROM beat b
      WHERE s.project_id = b.project_id AND s.agent_id = b.agent_id AND s.liveness = 'live' AND s.status = b.status
        AND (NOT b.named OR s.epoch = coalesce(b.epoch, (
          SELECT r.epoch FROM agent_sessions r
          WHERE r.project_id = b.project_id AND r.agent_id = b.agent_id AND r.boot_id = b.boot_id)))
        AND (b.sequence IS NULL OR (s.sequence >= 0 AND s.sequence < b.first_sequence))
        AND (b.task_id IS NULL OR EXISTS (
          SELECT 1 FROM tasks t
          WHERE t.project_id = b.project_id AND t.id = b.task_id AND t.lease_epoch = b.lease_epoch
            AND t.agent_id = b.agent_id AND t.state = 'running'))
      RETURNING b.place, s.project_id, s.agent_id, s.command_sequence
    ), renewed AS (
      UPDATE tasks t
      SET lease_expires_at = clock_timestamp() + ${leaseMs} * interval '1 ms',
        progress = coalesce(l.progress, t.progress), detail = coalesce(l.detail, t.detail)
      FROM unnest(${columns.loanBeat}::int[], ${columns.loanPlace}::int[], ${columns.loanTask}::uuid[],
          ${columns.loanEpoch}::bigint[], ${columns.progress}::float8[], ${columns.detail}::text[])
          AS l(beat, place, task_id, lease_epoch, progress, detail)
        JOIN taken ON taken.place = l.beat
      WHERE t.project_id = taken.project_id AND t.id = l.task_id AND t.lease_epoch = l.lease_epoch
        AND t.agent_id = taken.agent_id AND t.state IN ('leased', 'running')
      RETURNING l.place
    )
    SELECT place, command_sequence FROM taken UNION ALL SELECT place, NULL FROM renewed`);
  const agents = new Map<number, { commandSequence: bigint }>();
  const loans = new Set<number>();
  for (const { place, command_sequence } of rows) {
    if (command_sequence === null) loans.add(place);
    else agents.set(place, { commandSequence: command_sequence });
  }
  return { agents, loans };
}

function columnsOf(folded: readonly FoldedBeat[]) {
  const beats = folded.map(({ plain }) => plain);
  const loans = beats.flatMap(({ loans }, place) => loans.map((loan, index) => ({ loan, place, index })));
  return {
    place: column(beats, (_, place) => place),
    project: column(beats, ({ beat }) => beat.caller.projectId),
    agent: column(beats, ({ beat }) => beat.caller.agentId),
    named: column(beats, ({ beat }) => beat.heartbeat.session !== undefined),
    epoch: column(beats, ({ beat }) => beat.heartbeat.session?.epoch),
    boot: sql.param(beats.map(({ beat }) => unknownBoot(beat.heartbeat.session))),
    sequence: column(beats, ({ beat }) => beat.heartbeat.session?.sequence),
    first: column(folded, ({ firstSequence }) => firstSequence),
    status: column(beats, ({ status }) => status),
    task: column(beats, ({ loans: [first] }) => (first?.accept ? first.taskId : undefined)),
    lease: column(beats, ({ loans: [first] }) => (first?.accept ? first.leaseEpoch : undefined)),
    loanBeat: column(loans, ({ place }) => place),
    loanPlace: column(loans, ({ place, index }) => loanPlace(place, index)),
    loanTask: column(loans, ({ loan }) => loan.taskId),
    loanEpoch: column(loans, ({ loan }) => loan.leaseEpoch),
    progress: column(loans, ({ loan }) => loan.progress),
    detail: sql.param(loans.map(({ loan }) => loan.detail ?? null)),
  };
}

function unknownBoot(session: PlainBeat["beat"]["heartbeat"]["session"]): string | null {
  return session === undefined || session.epoch !== undefined ? null : session.bootId;
}

/** A column as PostgreSQL's text of an array; for values whose own text holds nothing that would need quotes. */
function column<T>(
  rows: readonly T[],
  cellOf: (row: T, place: number) => string | number | bigint | boolean | undefined,
): string {
  let text = "{";
  for (let place = 0; place < rows.length; place += 1) {
    // The place is below the length.
    const value = cellOf(rows[place] as T, place);
    if (place > 0) text += ",";
    text += value === undefined ? "NULL" : String(value);
  }
  return `${text}}`;
}
