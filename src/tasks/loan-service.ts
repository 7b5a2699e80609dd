import { lockAgent, shareAgent } from "../agents/agent-service.ts";
import type { CordonChange } from "../agents/cordon-service.ts";
import type { Once } from "../idempotency/answer-once.ts";
import type { AgentCaller } from "../identity/caller.ts";
import { confirmCaller } from "../identity/confirm-caller.ts";
import type { PackedJson } from "../runtime/json-value.ts";
import type { Refusal } from "../runtime/refusal.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import { type AttemptError, keepStaleResult, type RefusedResult, readLoanHistory } from "./attempt-store.ts";
import { cordonBlamed } from "./blame-agents.ts";
import { type CompletionWriter, successOf } from "./completion-writer.ts";
import { decideTask } from "./decide-task.ts";
import { writeAll } from "./end-attempts.ts";
import { completeLoan, type LoanKey, lockLoan, type Progress, readLoans, renewLoans } from "./loan-store.ts";
import type { RenewalWriter, RenewedLease } from "./renewal-writer.ts";
import { recordChanges, startOf, type TaskChange } from "./task-change.ts";
import { agentInError, leaseLost, noSuchTask } from "./task-refusals.ts";
import type { TaskRules } from "./task-rules.ts";
import { findTask, type TaskRecord } from "./task-store.ts";
import type { WaitingClaims } from "./waiting-claims.ts";

const MOST_STALE_RESULTS = 10;

/** What a transaction came to that must commit before its caller is refused: it may have kept the refused result. */
type Written<T> =
  | { kind: "done"; value: T; changes: TaskChange[]; cordoned?: CordonChange[] }
  | { kind: "refused"; refusal: Refusal };

/** What the end of a task came to. */
interface Ended {
  task: TaskRecord;
  changes: TaskChange[];
  /** The agent, where this was one failure too many. */
  cordoned?: CordonChange[];
}

/** What gathers the calls of many agents. */
export interface LoanWriters {
  readonly renewals: Pick<RenewalWriter, "submit">;
  readonly completions: Pick<CompletionWriter, "submit">;
}

/** What agents do with tasks that they have on loan: they renew the loans, and end them. */
export class LoanService {
  readonly #db: Db;
  readonly #rules: TaskRules;
  readonly #waiting: WaitingClaims;
  readonly #writers: LoanWriters;
  readonly #onCordoned: (changes: readonly CordonChange[]) => void;

  /** `onCordoned` hears after the commit of agents that failed too many tasks in a row. */
  constructor(
    db: Db,
    rules: TaskRules,
    waiting: WaitingClaims,
    writers: LoanWriters,
    onCordoned: (changes: readonly CordonChange[]) => void = () => {},
  ) {
    this.#writers = writers;
    this.#onCordoned = onCordoned;
    this.#db = db;
    this.#rules = rules;
    this.#waiting = waiting;
  }

