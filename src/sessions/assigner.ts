import type { Task } from "../../gen/drover/v1/task_pb.js";
import type { AgentCaller } from "../identity/caller.ts";
import { meets, NO_REQUIREMENTS, type Offer, type Requirements } from "../tasks/match-task.ts";
import type { AwaitedTasks, DueTasks } from "../tasks/requirement-store.ts";
import type { TaskSource } from "./task-source.ts";

/** Claims under way at once for agents that wait for the same: one task's answer must not wait for another's. */
const CLAIMS_AT_ONCE = 4;
/** After so many agents got nothing, the others would not either; the next sign of a task begins with them. */
const VAIN_CLAIMS = 4;

/** An agent with room for tasks. */
export interface Taker {
  readonly caller: AgentCaller;
  /** Empty: any kind. */
  readonly kinds: readonly string[];
  /** Claims what there is room for and takes it over; resolves to the number of tasks, or "gone" to be asked no more. */
  take(claim: (max: number) => Promise<Task[]>): Promise<number | "gone">;
}

/** Agents that wait for tasks of the same kinds. */
interface Line {
  readonly projectId: string;
  readonly kinds: readonly string[];
  /** Those that have looked, in the order of their turns, and what each had to offer. */
  readonly takers: Map<Taker, Offer>;
  /** Those that have not looked yet. */
  readonly fresh: Set<Taker>;
  /** By what the tasks require that there were signs of. */
  readonly runs: Map<string, Run>;
}

/** Claims for those of a line who meet the same requirements. */
interface Run {
  readonly requirements: Requirements;
  /** Claims under way. */
  claims: number;
  /** Signs of tasks so far. */
  signs: number;
  /** Claims in a row that brought nothing, since the last sign. */
  vain: number;
}

/**
 * Gives tasks to the agents that said they have room. Agents that wait for the same stand in one line, and a sign that
 * there may be tasks serves those of the line who may run them until claims bring nothing more, so that a task does not
 * set off a claim for each agent that waits.
 */
export class Assigner {
  readonly #tasks: TaskSource;
  readonly #onError: (error: unknown) => void;
  readonly #lines = new Map<string, Line>();

  constructor(tasks: TaskSource, onError: (error: unknown) => void) {
    this.#tasks = tasks;
    this.#onError = onError;
  }

