import type { JsonValue } from "@bufbuild/protobuf";
import { checkContext, checkResult, fittingMessage } from "./json-limits.ts";
import { monotonicMs } from "./monotonic-clock.ts";
import type { LeaseKey, LeaseTerm, Outcome, ToSession } from "./thread-messages.ts";
import {
  type StopReason,
  TaskFailedError,
  type TaskHandler,
  type WorkContext,
  WorkStopped,
} from "./work-handler.ts";
import type { WorkTask } from "./work-task.ts";

/** What happens to the work, for whoever watches. */
export type WorkEvent =
  | { readonly kind: "taskBegan"; readonly task: WorkTask }
  | {
      readonly kind: "taskProgress";
      readonly task: WorkTask;
      readonly progress: number;
      readonly detail: string | undefined;
    }
  | { readonly kind: "taskStopping"; readonly task: WorkTask; readonly why: WorkStopped }
  /** The server has the outcome. */
  | { readonly kind: "taskEnded"; readonly task: WorkTask; readonly outcome: Outcome }
  /** The outcome came too late, or was refused for another reason: it does not count. */
  | {
      readonly kind: "taskRefused";
      readonly task: WorkTask;
      readonly reason: string;
      readonly message: string;
    }
  /** The work stopped without an outcome. */
  | { readonly kind: "taskDropped"; readonly task: WorkTask; readonly why: WorkStopped };

interface Running {
  readonly task: WorkTask;
  readonly lease: LeaseKey;
  readonly abort: AbortController;
  readonly timeoutAtMs: number;
  term: LeaseTerm;
  stopped: WorkStopped | undefined;
  outcome: Outcome | undefined;
  timer: NodeJS.Timeout | undefined;
}

export interface WorkBoardOptions {
  readonly post: (message: ToSession) => void;
  /** Takes in what the session has said already. */
  readonly drain: () => void;
  readonly emit: (event: WorkEvent) => void;
}

const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The work under way in this thread. It stops what can no longer be sure of its lease. */
export class WorkBoard {
  readonly #options: WorkBoardOptions;
  readonly #running = new Map<string, Running>();
  #handlers: ReadonlyMap<string, TaskHandler> = new Map();
  #stopAheadMs = 0;
  #whenIdle: (() => void)[] = [];

  constructor(options: WorkBoardOptions) {
    this.#options = options;
  }

  /** Takes these handlers by kind; work is stopped `stopAheadMs` before its lease ends, a sixth of the lease at most. */
  prepare(handlers: ReadonlyMap<string, TaskHandler>, stopAheadMs: number): void {
    this.#handlers = handlers;
    this.#stopAheadMs = stopAheadMs;
  }

