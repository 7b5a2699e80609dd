// What the CLI reads of the REST API's JSON; everything may be missing, since another version may answer.

/** The values of an agent's `status`. */
export const statuses: readonly string[] = ["pending", "online", "busy", "benchmarked", "error"];
/** The values of an agent's `liveness`. */
export const livenesses: readonly string[] = ["never", "live", "stale", "offline"];

/** An agent, as far as it is printed. */
export interface AgentJson {
  id?: string;
  name?: string;
  status?: string;
  liveness?: string;
  labels?: Record<string, string>;
  capabilities?: string[];
  deviceInfo?: object;
  gauges?: Record<string, number | string>;
  currentTask?: { taskId?: string; leaseEpoch?: string; progress?: number; detail?: string };
  recentErrors?: { count?: number; worstSeverity?: string };
  session?: { bootId?: string; epoch?: string; sequence?: string };
  version?: string;
  createdAt?: string;
  lastHeartbeatAt?: string;
  statusChangedAt?: string;
  cordon?: string;
  cordonReason?: string;
  drainDeadline?: string;
  deaf?: boolean;
  mute?: boolean;
  flapping?: boolean;
}

/** A run of an agent's process. */
export interface SessionJson {
  bootId?: string;
  epoch?: string;
  startedAt?: string;
  lastHeartbeatAt?: string;
  supersededAt?: string;
}

/** A command for an agent. */
export interface CommandJson {
  sequence?: string;
  kind?: string;
}

/** An error report, as far as it is printed. */
export interface ErrorJson {
  agent?: string;
  severity?: string;
  message?: string;
  fingerprint?: string;
  occurrences?: string;
  createdAt?: string;
}

/** Errors of one fingerprint. */
export interface ErrorGroupJson {
  fingerprint?: string;
  severity?: string;
  message?: string;
  count?: string;
  agentCount?: string;
  lastSeenAt?: string;
}

/** An audit entry, as far as it is printed. */
export interface AuditEntryJson {
  time?: string;
  actor?: string;
  action?: string;
  subject?: string;
  field?: string;
  from?: string;
  to?: string;
  reason?: string;
}

/** A token, without its secret. */
export interface TokenJson {
  id?: string;
  role?: string;
  labels?: Record<string, string>;
  agent?: string;
  maxUses?: number;
  uses?: number;
  createdAt?: string;
  expiresAt?: string;
  revokedAt?: string;
  lastUsedAt?: string;
}

/** A project. */
export interface ProjectJson {
  id?: string;
  name?: string;
  createdAt?: string;
}

/** A task, as far as it is printed. */
export interface ExplanationJson {
  summary?: string;
  reasons?: { code?: string; message?: string; subject?: string }[];
}

export interface AttemptJson {
  number?: number;
  leaseEpoch?: string;
  agent?: string;
  startedAt?: string;
  endedAt?: string;
  outcome?: string;
  error?: { message?: string };
}

export interface TaskJson {
  id?: string;
  kind?: string;
  state?: string;
  priority?: number;
  payload?: unknown;
  result?: unknown;
  labels?: Record<string, string>;
  maxRetries?: number;
  retries?: number;
  losses?: number;
  attempt?: number;
  progress?: number;
  detail?: string;
  timeout?: string;
  agent?: string;
  lease?: { epoch?: string; remaining?: string };
  error?: { message?: string; context?: object };
  notBefore?: string;
  requiredCapabilities?: string[];
  requiredLabels?: Record<string, string>;
  checkpoint?: unknown;
  createdAt?: string;
  nextAttemptAt?: string;
  startedAt?: string;
  finishedAt?: string;
  staleResults?: { agent?: string; leaseEpoch?: string; kind?: string; time?: string }[];
}

/** A step of a run, as far as it is printed. */
export interface RunStepJson {
  name?: string;
  status?: string;
  duration?: string;
  summary?: string;
}

/** A run, as far as it is printed. */
export interface RunJson {
  id?: string;
  agentName?: string;
  status?: string;
  actor?: string;
  startedAt?: string;
  finishedAt?: string;
  summary?: string;
  warnings?: string[];
  errors?: string[];
  touchedIssueUrls?: string[];
  steps?: RunStepJson[];
}

/** What a pass answers. */
export interface PassJson {
  status?: string;
  summary?: string;
  warnings?: string[];
  errors?: string[];
  touchedIssueUrls?: string[];
  runId?: string;
}

/** A tracker, as far as it is printed. */
export interface TrackerJson {
  id?: string;
  kind?: string;
  repository?: string;
  baseUrl?: string;
  credential?: string;
  disabled?: boolean;
  rule?: { label?: string; taskKind?: string; priority?: number };
  syncState?: string;
  syncDetail?: string;
  syncedAt?: string;
  rateLimitedUntil?: string;
  createdAt?: string;
}

/** An issue, as far as it is printed. */
export interface IssueJson {
  number?: string;
  url?: string;
  title?: string;
  state?: string;
  labels?: string[];
  task?: string;
  updatedAt?: string;
}

/** An event, or a bookmark. */
export interface EventJson {
  cursor?: string;
  type?: string;
  time?: string;
  subject?: string;
  data?: Record<string, unknown>;
}
