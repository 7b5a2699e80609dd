import type { Once } from "../idempotency/answer-once.ts";
import type { AgentCaller } from "../identity/caller.ts";
import { type Db, inTransaction } from "../storage/database.ts";
import { claimAlone } from "./claim-alone.ts";
import type { ClaimWriter } from "./claim-writer.ts";
import type { Offer } from "./match-task.ts";
import { isCordoned } from "./task-refusals.ts";
import type { TaskRules } from "./task-rules.ts";
import type { TaskRecord } from "./task-store.ts";
import type { WaitingClaims } from "./waiting-claims.ts";

/** How soon an agent that waits for tasks hears that it may have some again. */
const LOOK_AT_CORDON_MS = 1_000;
/** Validation lets no task be of this kind. */
const NO_KIND = "";

/** What an agent would like to be lent. */
export interface TaskWish {
  /** Empty: any kind. */
  kinds: string[];
  /** At most this many. */
  max: number;
  /** How long to wait for the first one; 0: not at all. */
  waitMs: number;
  /** Left out: a repeat is another claim. */
  once?: Once | undefined;
}

/** How agents borrow tasks: at once, or when there are some. */
export class ClaimService {
  readonly #db: Db;
  readonly #rules: TaskRules;
  readonly #waiting: WaitingClaims;
  readonly #claims: Pick<ClaimWriter, "submit">;

  constructor(db: Db, rules: TaskRules, waiting: WaitingClaims, claims: Pick<ClaimWriter, "submit">) {
    this.#db = db;
    this.#rules = rules;
    this.#waiting = waiting;
    this.#claims = claims;
  }

  /**
   * Lends tasks to the agent; waits for the first one if the wish says so. One that is cordoned or draining waits too, and
   * gets none until that is over. Throws FAILED_PRECONDITION (AGENT_IN_ERROR), NOT_FOUND for an agent that was removed, and
   * the signal's reason when that aborts.
   */
  async claim(caller: AgentCaller, wish: TaskWish, signal: AbortSignal): Promise<TaskRecord[]> {
    // Of this process's own patience; nothing that is stored depends on it.
    const untilMs = performance.now() + wish.waitMs;
    for (;;) {
      try {
        return await this.#claimInLine(caller, wish, untilMs, signal);
      } catch (error) {
        if (!isCordoned(error)) throw error;
      }
      if (!(await this.#waitBesideLine(caller, untilMs, signal))) return [];
    }
  }

  /** For an agent that gets nothing: in the line it would be woken for tasks that others wait for. */
  async #waitBesideLine(
    { projectId, agentId }: AgentCaller,
    untilMs: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const leftMs = untilMs - performance.now();
    if (leftMs <= 0 || this.#waiting.stopped) return false;
    const place = this.#waiting.enter(projectId, agentId, [NO_KIND]);
    try {
      await place.woken(Math.min(leftMs, LOOK_AT_CORDON_MS), signal);
    } finally {
      place.leave();
    }
    return true;
  }

  async #claimInLine(
    caller: AgentCaller,
    wish: TaskWish,
    untilMs: number,
    signal: AbortSignal,
  ): Promise<TaskRecord[]> {
    if (wish.waitMs === 0) return (await this.claimNow(caller, wish)).tasks;
    const place = this.#waiting.enter(caller.projectId, caller.agentId, wish.kinds);
    try {
      for (;;) {
        const { wakeUps } = place;
        const { tasks, offer, isRepeat } = await this.claimNow(caller, wish);
        if (isRepeat) return tasks;
        place.offer = offer;
        place.looked(wakeUps);
        place.handOn(tasks);
        const leftMs = untilMs - performance.now();
        if (tasks.length > 0 || leftMs <= 0 || this.#waiting.stopped) return tasks;
        await place.woken(leftMs, signal);
      }
    } finally {
      place.leave();
    }
  }

  /** Lends what there is, and tells what the agent had to offer for it. Throws as `claim` does, and AGENT_CORDONED. */
  async claimNow(
    caller: AgentCaller,
    { kinds, max, once }: Pick<TaskWish, "kinds" | "max" | "once">,
  ): Promise<{ tasks: TaskRecord[]; offer: Offer; isRepeat: boolean }> {
    // What names a request_id is noted in a transaction of its own.
    const served = once === undefined ? await this.#claims.submit({ caller, kinds, max }) : undefined;
    if (served !== undefined) return { ...served, isRepeat: false };
    const { leaseMs } = this.#rules;
    const { changes, ...claimed } = await inTransaction(this.#db, (tx) =>
      claimAlone(tx, caller, { kinds, max, once }, leaseMs),
    );
    this.#waiting.announce(changes);
    return claimed;
  }
}
