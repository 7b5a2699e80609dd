import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { PassService as PassServiceContract } from "../../gen/drover/v1/pass_service_pb.js";
import { RunSchema, RunStatus, type RunStepSchema } from "../../gen/drover/v1/run_pb.js";
import { callerOf } from "../identity/caller.ts";
import { messageSize } from "../runtime/message-size.ts";
import { invalidField, Refusal } from "../runtime/refusal.ts";
import { formatId, parseId } from "../runtime/resource-id.ts";
import type { Db } from "../storage/database.ts";
import { cutPage, readPageRequest } from "../storage/page.ts";
import type { StepRecord } from "../storage/schema.ts";
import type { PassService } from "./pass-service.ts";
import { findRun, listRuns, type RunRecord } from "./run-store.ts";

const statuses = {
  running: RunStatus.RUNNING,
  ok: RunStatus.OK,
  warning: RunStatus.WARNING,
  error: RunStatus.ERROR,
  interrupted: RunStatus.INTERRUPTED,
} satisfies Record<RunRecord["status"], RunStatus>;

/** PassService: passes, and their records. */
export function createPassRpc(db: Db, passes: PassService): ServiceImpl<typeof PassServiceContract> {
  return {
    async runHeartbeatPass({ agentName }, context) {
      const caller = callerOf(context);
      if (caller.role === "agent" && caller.agentName !== agentName) {
        throw new Refusal("permission-denied", "an agent may have passes run for its own name alone");
      }
      const { id, ...run } = toMessage(await passes.run(caller, agentName));
      const { status, startedAt, finishedAt, summary, warnings, errors, touchedIssueUrls } = run;
      const times = { ...(startedAt && { startedAt }), ...(finishedAt && { finishedAt }) };
      return { status, agentName, ...times, summary, warnings, errors, touchedIssueUrls, runId: id };
    },

    async listRuns(request, context) {
      const { projectId } = callerOf(context);
      const { agent, status, since, orderBy } = request;
      const page = readPageRequest(
        request.pageSize,
        request.pageToken,
        ["instant", "uuid"],
        [agent, status, since, orderBy],
      );
      const filter = {
        projectId,
        agentName: agent === "" ? undefined : agent,
        statuses: [...new Set(status.map(statusFromMessage))],
        since: since && timestampDate(since),
      };
      const { rows, nextPageToken } = cutPage(
        await listRuns(db, filter, orderBy === "started_at", page),
        page,
        (row) => [row.sortTime, row.id],
        (row) => messageSize(RunSchema, toMessage(row)),
      );
      return { runs: rows.map(toMessage), nextPageToken };
    },

    async getRun(request, context) {
      const { projectId } = callerOf(context);
      const id = parseId("run", request.run);
      if (id === undefined) throw invalidField("run", "must be run_ and a UUID");
      const run = await findRun(db, projectId, id);
      if (run === undefined) throw new Refusal("not-found", "no such run");
      return { run: toMessage(run) };
    },
  };
}

function toMessage(run: RunRecord) {
  const { agentName, actor, startedAt, finishedAt, summary, warnings, errors, touchedIssueUrls, steps } = run;
  return {
    id: formatId("run", run.id),
    agentName,
    status: statuses[run.status],
    actor,
    startedAt: timestampFromDate(startedAt),
    ...(finishedAt !== null && { finishedAt: timestampFromDate(finishedAt) }),
    summary,
    warnings,
    errors,
    touchedIssueUrls,
    steps: steps.map(stepToMessage),
  } satisfies MessageInitShape<typeof RunSchema>;
}

function stepToMessage(step: StepRecord): MessageInitShape<typeof RunStepSchema> {
  const { name, critical, status, startedAt, durationMs, summary, warnings, errors, touched } = step;
  return {
    name,
    critical,
    status: statuses[status],
    startedAt: timestampFromDate(new Date(startedAt)),
    duration: durationFromMs(durationMs),
    summary,
    warningCount: warnings,
    errorCount: errors,
    touchedIssueCount: touched,
  };
}

/** Validation has refused what is no status. */
function statusFromMessage(status: RunStatus): RunRecord["status"] {
  for (const name of ["running", "ok", "warning", "error", "interrupted"] as const) {
    if (statuses[name] === status) return name;
  }
  throw invalidField("status", "is not a status of a run");
}
