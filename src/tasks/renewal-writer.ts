import { unauthenticated } from "../identity/unauthenticated.ts";
import type { Tracing } from "../observability/tracing.ts";
import type { Service } from "../runtime/service.ts";
import type { Db, Tx } from "../storage/database.ts";
import { GatheredCalls, type SentCall } from "./gathered-calls.ts";
import { type LoanKey, type Progress, renewFreeLoans } from "./loan-store.ts";
import { takeTogether } from "./take-together.ts";
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

/**
 * Renews loans for agents of all doors and streams, gathered in batches; each is answered after the commit. It takes what
 * is plain, and waits for nobody: whoever sent something else takes it by itself.
 */
export class RenewalWriter implements Service {
  readonly #calls: GatheredCalls<SentRenewal, RenewedLease | undefined>;

  /** `announce` hears of changes once they are committed. */
  constructor(
    db: Db,
    rules: TaskRules,
    announce: (changes: readonly TaskChange[]) => void,
    tracing?: Tracing,
  ) {
    this.#calls = new GatheredCalls({
      words: "updates",
      keyOf: ({ key }) => key.taskId,
      async take(sent, settle) {
        const { leaseMs: remainingMs } = rules;
        const { revoked, result } = await takeTogether(db, sent, (tx, left) =>
          renewAll(tx, left, remainingMs),
        );
        announce(result?.changes ?? []);
        for (const [place, { caller, key }] of sent.entries()) {
          if (revoked.has(caller)) settle(place, Promise.reject(unauthenticated()));
          else {
            const lease = { leaseEpoch: key.leaseEpoch, remainingMs };
            settle(place, { kind: "done", result: result?.taskIds.has(key.taskId) ? lease : undefined });
          }
        }
      },
      tracing,
    });
  }

  async start(): Promise<void> {
    await this.#calls.start();
  }

  async stop(): Promise<void> {
    await this.#calls.stop();
  }

  /**
   * Resolves to the lease when it is durable, and to undefined where nothing was written because it is no plain case.
   * Throws UNAUTHENTICATED, RESOURCE_EXHAUSTED, UNAVAILABLE.
   */
  async submit(renewal: SentRenewal): Promise<RenewedLease | undefined> {
    if ((renewal.progress.checkpoint?.bytes ?? 0) > MOST_BYTES) return undefined;
    return await this.#calls.submit(renewal);
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
  return {
    taskIds: new Set(renewed.map(({ taskId }) => taskId)),
    changes: sets.flatMap(({ changes }) => changes),
  };
}
