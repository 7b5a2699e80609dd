import type { JsonObject } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { assertNever } from "../runtime/assert-never.ts";
import { AgentError, type CallRefusal } from "./agent-error.ts";
import type { SessionTiming } from "./agent-session.ts";
import type { AgentProfile, ServerOptions } from "./connection-options.ts";
import type { ConnectionState } from "./connection-state.ts";
import type { CredentialStore } from "./credential-store.ts";
import { checkContext, fittingMessage } from "./json-limits.ts";
import type { SessionEnd } from "./plan-reconnect.ts";
import { SessionThread } from "./session-thread.ts";
import type { FromSession, TaskFailureCounts, ToSession } from "./thread-messages.ts";
import { WorkBoard, type WorkEvent } from "./work-board.ts";
import type { TaskHandler } from "./work-handler.ts";
import type { ErrorReport } from "./work-task.ts";

export { AgentError } from "./agent-error.ts";
export type { SessionTiming } from "./agent-session.ts";
export type { AgentProfile, ServerOptions, TlsOptions } from "./connection-options.ts";
export type { ConnectionState } from "./connection-state.ts";
export {
  type CredentialStore,
  type Credentials,
  fileCredentialStore,
  memoryCredentialStore,
} from "./credential-store.ts";
export { type EnrollOptions, enrollAgent } from "./enroll-agent.ts";
export type { SessionEnd } from "./plan-reconnect.ts";
export type { Outcome, TaskFailureCounts } from "./thread-messages.ts";
export type { WorkEvent } from "./work-board.ts";
export {
  type StopReason,
  TaskFailedError,
  type TaskHandler,
  type WorkContext,
  WorkStopped,
} from "./work-handler.ts";
export type { ErrorReport, ErrorSeverity, WorkTask } from "./work-task.ts";

/** What happens to an agent, for whoever watches. */
export type AgentEvent =
  | WorkEvent
  | { readonly kind: "state"; readonly state: ConnectionState }
  /** The server asked the agent to end, and it is about to leave. */
  | { readonly kind: "shutDown"; readonly why: string }
  /** Something that its operator should know, in words. */
  | { readonly kind: "notice"; readonly text: string };

export interface AgentOptions extends ServerOptions, AgentProfile {
  /** Where the agent's token is, and where renewed ones go. */
  readonly credentials: CredentialStore;
  /** Names this run of the process; a fresh one when left out. A new run supersedes the one before. */
  readonly bootId?: string;
  readonly timing?: Partial<SessionTiming>;
  /** How the agent leaves when the server asks it to: lets all work come to its end when left out. */
  readonly shutDown?: LeaveOptions;
  readonly onEvent?: (event: AgentEvent) => void;
}

export interface WorkOptions {
  /** How many tasks at a time, from 1 to 100; 1 when left out. */
  readonly slots?: number;
  /**
   * How long before a lease's end its work is told to stop, in milliseconds, for work that takes time to stop; at most
   * a sixth of the lease. 0 when left out.
   */
  readonly stopAheadMs?: number;
}

export interface LeaveOptions {
  /** How long work under way may take before it is told to stop, in milliseconds; without end when left out. */
  readonly finishWithinMs?: number;
  /** How long work that was told to stop may take to do so; 15 seconds when left out. */
  readonly stopWithinMs?: number;
  /** How long the goodbye may take, reconnecting included; 10 seconds when left out. */
  readonly goodbyeWithinMs?: number;
}

const defaultTiming: SessionTiming = {
  openMs: 10_000,
  silenceMs: 10_000,
  firstDelayMs: 500,
  longestDelayMs: 30_000,
};

// Reports that wait for a server that is away; what comes beyond is refused, so that memory stays bounded.
const MOST_CALLS = 1000;

interface OpenCall {
  resolve(value: unknown): void;
  reject(error: AgentError): void;
}

/**
 * An agent: keeps a session with the server, beats, claims tasks for its handlers, and stops work that it can no
 * longer be sure of. The session lives in a thread of its own, so that a busy program still beats.
 */
export class AgentClient {
  /** Resolves, and never rejects, when the session has ended for good. */
  readonly ended: Promise<SessionEnd>;
  readonly #options: AgentOptions;
  readonly #board: WorkBoard;
  readonly #calls = new Map<number, OpenCall>();
  readonly #end: (end: SessionEnd) => void;
  /** What was said before there was anybody to hear it. */
  readonly #beforeStart: ToSession[] = [];
  #thread: SessionThread | undefined;
  #hasEnded = false;
  #lastCall = 0;
  #onLive: (() => void) | undefined;
  #storing: Promise<void> = Promise.resolve();

