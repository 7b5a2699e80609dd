import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  type IssueSchema,
  IssueState,
  SyncState,
  TrackerKind,
  type TrackerSchema,
} from "../../gen/drover/v1/tracker_pb.js";
import { formatId } from "../runtime/resource-id.ts";
import type { IssueRecord } from "./issue-store.ts";
import { ruleOf } from "./tracker-service.ts";
import type { TrackerRecord } from "./tracker-store.ts";

const kinds = { github: TrackerKind.GITHUB } satisfies Record<TrackerRecord["kind"], TrackerKind>;

const syncStates = {
  never: SyncState.NEVER,
  synced: SyncState.SYNCED,
  unfinished: SyncState.UNFINISHED,
  "rate-limited": SyncState.RATE_LIMITED,
  failed: SyncState.FAILED,
} satisfies Record<TrackerRecord["syncState"], SyncState>;

const issueStates = { open: IssueState.OPEN, closed: IssueState.CLOSED } satisfies Record<
  IssueRecord["state"],
  IssueState
>;

export function trackerToMessage(tracker: TrackerRecord): MessageInitShape<typeof TrackerSchema> {
  const { repository, baseUrl, credential, disabled, syncDetail } = tracker;
  const rule = ruleOf(tracker);
  return {
    id: formatId("tracker", tracker.id),
    kind: kinds[tracker.kind],
    repository,
    baseUrl,
    credential,
    disabled,
    ...(rule !== undefined && { rule }),
    syncState: syncStates[tracker.syncState],
    syncDetail,
    ...times({
      syncedAt: tracker.syncedAt,
      cursor: tracker.cursor,
      rateLimitedUntil: tracker.rateLimitedUntil,
      createdAt: tracker.createdAt,
    }),
  };
}

export function issueToMessage(issue: IssueRecord): MessageInitShape<typeof IssueSchema> {
  const { number, url, title, labels, author, ruleTaskId } = issue;
  return {
    id: formatId("issue", issue.id),
    tracker: formatId("tracker", issue.trackerId),
    number,
    url,
    title,
    state: issueStates[issue.state],
    upstreamState: issueStates[issue.upstreamState],
    labels,
    author,
    task: ruleTaskId === null ? "" : formatId("task", ruleTaskId),
    ...times({ createdAt: issue.createdAt, updatedAt: issue.updatedAt, closedAt: issue.closedAt }),
  };
}

export function issueStateFromMessage(state: IssueState): "open" | "closed" {
  return state === IssueState.OPEN ? "open" : "closed";
}

/** Those that are there, as timestamps. */
function times<K extends string>(dates: Record<K, Date | null>) {
  const given = Object.entries<Date | null>(dates).flatMap(([name, date]) =>
    date === null ? [] : [[name, timestampFromDate(date)] as const],
  );
  // The keys are those that were given.
  return Object.fromEntries(given) as Partial<Record<K, ReturnType<typeof timestampFromDate>>>;
}
