import type { Service } from "../runtime/service.ts";
import type { Holder } from "./loan-store.ts";
import { meets, NO_REQUIREMENTS, type Offer } from "./match-task.ts";
import type { AwaitedTasks, DueTasks } from "./requirement-store.ts";
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
  /** What its agent has to offer, as the newest look has seen it: the claim is woken for what it may run. */
  offer: Offer | undefined;
  /** Others should look: this one found such tasks, and there may be more. */
  handOn(found: readonly Omit<DueTasks, "projectId">[]): void;
  /** Ends the wait. A wake-up that no look has answered goes to the next one. */
  leave(): void;
}

/** Hears what happens to tasks, without waiting for any in particular. */
export interface TaskListener {
  /** A task may be claimed now, as far as this process knows; true where somebody looks for it by that. */
  due(task: DueTasks): boolean;
  /** A task may be claimed now, and nobody of this process looks for it. */
  unwanted?(task: DueTasks): void;
  /** A change was committed. */
  changed(change: TaskChange): void;
}

/**
 * Claims that wait for a task, in the order of their coming. A task that becomes due wakes one of them, which wakes the
 * next one when it found something: a thousand waiting agents are not all sent to the database for one task. Being woken
 * promises nothing.
 */
export class WaitingClaims implements Service {
  readonly #sources: ClaimSources;
  readonly #onError: (error: unknown) => void;
  /** By project, so that one project's crowd costs no other a search. */
  readonly #claims = new Map<string, Set<Claim>>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #listeners: TaskListener[] = [];
  #poll: NodeJS.Timeout | undefined;
  #polling: Promise<void> = Promise.resolve();
  #busy = false;
  #stopped = false;

  constructor(sources: ClaimSources, onError: (error: unknown) => void) {
    this.#sources = sources;
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
    for (const claims of this.#claims.values()) for (const claim of claims) claim.wake(undefined);
    await this.#polling;
  }

  /** True from `stop` on: nobody should wait any more. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Takes a place; to be taken before the first look, so that what comes between look and wait is not missed. */
  enter(projectId: string, agentId: string, kinds: string[]): WaitingClaim {
    const claim = new Claim(
      projectId,
      agentId,
      new Set(kinds),
      (due) => void this.#wakeOne(due),
      () => this.#remove(claim),
    );
    const claims = this.#claims.get(projectId) ?? new Set();
    this.#claims.set(projectId, claims.add(claim));
    return claim;
  }

  #remove(claim: Claim): void {
    const claims = this.#claims.get(claim.projectId);
    claims?.delete(claim);
    if (claims?.size === 0) this.#claims.delete(claim.projectId);
  }

  /** For which kinds agents of the project wait, by their ids; empty: for any. */
  askedKinds(projectId: string): Map<string, readonly string[]> {
    const claims = [...(this.#claims.get(projectId) ?? [])];
    return new Map(claims.map(({ agentId, kinds }) => [agentId, [...kinds]]));
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
        delays.set(
          JSON.stringify([change.projectId, change.dueInMs, change.kind, change.requirements ?? null]),
          {
            change,
            delayMs: change.dueInMs,
          },
        );
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

  #tellDue({ projectId, kind, requirements = NO_REQUIREMENTS }: TaskChange): void {
    const due = { projectId, kind, requirements };
    if (!this.dueElsewhere(due)) for (const listener of this.#listeners) listener.unwanted?.(due);
  }

  /** Another server has tasks for which nobody waits there; true where somebody looks for one by that. */
  dueElsewhere(due: DueTasks): boolean {
    let looked = this.#wakeOne(due) === "woken";
    for (const listener of this.#listeners) looked = listener.due(due) || looked;
    return looked;
  }

  /** "wanted": those who could run it have been woken before, for others. */
  #wakeOne(due: DueTasks): "woken" | "wanted" | "unwanted" {
    let wanted = false;
    for (const claim of this.#claims.get(due.projectId) ?? []) {
      if (!claim.wants(due)) continue;
      wanted = true;
      if (claim.wakeUps > claim.answered) continue;
      claim.wake(due);
      return "woken";
    }
    return wanted ? "wanted" : "unwanted";
  }

  async #refreshOffers(projectIds: ReadonlySet<string>): Promise<void> {
    const claims = [...projectIds].flatMap((projectId) => [...(this.#claims.get(projectId) ?? [])]);
    const offers = await this.#sources.readOffers(claims);
    for (const claim of claims) claim.offer = offers.get(claim.agentId) ?? claim.offer;
  }

  async #askDatabase(): Promise<void> {
    const awaited = new Map<string, AwaitedTasks>();
    for (const { projectId, kinds } of [...this.#claims.values()].flatMap((claims) => [...claims])) {
      if (kinds.size === 0) awaited.set(projectId, { projectId, kind: undefined });
      for (const kind of kinds) awaited.set(`${projectId} ${kind}`, { projectId, kind });
    }
    try {
      const unwanted = (await this.#sources.findDue([...awaited.values()])).filter(
        (due) => this.#wakeOne(due) === "unwanted",
      );
      if (unwanted.length === 0) return;
      // Some agent may have learned something since it began to wait.
      await this.#refreshOffers(new Set(unwanted.map(({ projectId }) => projectId)));
      for (const due of unwanted) this.#wakeOne(due);
    } catch (error) {
      this.#onError(error);
    }
  }
}

/** What those who wait are told by the database. */
export interface ClaimSources {
  /** Which of the awaited tasks are there. */
  findDue(awaited: AwaitedTasks[]): Promise<DueTasks[]>;
  /** What agents have to offer, by their ids. */
  readOffers(agents: Holder[]): Promise<ReadonlyMap<string, Offer>>;
}

class Claim implements WaitingClaim {
  readonly projectId: string;
  readonly agentId: string;
  readonly kinds: ReadonlySet<string>;
  offer: Offer | undefined;
  wakeUps = 0;
  answered = 0;
  /** Those that no look has answered, the oldest first; undefined: look, whatever there may be. */
  #signs: (DueTasks | undefined)[] = [];
  readonly #wakeNext: (due: DueTasks) => void;
  readonly #onLeave: () => void;
  #resolve: (() => void) | undefined;

  constructor(
    projectId: string,
    agentId: string,
    kinds: ReadonlySet<string>,
    wakeNext: (due: DueTasks) => void,
    onLeave: () => void,
  ) {
    this.projectId = projectId;
    this.agentId = agentId;
    this.kinds = kinds;
    this.#wakeNext = wakeNext;
    this.#onLeave = onLeave;
  }

  /** A task whose kind is not known interests those that take any kind. Before its first look a claim wants everything. */
  wants({ kind, requirements }: DueTasks): boolean {
    const ofKind = this.kinds.size === 0 || (kind !== undefined && this.kinds.has(kind));
    return ofKind && (this.offer === undefined || meets(requirements, this.offer));
  }

  wake(sign: DueTasks | undefined): void {
    this.wakeUps += 1;
    this.#signs.push(sign);
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
    this.#signs.splice(0, wakeUps - this.answered);
    this.answered = Math.max(this.answered, wakeUps);
  }

  handOn(found: readonly Omit<DueTasks, "projectId">[]): void {
    const { projectId } = this;
    const kinds = new Map(
      found.map(({ kind, requirements }) => [JSON.stringify([kind, requirements]), { kind, requirements }]),
    );
    for (const due of kinds.values()) this.#wakeNext({ projectId, ...due });
  }

  leave(): void {
    this.#onLeave();
    for (const sign of this.#signs) if (sign !== undefined) this.#wakeNext(sign);
  }
}
