/**
 * Every table. Keys begin with project_id, so that the tables can be spread by tenant; tokens apart, which are found
 * by their own id before the project is known. Times are the database's own.
 */
import { sql } from "drizzle-orm";
import {
  bigint,
  bigserial,
  boolean,
  check,
  customType,
  doublePrecision,
  index,
  integer,
  json,
  jsonb,
  pgTable,
  primaryKey,
  smallint,
  text,
  timestamp,
  unique,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";

const bytea = customType<{ data: Buffer; driverData: Buffer }>({ dataType: () => "bytea" });
const instant = (name: string) => timestamp(name, { withTimezone: true, precision: 6, mode: "date" });
const createdAt = () => instant("created_at").notNull().default(sql`clock_timestamp()`);

/** A value of any JSON shape. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
/** A JSON object. */
export type JsonObject = { [key: string]: Json };
export type Labels = Record<string, string>;

/** Tenants. */
export const projects = pgTable("projects", {
  id: uuid("id").primaryKey(),
  name: text("name").notNull().unique(),
  createdAt: createdAt(),
});

/**
 * Credentials. Of a secret there is its SHA-256 alone. A renewal is a row of its own that names the agent and is not
 * active until its first use, which retires the agent's other rows.
 */
export const tokens = pgTable(
  "tokens",
  {
    id: uuid("id").primaryKey(),
    projectId: uuid("project_id").notNull(),
    role: text("role", { enum: ["agent", "runner", "enrollment", "operator", "viewer"] }).notNull(),
    /** The server's own operator token, which may create projects and speak for any of them. */
    server: boolean("server").notNull().default(false),
    secretHash: bytea("secret_hash").notNull(),
    labels: jsonb("labels").$type<Labels>().notNull().default({}),
    agentId: uuid("agent_id"),
    maxUses: integer("max_uses").notNull().default(0),
    uses: integer("uses").notNull().default(0),
    createdAt: createdAt(),
    /** When the secret in force was minted: a renewal that nobody used is minted anew in place. */
    mintedAt: instant("minted_at").notNull().default(sql`clock_timestamp()`),
    expiresAt: instant("expires_at"),
    revokedAt: instant("revoked_at"),
    /** First use, for a renewal; its creation for every other token. */
    activatedAt: instant("activated_at"),
    /** When a renewal took this token's place. */
    retiredAt: instant("retired_at"),
    lastUsedAt: instant("last_used_at"),
  },
  (table) => [
    index("tokens_by_project").on(table.projectId, table.createdAt, table.id),
    index("tokens_by_agent").on(table.projectId, table.agentId),
    // One slot for a renewal besides the token in use.
    uniqueIndex("tokens_one_renewal")
      .on(table.projectId, table.agentId)
      .where(
        sql`agent_id IS NOT NULL AND activated_at IS NULL AND revoked_at IS NULL AND retired_at IS NULL`,
      ),
    check("tokens_uses_within", sql`role <> 'enrollment' OR uses <= max_uses`),
  ],
);

/** Which agents an enrollment token made for which nonce, so that a lost answer can be asked for again. */
export const enrollments = pgTable(
  "enrollments",
  {
    projectId: uuid("project_id").notNull(),
    tokenId: uuid("token_id").notNull(),
    nonce: text("nonce").notNull(),
    agentId: uuid("agent_id").notNull(),
    createdAt: createdAt(),
  },
  (table) => [primaryKey({ columns: [table.projectId, table.tokenId, table.nonce, table.agentId] })],
);

/** What an agent is; written when it says something new of itself. */
export const agents = pgTable(
  "agents",
  {
    projectId: uuid("project_id").notNull(),
    id: uuid("id").notNull(),
    name: text("name").notNull(),
    labels: jsonb("labels").$type<Labels>().notNull().default({}),
    capabilities: jsonb("capabilities").$type<string[]>().notNull().default([]),
    deviceInfo: jsonb("device_info").$type<JsonObject>(),
    gauges: jsonb("gauges").$type<Record<string, number>>().notNull().default({}),
    createdAt: createdAt(),
    removedAt: instant("removed_at"),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.id] }),
    uniqueIndex("agents_by_name").on(table.projectId, table.name).where(sql`removed_at IS NULL`),
    index("agents_by_age").on(table.projectId, table.createdAt, table.id),
  ],
);

