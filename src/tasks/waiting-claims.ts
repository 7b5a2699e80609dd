import type { Service } from "../runtime/service.ts";
import type { AwaitedTasks } from "./claim-store.ts";
import type { TaskChange } from "./task-change.ts";

/** How often the database is asked for what this process was not told: tasks of other replicas, and missed timers. */
const POLL_EVERY_MS = 1_000;
/** The longest delay that a timer takes. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** A claim's place among those that wait. */
export interface WaitingClaim {
  /**
   * Resolves when it is worth looking again, and after `leftMs` at the latest; at once where that was so since the last
   * `looked`. Rejects with the signal's reason.
   */
  woken(leftMs: number, signal: AbortSignal): Promise<void>;
  /** Notes how many wake-ups a look has answered: those that were there when it began. */
  looked(wakeUps: number): void;
  /** Wake-ups so far. */
  readonly wakeUps: number;
  /** Another one of the same wish should look: this one found something, and there may be more. */
  handOn(): void;
  /** Ends the wait. A wake-up that no look has answered goes to the next one. */
  leave(): void;
}

/** Hears what happens to tasks, without waiting for any in particular. */
export interface TaskListener {
  /** A task may be claimed now, as far as this process knows. */
  due(task: { projectId: string; kind: string }): void;
  /** A change was committed. */
  changed(change: TaskChange): void;
}

/**
 * Claims that wait for a task, in the order of their coming. A task that becomes due wakes one of them, which wakes the
 * next one when it found something: a thousand waiting agents are not all sent to the database for one task. Being woken
 * promises nothing.
 */
export class WaitingClaims implements Service {
  readonly #findDue: (awaited: AwaitedTasks[]) => Promise<AwaitedTasks[]>;
  readonly #onError: (error: unknown) => void;
  readonly #claims = new Set<Claim>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #listeners: TaskListener[] = [];
  #poll: NodeJS.Timeout | undefined;
  #polling: Promise<void> = Promise.resolve();
  #busy = false;
  #stopped = false;

  /** `findDue` answers which of the awaited tasks are there. */
  constructor(
    findDue: (awaited: AwaitedTasks[]) => Promise<AwaitedTasks[]>,
    onError: (error: unknown) => void,
  ) {
    this.#findDue = findDue;
    this.#onError = onError;
  }

  async start(): Promise<void> {
    this.#poll = setInterval(() => {
      if (this.#busy || this.#claims.size === 0) return;
      this.#busy = true;
      this.#polling = this.#askDatabase().finally(() => {
        this.#busy = false;
      });
    }, POLL_EVERY_MS);
    this.#poll.unref();
  }

  /** Ends every wait; whoever waited is answered with what there is. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#poll);
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    for (const claim of this.#claims) claim.wake();
    await this.#polling;
  }

  /** True from `stop` on: nobody should wait any more. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Takes a place; to be taken before the first look, so that what comes between look and wait is not missed. */
  enter(projectId: string, kinds: string[]): WaitingClaim {
    const claim = new Claim(
      projectId,
      new Set(kinds),
      (from) => this.#wakeOne(from),
      (gone) => this.#claims.delete(gone),
    );
    this.#claims.add(claim);
    return claim;
  }

  /** For those who wait in a way of their own. */
  listen(listener: TaskListener): void {
    this.#listeners.push(listener);
  }

  /** Tells of committed changes: pending tasks wake someone when they are due. */
  announce(changes: readonly TaskChange[]): void {
    const delays = new Map<string, { change: TaskChange; delayMs: number }>();
    for (const change of changes) {
      for (const listener of this.#listeners) listener.changed(change);
      if (change.dueInMs === undefined) continue;
      if (change.dueInMs === 0) this.#tellDue(change);
      else
        delays.set(`${change.projectId} ${change.dueInMs} ${change.kind}`, {
          change,
          delayMs: change.dueInMs,
        });
    }
    for (const { change, delayMs } of delays.values()) this.#wakeLater(change, delayMs);
  }

  #wakeLater(change: TaskChange, delayMs: number): void {
    if (this.#stopped || delayMs > LONGEST_TIMER_MS) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#tellDue(change);
    }, delayMs);
    timer.unref();
    this.#timers.add(timer);
  }

  #tellDue(change: TaskChange): void {
    this.#wakeOne(change);
    for (const listener of this.#listeners) listener.due(change);
  }

  #wakeOne(task: { projectId: string; kind: string | undefined }): void {
    for (const claim of this.#claims) {
      if (claim.wakeUps > claim.answered || !claim.wants(task)) continue;
      claim.wake();
      return;
    }
  }

  async #askDatabase(): Promise<void> {
    const awaited = new Map<string, AwaitedTasks>();
    for (const { projectId, kinds } of this.#claims) {
      if (kinds.size === 0) awaited.set(projectId, { projectId, kind: undefined });
      for (const kind of kinds) awaited.set(`${projectId} ${kind}`, { projectId, kind });
    }
    try {
      for (const due of await this.#findDue([...awaited.values()])) this.#wakeOne(due);
    } catch (error) {
      this.#onError(error);
    }
  }
}

class Claim implements WaitingClaim {
  readonly projectId: string;
  readonly kinds: ReadonlySet<string>;
  wakeUps = 0;
  answered = 0;
  readonly #wakeNext: (task: { projectId: string; kind: string | undefined }) => void;
  readonly #onLeave: (claim: Claim) => void;
  #resolve: (() => void) | undefined;

  constructor(
    projectId: string,
    kinds: ReadonlySet<string>,
    wakeNext: (task: { projectId: string; kind: string | undefined }) => void,
    onLeave: (claim: Claim) => void,
  ) {
    this.projectId = projectId;
    this.kinds = kinds;
    this.#wakeNext = wakeNext;
    this.#onLeave = onLeave;
  }

  /** A task whose kind is not known interests those that take any kind. */
  wants(task: { projectId: string; kind: string | undefined }): boolean {
    if (task.projectId !== this.projectId) return false;
    return this.kinds.size === 0 || (task.kind !== undefined && this.kinds.has(task.kind));
  }

  wake(): void {
    this.wakeUps += 1;
    this.#resolve?.();
  }

  async woken(leftMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.wakeUps > this.answered) return;
    let timer: NodeJS.Timeout | undefined;
    let abort = () => {};
    try {
      await new Promise<void>((resolve, reject) => {
        this.#resolve = resolve;
        timer = setTimeout(resolve, leftMs);
        abort = () => reject(signal.reason);
        signal.addEventListener("abort", abort, { once: true });
      });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      this.#resolve = undefined;
    }
  }

  looked(wakeUps: number): void {
    this.answered = Math.max(this.answered, wakeUps);
  }

  handOn(): void {
    if (this.kinds.size === 0) this.#wakeNext({ projectId: this.projectId, kind: undefined });
    for (const kind of this.kinds) this.#wakeNext({ projectId: this.projectId, kind });
  }

  leave(): void {
    this.#onLeave(this);
    if (this.wakeUps > this.answered) this.handOn();
  }
}
