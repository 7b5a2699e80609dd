import type { Task } from "../../gen/drover/v1/task_pb.js";
import type { AgentCaller } from "../identity/caller.ts";
import type { AwaitedTasks, TaskSource } from "./task-source.ts";

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

/** Agents that wait for tasks of the same kinds, in the order of their turns. */
interface Line {
  readonly projectId: string;
  readonly kinds: readonly string[];
  readonly takers: Set<Taker>;
  /** Claims under way. */
  claims: number;
  /** Signs of tasks so far. */
  signs: number;
  /** Claims in a row that brought nothing, since the last sign. */
  vain: number;
}

/**
 * Gives tasks to the agents that said they have room. Agents that wait for the same stand in one line, and a sign that
 * there may be tasks serves the line until claims bring nothing more, so that a task does not set off a claim for each
 * agent that waits.
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
      takers: new Set(),
      claims: 0,
      signs: 0,
      vain: 0,
    };
    this.#lines.set(key, line);
    line.takers.add(taker);
    this.#serve(line);
  }

  /** Takes an agent out of its line; one whose turn it is has to say "gone" itself. */
  remove(taker: Taker): void {
    const key = keyOf(taker);
    const line = this.#lines.get(key);
    line?.takers.delete(taker);
    if (line?.takers.size === 0 && line.claims === 0) this.#lines.delete(key);
  }

  /** There may be tasks: of that kind, or of any. */
  wake(projectId: string, kind?: string): void {
    for (const line of this.#lines.values()) {
      const wanted = line.kinds.length === 0 || kind === undefined || line.kinds.includes(kind);
      if (line.projectId === projectId && wanted) this.#serve(line);
    }
  }

  /** Looks for tasks that came to be due by time alone, or by another server's doing. */
  async look(): Promise<void> {
    const awaited = [...this.#lines.values()].flatMap(({ projectId, kinds }): AwaitedTasks[] =>
      kinds.length === 0 ? [{ projectId, kind: undefined }] : kinds.map((kind) => ({ projectId, kind })),
    );
    if (awaited.length === 0) return;
    for (const { projectId, kind } of await this.#tasks.findDue(awaited)) this.wake(projectId, kind);
  }

  #serve(line: Line): void {
    line.signs += 1;
    line.vain = 0;
    while (line.claims < Math.min(CLAIMS_AT_ONCE, line.takers.size)) {
      line.claims += 1;
      void this.#serveInTurn(line);
    }
  }

  /** One of the claimers of a line: serves whoever is next until claims are in vain. Never rejects. */
  async #serveInTurn(line: Line): Promise<void> {
    while (line.vain < VAIN_CLAIMS) {
      const [taker] = line.takers;
      if (taker === undefined) break;
      // Out of the line during its turn: no other claimer serves it meanwhile.
      line.takers.delete(taker);
      const { signs } = line;
      const taken = await this.#serveOne(taker);
      if (taken === "gone") continue;
      line.takers.add(taker);
      // A task that appeared meanwhile may have escaped the claim.
      if (taken > 0 || line.signs > signs) line.vain = 0;
      else line.vain += 1;
      if (line.vain >= line.takers.size) break;
    }
    line.claims -= 1;
    if (line.takers.size === 0 && line.claims === 0) this.#lines.delete(keyOfLine(line));
  }

  async #serveOne(taker: Taker): Promise<number | "gone"> {
    try {
      const kinds = [...taker.kinds];
      return await taker.take((max) => this.#tasks.claim(taker.caller, { kinds, max }));
    } catch (error) {
      this.#onError(error);
      return "gone";
    }
  }
}

const keyOf = ({ caller, kinds }: Taker) => keyOfLine({ projectId: caller.projectId, kinds });

function keyOfLine({ projectId, kinds }: Pick<Line, "projectId" | "kinds">): string {
  return JSON.stringify([projectId, ...new Set([...kinds].sort())]);
}