/**
 * How an agent is. This narrow row is the agent's lock, and every heartbeat writes it: nothing that one changes is indexed,
 * and half of each page stays free, so that an update stays on its page (HOT) and touches no index.
 */
export const agentStates = pgTable(
  "agent_states",
  {
    projectId: uuid("project_id").notNull(),
    agentId: uuid("agent_id").notNull(),
    status: text("status", { enum: ["pending", "online", "busy", "benchmarked", "error"] })
      .notNull()
      .default("pending"),
    liveness: text("liveness", { enum: ["never", "live", "stale", "offline"] })
      .notNull()
      .default("never"),
    version: bigint("version", { mode: "bigint" }).notNull().default(sql`0`),
    /** Of the newest session; 0 until a process named itself. */
    epoch: bigint("epoch", { mode: "bigint" }).notNull().default(sql`0`),
    /** Newest sequence taken in that session. */
    sequence: bigint("sequence", { mode: "bigint" }).notNull().default(sql`-1`),
    lastSeenAt: instant("last_seen_at"),
    /** What the newest heartbeat named as the task at hand, where it was this agent's to name. */
    currentTaskId: uuid("current_task_id"),
    currentLeaseEpoch: bigint("current_lease_epoch", { mode: "bigint" }),
    /** Of the newest command; 0 until there was one. */
    commandSequence: bigint("command_sequence", { mode: "bigint" }).notNull().default(sql`0`),
    /** Of the newest stream that said hello, of whatever run and on whatever server; 0 until there was one. */
    stream: bigint("stream", { mode: "bigint" }).notNull().default(sql`0`),
    statusChangedAt: instant("status_changed_at").notNull().default(sql`clock_timestamp()`),
    /** When the sweep called it offline last; an agent that left since was heard after it. */
    lostAt: instant("lost_at"),
    /** Whether it gets work. */
    cordon: text("cordon", { enum: ["none", "draining", "cordoned"] })
      .notNull()
      .default("none"),
    /** Why it gets none; empty while it does. */
    cordonReason: text("cordon_reason").notNull().default(""),
    /** When what a draining agent still holds goes back; null: not before it has ended all. */
    drainDeadlineAt: instant("drain_deadline_at"),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.agentId] }),
    // A heartbeat changes none of what this index looks at.
    index("agent_states_draining").on(table.projectId, table.agentId).where(sql`cordon = 'draining'`),
  ],
);

/**
 * The control plane's own heartbeat, in a single row: whoever watches over the agents notes here that somebody does.
 * Silence counts against an agent only while it was listened to.
 */
export const livenessWatch = pgTable(
  "liveness_watch",
  {
    onlyRow: boolean("only_row").primaryKey().default(true),
    /** When the watch was kept last. */
    keptAt: instant("kept_at").notNull().default(sql`clock_timestamp()`),
    /** Since when it has been kept without a break. */
    since: instant("since").notNull().default(sql`clock_timestamp()`),
  },
  () => [check("liveness_watch_one_row", sql`only_row`)],
);

/** Agents that were lost lately, and which of them are lost again and again. */
export const agentFlaps = pgTable(
  "agent_flaps",
  {
    projectId: uuid("project_id").notNull(),
    agentId: uuid("agent_id").notNull(),
    /** Losses as of then, each counting less as time goes by. */
    score: doublePrecision("score").notNull(),
    scoredAt: instant("scored_at").notNull(),
    flapping: boolean("flapping").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.agentId] }),
    index("agent_flaps_by_age").on(table.scoredAt),
  ],
);

/** Projects that lost most or all of their agents at once: how slowly tasks go back there. */
export const livenessBrakes = pgTable("liveness_brakes", {
  projectId: uuid("project_id").primaryKey(),
  kind: text("kind", { enum: ["slow", "waiting", "stopped"] }).notNull(),
  engagedAt: instant("engaged_at").notNull(),
  /** From when the allowance counts, by which one agent after the other loses its tasks. */
  earnedFrom: instant("earned_from").notNull(),
});

/**
 * The longest intervals that servers tell agents, each announced before it is told: until its end some agent may go by
 * it. Whoever judges silence waits for as long. Agents' rows know nothing of it, so that they stay narrow.
 */
