import { type EventDraft, shortText } from "../events/event.ts";
import { appendEvents } from "../events/outbox.ts";
import { formatId, newUuid } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import type { JsonObject } from "../storage/schema.ts";
import {
  countInFlood,
  type ErrorReportRecord,
  findErrorReport,
  findNewestMessage,
  insertErrorReports,
  type NewErrorReport,
  recentErrors as readRecentErrors,
} from "./error-report-store.ts";
import { fingerprint } from "./fingerprint.ts";
import { scrubContext, scrubText } from "./scrub-secrets.ts";
import { type Severity, severityRank } from "./severity.ts";

/** Above so many rows a minute of one fingerprint from one agent, occurrences are counted on the last row instead. */
const ROWS_PER_MINUTE = 60;

/** An error as an agent reported it, secrets and all. */
export interface ReportedError {
  severity: Severity;
  message: string;
  context: JsonObject | undefined;
  /** A task that the agent was seen to hold; undefined otherwise. */
  taskId: string | undefined;
}

/** Hears of the agents whose errors became rows of their own, within the transaction. */
export type NoteRows = (stored: readonly { projectId: string; agentId: string }[]) => Promise<void> | void;

/**
 * Stores one occurrence of an error, scrubbed; resolves to the id of the row that counts it. The agent's row must be
 * locked by the transaction. A row is an event; an occurrence that is only counted is none, or a flood of errors would be
 * one of events.
 */
export async function storeError(
  tx: Tx,
  projectId: string,
  agentId: string,
  error: ReportedError,
  noteRows: NoteRows,
): Promise<string> {
  const id = (await storeErrors(tx, [{ projectId, agentId, error }], noteRows)).get(agentId);
  if (id === undefined) throw new Error("an error that was stored has no id");
  return id;
}

/**
 * Stores one occurrence each of the errors of several agents, as storeError does; resolves to the ids of the rows that
 * count them, by agent. Every agent comes once.
 */
export async function storeErrors(
  tx: Tx,
  occurrences: readonly { projectId: string; agentId: string; error: ReportedError }[],
  noteRows: NoteRows,
): Promise<Map<string, string>> {
  if (occurrences.length === 0) return new Map();
  const scrubbed = occurrences.map(({ projectId, agentId, error }) => {
    const message = scrubText(error.message);
    return { projectId, agentId, message, error, fingerprint: fingerprint(error.severity, message) };
  });
  const ids = await countInFlood(tx, scrubbed, ROWS_PER_MINUTE);
  const fresh = scrubbed.flatMap(({ error, ...row }): FreshReport[] => {
    if (ids.has(row.agentId)) return [];
    const id = newUuid();
    ids.set(row.agentId, id);
    const { severity, taskId = null } = error;
    const context = error.context === undefined ? null : scrubContext(error.context);
    return [{ ...row, id, context, severity, severityRank: severityRank(severity), taskId }];
  });
  await insertErrorReports(tx, fresh);
  await appendEvents(tx, fresh.map(eventOf));
  await noteRows(fresh);
  return ids;
}

type FreshReport = NewErrorReport & Pick<ReportedError, "severity">;

function eventOf(report: FreshReport): EventDraft {
  const { projectId, id, agentId, severity, message, taskId } = report;
  const data = {
    severity,
    message: shortText(message),
    ...(taskId !== null && { taskId: formatId("task", taskId) }),
  };
  const subject = formatId("error", id);
  return { projectId, type: "error.reported", subject, agentId, taskId: taskId ?? undefined, data };
}

/** The stored error of that id. */
export async function requireErrorReport(tx: Tx, projectId: string, id: string): Promise<ErrorReportRecord> {
  const report = await findErrorReport(tx, projectId, id);
  if (report === undefined) throw new Error("an error report vanished in its own transaction");
  return report;
}

/** Occurrences and worst severity of the last 24 hours, by agent id; agents without errors are left out. */
export async function recentErrors(
  db: Db | Tx,
  projectId: string,
  agentIds: string[],
): Promise<Map<string, { count: bigint; worstRank: number }>> {
  return await readRecentErrors(db, projectId, agentIds);
}

/** Message of the agent's newest fatal error; undefined where there is none. */
export async function newestFatal(db: Db, projectId: string, agentId: string): Promise<string | undefined> {
  return await findNewestMessage(db, projectId, agentId, severityRank("fatal"));
}
