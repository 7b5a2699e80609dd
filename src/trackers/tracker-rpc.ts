import type { ServiceImpl } from "@connectrpc/connect";
import {
  IssueSchema,
  type TaskRule as TaskRuleMessage,
  TrackerSchema,
} from "../../gen/drover/v1/tracker_pb.js";
import {
  CreateTrackerRequestSchema,
  CreateTrackerResponseSchema,
  DeleteTrackerRequestSchema,
  DeleteTrackerResponseSchema,
  type TrackerService,
  UpdateTrackerRequestSchema,
  UpdateTrackerResponseSchema,
} from "../../gen/drover/v1/tracker_service_pb.js";
import { answerOnce } from "../idempotency/answer-once.ts";
import { callerOf, callerWithRole } from "../identity/caller.ts";
import { messageSize } from "../runtime/message-size.ts";
import { invalidField } from "../runtime/refusal.ts";
import { parseId } from "../runtime/resource-id.ts";
import type { Db } from "../storage/database.ts";
import { cutPage, readPageRequest } from "../storage/page.ts";
import type { AllowedHost } from "./address-guard.ts";
import { type IssueFilter, listIssues } from "./issue-store.ts";
import { issueStateFromMessage, issueToMessage, trackerToMessage } from "./tracker-message.ts";
import { createTracker, deleteTracker, requireTracker, updateTracker } from "./tracker-service.ts";
import { listTrackers, type TaskRule } from "./tracker-store.ts";

const DEFAULT_PRIORITY = 5;

/** TrackerService: where issues come from, and the issues. */
export function createTrackerRpc(
  db: Db,
  allowed: readonly AllowedHost[],
): ServiceImpl<typeof TrackerService> {
  return {
    async createTracker(request, context) {
      const caller = callerWithRole(context, "operator");
      const { repository, baseUrl, credential, disabled, requestId } = request;
      const rule = request.rule && ruleOfMessage(request.rule);
      const wish = { kind: "github", repository, baseUrl, credential, disabled, rule } as const;
      return await answerOnce(db, {
        caller,
        method: "CreateTracker",
        input: CreateTrackerRequestSchema,
        request,
        output: CreateTrackerResponseSchema,
        run: async (tx) => ({
          tracker: trackerToMessage(await createTracker(tx, caller, wish, requestId, allowed)),
        }),
      });
    },

    async getTracker(request, context) {
      const { projectId } = callerOf(context);
      return { tracker: trackerToMessage(await requireTracker(db, projectId, uuidOf(request.tracker))) };
    },

    async listTrackers(request, context) {
      const { projectId } = callerOf(context);
      const page = readPageRequest(request.pageSize, request.pageToken, ["instant", "uuid"], []);
      const { rows, nextPageToken } = cutPage(
        await listTrackers(db, projectId, page),
        page,
        (row) => [row.sortTime, row.id],
        (row) => messageSize(TrackerSchema, trackerToMessage(row)),
      );
      return { trackers: rows.map(trackerToMessage), nextPageToken };
    },

    async updateTracker(request, context) {
      const caller = callerWithRole(context, "operator");
      const { credential, disabled, noRule, requestId } = request;
      if (noRule && request.rule !== undefined)
        throw invalidField("no_rule", "must not be given beside rule");
      const rule = noRule ? null : request.rule && ruleOfMessage(request.rule);
      const change = {
        ...(credential !== undefined && { credential }),
        ...(disabled !== undefined && { disabled }),
        ...(rule !== undefined && { rule }),
      };
      return await answerOnce(db, {
        caller,
        method: "UpdateTracker",
        input: UpdateTrackerRequestSchema,
        request,
        output: UpdateTrackerResponseSchema,
        run: async (tx) => ({
          tracker: trackerToMessage(
            await updateTracker(tx, caller, uuidOf(request.tracker), change, requestId),
          ),
        }),
      });
    },

    async deleteTracker(request, context) {
      const caller = callerWithRole(context, "operator");
      return await answerOnce(db, {
        caller,
        method: "DeleteTracker",
        input: DeleteTrackerRequestSchema,
        request,
        output: DeleteTrackerResponseSchema,
        run: async (tx) => {
          await deleteTracker(tx, caller, uuidOf(request.tracker), request.requestId);
          return {};
        },
      });
    },

    async listIssues(request, context) {
      const { projectId } = callerOf(context);
      const { tracker, state, labels, orderBy } = request;
      const query = [tracker, state, labels, orderBy];
      const page = readPageRequest(request.pageSize, request.pageToken, ["instant", "uuid"], query);
      const trackerId = tracker === "" ? undefined : parseId("tracker", tracker);
      if (tracker !== "" && trackerId === undefined) return {};
      const states = [...new Set(state.map(issueStateFromMessage))];
      const filter: IssueFilter = { projectId, trackerId, states, labels };
      const { rows, nextPageToken } = cutPage(
        await listIssues(db, filter, orderBy === "updated_at", page),
        page,
        (row) => [row.sortTime, row.id],
        (row) => messageSize(IssueSchema, issueToMessage(row)),
      );
      return { issues: rows.map(issueToMessage), nextPageToken };
    },
  };
}

function ruleOfMessage({ label, taskKind, priority }: TaskRuleMessage): TaskRule {
  return { label, taskKind, priority: priority ?? DEFAULT_PRIORITY };
}

/** Validation has refused what is no id. */
function uuidOf(text: string): string {
  const uuid = parseId("tracker", text);
  if (uuid === undefined) throw invalidField("tracker", "must be tracker_ and a UUID");
  return uuid;
}