export const dictatedIntervals = pgTable(
  "dictated_intervals",
  {
    serverId: uuid("server_id").notNull(),
    intervalMs: integer("interval_ms").notNull(),
    countsUntil: instant("counts_until").notNull(),
  },
  (table) => [primaryKey({ columns: [table.serverId, table.intervalMs] })],
);

/**
 * Streams by which agents hear of commands: those that are open and, of each agent, what ended since it opened one last.
 * What a server left open when it died has ended with that server's last word.
 */
export const agentStreams = pgTable(
  "agent_streams",
  {
    projectId: uuid("project_id").notNull(),
    agentId: uuid("agent_id").notNull(),
    id: uuid("id").notNull(),
    serverId: uuid("server_id").notNull(),
    /** Of the session that opened it. */
    epoch: bigint("epoch", { mode: "bigint" }).notNull(),
    openedAt: instant("opened_at").notNull().default(sql`clock_timestamp()`),
    endedAt: instant("ended_at"),
  },
  (table) => [primaryKey({ columns: [table.projectId, table.agentId, table.id] })],
);

/** Servers that hold streams, and when each of them said so last. */
export const streamServers = pgTable("stream_servers", {
  serverId: uuid("server_id").primaryKey(),
  keptAt: instant("kept_at").notNull().default(sql`clock_timestamp()`),
});

/** Runs of agents' processes. */
export const agentSessions = pgTable(
  "agent_sessions",
  {
    projectId: uuid("project_id").notNull(),
    agentId: uuid("agent_id").notNull(),
    bootId: text("boot_id").notNull(),
    epoch: bigint("epoch", { mode: "bigint" }).notNull(),
    startedAt: instant("started_at").notNull().default(sql`clock_timestamp()`),
    /** When its agent was last heard before this run began: the last word of the run before. */
    heardBeforeAt: instant("heard_before_at"),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.agentId, table.bootId] }),
    unique("agent_sessions_by_epoch").on(table.projectId, table.agentId, table.epoch),
    index("agent_sessions_by_age").on(table.startedAt),
  ],
);

/** What a heartbeat did, if it did anything; kept 24 hours to answer its repeats. */
export const heartbeatEffects = pgTable(
  "heartbeat_effects",
  {
    projectId: uuid("project_id").notNull(),
    agentId: uuid("agent_id").notNull(),
    epoch: bigint("epoch", { mode: "bigint" }).notNull(),
    sequence: bigint("sequence", { mode: "bigint" }).notNull(),
    effect: jsonb("effect").$type<unknown>().notNull(),
    recordedAt: instant("recorded_at").notNull().default(sql`clock_timestamp()`),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.agentId, table.epoch, table.sequence] }),
    index("heartbeat_effects_by_age").on(table.recordedAt),
  ],
);

/** Errors, scrubbed. Severity is its rank, so that the worst is the largest. */
export const errorReports = pgTable(
  "error_reports",
  {
    projectId: uuid("project_id").notNull(),
    id: uuid("id").notNull(),
    agentId: uuid("agent_id").notNull(),
    severity: smallint("severity").notNull(),
    message: text("message").notNull(),
    context: jsonb("context").$type<JsonObject>(),
    taskId: uuid("task_id"),
    fingerprint: text("fingerprint").notNull(),
    occurrences: bigint("occurrences", { mode: "bigint" }).notNull().default(sql`1`),
    createdAt: createdAt(),
    lastSeenAt: instant("last_seen_at").notNull().default(sql`clock_timestamp()`),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.id] }),
    index("error_reports_by_age").on(table.projectId, table.createdAt, table.id),
    index("error_reports_by_agent").on(table.projectId, table.agentId, table.createdAt, table.id),
    index("error_reports_by_fingerprint").on(table.projectId, table.fingerprint, table.createdAt),
    index("error_reports_flood").on(table.projectId, table.agentId, table.fingerprint, table.createdAt),
  ],
);

