import type { AgentCaller } from "../identity/caller.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Service } from "../runtime/service.ts";
import type { AgentRun, AgentSession, StreamRun } from "./agent-session.ts";
import type { Assigner } from "./assigner.ts";
import type { CommandSource } from "./command-source.ts";
import type { CommandWatch } from "./command-watch.ts";
import type { StreamRecord } from "./stream-record.ts";
import type { TaskRoom } from "./task-room.ts";

const LOOK_EVERY_MS = 1_000;
const HELLO_WITHIN_MS = 10_000;
/** How long agents get to go elsewhere before a stopping server ends their streams. */
const ELSEWHERE_GRACE_MS = 2_000;
/** Streams of commands that one agent may have open here: beyond that the oldest ends, which is likely to be forgotten. */
const MOST_WATCHES = 8;

export interface RegistryParts {
  readonly assigner: Assigner;
  readonly commands: CommandSource;
  /** Of those streams whose agent has begun a newer run or opened a newer stream, what that is. */
  findSuccessors(streams: OpenStream[]): Promise<{ agentId: string; epoch: bigint; stream: bigint }[]>;
  /** Keeps in the database who listens. */
  readonly record: StreamRecord;
  /** What a superseded run is told. */
  superseded(): Refusal;
  /** Something for an agent that has no stream in both directions here: another server may have it. */
  elsewhere(hint: { about: "command" | "recovery"; agentId: string }): void;
  readonly onError: (problem: string, error: unknown) => void;
  readonly helloWithinMs?: number;
  readonly elsewhereGraceMs?: number;
}

/** `stream`: its number among those of the agent, undefined where it carries commands alone. */
interface OpenStream {
  projectId: string;
  agentId: string;
  epoch: bigint;
  stream: bigint | undefined;
}

type Heard = AgentSession & { run: StreamRun };

/**
 * The open streams of agents: at most one in both directions for each agent, and those that carry commands alone. Once a
 * second, and for all of them together, it looks for what other servers did: a newer run of an agent or a newer stream, a
 * command, a task.
 * It also sends the silent away, and everybody when the server stops.
 */
export class SessionRegistry implements Service {
  readonly #parts: RegistryParts;
  readonly #open = new Set<AgentSession>();

  /** How many streams are open. */
  get size(): number {
    return this.#open.size;
  }

  readonly #byAgent = new Map<string, Heard>();
  readonly #watches = new Map<string, Set<CommandWatch>>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #isStopping = false;
  #onEmpty: (() => void) | undefined;

  constructor(parts: RegistryParts) {
    this.#parts = parts;
  }

