import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AgentService,
  ReportErrorRequestSchema,
  ReportErrorResponseSchema,
} from "../../gen/drover/v1/agent_service_pb.js";
import { ErrorGroupSchema, ErrorReportSchema } from "../../gen/drover/v1/error_report_pb.js";
import type {
  FleetService,
  ListErrorGroupsRequest,
  ListErrorsRequest,
} from "../../gen/drover/v1/fleet_service_pb.js";
import { findAgentId, lockAgent } from "../agents/agent-service.ts";
import { answerOnce } from "../idempotency/answer-once.ts";
import { callerOf, callerWithRole } from "../identity/caller.ts";
import type { Quotas } from "../quotas/quotas.ts";
import { messageSize } from "../runtime/message-size.ts";
import { parseId } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import { cutPage, readPageRequest } from "../storage/page.ts";
import type { JsonObject } from "../storage/schema.ts";
import { errorGroupToMessage, errorReportToMessage, severityFromMessage } from "./error-report-message.ts";
import { requireErrorReport, storeError } from "./error-report-service.ts";
import { type ErrorFilter, listErrorGroups, listErrorReports } from "./error-report-store.ts";
import { severityRank } from "./severity.ts";

/** The UUID of a task that the agent holds, by its id; undefined where it does not. */
export type FindHeldTask = (
  tx: Tx,
  agent: { projectId: string; agentId: string },
  taskId: string,
) => Promise<string | undefined>;

/** ReportError of AgentService: it stores an error and never changes the agent's status. */
export function createReportErrorRpc(
  db: Db,
  findHeld: FindHeldTask,
  quotas: Quotas,
): Pick<ServiceImpl<typeof AgentService>, "reportError"> {
  return {
    async reportError(request, context) {
      const caller = callerWithRole(context, "agent");
      const { projectId, agentId } = caller;
      return await answerOnce(db, {
        caller,
        method: "ReportError",
        input: ReportErrorRequestSchema,
        request,
        output: ReportErrorResponseSchema,
        run: async (tx) => {
          await lockAgent(tx, projectId, agentId);
          await quotas.admitError(tx, { projectId, agentId });
          const error = {
            severity: severityFromMessage(request.severity),
            message: request.message,
            // A google.protobuf.Struct reaches handlers as the JSON object that it is.
            context: request.context as JsonObject | undefined,
            taskId:
              request.taskId === "" ? undefined : await findHeld(tx, { projectId, agentId }, request.taskId),
          };
          const id = await storeError(tx, projectId, agentId, error, (rows) => quotas.noteErrors(rows));
          return { errorReport: errorReportToMessage(await requireErrorReport(tx, projectId, id)) };
        },
      });
    },
  };
}

/** The lists of errors of FleetService. */
export function createErrorListRpc(
  db: Db,
): Pick<ServiceImpl<typeof FleetService>, "listErrors" | "listErrorGroups"> {
  return {
    async listErrors(request, context) {
      const { projectId } = callerOf(context);
      const { agent, severity, fingerprint, taskId, since, orderBy } = request;
      const query = [agent, severity, fingerprint, taskId, since, orderBy];
      const page = readPageRequest(request.pageSize, request.pageToken, ["instant", "uuid"], query);
      const filter = await filterOf(db, projectId, request, { fingerprint, taskId });
      if (filter === undefined) return {};
      const found = await listErrorReports(db, filter, orderBy === "created_at", page);
      const { rows, nextPageToken } = cutPage(
        found,
        page,
        (row) => [row.sortTime, row.id],
        (row) => messageSize(ErrorReportSchema, errorReportToMessage(row)),
      );
      return { errors: rows.map(errorReportToMessage), nextPageToken };
    },

    async listErrorGroups(request, context) {
      const { projectId } = callerOf(context);
      const query = [request.agent, request.severity, request.since];
      const page = readPageRequest(request.pageSize, request.pageToken, ["instant", "text"], query);
      const filter = await filterOf(db, projectId, request, { fingerprint: "", taskId: "" });
      if (filter === undefined) return {};
      const found = await listErrorGroups(db, filter, page);
      const { rows, nextPageToken } = cutPage(
        found,
        page,
        (row) => [row.sortTime, row.fingerprint],
        (row) => messageSize(ErrorGroupSchema, errorGroupToMessage(row)),
      );
      return { errorGroups: rows.map(errorGroupToMessage), nextPageToken };
    },
  };
}

/** Undefined where the filter names an agent or a task that cannot have errors: the list is empty then. */
async function filterOf(
  db: Db,
  projectId: string,
  request: ListErrorsRequest | ListErrorGroupsRequest,
  more: { fingerprint: string; taskId: string },
): Promise<ErrorFilter | undefined> {
  const agentId = request.agent === "" ? undefined : await findAgentId(db, projectId, request.agent);
  const taskUuid = more.taskId === "" ? undefined : parseId("task", more.taskId);
  if (request.agent !== "" && agentId === undefined) return undefined;
  if (more.taskId !== "" && taskUuid === undefined) return undefined;
  return {
    projectId,
    severityRanks: request.severity.map((severity) => severityRank(severityFromMessage(severity))),
    ...(agentId !== undefined && { agentId }),
    ...(more.fingerprint !== "" && { fingerprint: more.fingerprint }),
    ...(taskUuid !== undefined && { taskId: taskUuid }),
    ...(request.since !== undefined && { since: timestampDate(request.since) }),
  };
}