/** Who changed what. Append-only: a trigger refuses every other change (see the migration). */
export const auditEntries = pgTable(
  "audit_entries",
  {
    projectId: uuid("project_id").notNull(),
    id: uuid("id").notNull(),
    time: instant("time").notNull().default(sql`clock_timestamp()`),
    actor: text("actor").notNull(),
    action: text("action").notNull(),
    subject: text("subject").notNull(),
    field: text("field").notNull().default(""),
    from: text("from_value").notNull().default(""),
    to: text("to_value").notNull().default(""),
    /** The subject's version that this change made; null for subjects without versions. */
    version: bigint("version", { mode: "bigint" }),
    reason: text("reason").notNull().default(""),
    requestId: text("request_id").notNull().default(""),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.id] }),
    index("audit_entries_by_time").on(table.projectId, table.time, table.id),
    index("audit_entries_by_subject").on(table.projectId, table.subject, table.time, table.id),
    unique("audit_entries_one_per_version").on(table.projectId, table.subject, table.version),
  ],
);

/**
 * The outbox and the stream of events. A row is inserted by the transaction that makes its fact true, after its
 * subject's lock, and draws its id then; the sequencer gives it its place in the project's stream, dense and without
 * a gap, once it is committed.
 */
export const events = pgTable(
  "events",
  {
    projectId: uuid("project_id").notNull(),
    id: bigserial("id", { mode: "bigint" }).notNull(),
    /** Place in the project's stream, from 1; null until it is numbered. */
    seq: bigint("seq", { mode: "bigint" }),
    type: text("type").notNull(),
    /** Id of what it is about, such as `agent_0190…`. */
    subject: text("subject").notNull(),
    agentId: uuid("agent_id"),
    /** For watchers who know the agent by its name alone; it never changes. */
    agentName: text("agent_name"),
    taskId: uuid("task_id"),
    time: instant("time").notNull().default(sql`clock_timestamp()`),
    data: jsonb("data").$type<JsonObject>().notNull().default({}),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.id] }),
    uniqueIndex("events_by_seq").on(table.projectId, table.seq).where(sql`seq IS NOT NULL`),
    index("events_unnumbered").on(table.id).where(sql`seq IS NULL`),
  ],
);

/** How far each project's stream of events goes. It stays when every event of it was pruned. */
export const eventStreams = pgTable("event_streams", {
  projectId: uuid("project_id").primaryKey(),
  /** Of the newest numbered event. */
  lastSeq: bigint("last_seq", { mode: "bigint" }).notNull().default(sql`0`),
  /** Of the newest event that was pruned; all up to it are gone. */
  prunedSeq: bigint("pruned_seq", { mode: "bigint" }).notNull().default(sql`0`),
});

/** Answers of the last 24 hours, by the request_id that asked; never a secret. */
export const answeredRequests = pgTable(
  "answered_requests",
  {
    projectId: uuid("project_id").notNull(),
    tokenId: uuid("token_id").notNull(),
    method: text("method").notNull(),
    requestId: text("request_id").notNull(),
    /** SHA-256 of the request: one id must not stand for two requests. */
    requestHash: bytea("request_hash").notNull(),
    response: bytea("response"),
    createdAt: createdAt(),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.tokenId, table.method, table.requestId] }),
    index("answered_requests_by_age").on(table.createdAt),
  ],
);

/**
 * Work. A task is lent while it is leased or running: then agent, epoch and end of the lease say to whom. A renewal
 * writes no indexed column, so that it stays on its page (HOT); for that the end of a lease has no index, and what
 * looks for ended leases reads the lent tasks, which are few beside the finished ones.
 */
