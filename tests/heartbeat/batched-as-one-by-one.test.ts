import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Heartbeat } from "../../src/heartbeat/heartbeat.ts";
import type { AgentCaller } from "../../src/identity/caller.ts";
import { formatId } from "../../src/runtime/resource-id.ts";
import { startTaskFixture, type TaskFixture } from "../tasks/task-fixture.ts";

const AGENTS = 3;
const TASKS_EACH = 2;

/** A heartbeat, with agents and tasks by number: task `n` is held by agent `n % AGENTS`. */
interface DrawnBeat {
  agent: number;
  status: Heartbeat["status"];
  error: "warning" | "fatal" | undefined;
  session: { boot: number; sequence: number | undefined } | undefined;
  current:
    | { task: number; leaseEpoch: bigint; progress: number | undefined; detail: string | undefined }
    | undefined;
  held: number[];
  gauge: number | undefined;
}

const rarely = <T>(some: fc.Arbitrary<T>, of: number) => fc.option(some, { nil: undefined, freq: of });
const task = fc.integer({ min: 0, max: AGENTS * TASKS_EACH });
const beats: fc.Arbitrary<DrawnBeat> = fc.record({
  agent: fc.nat(AGENTS - 1),
  status: fc.oneof(
    { weight: 12, arbitrary: fc.constant("busy" as const) },
    { weight: 3, arbitrary: fc.constantFrom("online" as const, "benchmarked" as const) },
    { weight: 1, arbitrary: fc.constant("error" as const) },
  ),
  error: fc.oneof(
    { weight: 12, arbitrary: fc.constant(undefined) },
    { weight: 2, arbitrary: fc.constant("warning" as const) },
    { weight: 1, arbitrary: fc.constant("fatal" as const) },
  ),
  session: rarely(
    fc.record({
      boot: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constant(1) }),
      sequence: rarely(fc.nat(30), 8),
    }),
    8,
  ),
  current: rarely(
    fc.record({
      task,
      leaseEpoch: fc.constantFrom(1n, 1n, 1n, 2n),
      progress: rarely(fc.constantFrom(0.1, 0.5, 0.9), 4),
      detail: rarely(fc.constantFrom("on it", 'a "quote", a {brace} and a \\'), 1),
    }),
    4,
  ),
  held: fc.uniqueArray(task, { maxLength: 2 }),
  gauge: rarely(fc.constantFrom(1, 2), 1),
});

/** The usual life of an agent, in which heartbeats fold: sequences that rise, one status, one task. */
const steady: fc.Arbitrary<DrawnBeat[]> = fc
  .tuple(fc.nat(AGENTS - 1), fc.array(fc.constantFrom(0.1, 0.5, 0.9), { minLength: 2, maxLength: 12 }))
  .map(([agent, progress]) =>
    progress.map((done, index) => ({
      agent,
      status: "busy" as const,
      error: undefined,
      session: { boot: 0, sequence: 31 + index },
      current: { task: agent, leaseEpoch: 1n, progress: done, detail: undefined },
      held: [],
      gauge: undefined,
    })),
  );

interface Fleet {
  fixture: TaskFixture;
  agents: AgentCaller[];
  tasks: string[];
}

let run = 0;

/** Agents under new names that each hold tasks. */
async function enrollFleet(fixture: TaskFixture): Promise<Fleet> {
  const agents: AgentCaller[] = [];
  for (let number = 0; number < AGENTS; number += 1)
    agents.push(await fixture.enroll(`agent-${run}-${number}`));
  const tasks: string[] = [];
  for (let number = 0; number < AGENTS * TASKS_EACH; number += 1) {
    const kind = `kind-${run}-${number}`;
    tasks.push(await fixture.add({ kind, maxRetries: 1 }));
    const agent = agents[number % AGENTS];
    if (agent !== undefined) await fixture.claim(agent, 1, [kind]);
  }
  return { fixture, agents, tasks };
}

function send({ fixture, agents, tasks }: Fleet, beat: DrawnBeat): Promise<unknown> {
  const agent = agents[beat.agent];
  if (agent === undefined) throw new Error("no such agent");
  const idOf = (number: number) =>
    tasks[number] === undefined ? "no-task" : formatId("task", tasks[number]);
  const { current, session, error, gauge } = beat;
  return fixture
    .beat(agent, {
      status: beat.status,
      tasks: {
        currentTask: current && { ...current, taskId: idOf(current.task) },
        heldLeases: beat.held.map((number) => ({ taskId: idOf(number), leaseEpoch: 1n })),
      },
      error: error && { severity: error, message: `${error} of ${beat.agent}`, context: { token: "x" } },
      profile: {
        labels: undefined,
        capabilities: undefined,
        deviceInfo: undefined,
        gauges: gauge === undefined ? undefined : { gauge },
      },
      session: session && {
        bootId: `boot-${session.boot}`,
        sequence: session.sequence === undefined ? undefined : BigInt(session.sequence),
      },
    })
    .then(
      ({ leases, ...answer }) => ({
        ...answer,
        leases: leases.map(({ remainingMs }) => remainingMs !== undefined),
      }),
      (refusal: unknown) => String(refusal),
    );
}

