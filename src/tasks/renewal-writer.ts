import type { Tracing } from "../observability/tracing.ts";
import type { Db, Tx } from "../storage/database.ts";
import { GatheredCalls, type SentCall } from "./gathered-calls.ts";
import { type LoanKey, type Progress, renewFreeLoans } from "./loan-store.ts";
import { recordAllChanges, startOf, type TaskChange } from "./task-change.ts";
import type { TaskRules } from "./task-rules.ts";

/** A larger checkpoint travels by itself, so that a batch stays within some megabytes. */
const MOST_BYTES = 16 * 1024;

/** An agent's word of how a task of its own gets on; the first one accepts it. */
export interface SentRenewal extends SentCall {
  readonly key: LoanKey;
  readonly progress: Progress;
}

/** A task's lease after a renewal. */
export interface RenewedLease {
  leaseEpoch: bigint;
  remainingMs: number;
}

/** Renews loans for agents of all doors and streams. It takes what is plain, and waits for nobody. */
export class RenewalWriter extends GatheredCalls<SentRenewal, RenewedLease> {
  /** `announce` hears of changes once they are committed. */
  constructor(
    db: Db,
    rules: TaskRules,
    announce: (changes: readonly TaskChange[]) => void,
    tracing?: Tracing,
  ) {
    super({
      db,
      words: "updates",
      keyOf: ({ key }) => key.taskId,
      take: (tx, sent) => renewAll(tx, sent, rules.leaseMs),
      announce,
      tracing,
    });
  }

  override async submit(renewal: SentRenewal): Promise<RenewedLease | undefined> {
    if ((renewal.progress.checkpoint?.bytes ?? 0) > MOST_BYTES) return undefined;
    return await super.submit(renewal);
  }
}

async function renewAll(tx: Tx, sent: readonly SentRenewal[], leaseMs: number) {
  const renewed = await renewFreeLoans(
    tx,
    sent.map(({ key, progress }) => ({ ...key, ...progress, accept: true, leaseMs })),
  );
  const began = new Map(renewed.filter((loan) => loan.began).map((loan) => [loan.taskId, loan]));
  const sets = sent.flatMap(({ caller, key }) => {
    const loan = began.get(key.taskId);
    return loan === undefined ? [] : [{ changes: [startOf(key, loan.kind)], origin: caller }];
  });
  await recordAllChanges(tx, sets);
  const taskIds = new Set(renewed.map(({ taskId }) => taskId));
  const written = sent.filter(({ key }) => taskIds.has(key.taskId));
  return {
    changes: sets.flatMap(({ changes }) => changes),
    answers: new Map(
      written.map((call) => [call, { leaseEpoch: call.key.leaseEpoch, remainingMs: leaseMs }]),
    ),
  };
}