export const tasks = pgTable(
  "tasks",
  {
    projectId: uuid("project_id").notNull(),
    id: uuid("id").notNull(),
    kind: text("kind").notNull(),
    state: text("state", {
      enum: ["pending", "leased", "running", "succeeded", "failed", "cancelled", "quarantined"],
    })
      .notNull()
      .default("pending"),
    priority: smallint("priority").notNull(),
    /** Not jsonb, since nothing looks inside; it comes back as it was stored. */
    payload: json("payload").$type<Json>(),
    /** The larger of its size as JSON and as protobuf, by which pages end in time. */
    payloadBytes: integer("payload_bytes").notNull().default(0),
    result: json("result").$type<Json>(),
    resultBytes: integer("result_bytes").notNull().default(0),
    labels: jsonb("labels").$type<Labels>().notNull().default({}),
    maxRetries: integer("max_retries").notNull(),
    retries: integer("retries").notNull().default(0),
    losses: integer("losses").notNull().default(0),
    timeoutMs: bigint("timeout_ms", { mode: "number" }),
    notBefore: instant("not_before"),
    /** What its agent must have; null: nothing. */
    requirements: jsonb("requirements").$type<{ capabilities: string[]; labels: Labels }>(),
    /** Names the same in indexes: a row of `task_requirement_sets`, or the nil UUID for none. */
    requirementSet: uuid("requirement_set").notNull().default("00000000-0000-0000-0000-000000000000"),
    /** Where the next attempt could begin, as an agent said last. */
    checkpoint: json("checkpoint").$type<Json>(),
    checkpointBytes: integer("checkpoint_bytes").notNull().default(0),
    /** Attempts up to this epoch are not held against the task any more: it was retried after them. */
    forgivenEpoch: bigint("forgiven_epoch", { mode: "bigint" }).notNull().default(sql`0`),
    /** Number of the newest attempt. */
    attempt: integer("attempt").notNull().default(0),
    /** Rises with every loan and never falls. */
    leaseEpoch: bigint("lease_epoch", { mode: "bigint" }).notNull().default(sql`0`),
    /** Who holds it, or held it last. */
    agentId: uuid("agent_id"),
    leasedAt: instant("leased_at"),
    leaseExpiresAt: instant("lease_expires_at"),
    startedAt: instant("started_at"),
    finishedAt: instant("finished_at"),
    progress: doublePrecision("progress").notNull().default(0),
    detail: text("detail").notNull().default(""),
    errorMessage: text("error_message"),
    errorContext: jsonb("error_context").$type<JsonObject>(),
    errorBytes: integer("error_bytes").notNull().default(0),
    /** From when it may be claimed, and its place among the pending tasks of its priority. */
    dueAt: instant("due_at").notNull().default(sql`clock_timestamp()`),
    createdAt: createdAt(),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.id] }),
    index("tasks_by_age").on(table.projectId, table.createdAt, table.id),
    index("tasks_by_agent")
      .on(table.projectId, table.agentId, table.createdAt, table.id)
      .where(sql`agent_id IS NOT NULL`),
    index("tasks_pending")
      .on(table.projectId, table.requirementSet, table.priority, table.dueAt, table.id)
      .where(sql`state = 'pending'`),
    index("tasks_pending_by_kind")
      .on(table.projectId, table.kind, table.requirementSet, table.priority, table.dueAt, table.id)
      .where(sql`state = 'pending'`),
    index("tasks_lent").on(table.projectId, table.agentId).where(sql`state IN ('leased', 'running')`),
    index("tasks_unsuccessful")
      .on(table.projectId, table.state, table.createdAt, table.id)
      .where(sql`state IN ('failed', 'cancelled', 'quarantined')`),
    index("tasks_of_issues")
      .on(table.projectId, sql`(labels ->> 'issue')`)
      .where(sql`labels ->> 'issue' IS NOT NULL AND state IN ('pending', 'leased', 'running')`),
    check(
      "tasks_lent_to_someone",
      sql`state NOT IN ('leased', 'running') OR (agent_id IS NOT NULL AND lease_expires_at IS NOT NULL AND leased_at IS NOT NULL)`,
    ),
    check("tasks_retries_within", sql`retries BETWEEN 0 AND max_retries`),
  ],
);

/**
 * Each set of requirements that tasks of a project have, once. A claim looks for the sets that its agent meets, and then
 * at the tasks of these alone: those that it must not take, however many wait, are never read.
 */
export const taskRequirementSets = pgTable(
  "task_requirement_sets",
  {
    projectId: uuid("project_id").notNull(),
    /** Of what is in it. */
    id: uuid("id").notNull(),
    capabilities: jsonb("capabilities").$type<string[]>().notNull(),
    labels: jsonb("labels").$type<Labels>().notNull(),
    createdAt: createdAt(),
  },
  (table) => [primaryKey({ columns: [table.projectId, table.id] })],
);

/** Tries of tasks, one for each loan. An attempt ends once. */
export const taskAttempts = pgTable(
  "task_attempts",
  {
    projectId: uuid("project_id").notNull(),
    taskId: uuid("task_id").notNull(),
    leaseEpoch: bigint("lease_epoch", { mode: "bigint" }).notNull(),
    number: integer("number").notNull(),
    agentId: uuid("agent_id").notNull(),
    beganAt: instant("began_at").notNull().default(sql`clock_timestamp()`),
    endedAt: instant("ended_at"),
    outcome: text("outcome", {
      enum: [
        "succeeded",
        "failed",
        "agent_failed",
        "timed_out",
        "lost",
        "returned",
        "cancelled",
        "set_aside",
      ],
    }),
    errorMessage: text("error_message"),
    errorContext: jsonb("error_context").$type<JsonObject>(),
    /** The agent went down while it ran the task. */
    tookDown: boolean("took_down").notNull().default(false),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.taskId, table.leaseEpoch] }),
    check("task_attempts_end_whole", sql`(ended_at IS NULL) = (outcome IS NULL)`),
  ],
);