  /** A stream was opened; ended at once where the server is about to stop. */
  add(session: AgentSession): void {
    this.#open.add(session);
    if (this.#isStopping) session.endForStop(stopping());
  }

  /** A stream has ended. It may have been replaced long before; its successor is not touched. */
  remove(session: AgentSession): void {
    this.#open.delete(session);
    this.#parts.record.ended(session);
    if (this.#byAgent.get(session.caller.agentId) === session) this.#byAgent.delete(session.caller.agentId);
    if (this.#open.size === 0) this.#onEmpty?.();
  }

  /**
   * That run of the agent listens by this stream of commands: streams of older runs end. Where no run is named, the stream
   * goes on whichever there is. Ended at once where the server is about to stop.
   */
  addWatch(watch: CommandWatch, run: AgentRun | undefined): void {
    const { agentId } = watch.caller;
    watch.run = run;
    if (run !== undefined) this.sessionBegan(agentId, run.epoch);
    this.#parts.record.opened(watch, run?.epoch);
    const siblings = this.#watches.get(agentId) ?? new Set();
    this.#watches.set(agentId, siblings.add(watch));
    const [oldest] = siblings;
    if (siblings.size > MOST_WATCHES) oldest?.end(replaced());
    if (this.#isStopping) watch.endForStop(stopping());
  }

  /** A stream of commands has ended. */
  removeWatch(watch: CommandWatch): void {
    this.#parts.record.ended(watch);
    const siblings = this.#watches.get(watch.caller.agentId);
    siblings?.delete(watch);
    if (siblings?.size === 0) this.#watches.delete(watch.caller.agentId);
  }

  /** The agent said hello by this stream: those of older runs end, and so does an older stream of the same run. */
  enter(session: AgentSession, run: StreamRun): void {
    const { agentId } = session.caller;
    const present = this.#byAgent.get(agentId);
    if (present !== undefined && present.run.epoch > run.epoch) throw this.#parts.superseded();
    if (present !== undefined && present.run.stream > run.stream) throw replaced();
    const heard: Heard = Object.assign(session, { run });
    this.#byAgent.set(agentId, heard);
    this.#parts.record.opened(heard, run.epoch);
    if (present === undefined || present === session) return;
    present.end(present.run.epoch < run.epoch ? this.#parts.superseded() : replaced());
  }

  /** A run of the agent's process began: streams of older ones end. */
  sessionBegan(agentId: string, epoch: bigint): void {
    const present = this.#byAgent.get(agentId);
    if (present !== undefined && present.run.epoch < epoch) this.#end(present, this.#parts.superseded());
    for (const watch of this.#watches.get(agentId) ?? []) {
      if (watch.run !== undefined && watch.run.epoch < epoch) watch.end(this.#parts.superseded());
    }
  }

  /** The agent has opened a stream of that number, here or on another server: an older one ends. */
  streamOpened(agentId: string, stream: bigint): void {
    const present = this.#byAgent.get(agentId);
    if (present !== undefined && present.run.stream < stream) this.#end(present, replaced());
  }

  /** The room for tasks that the agent's stream has, if it has one here. */
  roomOf(agentId: string): TaskRoom | undefined {
    return this.#byAgent.get(agentId)?.room;
  }

  /** There is a command for the agent, wherever its stream is. */
  commandWaits(agentId: string): void {
    if (!this.commandWaitsHere(agentId)) this.#parts.elsewhere({ about: "command", agentId });
  }

  /** There is a command for the agent, if it has a stream here; false where it has none in both directions. */
  commandWaitsHere(agentId: string): boolean {
    for (const watch of this.#watches.get(agentId) ?? []) watch.commands.wake();
    const session = this.#byAgent.get(agentId);
    session?.commands.wake();
    return session !== undefined;
  }

  /** The agent may take tasks again, wherever its stream is. */
  recovered(agentId: string): void {
    if (!this.recoveredHere(agentId)) this.#parts.elsewhere({ about: "recovery", agentId });
  }

  /** The agent may take tasks again, if it has a stream here; false where it has none. */
  recoveredHere(agentId: string): boolean {
    const session = this.#byAgent.get(agentId);
    session?.room.open();
    return session !== undefined;
  }

  async start(): Promise<void> {
    this.#timer = setInterval(() => {
      this.#endSilent();
      // A database that is slower than the interval is not asked twice at once.
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined;
      });
    }, LOOK_EVERY_MS);
    this.#timer.unref();
  }

  /** Asks every agent to go elsewhere and waits for a moment, then ends what is left. Before the doors are closed. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    clearInterval(this.#timer);
    for (const session of this.#open) {
      if (session.run === undefined) session.endForStop(stopping());
      else session.sendElsewhere("the server is stopping");
    }
    for (const watch of this.#allWatches()) watch.endForStop(stopping());
    await this.#emptyWithin(this.#parts.elsewhereGraceMs ?? ELSEWHERE_GRACE_MS);
    for (const session of [...this.#open]) session.endForStop(stopping());
    await this.#looking;
    await this.#keepRecord();
  }

  async #emptyWithin(ms: number): Promise<void> {
    if (this.#open.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#onEmpty = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #endSilent(): void {
    const since = performance.now() - (this.#parts.helloWithinMs ?? HELLO_WITHIN_MS);
    for (const session of this.#open) {
      if (session.run === undefined && session.openedAtMs < since) session.end(silent());
    }
  }

  #end(session: Heard, reason: Refusal): void {
    if (this.#byAgent.get(session.caller.agentId) === session) this.#byAgent.delete(session.caller.agentId);
    session.end(reason);
  }

  async #keepRecord(): Promise<void> {
    try {
      await this.#parts.record.keep();
    } catch (error) {
      this.#parts.onError("it was not noted which agents listen; it is tried again", error);
    }
  }

  async #look(): Promise<void> {
    await this.#keepRecord();
    const streams = [...this.#byAgent.values(), ...this.#allWatches()];
    if (streams.length === 0) return;
    try {
      for (const newest of await this.#parts.findSuccessors(streams.flatMap(openStreamOf))) {
        this.sessionBegan(newest.agentId, newest.epoch);
        this.streamOpened(newest.agentId, newest.stream);
      }
      const places = streams.map(({ commands }) => commands.place);
      for (const place of await this.#parts.commands.findWaiting(places)) streams[place]?.commands.wake();
      if (this.#byAgent.size > 0) await this.#parts.assigner.look();
    } catch (error) {
      this.#parts.onError("open streams were not looked after; it is tried again", error);
    }
  }

  #allWatches(): CommandWatch[] {
    return [...this.#watches.values()].flatMap((watches) => [...watches]);
  }
}

function openStreamOf({
  caller: { projectId, agentId },
  run,
}: {
  caller: AgentCaller;
  run: (AgentRun & { stream?: bigint }) | undefined;
}): OpenStream[] {
  return run === undefined ? [] : [{ projectId, agentId, epoch: run.epoch, stream: run.stream }];
}

function replaced(): Refusal {
  return new Refusal("aborted", "this run of the agent has opened another stream", {
    reason: "STREAM_REPLACED",
  });
}

function silent(): Refusal {
  return new Refusal("deadline-exceeded", "the stream did not begin with hello in time", {
    reason: "HELLO_EXPECTED",
  });
}

function stopping(): Refusal {
  return new Refusal("unavailable", "the server is stopping", { retryAfterMs: 0 });
}
