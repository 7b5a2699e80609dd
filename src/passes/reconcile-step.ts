import { fromJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { appendEvents } from "../events/outbox.ts";
import { packJson } from "../runtime/json-value.ts";
import { Refusal } from "../runtime/refusal.ts";
import { formatId } from "../runtime/resource-id.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import { type GiveBackSettings, giveBackTasks } from "../tasks/give-back.ts";
import { NO_REQUIREMENTS } from "../tasks/match-task.ts";
import type { TaskChange } from "../tasks/task-change.ts";
import type { TaskRules } from "../tasks/task-rules.ts";
import { cancelTask, createTask, type TaskOrigin } from "../tasks/task-service.ts";
import { changeIssue } from "../trackers/tracker-service.ts";
import type { PassStep, StepOutcome } from "./pass-step.ts";
import { type IssuePlan, planIssue } from "./plan-issue.ts";
import {
  dropDeadLinks,
  findGoneHolders,
  type IssueOutOfLine,
  lockIssuesOutOfLine,
} from "./reconcile-store.ts";
import { counted } from "./sync-step.ts";

/** What passes need of the slice of tasks. */
export interface PassTasks {
  rules: TaskRules;
  giveBack: GiveBackSettings;
  /** Hears of committed changes. */
  announce(changes: TaskChange[]): void;
}

const TIMEOUT_MS = 60_000;
/** Issues, and agents, of one transaction: small, so that no row is locked for long. */
const ISSUES_AT_ONCE = 50;
const AGENTS_AT_ONCE = 20;
const NOWHERE = "00000000-0000-0000-0000-000000000000";
/** GitHub's own addresses are shorter; a label's value cannot be longer. */
const LONGEST_LABEL = 256;
const MAX_RETRIES = 3;

/** What one transaction did. */
interface Reconciled {
  changes: TaskChange[];
  touched: string[];
  closed: number;
  reopened: number;
  cancelled: number;
  created: number;
  last: string | undefined;
}

/** Brings issues in line with their trackers, their tasks with the issues, and takes tasks back from agents that are gone. */
export function createReconcileStep(db: Db, tasks: PassTasks): PassStep {
  return {
    name: "reconcile",
    critical: true,
    timeoutMs: TIMEOUT_MS,
    async run({ project, actor, signal, progress }) {
      const origin = { projectId: project.id, actor };
      const sum = { closed: 0, reopened: 0, cancelled: 0, created: 0 };
      const touched: string[] = [];
      for (let after: string | undefined = NOWHERE; after !== undefined; ) {
        signal.throwIfAborted();
        const from: string = after;
        const done = await inTransaction(db, (tx) => reconcileBatch(tx, origin, from, tasks.rules));
        tasks.announce(done.changes);
        for (const key of ["closed", "reopened", "cancelled", "created"] as const) sum[key] += done[key];
        touched.push(...done.touched);
        progress(`${counted(touched.length, "issue")} brought in line`);
        after = done.last;
      }
      const requeued = await requeueOrphans(db, project.id, tasks, signal);
      return outcomeOf(sum, touched, requeued);
    },
  };
}

function outcomeOf(
  sum: Pick<Reconciled, "closed" | "reopened" | "cancelled" | "created">,
  touched: string[],
  requeued: number,
): StepOutcome {
  const parts = [
    [sum.closed, "closed"],
    [sum.reopened, "reopened"],
    [sum.created, "made tasks"],
  ] as const;
  const said = parts.flatMap(([count, what]) => (count === 0 ? [] : [`${counted(count, "issue")} ${what}`]));
  if (sum.cancelled > 0) said.push(`${counted(sum.cancelled, "task")} cancelled`);
  if (requeued > 0) said.push(`${counted(requeued, "orphan")} requeued`);
  return { summary: said.length === 0 ? "all in line" : said.join(", "), touchedIssueUrls: touched };
}

async function reconcileBatch(
  tx: Tx,
  origin: TaskOrigin,
  after: string,
  rules: TaskRules,
): Promise<Reconciled> {
  const issues = await lockIssuesOutOfLine(tx, origin.projectId, after, ISSUES_AT_ONCE);
  const done: Reconciled = {
    changes: [],
    touched: [],
    closed: 0,
    reopened: 0,
    cancelled: 0,
    created: 0,
    last: issues.length < ISSUES_AT_ONCE ? undefined : issues.at(-1)?.id,
  };
  for (const issue of issues) await reconcileIssue(tx, origin, issue, planIssue(issue), rules, done);
  return done;
}

async function reconcileIssue(
  tx: Tx,
  origin: TaskOrigin,
  issue: IssueOutOfLine,
  plan: IssuePlan,
  rules: TaskRules,
  done: Reconciled,
): Promise<void> {
  const { projectId } = origin;
  const { id, url } = issue;
  for (const { taskId, reason } of plan.cancel) {
    const changes = await cancelIfOpen(tx, origin, taskId, reason, rules);
    done.changes.push(...changes);
    done.cancelled += changes.length;
  }
  let ruleTaskId: string | null | undefined = plan.forgetTask ? null : undefined;
  if (plan.createTask && issue.rule !== undefined) {
    const { task, changes } = await createTask(tx, origin, taskOf(issue, issue.rule), "");
    done.changes.push(...changes);
    done.created += 1;
    ruleTaskId = task.id;
  }
  await changeIssue(tx, projectId, id, {
    ...(plan.state !== undefined && { state: plan.state }),
    ...(ruleTaskId !== undefined && { ruleTaskId }),
  });
  if (plan.state !== undefined) {
    done[plan.state === "closed" ? "closed" : "reopened"] += 1;
    const type = plan.state === "closed" ? "issue.closed" : "issue.reopened";
    await appendEvents(tx, [{ projectId, type, subject: formatId("issue", id), data: { url } }]);
  }
  done.touched.push(url);
}

/** Cancels a task unless it has ended since it was looked at. */
export async function cancelIfOpen(
  tx: Tx,
  origin: TaskOrigin,
  taskId: string,
  reason: string,
  rules: TaskRules,
): Promise<TaskChange[]> {
  try {
    return await cancelTask(tx, origin, taskId, { reason, requestId: "" }, rules);
  } catch (error) {
    if (error instanceof Refusal && (error.reason === "TASK_ENDED" || error.kind === "not-found")) return [];
    throw error;
  }
}

function taskOf(issue: IssueOutOfLine, rule: { taskKind: string; priority: number }) {
  const { url, title, repository, labels } = issue;
  const payload = { url, number: Number(issue.number), title, repository, labels: [...labels] };
  return {
    kind: rule.taskKind,
    priority: rule.priority,
    payload: packJson(fromJson(ValueSchema, payload)),
    labels: [...url].length <= LONGEST_LABEL ? { issue: url } : {},
    maxRetries: MAX_RETRIES,
    timeoutMs: undefined,
    notBefore: undefined,
    requirements: NO_REQUIREMENTS,
  };
}

/**
 * Takes tasks back from agents that are gone for good. Those that are only silent are the liveness sweeper's, which knows
 * of breaks in the watch and brakes at mass loss.
 */
async function requeueOrphans(
  db: Db,
  projectId: string,
  tasks: PassTasks,
  signal: AbortSignal,
): Promise<number> {
  const origin = { actor: "server" };
  const reason = { kind: "lost", message: "its agent is gone", origin, endedLeasesOnly: false } as const;
  let requeued = 0;
  for (let more = true; more && !signal.aborted; ) {
    const changes = await inTransaction(db, async (tx) => {
      const holders = await findGoneHolders(tx, projectId, AGENTS_AT_ONCE);
      return await giveBackTasks(tx, holders, reason, tasks.giveBack);
    });
    tasks.announce(changes);
    const handled = changes.filter(({ type }) => type !== "task.stuck").length;
    requeued += handled;
    more = handled > 0;
  }
  await inTransaction(db, (tx) => dropDeadLinks(tx, projectId, ISSUES_AT_ONCE * AGENTS_AT_ONCE));
  return requeued;
}