  constructor(options: AgentOptions) {
    this.#options = options;
    const { promise, resolve } = Promise.withResolvers<SessionEnd>();
    this.ended = promise;
    this.#end = resolve;
    this.#board = new WorkBoard({
      post: (message) => this.#post(message),
      drain: () => this.#thread?.drain(),
      emit: (event) => this.#emit(event),
    });
  }

  /**
   * Starts the session; resolves when the server has welcomed the agent for the first time, however long that takes.
   * Throws AgentError where there is no token or the server does not want the agent.
   */
  async start(): Promise<void> {
    if (this.#thread !== undefined) throw new Error("the agent was started already");
    const { url, tls, bootId, labels, capabilities, deviceInfo, timing, credentials } = this.#options;
    const tokens = await credentials.load();
    if (tokens === undefined)
      throw new AgentError({
        code: Code.Unauthenticated,
        reason: "",
        message: "The agent has no token yet.",
      });
    if (this.#hasEnded) throw new AgentError(refusalOfEnd(await this.ended));
    const live = new Promise<void>((resolve) => {
      this.#onLive = resolve;
    });
    this.#thread = new SessionThread(
      {
        server: { url, tls },
        credentials: tokens,
        bootId: bootId ?? crypto.randomUUID(),
        profile: { labels, capabilities, deviceInfo },
        timing: { ...defaultTiming, ...timing },
      },
      (message) => this.#hear(message),
    );
    for (const message of this.#beforeStart.splice(0)) this.#thread.post(message);
    const end = await Promise.race([live, this.ended]);
    if (end !== undefined) throw new AgentError(refusalOfEnd(end));
  }

  /**
   * Claims tasks of the handlers' kinds and does them, until the session ends; resolves to how it did. The payloads'
   * types are what the program says they are.
   */
  work<Payloads extends Record<string, unknown>>(
    handlers: { readonly [Kind in keyof Payloads]: TaskHandler<Payloads[Kind]> },
    { slots = 1, stopAheadMs = 0 }: WorkOptions = {},
  ): Promise<SessionEnd> {
    if (!Number.isInteger(slots) || slots < 1 || slots > 100)
      throw new RangeError(`slots is a whole number from 1 to 100, not ${slots}`);
    // A payload is JSON of a shape that only the handler knows; what it names is taken at its word.
    const byKind = new Map(Object.entries(handlers) as [string, TaskHandler][]);
    this.#board.prepare(byKind, stopAheadMs);
    this.#post({ kind: "slots", slots, kinds: [...byKind.keys()] });
    return this.ended;
  }

  /** Stores an error without changing the agent's status; resolves to the report's id. Throws AgentError, RangeError. */
  async reportError(report: ErrorReport): Promise<string> {
    const checked = { ...report, message: fittingMessage(report.message), ...contextOf(report.context) };
    return (await this.#call((call) => ({ kind: "report", call, report: checked }))) as string; // as `reported` has it
  }

  /**
   * Reports a fatal error: the agent is in error from then on, its work is stopped, and the server gives its tasks to
   * others. Resolves to what became of them. Throws AgentError, RangeError.
   */
  async fatal(message: string, context?: JsonObject): Promise<TaskFailureCounts> {
    const checked = { message: fittingMessage(message), context: contextOf(context).context };
    const answer = this.#call((call) => ({ kind: "fatal", call, ...checked }));
    this.#board.stopAll("fatal", checked.message);
    return (await answer) as TaskFailureCounts; // as `failedOver` has it
  }

  /** After a fatal error: the agent is well again and takes tasks. */
  recover(): void {
    this.#post({ kind: "recover" });
  }

  /** Measurements by name, told with every heartbeat. Throws RangeError for what is no finite number. */
  setGauges(gauges: Readonly<Record<string, number>>): void {
    const wrong = Object.entries(gauges).find(([, value]) => !Number.isFinite(value));
    if (wrong !== undefined) throw new RangeError(`the gauge ${wrong[0]} is no finite number`);
    this.#post({ kind: "gauges", gauges: { ...gauges } });
  }

  /** Resolves when no work is under way and every outcome is answered, or the session has ended and its work stopped. */
  idle(): Promise<void> {
    return this.#board.idle();
  }

  /** Tells all work under way to stop; what stops without a result is given back by `leave`. */
  stopWork(): void {
    this.#board.stopAll("leaving", "The agent leaves.");
  }

  /** Claims nothing more, lets work under way come to its end, and says goodbye: what is still held returns at once. */
  async leave(options: LeaveOptions = {}): Promise<SessionEnd> {
    const { finishWithinMs, stopWithinMs = 15_000, goodbyeWithinMs = 10_000 } = options;
    if (this.#thread === undefined) return this.#endWithout();
    this.#post({ kind: "slots", slots: 0, kinds: [] });
    const idle = Promise.race([this.#board.idle(), this.ended]);
    if (finishWithinMs !== undefined && !(await within(idle, finishWithinMs))) {
      this.stopWork();
      await within(idle, stopWithinMs);
    } else await idle;
    this.#post({ kind: "leave", withinMs: goodbyeWithinMs });
    return this.ended;
  }

  /** Stops at once, without a goodbye: leases that are held run out by themselves. */
  async close(): Promise<SessionEnd> {
    if (this.#thread === undefined) return this.#endWithout();
    this.#post({ kind: "close" });
    return this.ended;
  }

  #endWithout(): Promise<SessionEnd> {
    this.#hasEnded = true;
    this.#end({ kind: "closed" });
    return this.ended;
  }

  #call(message: (call: number) => ToSession): Promise<unknown> {
    if (this.#thread === undefined || this.#hasEnded) return Promise.reject(new AgentError(notRunning));
    if (this.#calls.size >= MOST_CALLS) return Promise.reject(new AgentError(tooMany));
    this.#lastCall += 1;
    const call = this.#lastCall;
    return new Promise((resolve, reject) => {
      this.#calls.set(call, { resolve, reject });
      this.#post(message(call));
    });
  }

  #hear(message: FromSession): void {
    switch (message.kind) {
      case "state":
        if (message.state.kind === "live") this.#onLive?.();
        this.#emit(message);
        break;
      case "task":
        this.#board.begin(message.task, message.lease, message.term);
        break;
      case "renewed":
        this.#board.renew(message.lease, message.term);
        break;
      case "lost":
        this.#board.lose(message.lease, message.why);
        break;
      case "cancelled":
        this.#board.cancel(message.taskId, message.why);
        break;
      case "shutDown":
        this.#emit(message);
        void this.leave(this.#options.shutDown);
        break;
      case "settled":
        this.#board.settle(message.lease, message.refusal);
        break;
      case "reported":
        this.#answer(message.call)?.resolve(message.errorId);
        break;
      case "failedOver":
        this.#answer(message.call)?.resolve(message.tasks);
        break;
      case "refused":
        this.#answer(message.call)?.reject(new AgentError(message.refusal));
        break;
      case "keepToken":
        this.#keepToken(message.call, message.token);
        break;
      case "promoteToken":
        this.#store(() => this.#options.credentials.promoteRenewed());
        break;
      case "notice":
        this.#emit(message);
        break;
      case "ended":
        this.#finish(message.end);
        break;
      default:
        assertNever(message);
    }
  }

  #keepToken(call: number, token: string): void {
    this.#store(async () => {
      try {
        await this.#options.credentials.keepRenewed(token);
        this.#post({ kind: "stored", call, problem: undefined });
      } catch (error) {
        this.#post({ kind: "stored", call, problem: String(error) });
      }
    });
  }

  /** One after the other: what the store is told is about the same two places. */
  #store(step: () => Promise<void>): void {
    this.#storing = this.#storing.then(step).catch((error: unknown) => {
      this.#emit({ kind: "notice", text: `The credential store failed: ${String(error)}` });
    });
  }

  #finish(end: SessionEnd): void {
    this.#hasEnded = true;
    const refusal = refusalOfEnd(end);
    for (const call of [...this.#calls.keys()]) this.#answer(call)?.reject(new AgentError(refusal));
    this.#board.end(refusal.message);
    // Tokens are in their place before anybody hears of the end.
    void this.#storing.then(() => this.#end(end));
  }

  #answer(call: number): OpenCall | undefined {
    const open = this.#calls.get(call);
    this.#calls.delete(call);
    return open;
  }

  #post(message: ToSession): void {
    if (this.#thread === undefined) this.#beforeStart.push(message);
    else this.#thread.post(message);
  }

  #emit(event: AgentEvent): void {
    this.#options.onEvent?.(event);
  }
}

const notRunning: CallRefusal = {
  code: Code.FailedPrecondition,
  reason: "",
  message: "The agent does not run.",
};
const tooMany: CallRefusal = {
  code: Code.ResourceExhausted,
  reason: "",
  message: `${MOST_CALLS} reports wait for the server already.`,
};

function refusalOfEnd(end: SessionEnd): CallRefusal {
  if (end.kind === "refused") return end.refusal;
  return { code: Code.Canceled, reason: "", message: "The agent has stopped." };
}

function contextOf(context: JsonObject | undefined): { context?: JsonObject } {
  if (context === undefined) return {};
  const checked = checkContext(context);
  if (checked.kind === "bad") throw new RangeError(`The context ${checked.problem}.`);
  return { context: checked.value };
}

/** Whether it settled in time. */
async function within(settled: Promise<unknown>, ms: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), Math.min(ms, 2 ** 31 - 1));
  const result = await Promise.race([settled.then(() => true), promise]);
  clearTimeout(timer);
  return result;
}
