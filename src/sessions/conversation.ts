import type { DescMessage, Message } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { ConnectError, HandlerContext } from "@connectrpc/connect";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import type { SessionReady, SessionRequest } from "../../gen/drover/v1/agent_service_pb.js";
import { streamRunKey } from "../heartbeat/heartbeat-rpc.ts";
import type { AgentCaller } from "../identity/caller.ts";
import { assertNever } from "../runtime/assert-never.ts";
import { invalidField, Refusal } from "../runtime/refusal.ts";
import { renewalDueKey } from "../tokens/authenticate.ts";
import type { AgentSession, StreamRun } from "./agent-session.ts";
import type { CommandSource } from "./command-source.ts";
import type { Heard, MessageTrace } from "./message-trace.ts";
import type { RenewalDue } from "./renewal-due.ts";
import { type AgentCalls, type Answer, checkSaying, leave, makeCall } from "./session-calls.ts";
import { refusalToMessage } from "./session-refusal.ts";
import type { SessionRegistry } from "./session-registry.ts";

/** What conversations need of the rest of the server. */
export interface ConversationParts {
  readonly registry: SessionRegistry;
  readonly commands: Pick<CommandSource, "acknowledge">;
  /** The calls that messages are. */
  readonly calls: AgentCalls;
  /** Gives the run its epoch and the stream its number; refuses a run that was superseded. */
  enterByStream(caller: AgentCaller, bootId: string): Promise<Omit<StreamRun, "bootId">>;
  /** The rule for every message; throws a refusal with the violations. */
  validate(schema: DescMessage, message: Message): void;
  /** What a caller is shown of an error. */
  explain(error: unknown): ConnectError;
  /** Makes spans of messages; undefined where nobody wants them. */
  readonly trace: MessageTrace | undefined;
  /** What agents are told at hello; it changes with the fleet. */
  readonly pace: { readonly intervalMs: number; readonly leaseMs: number };
}

/** One message that says something. */
type Said = Exclude<SessionRequest["message"], { case: undefined }>;

/**
 * Hears an agent out. Its messages are answered one after another, each before the next is read: so their order is
 * kept, and a slow database or an agent that does not read its answers slows the reading.
 */
export class Conversation {
  readonly #session: AgentSession;
  readonly #context: HandlerContext;
  readonly #renewalDue: RenewalDue;
  readonly #parts: ConversationParts;

  constructor(
    session: AgentSession,
    context: HandlerContext,
    renewalDue: RenewalDue,
    parts: ConversationParts,
  ) {
    this.#session = session;
    this.#context = context;
    this.#renewalDue = renewalDue;
    this.#parts = parts;
  }