/** All that is left of a fleet, with names for ids and without times, each agent's and task's facts in their order. */
async function leftOf({ fixture: { database }, agents, tasks }: Fleet): Promise<string[]> {
  const names = new Map<string, string>([
    ...agents.map(({ agentId }, number) => [agentId, `AGENT${number}`] as const),
    ...tasks.map((id, number) => [id, `TASK${number}`] as const),
  ]);
  const agentIds = agents.map(({ agentId }) => agentId);
  const subjects = [...agentIds.map((id) => `agent_${id}`), ...tasks.map((id) => `task_${id}`)];
  const rows = await database.sql<{ line: string }>`
    SELECT line FROM (
      SELECT 1 AS part, agent_id::text AS key, 0::bigint AS place, concat_ws(' ', 'state', agent_id, status, liveness,
          version, epoch, sequence, current_task_id, current_lease_epoch, last_seen_at IS NOT NULL) AS line
        FROM agent_states WHERE agent_id = ANY (${agentIds}::uuid[])
      UNION ALL SELECT 2, id::text, 0, concat_ws(' ', 'profile', id, gauges::text) FROM agents
        WHERE id = ANY (${agentIds}::uuid[])
      UNION ALL SELECT 3, agent_id::text, epoch, concat_ws(' ', 'session', agent_id, boot_id, epoch) FROM agent_sessions
        WHERE agent_id = ANY (${agentIds}::uuid[])
      UNION ALL SELECT 4, agent_id::text, epoch * 1000 + sequence, concat_ws(' ', 'effect', agent_id, epoch, sequence,
          (effect - 'errorId')::text, effect ? 'errorId') FROM heartbeat_effects
        WHERE agent_id = ANY (${agentIds}::uuid[])
      UNION ALL SELECT 5, agent_id::text || message, sum(occurrences)::bigint, concat_ws(' ', 'errors', agent_id, severity,
          message, sum(occurrences), count(*), context::text, task_id) FROM error_reports
        WHERE agent_id = ANY (${agentIds}::uuid[]) GROUP BY agent_id, severity, message, context, task_id
      UNION ALL SELECT 6, id::text, 0, concat_ws(' ', 'task', id, state, retries, losses, lease_epoch, agent_id, progress,
          detail, started_at IS NOT NULL, lease_expires_at IS NOT NULL, error_message) FROM tasks
        WHERE id = ANY (${tasks}::uuid[])
      UNION ALL SELECT 7, task_id::text, lease_epoch, concat_ws(' ', 'attempt', task_id, lease_epoch, agent_id, outcome,
          error_message) FROM task_attempts WHERE task_id = ANY (${tasks}::uuid[])
      UNION ALL SELECT 8, subject, row_number() OVER (PARTITION BY subject ORDER BY version, time, id),
          concat_ws(' ', 'audit', subject, action, field, from_value, to_value, version, reason) FROM audit_entries
        WHERE subject = ANY (${subjects})
      UNION ALL SELECT 9, coalesce(task_id, agent_id)::text || (type = 'error.reported'),
          row_number() OVER (PARTITION BY coalesce(task_id, agent_id), type = 'error.reported' ORDER BY id),
          concat_ws(' ', 'event', type, agent_id, task_id, (data - 'agent' - 'actor' - 'dueInMs' - 'kind')::text) FROM events
        WHERE agent_id = ANY (${agentIds}::uuid[])
    ) facts ORDER BY part, key, place, line`;
  const withNames = rows.map(({ line }) =>
    line.replace(
      /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g,
      (id) => names.get(id) ?? "?",
    ),
  );
  return withNames.toSorted((one, other) => {
    // By what each is about, in whatever order the ids happened to be; each one's own facts stay in their order.
    const keyOf = (line: string) => `${line.split(" ", 1)} ${/(AGENT|TASK)\d/.exec(line)?.[0]}`;
    return keyOf(one) < keyOf(other) ? -1 : keyOf(one) > keyOf(other) ? 1 : 0;
  });
}

let together: TaskFixture;
let apart: TaskFixture;
beforeAll(async () => {
  [together, apart] = await Promise.all([startTaskFixture(), startTaskFixture()]);
});
afterAll(async () => {
  await Promise.all([together.stop(), apart.stop()]);
});

test("any heartbeats leave the same and are answered alike, sent all at once or one after another", async () => {
  const sequences = fc
    .array(fc.oneof({ weight: 3, arbitrary: beats.map((one) => [one]) }, { weight: 1, arbitrary: steady }), {
      minLength: 1,
      maxLength: 14,
    })
    .map((parts) => parts.flat());
  await fc.assert(
    fc.asyncProperty(sequences, async (sequence) => {
      run += 1;
      const [atOnce, inTurn] = [await enrollFleet(together), await enrollFleet(apart)];
      const answersAtOnce = await Promise.all(sequence.map((beat) => send(atOnce, beat)));
      const answersInTurn: unknown[] = [];
      for (const beat of sequence) answersInTurn.push(await send(inTurn, beat));
      expect(await leftOf(atOnce)).toEqual(await leftOf(inTurn));
      expect(answersAtOnce).toEqual(answersInTurn);
    }),
    { numRuns: 40, interruptAfterTimeLimit: 20_000, markInterruptAsFailure: false },
  );
  expect([...together.unhandled, ...apart.unhandled]).toEqual([]);
}, 120_000);
