/** What the contract's enums are called on the screen, and in which tone. */
import { AgentStatus, Cordon, Liveness } from "../../gen/drover/v1/agent_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { RunStatus } from "../../gen/drover/v1/run_pb.js";
import { AttemptOutcome, TaskState } from "../../gen/drover/v1/task_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { IssueState, SyncState } from "../../gen/drover/v1/tracker_pb.js";

/** The colours that mean something; each stands beside a word or a shape, never alone. */
export type Tone = "good" | "work" | "ready" | "warn" | "bad" | "quiet";

export interface Word {
  readonly key: string;
  readonly label: string;
  readonly tone: Tone;
}

const unknown: Word = { key: "unknown", label: "Unknown", tone: "quiet" };

export const statusWords = {
  [AgentStatus.UNSPECIFIED]: unknown,
  [AgentStatus.PENDING]: { key: "pending", label: "Pending", tone: "quiet" },
  [AgentStatus.ONLINE]: { key: "online", label: "Online", tone: "good" },
  [AgentStatus.BUSY]: { key: "busy", label: "Busy", tone: "work" },
  [AgentStatus.BENCHMARKED]: { key: "benchmarked", label: "Benchmarked", tone: "ready" },
  [AgentStatus.ERROR]: { key: "error", label: "Error", tone: "bad" },
} satisfies Record<AgentStatus, Word>;

export const livenessWords = {
  [Liveness.UNSPECIFIED]: unknown,
  [Liveness.NEVER]: { key: "never", label: "Never heard", tone: "quiet" },
  [Liveness.LIVE]: { key: "live", label: "Live", tone: "good" },
  [Liveness.STALE]: { key: "stale", label: "Stale", tone: "warn" },
  [Liveness.OFFLINE]: { key: "offline", label: "Offline", tone: "bad" },
} satisfies Record<Liveness, Word>;

export const cordonWords = {
  [Cordon.UNSPECIFIED]: unknown,
  [Cordon.NONE]: { key: "none", label: "Given tasks", tone: "quiet" },
  [Cordon.DRAINING]: { key: "draining", label: "Draining", tone: "warn" },
  [Cordon.CORDONED]: { key: "cordoned", label: "Cordoned", tone: "warn" },
} satisfies Record<Cordon, Word>;

export const stateWords = {
  [TaskState.UNSPECIFIED]: unknown,
  [TaskState.PENDING]: { key: "pending", label: "Pending", tone: "quiet" },
  [TaskState.LEASED]: { key: "leased", label: "Leased", tone: "ready" },
  [TaskState.RUNNING]: { key: "running", label: "Running", tone: "work" },
  [TaskState.SUCCEEDED]: { key: "succeeded", label: "Succeeded", tone: "good" },
  [TaskState.FAILED]: { key: "failed", label: "Failed", tone: "bad" },
  [TaskState.CANCELLED]: { key: "cancelled", label: "Cancelled", tone: "quiet" },
  [TaskState.QUARANTINED]: { key: "quarantined", label: "Quarantined", tone: "warn" },
} satisfies Record<TaskState, Word>;

export const severityWords = {
  [Severity.UNSPECIFIED]: unknown,
  [Severity.INFO]: { key: "info", label: "Info", tone: "quiet" },
  [Severity.WARNING]: { key: "warning", label: "Warning", tone: "warn" },
  [Severity.MINOR]: { key: "minor", label: "Minor", tone: "warn" },
  [Severity.MAJOR]: { key: "major", label: "Major", tone: "bad" },
  [Severity.CRITICAL]: { key: "critical", label: "Critical", tone: "bad" },
  [Severity.FATAL]: { key: "fatal", label: "Fatal", tone: "bad" },
} satisfies Record<Severity, Word>;

export const roleWords = {
  [TokenRole.UNSPECIFIED]: unknown,
  [TokenRole.AGENT]: { key: "agent", label: "Agent", tone: "quiet" },
  [TokenRole.RUNNER]: { key: "runner", label: "Runner", tone: "work" },
  [TokenRole.ENROLLMENT]: { key: "enrollment", label: "Enrollment", tone: "ready" },
  [TokenRole.OPERATOR]: { key: "operator", label: "Operator", tone: "bad" },
  [TokenRole.VIEWER]: { key: "viewer", label: "Viewer", tone: "good" },
} satisfies Record<TokenRole, Word>;

export const runWords = {
  [RunStatus.UNSPECIFIED]: unknown,
  [RunStatus.RUNNING]: { key: "running", label: "Running", tone: "work" },
  [RunStatus.OK]: { key: "ok", label: "OK", tone: "good" },
  [RunStatus.WARNING]: { key: "warning", label: "Warning", tone: "warn" },
  [RunStatus.ERROR]: { key: "error", label: "Error", tone: "bad" },
  [RunStatus.INTERRUPTED]: { key: "interrupted", label: "Interrupted", tone: "warn" },
} satisfies Record<RunStatus, Word>;

export const outcomeWords = {
  [AttemptOutcome.UNSPECIFIED]: { key: "open", label: "At work", tone: "work" },
  [AttemptOutcome.SUCCEEDED]: { key: "succeeded", label: "Succeeded", tone: "good" },
  [AttemptOutcome.FAILED]: { key: "failed", label: "Failed", tone: "bad" },
  [AttemptOutcome.AGENT_FAILED]: { key: "failed", label: "Agent failed", tone: "bad" },
  [AttemptOutcome.TIMED_OUT]: { key: "failed", label: "Timed out", tone: "bad" },
  [AttemptOutcome.LOST]: { key: "offline", label: "Agent lost", tone: "warn" },
  [AttemptOutcome.RETURNED]: { key: "pending", label: "Returned", tone: "quiet" },
  [AttemptOutcome.CANCELLED]: { key: "cancelled", label: "Cancelled", tone: "quiet" },
  [AttemptOutcome.SET_ASIDE]: { key: "quarantined", label: "Set aside", tone: "warn" },
} satisfies Record<AttemptOutcome, Word>;

export const syncWords = {
  [SyncState.UNSPECIFIED]: unknown,
  [SyncState.NEVER]: { key: "never", label: "Not synced yet", tone: "quiet" },
  [SyncState.SYNCED]: { key: "ok", label: "Synced", tone: "good" },
  [SyncState.UNFINISHED]: { key: "leased", label: "Unfinished", tone: "work" },
  [SyncState.RATE_LIMITED]: { key: "stale", label: "Rate limited", tone: "warn" },
  [SyncState.FAILED]: { key: "failed", label: "Failed", tone: "bad" },
} satisfies Record<SyncState, Word>;

export const issueWords = {
  [IssueState.UNSPECIFIED]: unknown,
  [IssueState.OPEN]: { key: "open", label: "Open", tone: "good" },
  [IssueState.CLOSED]: { key: "closed", label: "Closed", tone: "quiet" },
} satisfies Record<IssueState, Word>;

/** The word of a number that a newer server may know and this page does not. */
export function wordOf<E extends number>(words: Record<E, Word>, value: E): Word {
  const found: Word | undefined = words[value];
  return found ?? unknown;
}

/** The number that a word stands for; undefined for none. */
export function numberOf<E extends number>(words: Record<E, Word>, key: string): E | undefined {
  const found = Object.entries<Word>(words).find(([, word]) => word.key === key && word !== unknown);
  // The keys of such a record are the enum's numbers, which Object.entries gives as text.
  return found === undefined ? undefined : (Number(found[0]) as E);
}
