import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  CreateProjectRequestSchema,
  CreateProjectResponseSchema,
  ProjectSchema,
  type ProjectService,
} from "../../gen/drover/v1/project_service_pb.js";
import { appendAudit } from "../audit/audit-log.ts";
import { appendEvents } from "../events/outbox.ts";
import { answerOnce } from "../idempotency/answer-once.ts";
import { callerWithRole, type OperatorCaller } from "../identity/caller.ts";
import { messageSize } from "../runtime/message-size.ts";
import { Refusal } from "../runtime/refusal.ts";
import { formatId, newUuid } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import { cutPage, readPageRequest } from "../storage/page.ts";
import { insertProject, listProjects, type ProjectRow } from "./project-store.ts";

/** ProjectService: for the server's own operator token; other operators see their own project. */
export function createProjectRpc(db: Db): ServiceImpl<typeof ProjectService> {
  return {
    async createProject(request, context) {
      const caller = callerWithRole(context, "operator");
      if (!caller.server) {
        throw new Refusal("permission-denied", "only the server's own operator token may create projects");
      }
      return await answerOnce(db, {
        caller,
        method: "CreateProject",
        input: CreateProjectRequestSchema,
        request,
        output: CreateProjectResponseSchema,
        run: async (tx) => ({
          project: toMessage(await createProject(tx, caller, request.name, request.requestId)),
        }),
      });
    },

    async listProjects(request, context) {
      const caller = callerWithRole(context, "operator");
      const page = readPageRequest(request.pageSize, request.pageToken, ["name"], caller.server);
      const rows = await listProjects(db, caller.server ? undefined : caller.projectId, page);
      const { rows: projects, nextPageToken } = cutPage(
        rows,
        page,
        (row) => [row.name],
        (row) => messageSize(ProjectSchema, toMessage(row)),
      );
      return { projects: projects.map(toMessage), nextPageToken };
    },
  };
}

async function createProject(
  tx: Tx,
  caller: OperatorCaller,
  name: string,
  requestId: string,
): Promise<ProjectRow> {
  const project = await insertProject(tx, newUuid(), name);
  if (project === undefined) throw new Refusal("already-exists", `a project named ${name} exists`);
  const subject = formatId("project", project.id);
  await appendAudit(tx, [
    { projectId: project.id, actor: caller.actor, action: "project.created", subject, to: name, requestId },
  ]);
  await appendEvents(tx, [
    { projectId: project.id, type: "project.created", subject, data: { name, actor: caller.actor } },
  ]);
  return project;
}

function toMessage(project: ProjectRow): MessageInitShape<typeof ProjectSchema> {
  return {
    id: formatId("project", project.id),
    name: project.name,
    createdAt: timestampFromDate(project.createdAt),
  };
}
