/** An issue as its tracker tells it; times as ISO texts. */
export interface UpstreamIssue {
  number: number;
  url: string;
  title: string;
  author: string;
  state: "open" | "closed";
  labels: string[];
  createdAt: string;
  updatedAt: string;
  closedAt: string | undefined;
}

/** From where changes are wanted: the pages of what was updated at `since` or later, the oldest change first. */
export interface Position {
  /** An ISO text; undefined for everything. */
  since: string | undefined;
  /** From 1. */
  page: number;
  /** What stood in `etag` of this very page before; empty for none. */
  etag: string;
}

export type FetchedPage =
  | { kind: "unchanged" }
  | {
      kind: "page";
      issues: UpstreamIssue[];
      /** Of the newest of all that the page held, issue or not; undefined for an empty page. */
      newest: string | undefined;
      /** Whether another page follows. */
      more: boolean;
      /** Names this state of the page; empty for none. */
      etag: string;
      /** Where no further call is allowed now: for so long. */
      restMs: number | undefined;
    };

/** What a source of issues has to know. Everything throws TrackerFailure, and ends when the signal says so. */
export interface Tracker {
  /** One page of what changed. */
  fetchChanges(position: Position, signal: AbortSignal): Promise<FetchedPage>;
  /** Whether an issue is still there. */
  hasIssue(number: number, signal: AbortSignal): Promise<boolean>;
  /** Ends its connections. */
  close(): Promise<void>;
}

export type TrackerFailureKind =
  /** Nothing came back that could be an answer. */
  | "unreachable"
  /** It answered, and refused. */
  | "refused"
  /** What came is nothing that it should send. */
  | "bad-answer"
  /** No call is allowed for `restMs`. */
  | "rate-limited";

/** Why a tracker could not be asked. The message completes a sentence, is for operators, and holds no word of the tracker's. */
export class TrackerFailure extends Error {
  readonly kind: TrackerFailureKind;
  readonly restMs: number | undefined;

  constructor(kind: TrackerFailureKind, message: string, more: { restMs?: number; cause?: unknown } = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = "TrackerFailure";
    this.kind = kind;
    this.restMs = more.restMs;
  }
}
