import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  AuditEntrySchema,
  type EventService,
  type ListAuditEntriesRequest,
} from "../../gen/drover/v1/event_service_pb.js";
import { callerOf } from "../identity/caller.ts";
import { messageSize } from "../runtime/message-size.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Db } from "../storage/database.ts";
import { cutPage, readPageRequest } from "../storage/page.ts";
import { type AuditFilter, type AuditRow, listAudit } from "./audit-log.ts";
import { exportAudit } from "./export-audit.ts";

/** Gives the id under which a name's audit entries stand; what is no name of an agent is an id already. */
export type ResolveSubject = (projectId: string, nameOrId: string) => Promise<string>;

/** The reading side of the audit log. */
export function createAuditRpc(
  db: Db,
  resolveSubject: ResolveSubject,
): Pick<ServiceImpl<typeof EventService>, "listAuditEntries" | "exportAuditEntries"> {
  return {
    async listAuditEntries(request, context) {
      const { projectId } = callerOf(context);
      const page = readPageRequest(
        request.pageSize,
        request.pageToken,
        ["instant", "uuid"],
        filterKey(request),
      );
      const subject = request.subject === "" ? undefined : await resolveSubject(projectId, request.subject);
      const rows = await listAudit(db, filterOf(projectId, subject, request), page);
      const { rows: entries, nextPageToken } = cutPage(
        rows,
        page,
        (row) => [row.sortTime, row.id],
        (row) => messageSize(AuditEntrySchema, toMessage(row)),
      );
      return { entries: entries.map(toMessage), nextPageToken };
    },

    async *exportAuditEntries(request, context) {
      const caller = callerOf(context);
      const { projectId } = caller;
      const subject = request.subject === "" ? undefined : await resolveSubject(projectId, request.subject);
      const filter = filterOf(projectId, subject, { ...request, orderBy: "time" });
      for await (const row of exportAudit(db, caller, filter, request.after, context.signal)) {
        yield { entry: toMessage(row) };
      }
    },
  };
}

function filterKey(request: ListAuditEntriesRequest): unknown {
  const { subject, actor, action, field, since, until, orderBy } = request;
  return [subject, actor, action, field, since, until, orderBy];
}

function filterOf(
  projectId: string,
  subject: string | undefined,
  request: Omit<ListAuditEntriesRequest, "$typeName" | "pageSize" | "pageToken">,
): AuditFilter {
  return {
    projectId,
    ...(subject !== undefined && { subject }),
    ...(request.actor !== "" && { actor: request.actor }),
    ...(request.field !== "" && { field: request.field }),
    ...(request.since !== undefined && { since: timestampDate(request.since) }),
    ...(request.until !== undefined && { until: timestampDate(request.until) }),
    actions: request.action,
    oldestFirst: request.orderBy === "time",
  };
}

function toMessage(row: AuditRow): MessageInitShape<typeof AuditEntrySchema> {
  return {
    id: formatId("audit", row.id),
    time: timestampFromDate(row.time),
    actor: row.actor,
    action: row.action,
    subject: row.subject,
    field: row.field,
    from: row.from,
    to: row.to,
    version: row.version ?? 0n,
    reason: row.reason,
    requestId: row.requestId,
  };
}