  /** Puts an agent at the end of its line and looks for a task at once. */
  add(taker: Taker): void {
    const key = keyOf(taker);
    const { projectId } = taker.caller;
    const line: Line = this.#lines.get(key) ?? {
      projectId,
      kinds: taker.kinds,
      takers: new Map(),
      fresh: new Set(),
      runs: new Map(),
    };
    this.#lines.set(key, line);
    line.fresh.add(taker);
    this.#serve(line, NO_REQUIREMENTS);
  }

  /** Takes an agent out of its line; one whose turn it is has to say "gone" itself. */
  remove(taker: Taker): void {
    const line = this.#lines.get(keyOf(taker));
    line?.takers.delete(taker);
    line?.fresh.delete(taker);
    if (line !== undefined) this.#forgetIfEmpty(line);
  }

  /** For which kinds agents of the project wait, by their ids; empty: for any. */
  askedKinds(projectId: string): Map<string, readonly string[]> {
    const asked = new Map<string, readonly string[]>();
    for (const line of this.#lines.values()) {
      if (line.projectId !== projectId) continue;
      for (const { caller } of [...line.takers.keys(), ...line.fresh]) asked.set(caller.agentId, line.kinds);
    }
    return asked;
  }

  /**
   * There may be tasks: of that kind, or of any; for agents that meet the requirements. True where some of those who wait
   * are served by that.
   */
  wake(projectId: string, kind?: string, requirements: Requirements = NO_REQUIREMENTS): boolean {
    let served = false;
    for (const line of this.#wanting(projectId, kind)) served = this.#serve(line, requirements) || served;
    return served;
  }

  /** Looks for tasks that came to be due by time alone, or by another server's doing. */
  async look(): Promise<void> {
    const awaited = [...this.#lines.values()].flatMap(({ projectId, kinds }): AwaitedTasks[] =>
      kinds.length === 0 ? [{ projectId, kind: undefined }] : kinds.map((kind) => ({ projectId, kind })),
    );
    if (awaited.length === 0) return;
    const due = await this.#tasks.findDue(awaited);
    await this.#refreshOffers(due);
    for (const { projectId, kind, requirements } of due) this.wake(projectId, kind, requirements);
  }

  /** Where nobody meets what tasks require, somebody may have learned it since. */
  async #refreshOffers(due: readonly DueTasks[]): Promise<void> {
    const unmet = due
      .flatMap(({ projectId, kind, requirements }) =>
        this.#wanting(projectId, kind).map((line) => ({ line, requirements })),
      )
      .filter(({ line, requirements }) => countMatching(line, requirements) === 0);
    const lines = new Set(unmet.map(({ line }) => line));
    if (lines.size === 0) return;
    const callers = [...lines].flatMap(({ takers }) => [...takers.keys()].map(({ caller }) => caller));
    const offers = await this.#tasks.readOffers(callers);
    for (const { takers } of lines) {
      for (const taker of takers.keys()) {
        const offer = offers.get(taker.caller.agentId);
        if (offer !== undefined) takers.set(taker, offer);
      }
    }
  }

  #wanting(projectId: string, kind: string | undefined): Line[] {
    return [...this.#lines.values()].filter(
      (line) =>
        line.projectId === projectId &&
        (line.kinds.length === 0 || kind === undefined || line.kinds.includes(kind)),
    );
  }

  /** False where nobody of the line may run such tasks. */
  #serve(line: Line, requirements: Requirements): boolean {
    const key = JSON.stringify(requirements);
    const run = line.runs.get(key) ?? { requirements, claims: 0, signs: 0, vain: 0 };
    run.signs += 1;
    run.vain = 0;
    const wanted = Math.min(CLAIMS_AT_ONCE, line.fresh.size + countMatching(line, requirements));
    if (wanted > 0) line.runs.set(key, run);
    while (run.claims < wanted) {
      run.claims += 1;
      void this.#serveInTurn(line, key, run);
    }
    return wanted > 0;
  }

  /** One of the claimers of a line: serves whoever is next until claims are in vain. Never rejects. */
  async #serveInTurn(line: Line, key: string, run: Run): Promise<void> {
    for (;;) {
      const [fresh] = line.fresh;
      // Whoever is new looks in any case: nobody knows yet what there is for it.
      if (fresh === undefined && run.vain >= VAIN_CLAIMS) break;
      const taker = fresh ?? nextMatching(line, run.requirements);
      if (taker === undefined) break;
      // Out of the line during its turn: no other claimer serves it meanwhile.
      line.fresh.delete(taker);
      line.takers.delete(taker);
      const { signs } = run;
      const served = await this.#serveOne(taker);
      if (served === "gone") continue;
      line.takers.set(taker, served.offer);
      // A task that appeared meanwhile may have escaped the claim.
      if (served.taken > 0 || run.signs > signs) run.vain = 0;
      else if (fresh === undefined || meets(run.requirements, served.offer)) run.vain += 1;
      if (line.fresh.size === 0 && run.vain >= countMatching(line, run.requirements)) break;
    }
    run.claims -= 1;
    if (run.claims === 0) line.runs.delete(key);
    this.#forgetIfEmpty(line);
  }

  async #serveOne(taker: Taker): Promise<{ taken: number; offer: Offer } | "gone"> {
    let offer: Offer | undefined;
    try {
      const kinds = [...taker.kinds];
      const taken = await taker.take(async (max) => {
        const claimed = await this.#tasks.claim(taker.caller, { kinds, max });
        offer = claimed.offer;
        return claimed.tasks;
      });
      return taken === "gone" || offer === undefined ? "gone" : { taken, offer };
    } catch (error) {
      this.#onError(error);
      return "gone";
    }
  }

  #forgetIfEmpty(line: Line): void {
    if (line.takers.size + line.fresh.size + line.runs.size > 0) return;
    const key = keyOfLine(line);
    if (this.#lines.get(key) === line) this.#lines.delete(key);
  }
}

/** Of those who have looked the next one that may run such tasks. */
function nextMatching({ takers }: Line, requirements: Requirements): Taker | undefined {
  for (const [taker, offer] of takers) if (meets(requirements, offer)) return taker;
  return undefined;
}

/** How many of those who have looked may run such tasks; not counted beyond what makes a difference. */
function countMatching({ takers }: Line, requirements: Requirements): number {
  let count = 0;
  for (const offer of takers.values()) {
    if (meets(requirements, offer)) count += 1;
    if (count >= CLAIMS_AT_ONCE) break;
  }
  return count;
}

const keyOf = ({ caller, kinds }: Taker) => keyOfLine({ projectId: caller.projectId, kinds });

function keyOfLine({ projectId, kinds }: Pick<Line, "projectId" | "kinds">): string {
  return JSON.stringify([projectId, ...new Set([...kinds].sort())]);
}