  /** Resolves when the agent has said its last; an error ends the stream after the answers before it. Never rejects. */
  async run(requests: AsyncIterable<SessionRequest>): Promise<void> {
    const { trace } = this.#parts;
    try {
      for await (const request of requests) {
        if (this.#session.isClosed) break;
        const { id, message } = request;
        if (trace !== undefined) {
          const take = (heard: Heard) => this.#takeTraced(request, heard);
          if ((await trace.hear(message.case, this.#session.caller, take)) === "over") break;
        }
        // By far the most: not through every turn that the others take.
        else if (message.case === "heartbeat" && this.#session.run !== undefined)
          await this.#takeBeat(id, message);
        else if ((await this.#take(request)) === "over") break;
      }
      this.#session.close();
    } catch (reason) {
      this.#session.close({ reason });
    }
  }

  async #takeTraced(request: SessionRequest, heard: Heard): Promise<"over" | undefined> {
    const { id, message } = request;
    if (message.case !== "heartbeat" || this.#session.run === undefined)
      return await this.#take(request, heard);
    await this.#takeBeat(id, message, heard);
    return undefined;
  }

  async #take({ id, message }: SessionRequest, heard?: Heard): Promise<"over" | undefined> {
    if (this.#session.run === undefined) {
      const answer = await this.#greet(message);
      await this.#session.answer(id, answer);
      this.#session.commands.wake();
      return undefined;
    }
    const answer = await this.#answer(message, heard);
    if (!this.#session.answerNow(id, answer)) await this.#session.answer(id, answer);
    if (message.case === "ready" && answer.case === "done") this.#session.room.open();
    return message.case === "goodbye" && answer.case === "done" ? "over" : undefined;
  }

  /** The answer to hello. Throws whatever keeps the stream from being one. */
  async #greet(message: SessionRequest["message"]): Promise<Answer> {
    if (message.case !== "hello") {
      throw new Refusal("failed-precondition", "the first message has to be hello", {
        reason: "HELLO_EXPECTED",
      });
    }
    checkSaying(message, this.#parts.validate);
    const { bootId } = message.value;
    const { epoch, stream } = await this.#parts.enterByStream(this.#session.caller, bootId);
    // Revoked while the database was asked: such a stream must not end the one that is in its right.
    if (!this.#session.isClosed) this.#parts.registry.enter(this.#session, { bootId, epoch, stream });
    this.#context.values.set(streamRunKey, { bootId, epoch });
    const { intervalMs, leaseMs } = this.#parts.pace;
    return {
      case: "welcome",
      value: {
        epoch,
        heartbeatInterval: durationFromMs(intervalMs),
        lease: durationFromMs(leaseMs),
      },
    };
  }

  /** The answer to any other message; a refusal of it is an answer too. */
  async #answer(message: SessionRequest["message"], heard: Heard | undefined): Promise<Answer> {
    try {
      if (message.case === undefined) throw invalidField("message", "is needed, and of a kind that is known");
      checkSaying(message, this.#parts.validate);
      return await this.#serve(message);
    } catch (error) {
      return this.#refusalOf(error, heard);
    }
  }

  /** The answer that an error is; throws it where it ends the stream. */
  #refusalOf(error: unknown, heard: Heard | undefined): Answer {
    if (error instanceof Refusal && endsStream(error)) throw error;
    const explained = this.#parts.explain(error);
    if (heard !== undefined) heard.refused = explained;
    return { case: "refusal", value: refusalToMessage(explained) };
  }

  async #serve(message: Said): Promise<Answer> {
    switch (message.case) {
      case "hello":
        throw new Refusal("failed-precondition", "hello was said already");
      case "heartbeat":
      case "error":
      case "taskUpdate":
      case "taskComplete":
      case "taskFail":
        return await makeCall(this.#parts.calls, message, this.#context);
      case "ready":
        return await this.#setRoom(message.value);
      case "commandAcknowledgement":
        await this.#parts.commands.acknowledge(this.#session.caller, message.value.sequences);
        return done;
      case "goodbye":
        // What is on its way to the agent by now goes back with the rest.
        await this.#session.room.set(0, []);
        return await leave(this.#parts.calls, this.#context);
      default:
        return assertNever(message);
    }
  }

  /** What #take does for a heartbeat, in one function: each one more that waits costs every heartbeat its turns. */
  async #takeBeat(id: bigint, message: Extract<Said, { case: "heartbeat" }>, heard?: Heard): Promise<void> {
    let answer: Answer;
    try {
      checkSaying(message, this.#parts.validate);
      const due = this.#renewalDue.now();
      this.#context.values.set(renewalDueKey, typeof due === "boolean" ? due : await due);
      const value = await this.#parts.calls.heartbeat(message.value, this.#context);
      // What an agent in error has room for is given to it again from here on.
      if (value.agentStatus !== AgentStatus.ERROR) this.#session.room.open();
      answer = { case: "heartbeat", value };
    } catch (error) {
      answer = this.#refusalOf(error, heard);
    }
    if (!this.#session.answerNow(id, answer)) await this.#session.answer(id, answer);
  }

  async #setRoom({ slots, kinds }: SessionReady): Promise<Answer> {
    await this.#session.room.set(slots, kinds);
    return done;
  }
}

/** The run is over, or its token is no good any more, and with it the stream. */
function endsStream({ kind, reason }: Refusal): boolean {
  return kind === "unauthenticated" || reason === "SESSION_SUPERSEDED";
}

const done: Answer = { case: "done", value: {} };
