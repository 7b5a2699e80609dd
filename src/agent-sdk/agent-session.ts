import { Code } from "@connectrpc/connect";
import type { Command, HeartbeatResponse, SessionResponse } from "../../gen/drover/v1/agent_service_pb.js";
import { assertNever } from "../runtime/assert-never.ts";
import { AgentError, type CallRefusal, refusalOf } from "./agent-error.ts";
import { CommandInbox, type Obedience } from "./command-inbox.ts";
import { type AgentProfile, bearer, openConnection, type ServerOptions } from "./connection-options.ts";
import type { ConnectionState } from "./connection-state.ts";
import type { Credentials } from "./credential-store.ts";
import { errorSaying } from "./error-saying.ts";
import { Heartbeats } from "./heartbeats.ts";
import { HeldLeases } from "./held-leases.ts";
import { JitteredDelay } from "./jittered-delay.ts";
import { type NextStep, planReconnect, type SessionEnd } from "./plan-reconnect.ts";
import { RoomTalk } from "./room-talk.ts";
import { ServerChoice } from "./server-choice.ts";
import { SessionRequests } from "./session-requests.ts";
import { SessionStream } from "./session-stream.ts";
import type { FromSession, ToSession } from "./thread-messages.ts";
import { TokenSlots } from "./token-slots.ts";
import { type ErrorReport, msOf } from "./work-task.ts";

/** Times in milliseconds. */
export interface SessionTiming {
  /** How long a connection may take until the server's welcome. */
  readonly openMs: number;
  /** After how long without an answer a stream counts as dead. */
  readonly silenceMs: number;
  /** About how long the first wait before another connection takes, and how long the longest. */
  readonly firstDelayMs: number;
  readonly longestDelayMs: number;
}

export interface SessionSettings {
  readonly server: ServerOptions;
  readonly credentials: Credentials;
  /** Names this run of the process. */
  readonly bootId: string;
  readonly profile: AgentProfile;
  readonly timing: SessionTiming;
}

// A stream that ended sooner did not really work: the delay before the next one goes on growing.
const WORKED_MS = 5000;
// How long a stream that is to be left may take to answer what it was asked.
const MOVE_MS = 5000;

const given: CallRefusal = { code: Code.Canceled, reason: "", message: "The agent has stopped." };

/** One run of an agent at the server: keeps a stream open, whatever happens to it, until it leaves or is refused. */
export class AgentSession {
  readonly #settings: SessionSettings;
  readonly #tell: (message: FromSession) => void;
  readonly #requests: SessionRequests;
  readonly #leases: HeldLeases;
  readonly #room: RoomTalk;
  readonly #heartbeats: Heartbeats;
  readonly #commands: CommandInbox;
  readonly #tokens: TokenSlots;
  readonly #servers: ServerChoice;
  #slots = 0;
  #stream: SessionStream | undefined;
  #leaving: "no" | "wanted" | "said" = "no";
  #closed = false;
  #endWait: (() => void) | undefined;