/** Tasks that an agent has failed since its newest success, each once: after some in a row it is cordoned. */
export const agentFailures = pgTable(
  "agent_failures",
  {
    projectId: uuid("project_id").notNull(),
    agentId: uuid("agent_id").notNull(),
    taskId: uuid("task_id").notNull(),
    failedAt: instant("failed_at").notNull().default(sql`clock_timestamp()`),
  },
  (table) => [primaryKey({ columns: [table.projectId, table.agentId, table.taskId] })],
);

/** Results that came under an ended lease, or from an agent in error: refused and kept to be seen. */
export const taskStaleResults = pgTable(
  "task_stale_results",
  {
    projectId: uuid("project_id").notNull(),
    taskId: uuid("task_id").notNull(),
    agentId: uuid("agent_id").notNull(),
    leaseEpoch: bigint("lease_epoch", { mode: "bigint" }).notNull(),
    kind: text("kind", { enum: ["complete", "fail"] }).notNull(),
    result: json("result").$type<Json>(),
    errorMessage: text("error_message"),
    errorContext: jsonb("error_context").$type<JsonObject>(),
    /** The larger of its size as JSON and as protobuf. */
    bytes: integer("bytes").notNull(),
    createdAt: createdAt(),
  },
  // A repeat of a refused result is the same refused result.
  (table) => [
    primaryKey({ columns: [table.projectId, table.taskId, table.agentId, table.leaseEpoch, table.kind] }),
  ],
);

/** What agents are to do: delivered by streams and in the answer to every heartbeat until it is acknowledged. */
export const agentCommands = pgTable(
  "agent_commands",
  {
    projectId: uuid("project_id").notNull(),
    agentId: uuid("agent_id").notNull(),
    sequence: bigint("sequence", { mode: "bigint" }).notNull(),
    kind: text("kind", {
      enum: [
        "cancelTask",
        "reportFullState",
        "rotateToken",
        "shutDown",
        "echo",
        "cordon",
        "uncordon",
        "drain",
      ],
    }).notNull(),
    taskId: uuid("task_id"),
    reason: text("reason").notNull().default(""),
    /** By when, for a drain. */
    deadlineAt: instant("deadline_at"),
    createdAt: createdAt(),
    acknowledgedAt: instant("acknowledged_at"),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.agentId, table.sequence] }),
    index("agent_commands_waiting")
      .on(table.projectId, table.agentId, table.sequence)
      .where(sql`acknowledged_at IS NULL`),
    index("agent_commands_by_age").on(table.createdAt),
  ],
);

/** A step of a pass as its run keeps it; times as ISO texts. */
export interface StepRecord {
  name: string;
  critical: boolean;
  status: "ok" | "warning" | "error";
  startedAt: string;
  durationMs: number;
  summary: string;
  warnings: number;
  errors: number;
  touched: number;
}

/** Heartbeat passes: a row at the start, finished with the outcome. Its server holds an advisory lock meanwhile. */
export const runs = pgTable(
  "runs",
  {
    projectId: uuid("project_id").notNull(),
    id: uuid("id").notNull(),
    /** The name that the pass was called for, enrolled or not. */
    agentName: text("agent_name").notNull(),
    actor: text("actor").notNull(),
    status: text("status", { enum: ["running", "ok", "warning", "error", "interrupted"] })
      .notNull()
      .default("running"),
    startedAt: instant("started_at").notNull().default(sql`clock_timestamp()`),
    finishedAt: instant("finished_at"),
    /** In one line; how far it is while it runs. */
    summary: text("summary").notNull().default(""),
    warnings: jsonb("warnings").$type<string[]>().notNull().default([]),
    errors: jsonb("errors").$type<string[]>().notNull().default([]),
    touchedIssueUrls: jsonb("touched_issue_urls").$type<string[]>().notNull().default([]),
    steps: jsonb("steps").$type<StepRecord[]>().notNull().default([]),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.id] }),
    index("runs_by_age").on(table.projectId, table.startedAt, table.id),
    index("runs_by_agent").on(table.projectId, table.agentName, table.startedAt, table.id),
    index("runs_running").on(table.id).where(sql`status = 'running'`),
    index("runs_to_forget").on(table.startedAt),
    check("runs_end_whole", sql`(status = 'running') = (finished_at IS NULL)`),
  ],
);