  /** Resolves when nothing runs and all outcomes are answered. */
  idle(): Promise<void> {
    if (this.#running.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  begin(task: WorkTask, lease: LeaseKey, term: LeaseTerm): void {
    const running: Running = {
      task,
      lease,
      abort: new AbortController(),
      timeoutAtMs: task.timeoutMs === undefined ? Number.POSITIVE_INFINITY : monotonicMs() + task.timeoutMs,
      term,
      stopped: undefined,
      outcome: undefined,
      timer: undefined,
    };
    this.#running.set(keyOf(lease), running);
    this.#options.emit({ kind: "taskBegan", task });
    this.#arm(running);
    void this.#run(running);
  }

  renew(lease: LeaseKey, term: LeaseTerm): void {
    const running = this.#running.get(keyOf(lease));
    if (running === undefined) return;
    running.term = term;
    this.#arm(running);
  }

  lose(lease: LeaseKey, why: string, reason: StopReason = "lease-lost"): void {
    const running = this.#running.get(keyOf(lease));
    if (running !== undefined) this.#stop(running, reason, why);
  }

  cancel(taskId: string, why: string): void {
    for (const running of this.#running.values()) {
      if (running.task.id === taskId)
        this.#stop(running, "cancelled", why === "" ? "The task was cancelled." : why);
    }
  }

  /** The server has answered the outcome; `refusal` says why it does not count. */
  settle(lease: LeaseKey, refusal: { reason: string; message: string } | undefined): void {
    const running = this.#running.get(keyOf(lease));
    if (running === undefined) return;
    const { task, outcome } = running;
    if (refusal !== undefined) this.#options.emit({ kind: "taskRefused", task, ...refusal });
    else if (outcome !== undefined) this.#options.emit({ kind: "taskEnded", task, outcome });
    this.#remove(running);
  }

  stopAll(reason: StopReason, why: string): void {
    for (const running of this.#running.values()) this.#stop(running, reason, why);
  }

  /** The session has ended: outcomes that are not answered will never be. */
  end(why: string): void {
    this.stopAll("ended", why);
    for (const running of [...this.#running.values()]) {
      if (running.outcome !== undefined) this.#drop(running, new WorkStopped("ended", why));
    }
  }

  async #run(running: Running): Promise<void> {
    const outcome = await this.#outcomeOf(running);
    clearTimeout(running.timer);
    const { stopped, lease } = running;
    if (stopped !== undefined && !countsStill(outcome, stopped.reason)) {
      this.#options.post({ kind: "dropped", lease });
      this.#drop(running, stopped);
      return;
    }
    running.outcome = outcome;
    this.#options.post({ kind: "outcome", lease, outcome });
  }

  async #outcomeOf(running: Running): Promise<Outcome> {
    const { task } = running;
    const handler = this.#handlers.get(task.kind);
    try {
      if (handler === undefined)
        throw new TaskFailedError(`This agent does not do tasks of kind ${task.kind}.`);
      return outcomeOfResult(await handler(task, this.#contextOf(running)));
    } catch (error) {
      return outcomeOfError(error);
    }
  }

  #contextOf(running: Running): WorkContext {
    return {
      signal: running.abort.signal,
      progress: (fraction, detail) => {
        if (!Number.isFinite(fraction))
          throw new RangeError(`progress is a number from 0 to 1, not ${fraction}`);
        const progress = Math.min(1, Math.max(0, fraction));
        this.#options.post({ kind: "progress", lease: running.lease, progress, detail });
        this.#options.emit({ kind: "taskProgress", task: running.task, progress, detail });
      },
      leaseRemainingMs: () => running.term.endsAtMs - monotonicMs(),
    };
  }

  #arm(running: Running): void {
    clearTimeout(running.timer);
    if (running.stopped !== undefined) return;
    const leftMs = Math.min(this.#stopsAtMs(running.term), running.timeoutAtMs) - monotonicMs();
    running.timer = setTimeout(() => this.#check(running), Math.min(LONGEST_TIMER_MS, Math.max(0, leftMs)));
    // The session's port keeps the process alive, not the clock of a lease.
    running.timer.unref();
  }

  #check(running: Running): void {
    // A thread that was busy wakes with old news: the renewals may stand in line already.
    this.#options.drain();
    const now = monotonicMs();
    if (now >= this.#stopsAtMs(running.term))
      this.#stop(running, "lease-lost", "The lease could not be renewed in time.");
    else if (now >= running.timeoutAtMs)
      this.#stop(
        running,
        "timeout",
        `The attempt took longer than ${(running.task.timeoutMs ?? 0) / 1000} s.`,
      );
    else this.#arm(running);
  }

  #stopsAtMs({ endsAtMs, lengthMs }: LeaseTerm): number {
    return endsAtMs - Math.min(this.#stopAheadMs, lengthMs / 6);
  }

  #stop(running: Running, reason: StopReason, why: string): void {
    if (running.stopped !== undefined || running.outcome !== undefined) return;
    clearTimeout(running.timer);
    running.stopped = new WorkStopped(reason, why);
    this.#options.emit({ kind: "taskStopping", task: running.task, why: running.stopped });
    running.abort.abort(running.stopped);
  }

  #drop(running: Running, why: WorkStopped): void {
    this.#options.emit({ kind: "taskDropped", task: running.task, why });
    this.#remove(running);
  }

  #remove(running: Running): void {
    clearTimeout(running.timer);
    this.#running.delete(keyOf(running.lease));
    if (this.#running.size > 0) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }
}

/**
 * Whether the outcome of work that was told to stop is sent. A result is: the work was done, and whether its lease
 * still counts is for the server to say, which keeps what came too late where people see it. A failure is not, since
 * it is the stop itself that made the work fail; but for a timeout, which is a failure of its own.
 */
function countsStill(outcome: Outcome, reason: StopReason): boolean {
  switch (reason) {
    case "cancelled":
    case "fatal":
    case "ended":
      return false;
    case "lease-lost":
    case "leaving":
      return outcome.kind === "complete";
    case "timeout":
      return true;
  }
}

function outcomeOfResult(value: unknown): Outcome {
  const checked = checkResult(value);
  if (checked.kind === "ok") return { kind: "complete", result: checked.value };
  return failed(`The result ${checked.problem}.`, undefined, false);
}

function outcomeOfError(error: unknown): Outcome {
  if (error instanceof TaskFailedError) return failed(error.message, error.context, error.retryable);
  return failed(error instanceof Error ? error.message : String(error), undefined, true);
}

function failed(
  message: string,
  context: { [key: string]: JsonValue } | undefined,
  retryable: boolean,
): Outcome {
  const checked = context === undefined ? undefined : checkContext(context);
  // A failure is worth telling also without circumstances that are too large for it.
  const fitting = checked?.kind === "ok" ? checked.value : undefined;
  return { kind: "fail", message: fittingMessage(message), context: fitting, retryable };
}

function keyOf({ taskId, leaseEpoch }: LeaseKey): string {
  return `${taskId}/${leaseEpoch}`;
}
