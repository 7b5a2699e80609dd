import { type AuditChange, appendAudit } from "../audit/audit-log.ts";
import { appendEvents } from "../events/outbox.ts";
import type { OperatorCaller } from "../identity/caller.ts";
import { invalidField, Refusal } from "../runtime/refusal.ts";
import { formatId, newUuid } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import { type AllowedHost, addressProblem } from "./address-guard.ts";
import { removeIssues, writeIssue } from "./issue-store.ts";
import {
  findTracker,
  insertTracker,
  listEnabledTrackers,
  lockTracker,
  type NewTracker,
  removeTracker,
  type TaskRule,
  type TrackerChange,
  type TrackerRecord,
  writeTracker,
} from "./tracker-store.ts";

export const DEFAULT_BASE_URL = "https://api.github.com";

export type TrackerWish = Omit<NewTracker, "projectId" | "id">;

/** Adds a tracker. INVALID_ARGUMENT for an address that is not allowed, ALREADY_EXISTS for a repository that has one. */
export async function createTracker(
  tx: Tx,
  caller: OperatorCaller,
  wish: TrackerWish,
  requestId: string,
  allowed: readonly AllowedHost[],
): Promise<TrackerRecord> {
  requireServerFor(caller, wish.credential);
  const given = wish.baseUrl === "" ? DEFAULT_BASE_URL : wish.baseUrl;
  const problem = addressProblem(given, allowed);
  if (problem !== undefined) throw invalidField("base_url", problem);
  const { projectId } = caller;
  const baseUrl = new URL(given).href.replace(/\/+$/, "");
  const tracker = await insertTracker(tx, { ...wish, baseUrl, projectId, id: newUuid() });
  if (tracker === undefined) {
    throw new Refusal("already-exists", `there is a tracker of ${wish.repository} at ${baseUrl}`);
  }
  await record(tx, caller, tracker, "tracker.created", [{ to: placeOf(tracker) }], requestId);
  return tracker;
}

/** The project's tracker, or NOT_FOUND. */
export async function requireTracker(db: Db | Tx, projectId: string, id: string): Promise<TrackerRecord> {
  return (await findTracker(db, projectId, id)) ?? noSuchTracker();
}

/** Changes what is given; where nothing is other than before, nothing is recorded. */
export async function updateTracker(
  tx: Tx,
  caller: OperatorCaller,
  id: string,
  change: TrackerChange,
  requestId: string,
): Promise<TrackerRecord> {
  const { projectId } = caller;
  const before = (await lockTracker(tx, projectId, id)) ?? noSuchTracker();
  if (change.credential !== undefined && change.credential !== before.credential) {
    requireServerFor(caller, change.credential || before.credential);
  }
  await writeTracker(tx, projectId, id, change);
  const after = await requireTracker(tx, projectId, id);
  const fields = ["credential", "disabled", "rule"] as const;
  const changes = fields
    .map((field) => ({ field, from: fieldText(before, field), to: fieldText(after, field) }))
    .filter(({ from, to }) => from !== to);
  if (changes.length > 0) await record(tx, caller, after, "tracker.updated", changes, requestId);
  return after;
}

/** Removes a tracker with its issues. */
export async function deleteTracker(
  tx: Tx,
  caller: OperatorCaller,
  id: string,
  requestId: string,
): Promise<void> {
  const { projectId } = caller;
  const tracker = (await lockTracker(tx, projectId, id)) ?? noSuchTracker();
  await removeTracker(tx, projectId, id);
  await removeIssues(tx, projectId, id);
  await record(tx, caller, tracker, "tracker.deleted", [{ from: placeOf(tracker) }], requestId);
}

/** The trackers that a pass of the project fetches from, the oldest first. */
export async function enabledTrackers(
  db: Db,
  projectId: string,
): Promise<{ id: string; repository: string }[]> {
  return await listEnabledTrackers(db, projectId);
}

/** Brings an issue that the transaction has locked in line with its tracker, or notes which task it became. */
export async function changeIssue(
  tx: Tx,
  projectId: string,
  id: string,
  change: { state?: "open" | "closed"; ruleTaskId?: string | null },
): Promise<void> {
  await writeIssue(tx, projectId, id, change);
}

/** The rule in a tracker's columns. */
export function ruleOf(
  columns: Pick<TrackerRecord, "ruleLabel" | "ruleTaskKind" | "rulePriority">,
): TaskRule | undefined {
  const { ruleLabel: label, ruleTaskKind: taskKind, rulePriority: priority } = columns;
  return label === null || taskKind === null || priority === null ? undefined : { label, taskKind, priority };
}

/** A credential's reference names something on the server's machine, which belongs to no project. */
function requireServerFor(caller: OperatorCaller, credential: string): void {
  if (credential === "" || caller.server) return;
  throw new Refusal(
    "permission-denied",
    "only the server's own operator token may give or take a tracker's credential",
  );
}

function placeOf({ repository, baseUrl }: TrackerRecord): string {
  return `${baseUrl} ${repository}`;
}

function fieldText(tracker: TrackerRecord, field: "credential" | "disabled" | "rule"): string {
  if (field !== "rule") return String(tracker[field]);
  const rule = ruleOf(tracker);
  return rule === undefined ? "" : `${rule.label} -> ${rule.taskKind}, priority ${rule.priority}`;
}

async function record(
  tx: Tx,
  caller: OperatorCaller,
  tracker: TrackerRecord,
  type: "tracker.created" | "tracker.updated" | "tracker.deleted",
  changes: Pick<AuditChange, "field" | "from" | "to">[],
  requestId: string,
): Promise<void> {
  const { projectId, actor } = caller;
  const subject = formatId("tracker", tracker.id);
  await appendAudit(
    tx,
    changes.map((change) => ({ projectId, actor, action: type, subject, requestId, ...change })),
  );
  const { kind, repository, baseUrl } = tracker;
  await appendEvents(tx, [{ projectId, type, subject, data: { kind, repository, baseUrl } }]);
}

function noSuchTracker(): never {
  throw new Refusal("not-found", "no such tracker");
}