/** Sources of issues. Of a credential there is the reference alone. */
export const trackers = pgTable(
  "trackers",
  {
    projectId: uuid("project_id").notNull(),
    id: uuid("id").notNull(),
    kind: text("kind", { enum: ["github"] }).notNull(),
    repository: text("repository").notNull(),
    baseUrl: text("base_url").notNull(),
    /** `env:NAME` or `file:/path`; empty for none. */
    credential: text("credential").notNull().default(""),
    disabled: boolean("disabled").notNull().default(false),
    /** Issues with this label become tasks; null for none. */
    ruleLabel: text("rule_label"),
    ruleTaskKind: text("rule_task_kind"),
    rulePriority: smallint("rule_priority"),
    /** What was updated upstream before is here; null before the first page. */
    cursor: instant("cursor"),
    /** Of the first page from the cursor; empty where that page was not seen in full. */
    etag: text("etag").notNull().default(""),
    /** The run that fetches, or that fetched last: pages of any other are refused. */
    syncRun: uuid("sync_run"),
    syncState: text("sync_state", { enum: ["never", "synced", "unfinished", "rate-limited", "failed"] })
      .notNull()
      .default("never"),
    syncDetail: text("sync_detail").notNull().default(""),
    /** When the newest sync ended, however it did. */
    syncEndedAt: instant("sync_ended_at"),
    /** When one last brought everything. */
    syncedAt: instant("synced_at"),
    rateLimitedUntil: instant("rate_limited_until"),
    createdAt: createdAt(),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.id] }),
    uniqueIndex("trackers_one_per_repository").on(
      table.projectId,
      table.kind,
      table.baseUrl,
      sql`lower(repository)`,
    ),
    index("trackers_by_age").on(table.projectId, table.createdAt, table.id),
    check(
      "trackers_rule_whole",
      sql`(rule_label IS NULL) = (rule_task_kind IS NULL) AND (rule_label IS NULL) = (rule_priority IS NULL)`,
    ),
  ],
);

/** Issues as they were fetched last, and what became of them here. */
export const issues = pgTable(
  "issues",
  {
    projectId: uuid("project_id").notNull(),
    id: uuid("id").notNull(),
    trackerId: uuid("tracker_id").notNull(),
    number: bigint("number", { mode: "bigint" }).notNull(),
    url: text("url").notNull(),
    title: text("title").notNull(),
    author: text("author").notNull(),
    labels: jsonb("labels").$type<string[]>().notNull(),
    /** Here; brought in line with the upstream state by reconciling. */
    state: text("state", { enum: ["open", "closed"] }).notNull(),
    upstreamState: text("upstream_state", { enum: ["open", "closed"] }).notNull(),
    /** Task that the tracker's rule made of it; null where there is none, or where it was taken back with the label. */
    ruleTaskId: uuid("rule_task_id"),
    createdAt: instant("created_at").notNull(),
    updatedAt: instant("updated_at").notNull(),
    closedAt: instant("closed_at"),
    /** When the tracker last said that it exists, where a task depends on that. */
    confirmedAt: instant("confirmed_at").notNull().default(sql`clock_timestamp()`),
  },
  (table) => [
    primaryKey({ columns: [table.projectId, table.id] }),
    unique("issues_by_number").on(table.projectId, table.trackerId, table.number),
    index("issues_by_change").on(table.projectId, table.updatedAt, table.id),
    index("issues_out_of_line").on(table.projectId, table.id).where(sql`state <> upstream_state`),
    index("issues_open").on(table.projectId, table.trackerId, table.id).where(sql`upstream_state = 'open'`),
    index("issues_with_task").on(table.projectId, table.id).where(sql`rule_task_id IS NOT NULL`),
    index("issues_by_url").on(table.projectId, table.url),
  ],
);