  constructor(settings: SessionSettings, tell: (message: FromSession) => void) {
    const { bootId, profile, timing, credentials } = settings;
    this.#settings = settings;
    this.#servers = new ServerChoice(settings.server, Math.random());
    this.#tell = tell;
    const requests = new SessionRequests(timing.silenceMs);
    const leases = new HeldLeases(requests, tell, () => this.#room.update());
    this.#requests = requests;
    this.#leases = leases;
    const free = () => this.#slots - leases.size;
    this.#room = new RoomTalk(requests, free, ({ message }) => this.#notice(`No tasks for now: ${message}`));
    const answered = (answer: HeartbeatResponse) => this.#hearHeartbeat(answer);
    const refused = (refusal: CallRefusal) => this.#heartbeatRefused(refusal);
    this.#heartbeats = new Heartbeats({ bootId, profile, requests, leases, answered, refused });
    this.#commands = new CommandInbox(requests, (command) => this.#obey(command));
    this.#tokens = new TokenSlots(credentials, tell);
  }

  /** Takes the word of the thread that works. */
  handle(message: ToSession): void {
    switch (message.kind) {
      case "slots":
        this.#slots = message.slots;
        this.#room.kinds = message.kinds;
        break;
      case "progress":
        this.#leases.progress(message.lease, message.progress, message.detail);
        break;
      case "outcome":
        this.#leases.finish(message.lease, message.outcome);
        break;
      case "dropped":
        this.#leases.drop(message.lease);
        break;
      case "report":
        this.#report(message.report, message.call);
        break;
      case "fatal":
        this.#fail(message);
        break;
      case "recover":
        this.#heartbeats.recover();
        break;
      case "gauges":
        this.#heartbeats.gauges = message.gauges;
        break;
      case "stored":
        this.#tokens.stored(message.call, message.problem);
        break;
      case "leave":
        this.#leave(message.withinMs);
        break;
      case "close":
        this.#close();
        break;
      default:
        assertNever(message);
    }
  }

  /** Connects, again and again, until the session has ended for good. */
  async run(): Promise<SessionEnd> {
    const end = await this.#keepConnected();
    this.#closed = true;
    this.#requests.close(end.kind === "refused" ? end.refusal : given);
    this.#enter({ kind: "ended", end });
    return end;
  }

  async #keepConnected(): Promise<SessionEnd> {
    const { firstDelayMs, longestDelayMs } = this.#settings.timing;
    const delay = new JitteredDelay(firstDelayMs, longestDelayMs);
    let renewedExpired = false;
    for (let attempt = 1; !this.#closed; attempt++) {
      this.#enter({ kind: "connecting", attempt });
      const { step, workedMs } = await this.#oneStream();
      if (workedMs > 0) renewedExpired = false;
      if (workedMs >= WORKED_MS) {
        delay.reset();
        attempt = 0;
      }
      let next = step;
      if (next.kind === "renewExpiredToken") {
        // A token that was made just now and is refused as well is not worth another.
        if (renewedExpired) return { kind: "refused", refusal: next.because };
        next = await this.#renewExpired(next.because);
        renewedExpired = next.kind === "reconnect";
      }
      if (next.kind === "stop") return next.end;
      if (next.kind === "useCurrentToken") this.#tokens.renewedRefused();
      if (next.kind === "wait" || next.kind === "spread") {
        this.#servers.moveOn();
        // The first delay alone: the server that is gone to now is a good one, as far as anybody knows.
        if (next.kind === "spread") await this.#wait(Math.random() * firstDelayMs, next.because);
        else await this.#wait(Math.max(delay.nextMs(), next.atLeastMs), next.because);
      }
    }
    return { kind: "closed" };
  }

  async #oneStream(): Promise<{ step: NextStep; workedMs: number }> {
    const { token, used } = this.#tokens.best;
    const { bootId, timing } = this.#settings;
    const server = this.#servers.current;
    const helloId = this.#requests.newId();
    const stream = new SessionStream({ server, token, bootId, helloId, openMs: timing.openMs });
    this.#stream = stream;
    const end = await stream.run((response) => {
      if (response.message.case === "welcome") this.#tokens.accepted(used);
      this.#hear(stream, response, helloId);
    });
    const { workedMs } = stream;
    this.#stream = undefined;
    this.#heartbeats.pause();
    this.#requests.detach(end.kind === "failed" ? end.refusal : undefined);
    // A server that ends the stream in answer to the goodbye has taken it.
    const hasLeft = this.#leaving === "said" && end.kind === "over";
    // Otherwise nobody knows, and it is said again.
    if (this.#leaving === "said") this.#leaving = "wanted";
    return { step: planReconnect(hasLeft ? { kind: "left" } : end, used, workedMs), workedMs };
  }

