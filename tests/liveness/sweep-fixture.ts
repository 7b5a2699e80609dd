import { readLongestInterval } from "../../src/heartbeat/pace-store.ts";
import type { AgentCaller } from "../../src/identity/caller.ts";
import type { BrakeChange } from "../../src/liveness/apply-brakes.ts";
import type { BrakeSettings } from "../../src/liveness/decide-brake.ts";
import { LivenessSweeper } from "../../src/liveness/liveness-sweeper.ts";
import type { CommittedLoss } from "../../src/liveness/mark-silent.ts";
import type { LivenessThresholds } from "../../src/liveness/thresholds.ts";
import type { Database } from "../../src/storage/database.ts";
import type { TaskChange } from "../../src/tasks/task-change.ts";
import { waitFor } from "../helpers/wait-for.ts";
import type { TaskFixture } from "../tasks/task-fixture.ts";

/** Brakes nobody: tests of other things lose all of their agents. */
export const noBrake: BrakeSettings = { fraction: 1, minAgents: 1_000_000, agentsPerSecond: 1_000 };

/** Stale after a minute and offline after two, and rounds that follow each other fast: time itself decides nothing here. */
export const thresholds: LivenessThresholds = {
  intervalMs: 500,
  staleAfter: 120,
  offlineAfter: 200,
  offlineGraceMs: 20_000,
};

/** A sweeper at work, and what it tells. */
export interface Sweep {
  readonly sweeper: LivenessSweeper;
  readonly losses: CommittedLoss[];
  readonly taskChanges: TaskChange[];
  readonly brakes: BrakeChange[];
  readonly failures: unknown[];
  /** Rounds that it has ended as the one that sweeps. */
  rounds(): number;
  /**
   * Resolves when everything that is there now has been looked at, and what was due has been done; where the watch itself
   * was changed, the next time.
   */
  settled(): Promise<void>;
}

/** Starts a sweeper; what it finds at fault is kept, for tests to look at. */
export async function startSweep(
  fixture: TaskFixture,
  database: Database = fixture.database,
  brake: BrakeSettings = noBrake,
): Promise<Sweep> {
  let rounds = 0;
  const [losses, taskChanges, failures]: [CommittedLoss[], TaskChange[], unknown[]] = [[], [], []];
  const brakes: BrakeChange[] = [];
  const sweeper = new LivenessSweeper(database, {
    thresholds,
    readLongestInterval,
    brake,
    giveBack: { backoff: fixture.rules.backoff, report: (_, error) => failures.push(error) },
    listener: {
      lost: (loss) => losses.push(loss),
      tasksChanged: (changes) => taskChanges.push(...changes),
      swept() {
        rounds += 1;
      },
      braked: (change) => brakes.push(change),
      cordoned() {},
      failed: (error) => failures.push(error),
    },
  });
  await sweeper.start();
  return {
    sweeper,
    losses,
    taskChanges,
    brakes,
    failures,
    rounds: () => rounds,
    async settled() {
      // The round that is under way, and one from its beginning. The first round of all looks at no agent.
      const enough = rounds + 2;
      await waitFor(() => rounds >= enough, { what: "a sweep" });
    },
  };
}

/**
 * Makes it true that somebody has watched for so many seconds, and goes on without a break for as long as no test makes
 * one: where a machine is busy, rounds are seconds late, and the silence before would count for nothing.
 */
export async function watchSince({ database }: TaskFixture, seconds: number): Promise<void> {
  await database.sql`
    CREATE OR REPLACE FUNCTION watch_on() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      -- A break that a test makes lies further back.
      IF NEW.kept_at > clock_timestamp() - interval '5 seconds' THEN NEW.kept_at := NEW.kept_at + interval '1 hour'; END IF;
      RETURN NEW;
    END $$`;
  await database.sql`
    CREATE OR REPLACE TRIGGER watch_on BEFORE INSERT OR UPDATE ON liveness_watch
    FOR EACH ROW EXECUTE FUNCTION watch_on()`;
  await database.sql`
    INSERT INTO liveness_watch (since) VALUES (clock_timestamp() - ${String(seconds)}::float8 * interval '1 second')
    ON CONFLICT (only_row) DO UPDATE SET since = excluded.since, kept_at = clock_timestamp()`;
}

/** Makes it true that nobody has kept the watch for so many seconds. */
export async function breakWatch({ database }: TaskFixture, seconds: number): Promise<void> {
  await database.sql`
    UPDATE liveness_watch SET kept_at = clock_timestamp() - ${String(seconds)}::float8 * interval '1 second'`;
}

/** Makes it true that the agent was last heard so many seconds ago; its liveness stays. */
export async function silence({ database }: TaskFixture, agent: AgentCaller, seconds: number): Promise<void> {
  await database.sql`
    UPDATE agent_states SET last_seen_at = clock_timestamp() - ${String(seconds)}::float8 * interval '1 second'
    WHERE agent_id = ${agent.agentId}`;
}

export async function livenessOf({ database }: TaskFixture, agent: AgentCaller): Promise<string> {
  const [row] = await database.sql<{ liveness: string }>`
    SELECT liveness FROM agent_states WHERE agent_id = ${agent.agentId}`;
  return row?.liveness ?? "gone";
}

/** The audited changes of the agent's liveness, the oldest first: from, to, version, actor and reason. */
export async function livenessLog(
  { database }: TaskFixture,
  agent: AgentCaller,
): Promise<[string, string, bigint, string, string][]> {
  const rows = await database.sql<{
    from: string;
    to: string;
    version: bigint;
    actor: string;
    reason: string;
  }>`
    SELECT from_value AS from, to_value AS to, version, actor, reason FROM audit_entries
    WHERE subject = ${`agent_${agent.agentId}`} AND field = 'liveness' ORDER BY version`;
  return rows.map(({ from, to, version, actor, reason }) => [from, to, version, actor, reason]);
}
