/** What a server tells Prometheus of itself and of its fleet; the names are those of docs/observability.md and deploy/. */
import type { ConnectionGate } from "./doors/connection-gate.ts";
import type { EventFeed } from "./events/event-feed.ts";
import type { EventSequencer } from "./events/sequencer.ts";
import { createCensus } from "./fleet/census.ts";
import { readCensus } from "./fleet/census-store.ts";
import type { HeartbeatMeasures, HeartbeatWriter } from "./heartbeat/heartbeat-writer.ts";
import { Metrics, type ReportUnread } from "./observability/metrics.ts";
import { type Counter, SECONDS } from "./observability/tally.ts";
import { CallMetrics } from "./rpc/call-metrics.ts";
import type { SessionRegistry } from "./sessions/session-registry.ts";
import type { Database } from "./storage/database.ts";
import type { TaskChangeType } from "./tasks/task-change.ts";
import type { WaitingClaims } from "./tasks/waiting-claims.ts";

/** What is counted where it happens, and handed to those who count. */
export interface ServerMetrics {
  readonly metrics: Metrics;
  readonly calls: CallMetrics;
  readonly heartbeats: HeartbeatMeasures;
  /** A round of the sweep took this long, in seconds. */
  swept(seconds: number): void;
  /** An agent was called offline. */
  lost(): void;
}

const BATCH_SIZES = [1, 2, 5, 10, 25, 50, 100, 250, 500];

export function createServerMetrics(report: ReportUnread): ServerMetrics {
  const metrics = new Metrics(report);
  const acknowledged = metrics
    .distributions(
      "drover_heartbeat_acknowledgement_seconds",
      "From a heartbeat's arrival to its commit.",
      SECONDS,
    )
    .cell();
  const refused = metrics
    .counters("drover_heartbeats_refused_total", "Heartbeats that were not taken, whatever the reason.")
    .cell();
  const batches = metrics
    .distributions("drover_heartbeat_batch_size", "Heartbeats written by one flush.", BATCH_SIZES)
    .cell();
  const sweeps = metrics
    .distributions("drover_sweep_duration_seconds", "Rounds of the liveness sweep on this server.", SECONDS)
    .cell();
  const lost = metrics
    .counters("drover_agents_lost_total", "Agents that this server has called offline.")
    .cell();
  return {
    metrics,
    calls: new CallMetrics(metrics),
    heartbeats: {
      acknowledged: (seconds) => acknowledged.observe(seconds),
      refused: () => refused.add(),
      flushed: (size) => batches.observe(size),
    },
    swept: (seconds) => sweeps.observe(seconds),
    lost: () => lost.add(),
  };
}

/** The parts of a running server that are asked when somebody scrapes. */
export interface WatchedParts {
  readonly database: Database;
  readonly gate: ConnectionGate;
  readonly feed: EventFeed;
  readonly sequencer: EventSequencer;
  readonly sessions: SessionRegistry;
  readonly waiting: WaitingClaims;
  readonly writer: HeartbeatWriter;
}

/** Adds what is read from the parts and, as seldom as its cost demands, from the database. */
export function watchParts({ metrics }: ServerMetrics, parts: WatchedParts): void {
  watchProcess(metrics, parts);
  watchTasks(metrics, parts.waiting);
  watchFleet(metrics, parts.database);
}

function watchProcess(metrics: Metrics, parts: WatchedParts): void {
  const { database, gate, feed, sequencer, sessions, writer } = parts;
  metrics.gauge("drover_heartbeat_queue", "Heartbeats that wait or are being written.", () => writer.queued);
  metrics.gauge("drover_sessions_open", "Streams of agents.", () => sessions.size);
  metrics.gauge("drover_watchers", "Watches of events.", () => feed.followers);
  metrics.gauge("drover_connections_open", "Connections on both ports.", () => gate.counts.open);
  metrics.counter(
    "drover_connections_refused_total",
    "Connections that were cut off for want of a place.",
    () => gate.counts.refused,
  );
  metrics.counter(
    "drover_events_numbered_total",
    "Events that this server has given their place in their stream.",
    () => sequencer.state.numbered,
  );
  metrics.gauge("drover_sequencer_leading", "1 on the server that numbers events.", () =>
    Number(sequencer.state.leading),
  );
  metrics.gauge("drover_database_connections", "Connections of each pool, by what they do.", () =>
    Object.entries({ calls: database.use, heartbeats: writer.connections }).flatMap(
      ([pool, { lent, idle, waiting }]) => [
        { labels: { pool, state: "lent" }, value: lent },
        { labels: { pool, state: "idle" }, value: idle },
        { labels: { pool, state: "awaited" }, value: waiting },
      ],
    ),
  );
}

/** Ends of attempts and tasks by what became of them: the changes that this server has committed. */
function watchTasks(metrics: Metrics, waiting: WaitingClaims): void {
  const changes = metrics.counters(
    "drover_task_changes_total",
    "Changes of tasks that this server has committed, by their event; each loan is an attempt.",
  );
  // All of them at once: a rate needs the 0 that came before the first.
  const cell = (type: TaskChangeType) => changes.cell({ type });
  const cells = {
    "task.created": cell("task.created"),
    "task.leased": cell("task.leased"),
    "task.started": cell("task.started"),
    "task.succeeded": cell("task.succeeded"),
    "task.requeued": cell("task.requeued"),
    "task.failed": cell("task.failed"),
    "task.cancelled": cell("task.cancelled"),
    "task.quarantined": cell("task.quarantined"),
    "task.stuck": cell("task.stuck"),
  } satisfies Record<TaskChangeType, Counter>;
  waiting.listen({
    due: () => false,
    changed({ type }) {
      cells[type].add();
    },
  });
}

function watchFleet(metrics: Metrics, { db }: Database): void {
  const census = createCensus(() => readCensus(db));
  metrics.gauge("drover_agents", "Agents of all projects, by status and liveness.", async () =>
    (await census()).agents.map(({ status, liveness, count }) => ({
      labels: { status, liveness },
      value: count,
    })),
  );
  metrics.gauge(
    "drover_tasks",
    "Tasks of all projects, by state; those that succeeded by estimate from 50,000 on.",
    async () => (await census()).tasks.map(({ state, count }) => ({ labels: { state }, value: count })),
  );
  metrics.gauge(
    "drover_tasks_oldest_seconds",
    "How long the oldest task has been due, been lent without being begun, or run.",
    async () =>
      Object.entries((await census()).oldestSeconds).map(([state, value]) => ({ labels: { state }, value })),
  );
  metrics.gauge(
    "drover_outbox_lag_seconds",
    "How long the oldest event without a place in its stream has waited.",
    async () => (await census()).outboxLagSeconds,
  );
  metrics.gauge(
    "drover_brakes_engaged",
    "Projects whose lost agents' tasks go back slowly or not at all.",
    async () => (await census()).brakesEngaged,
  );
}
