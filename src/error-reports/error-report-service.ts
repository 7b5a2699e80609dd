import { shortText } from "../events/event.ts";
import { appendEvents } from "../events/outbox.ts";
import { formatId, newUuid } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import type { JsonObject } from "../storage/schema.ts";
import {
  countInFlood,
  type ErrorReportRecord,
  findErrorReport,
  insertErrorReport,
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
): Promise<string> {
  const message = scrubText(error.message);
  const row = { projectId, agentId, fingerprint: fingerprint(error.severity, message) };
  const counted = await countInFlood(tx, row, ROWS_PER_MINUTE);
  if (counted !== undefined) return counted;
  const id = newUuid();
  const context = error.context === undefined ? null : scrubContext(error.context);
  await insertErrorReport(tx, {
    ...row,
    id,
    message,
    context,
    severityRank: severityRank(error.severity),
    taskId: error.taskId ?? null,
  });
  const { severity, taskId } = error;
  const data = {
    severity,
    message: shortText(message),
    ...(taskId !== undefined && { taskId: formatId("task", taskId) }),
  };
  await appendEvents(tx, [
    { projectId, type: "error.reported", subject: formatId("error", id), agentId, taskId, data },
  ]);
  return id;
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