  /** Notes progress and renews the lease; the first time the task begins to run. Throws AGENT_IN_ERROR, LEASE_LOST, NOT_FOUND. */
  async update(
    caller: AgentCaller,
    taskId: string,
    leaseEpoch: bigint,
    progress: Progress,
    once?: Once,
  ): Promise<RenewedLease> {
    const key = keyOf(caller, taskId, leaseEpoch);
    // What names a request_id is noted in a transaction of its own.
    const written =
      once === undefined ? await this.#writers.renewals.submit({ caller, key, progress }) : undefined;
    if (written !== undefined) return written;
    const repeat = async (tx: Tx) => {
      const [loan] = await readLoans(tx, [key]);
      return { leaseEpoch, remainingMs: loan?.remainingMs ?? 0 };
    };
    return await this.#write<RenewedLease>(caller, once, repeat, async (tx) => {
      const { projectId, agentId } = caller;
      if ((await shareAgent(tx, projectId, agentId)) === "error")
        return { kind: "refused", refusal: agentInError() };
      const { leaseMs } = this.#rules;
      const [renewed] = await renewLoans(tx, [{ ...key, accept: true, leaseMs, ...progress }]);
      if (renewed === undefined) {
        const { held } = await readLoanHistory(tx, key);
        return { kind: "refused", refusal: held ? leaseLost() : noSuchTask() };
      }
      const changes = renewed.began ? [startOf(key, renewed.kind)] : [];
      await recordChanges(tx, changes, caller);
      return { kind: "done", value: { leaseEpoch, remainingMs: leaseMs }, changes };
    });
  }

  /** Ends a task with its result. Throws AGENT_IN_ERROR and LEASE_LOST, the result being kept as stale, and NOT_FOUND. */
  async complete(
    caller: AgentCaller,
    taskId: string,
    leaseEpoch: bigint,
    result: PackedJson | undefined,
    once?: Once,
  ): Promise<TaskRecord> {
    const key = keyOf(caller, taskId, leaseEpoch);
    // What names a request_id is noted in a transaction of its own.
    const written =
      once === undefined ? await this.#writers.completions.submit({ caller, key, result }) : undefined;
    if (written !== undefined) return written;
    return await this.#writeResult(caller, key, { kind: "complete", result }, once, async (tx) => {
      const completed = await completeLoan(tx, key, result);
      if (completed === undefined) return undefined;
      const { task, from } = completed;
      const changes = [successOf({ key, result }, task, from)];
      await recordChanges(tx, changes, caller);
      return { task, changes };
    });
  }

  /**
   * Ends a try of a task; an agent that has failed too many different ones in a row is cordoned by it. Throws as
   * `complete` does. The error must be scrubbed.
   */
  async fail(
    caller: AgentCaller,
    taskId: string,
    leaseEpoch: bigint,
    failure: { error: AttemptError; retryable: boolean; requestId?: string },
    once?: Once,
  ): Promise<TaskRecord> {
    const key = keyOf(caller, taskId, leaseEpoch);
    const { error, retryable, requestId } = failure;
    return await this.#writeResult(caller, key, { kind: "fail", error }, once, async (tx) => {
      const loan = await lockLoan(tx, key);
      if (loan === undefined) return undefined;
      const decision = decideTask(loan, { kind: "fail", loan: key, retryable }, this.#rules.backoff);
      if (decision.kind !== "end") return undefined;
      const origin = { actor: caller.actor, ...(requestId !== undefined && { requestId }) };
      const changes = await writeAll(tx, [{ loan, decision, error }], origin);
      const cordoned = await cordonBlamed(tx, changes);
      return { task: await requireTask(tx, key), changes, cordoned };
    });
  }

  /**
   * Takes back tasks that were lent and could not be handed over; it counts as neither loss nor retry. Loans that are
   * over are left alone. Throws NOT_FOUND for an agent that was removed, whose tasks are back already.
   */
  async takeBack(caller: AgentCaller, loans: { taskId: string; leaseEpoch: bigint }[]): Promise<void> {
    const { projectId, agentId } = caller;
    const error = { message: "its agent could not be reached", context: undefined };
    const changes = await inTransaction(this.#db, async (tx) => {
      await shareAgent(tx, projectId, agentId);
      const endings: Parameters<typeof writeAll>[1] = [];
      // In one order everywhere, so that two transactions do not wait for each other.
      for (const loan of loans.toSorted((a, b) => (a.taskId < b.taskId ? -1 : 1))) {
        const locked = await lockLoan(tx, keyOf(caller, loan.taskId, loan.leaseEpoch));
        if (locked === undefined) continue;
        const decision = decideTask(locked, { kind: "returned" }, this.#rules.backoff);
        if (decision.kind === "end") endings.push({ loan: locked, decision, error });
      }
      return endings.length === 0 ? [] : await writeAll(tx, endings, { actor: "server" });
    });
    this.#waiting.announce(changes);
  }

  async #writeResult(
    caller: AgentCaller,
    key: LoanKey,
    sent: RefusedResult,
    once: Once | undefined,
    end: (tx: Tx) => Promise<Ended | undefined>,
  ): Promise<TaskRecord> {
    const repeat = (tx: Tx) => requireTask(tx, key);
    return await this.#write<TaskRecord>(caller, once, repeat, async (tx) => {
      const { projectId, agentId } = caller;
      // A failure may be the one too many: what it writes of the agent needs the whole lock, before the task's.
      const status =
        sent.kind === "fail"
          ? (await lockAgent(tx, projectId, agentId)).status
          : await shareAgent(tx, projectId, agentId);
      const inError = status === "error";
      const ended = inError ? undefined : await end(tx);
      if (ended !== undefined) {
        const { task, changes, cordoned = [] } = ended;
        return { kind: "done", value: task, changes, cordoned };
      }
      const { held, outcome } = await readLoanHistory(tx, key);
      const repeated = outcome === (sent.kind === "complete" ? "succeeded" : "failed");
      // Without a loan of its own under any epoch the agent has no business with the task, and nothing is kept of it.
      if (held && !repeated) await keepStaleResult(tx, key, sent, MOST_STALE_RESULTS);
      if (inError) return { kind: "refused", refusal: agentInError() };
      if (!held) return { kind: "refused", refusal: noSuchTask() };
      if (!repeated) return { kind: "refused", refusal: leaseLost() };
      return { kind: "done", value: await requireTask(tx, key), changes: [] };
    });
  }

  /** `repeat` answers a call that was made before under its request_id, by how things are now. */
  async #write<T>(
    caller: AgentCaller,
    once: Once | undefined,
    repeat: (tx: Tx) => Promise<T>,
    run: (tx: Tx) => Promise<Written<T>>,
  ): Promise<T> {
    const written = await inTransaction(this.#db, async (tx): Promise<Written<T>> => {
      if ((await once?.begin(tx)) !== undefined) {
        await confirmCaller(tx, caller);
        return { kind: "done", value: await repeat(tx), changes: [] };
      }
      const result = await run(tx);
      if (result.kind === "done") await once?.keep(tx, NOTHING);
      else await once?.forget(tx);
      await confirmCaller(tx, caller);
      return result;
    });
    if (written.kind === "refused") throw written.refusal;
    this.#waiting.announce(written.changes);
    this.#onCordoned(written.cordoned ?? []);
    return written.value;
  }
}

const NOTHING = new Uint8Array();

function keyOf(caller: AgentCaller, taskId: string, leaseEpoch: bigint): LoanKey {
  const { projectId, agentId } = caller;
  return { projectId, agentId, taskId, leaseEpoch };
}

async function requireTask(tx: Tx, { projectId, taskId }: LoanKey): Promise<TaskRecord> {
  const task = await findTask(tx, projectId, taskId);
  if (task === undefined) throw new Error("a task vanished in a transaction that has seen it");
  return task;
}
