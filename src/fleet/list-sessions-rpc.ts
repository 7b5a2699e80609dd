import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { type SessionRecord, SessionRecordSchema } from "../../gen/drover/v1/agent_pb.js";
import type { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { requireAgent } from "../agents/agent-service.ts";
import { listSessions, type SessionRecord as Run } from "../agents/list-sessions.ts";
import { callerOf } from "../identity/caller.ts";
import { messageSize } from "../runtime/message-size.ts";
import type { Db } from "../storage/database.ts";
import { cutPage, readPageRequest } from "../storage/page.ts";

/** The runs of an agent's process, the newest first. */
export function createListSessionsRpc(db: Db): Pick<ServiceImpl<typeof FleetService>, "listAgentSessions"> {
  return {
    async listAgentSessions(request, context) {
      const { projectId } = callerOf(context);
      const { id } = await requireAgent(db, projectId, request.agent);
      const page = readPageRequest(request.pageSize, request.pageToken, ["integer"], ["sessions", id]);
      const found = await listSessions(db, projectId, id, page);
      const { rows, nextPageToken } = cutPage(
        found.map(sessionToMessage),
        page,
        ({ epoch }) => [String(epoch)],
        (session) => messageSize(SessionRecordSchema, session),
      );
      return { sessions: rows, nextPageToken };
    },
  };
}

function sessionToMessage({ lastHeartbeatAt, supersededAt, ...run }: Run): SessionRecord {
  return create(SessionRecordSchema, {
    ...run,
    ...(lastHeartbeatAt !== undefined && { lastHeartbeatAt }),
    ...(supersededAt !== undefined && { supersededAt }),
    current: supersededAt === undefined,
  });
}
