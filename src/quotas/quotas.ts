import { Refusal } from "../runtime/refusal.ts";
import type { Db, Tx } from "../storage/database.ts";
import { forgetOldestErrors, readErrorUsage, readTaskUsage } from "./quota-store.ts";
import { RunningCount } from "./running-count.ts";

/** The most that may be stored; 0 is no limit. */
export interface QuotaSettings {
  /** Rows of errors of one agent, and of a project. */
  readonly errorsPerAgent: number;
  readonly errors: number;
  /** Tasks of a project that wait, and bytes of payloads of those that have not ended. */
  readonly pendingTasks: number;
  readonly payloadBytes: number;
}

/** Whose errors they are. */
export interface ErrorOwner {
  readonly projectId: string;
  readonly agentId: string;
}

/** What is to be added to one of the counts, and the most that there may be then. */
interface Wish {
  readonly key: string;
  readonly amount: number;
  readonly most: number;
  /** What the quota says, with the setting that says so. */
  readonly words: string;
}

/** Rows that a heartbeat may cost an agent at once, such as after its quota was made smaller. */
const MOST_AT_ONCE = 100;

/**
 * What projects and agents may store. Rows are counted about once a minute and summed up in between, so that a call costs
 * no query; whoever would be refused is counted for first, unless that was done a moment ago. Of several servers each
 * sees by its next count what the others let in: quotas are a dam, not a bill.
 */
export class Quotas {
  readonly #db: Db;
  readonly #settings: QuotaSettings;
  readonly #report: (error: unknown) => void;
  /** By project, of its tasks: see `pendingOf` and `bytesOf`. */
  readonly #tasks = new RunningCount();
  /** By the id of a project or an agent. */
  readonly #errors = new RunningCount();

  /** `report` is told when what heartbeats need could not be counted; it is tried again. */
  constructor(db: Db, settings: QuotaSettings, report: (error: unknown) => void) {
    this.#db = db;
    this.#settings = settings;
    this.#report = report;
  }

  /** Lets tasks with payloads of so many bytes each be added, or throws RESOURCE_EXHAUSTED (QUOTA_EXCEEDED). */
  async admitTasks(tx: Tx, projectId: string, payloads: readonly number[]): Promise<void> {
    const { pendingTasks, payloadBytes } = this.#settings;
    const wishes = [
      {
        key: pendingOf(projectId),
        amount: payloads.length,
        most: pendingTasks,
        words: `DROVER_QUOTA_PENDING_TASKS lets a project have ${pendingTasks} tasks that wait`,
      },
      {
        key: bytesOf(projectId),
        amount: payloads.reduce((sum, each) => sum + each, 0),
        most: payloadBytes,
        words: `DROVER_QUOTA_PAYLOAD_BYTES lets the payloads of a project's unfinished tasks take ${payloadBytes} bytes`,
      },
    ];
    await admit(this.#tasks, wishes, () => this.#countTasks(tx));
    for (const { key, amount } of wishes) this.#tasks.add(key, amount);
  }

  /** Lets an agent report one more error, or throws RESOURCE_EXHAUSTED (QUOTA_EXCEEDED). */
  async admitError(tx: Tx, { projectId, agentId }: ErrorOwner): Promise<void> {
    const { errors, errorsPerAgent } = this.#settings;
    const wishes = [
      {
        key: agentId,
        amount: 1,
        most: errorsPerAgent,
        words: `DROVER_QUOTA_ERRORS_PER_AGENT lets an agent have ${errorsPerAgent} errors stored`,
      },
      {
        key: projectId,
        amount: 1,
        most: errors,
        words: `DROVER_QUOTA_ERRORS lets a project have ${errors} errors stored`,
      },
    ];
    await admit(this.#errors, wishes, () => this.#countErrors(tx));
  }

  /** Notes rows of errors, one for each of these. */
  noteErrors(stored: readonly ErrorOwner[]): void {
    for (const { projectId, agentId } of stored) {
      this.#errors.add(agentId, 1);
      this.#errors.add(projectId, 1);
    }
  }

  /**
   * Notes rows of errors that heartbeats brought, and makes room for them: no heartbeat is refused for its error, so an
   * agent that has more than its quota loses its oldest. Each agent comes once.
   */
  async makeRoom(tx: Tx, stored: readonly ErrorOwner[]): Promise<void> {
    const { errorsPerAgent, errors } = this.#settings;
    if (stored.length === 0 || (errorsPerAgent === 0 && errors === 0)) return;
    this.noteErrors(stored);
    // Not by this transaction: heartbeats wait for it.
    if (this.#errors.isDue) this.#countErrors(this.#db).catch(this.#report);
    if (errorsPerAgent === 0) return;
    const surplus = stored.flatMap(({ projectId, agentId }) => {
      const rows = Math.min(this.#errors.get(agentId) - errorsPerAgent, MOST_AT_ONCE);
      return rows > 0 ? [{ projectId, agentId, rows }] : [];
    });
    await forgetOldestErrors(tx, surplus);
    for (const { projectId, agentId, rows } of surplus) {
      this.#errors.add(agentId, -rows);
      this.#errors.add(projectId, -rows);
    }
  }

  #countTasks(tx: Tx): Promise<void> {
    return this.#tasks.count(async () => {
      const usage = [...(await readTaskUsage(tx))];
      return new Map(
        usage.flatMap(([projectId, { pending, payloadBytes }]): [string, number][] => [
          [pendingOf(projectId), pending],
          [bytesOf(projectId), payloadBytes],
        ]),
      );
    });
  }

  #countErrors(db: Db | Tx): Promise<void> {
    // Of agents far below theirs nothing is remembered, or a large fleet would fill the memory.
    const worthKnowing = Math.ceil(this.#settings.errorsPerAgent / 2);
    return this.#errors.count(() => readErrorUsage(db, worthKnowing));
  }
}

const pendingOf = (projectId: string): string => `pending ${projectId}`;
const bytesOf = (projectId: string): string => `bytes ${projectId}`;

async function admit(
  count: RunningCount,
  wishes: readonly Wish[],
  recount: () => Promise<void>,
): Promise<void> {
  const limited = wishes.filter(({ most }) => most > 0);
  if (limited.length === 0) return;
  const findExceeded = () => limited.find(({ key, amount, most }) => count.get(key) + amount > most);
  if (count.isDue || (findExceeded() !== undefined && count.mayCount)) await recount();
  const exceeded = findExceeded();
  if (exceeded === undefined) return;
  throw new Refusal("resource-exhausted", `${exceeded.words}, and there would be more.`, {
    reason: "QUOTA_EXCEEDED",
    retryAfterMs: Math.max(1_000, count.restMs),
  });
}