  #hear(stream: SessionStream, response: SessionResponse, helloId: bigint): void {
    const { message } = response;
    switch (message.case) {
      case "welcome": {
        const { epoch, heartbeatInterval, lease } = message.value;
        const server = this.#servers.current.url;
        const intervalMs = msOf(heartbeatInterval);
        this.#enter({
          kind: "live",
          server,
          epoch,
          intervalMs,
          leaseMs: msOf(lease),
        });
        this.#requests.attach(stream.queue, {
          silent: () => stream.giveUp(`${server} does not answer any more.`),
          // Where there is no other, this one is asked again at the same stream: it costs less than a new one.
          cannotServe: ({ message }) => {
            if (this.#servers.hasOthers) stream.giveUp(`${server} cannot serve: ${message}`);
          },
        });
        this.#heartbeats.begin(intervalMs);
        this.#room.begin();
        break;
      }
      case "assignment":
        this.#room.assigned();
        if (this.#leases.size < this.#slots) this.#leases.offer(message.value);
        else this.#notice(`${message.value.id} was not begun: there is no free slot for it.`);
        break;
      case "command":
        this.#commands.take(message.value);
        break;
      case "goElsewhere":
        this.#move(message.value.reason, true);
        break;
      case "refusal": {
        const { code, reason, message: text } = message.value;
        // Of the stream as a whole: it cannot go on without its hello, nor beside a newer process.
        if (response.inReplyTo === helloId || reason === "SESSION_SUPERSEDED")
          stream.end({ kind: "failed", refusal: { code, reason, message: text }, retryAfterMs: 0 });
        else this.#requests.hear(response);
        break;
      }
      default:
        this.#requests.hear(response);
    }
    if (stream.isMoving && this.#requests.unanswered === 0) stream.queue.end();
    this.#sayGoodbye();
  }

  #hearHeartbeat(answer: HeartbeatResponse): void {
    for (const command of answer.commands) this.#commands.take(command);
    this.#room.update();
    const { renewedToken = "" } = answer;
    if (renewedToken === "") return;
    // Never rejects: what goes wrong with the store comes as false.
    void this.#tokens.offer(renewedToken).then((stored) => {
      if (stored) this.#move("a renewed token is to be used", false);
    });
  }

  #heartbeatRefused(refusal: CallRefusal): void {
    if (this.#closed) return;
    this.#notice(`A heartbeat was refused: ${refusal.message}`);
    // Its labels or capabilities are wrong: it would be refused for ever, and its owner has to know.
    if (refusal.code === Code.InvalidArgument) this.#stream?.end({ kind: "unusable", refusal });
  }

  /** Leaves the stream for a new one, once what was asked on it is answered. */
  #move(why: string, elsewhere: boolean): void {
    const stream = this.#stream;
    if (stream === undefined || !stream.isOpen) return;
    this.#enter({ kind: "moving", server: this.#servers.current.url, elsewhere, why });
    this.#room.pause();
    this.#heartbeats.pause();
    stream.move(MOVE_MS, elsewhere);
    if (this.#requests.unanswered === 0) stream.queue.end();
  }

  #leave(withinMs: number): void {
    if (this.#leaving !== "no") return;
    this.#leaving = "wanted";
    this.#slots = 0;
    this.#room.update();
    setTimeout(() => this.#close(), withinMs).unref();
    this.#endWait?.();
    this.#sayGoodbye();
  }

  /** Says goodbye once all that was asked is answered; nothing counts after it. */
  #sayGoodbye(): void {
    const stream = this.#stream;
    if (this.#leaving !== "wanted" || stream === undefined || !stream.isOpen) return;
    if (this.#requests.unanswered > 0) return;
    this.#leaving = "said";
    this.#heartbeats.pause();
    this.#requests.ask({
      outlives: "nothing",
      say: () => ({ case: "goodbye", value: {} }),
      answered: () => stream.end({ kind: "left" }),
      refused: ({ message }) => {
        this.#notice(`The server refused the goodbye: ${message}`);
        this.#close();
      },
    });
  }

  #close(): void {
    this.#closed = true;
    this.#stream?.end({ kind: "closed" });
    this.#endWait?.();
  }

  async #renewExpired(because: CallRefusal): Promise<NextStep> {
    try {
      if (await this.#rotateToken()) return { kind: "reconnect" };
    } catch (error) {
      const code = error instanceof AgentError ? error.code : undefined;
      if (code === Code.Unauthenticated || code === Code.PermissionDenied)
        return { kind: "stop", end: { kind: "refused", refusal: because } };
    }
    return { kind: "wait", because, atLeastMs: 0 };
  }

  /** Asks for a new token by a call of its own; true once it is stored and may be used. Throws AgentError. */
  async #rotateToken(): Promise<boolean> {
    const server = this.#servers.current;
    const connection = openConnection(server);
    const { openMs } = this.#settings.timing;
    const headers = bearer(this.#tokens.best.token);
    try {
      const { secret } = await connection.client.rotateToken({}, { headers, timeoutMs: openMs });
      return await this.#tokens.offer(secret);
    } catch (error) {
      throw new AgentError(refusalOf(error, { url: server.url, answered: false }), error);
    } finally {
      connection.close();
    }
  }

  #obey(command: Command): Obedience | Promise<Obedience> {
    switch (command.kind) {
      case "cancelTask":
        this.#leases.cancel(command.taskId, command.reason);
        return "done";
      case "reportFullState":
        this.#heartbeats.tellAll();
        return "done";
      case "rotateToken":
        return this.#obeyRotation();
      case "shutDown":
        this.#tell({ kind: "shutDown", why: command.reason });
        return "done";
      case "cordon":
      case "drain":
      case "uncordon":
        this.#tellCordon(command);
        return "done";
      case "echo":
        return "done";
      default:
        // It is acknowledged all the same, or it would come for ever; that it was not obeyed is reported.
        this.#tellUnknown(command);
        return "done";
    }
  }

  /** The server gives tasks, takes them back and stops their work by itself: there is nothing to do but to say so. */
  #tellCordon({ kind, reason, remaining }: Command): void {
    const why = reason === "" ? "" : ` (${reason})`;
    if (kind === "uncordon") this.#notice(`This agent gets tasks again${why}.`);
    else if (remaining === undefined) this.#notice(`This agent gets no more tasks${why}.`);
    else
      this.#notice(
        `This agent gets no more tasks, and what it holds in ${msOf(remaining) / 1000} s goes back${why}.`,
      );
  }

  async #obeyRotation(): Promise<Obedience> {
    try {
      if (!(await this.#rotateToken())) return "later";
      this.#move("a new token is to be used", false);
      return "done";
    } catch (error) {
      this.#notice(`The token was not rotated, and it is tried again: ${wordsOf(error)}`);
      return "later";
    }
  }

  #report(report: ErrorReport, call: number | undefined): void {
    const requestId = crypto.randomUUID();
    this.#requests.ask({
      outlives: "stream",
      say: () => errorSaying(report, requestId),
      answered: (answer) => {
        const errorId = answer.case === "error" ? (answer.value.errorReport?.id ?? "") : "";
        if (call !== undefined) this.#tell({ kind: "reported", call, errorId });
      },
      refused: (refusal) => {
        if (call !== undefined) this.#tell({ kind: "refused", call, refusal });
      },
    });
  }

  #fail({ call, message, context }: Extract<ToSession, { kind: "fatal" }>): void {
    this.#leases.loseAll("the agent reported a fatal error");
    this.#heartbeats.fail({
      message,
      context,
      answered: ({ taskFailures }) => {
        const { attempted = 0, requeued = 0, failed = 0 } = taskFailures ?? {};
        this.#tell({ kind: "failedOver", call, tasks: { attempted, requeued, failed } });
      },
      refused: (refusal) => this.#tell({ kind: "refused", call, refusal }),
    });
  }

  #tellUnknown({ kind, sequence }: Command): void {
    const message = `Command ${sequence} was not obeyed: this agent does not know its kind, ${kind}.`;
    this.#notice(message);
    this.#report({ severity: "warning", message }, undefined);
  }

  async #wait(delayMs: number, because: CallRefusal): Promise<void> {
    if (this.#closed) return;
    this.#enter({ kind: "waiting", server: this.#servers.current.url, delayMs, because });
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#endWait = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#endWait = undefined;
  }

  #enter(state: ConnectionState): void {
    this.#tell({ kind: "state", state });
  }

  #notice(text: string): void {
    this.#tell({ kind: "notice", text });
  }
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
