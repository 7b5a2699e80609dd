import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type SessionGoElsewhere,
  type SessionResponse,
  SessionResponseSchema,
} from "../../gen/drover/v1/agent_service_pb.js";
import type { Task } from "../../gen/drover/v1/task_pb.js";
import type { AgentCaller } from "../identity/caller.ts";
import { Outbox } from "../runtime/outbox.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Assigner } from "./assigner.ts";
import { CommandDelivery } from "./command-delivery.ts";
import type { CommandSource } from "./command-source.ts";
import type { Answer } from "./session-calls.ts";
import type { SlotCount } from "./slot-count.ts";
import { type AssignmentSink, TaskRoom } from "./task-room.ts";
import type { TaskSource } from "./task-source.ts";

/** Messages that wait for an agent to read them; beyond that the server stops reading what the agent says. */
const OUTBOX_CAPACITY = 8;
/** How long an ended stream's last word may wait behind what its agent does not read. */
export const LAST_WORD_MS: number = 300;

/** What all sessions of a server share. */
export interface SessionParts {
  readonly assigner: Assigner;
  readonly tasks: TaskSource;
  readonly commands: CommandSource;
  readonly slots: Pick<SlotCount, "isClaiming">;
  readonly onError: (problem: string, error: unknown) => void;
}

/** Which run of the agent's process speaks. */
export interface AgentRun {
  readonly bootId: string;
  readonly epoch: bigint;
}

/** A run as one of its streams in both directions knows it. */
export interface StreamRun extends AgentRun {
  /** The stream's number among all of its agent, on whatever server: the newest is the one that counts. */
  readonly stream: bigint;
}

/** One agent's open stream: what is on its way to the agent, and what the agent is waiting for. */
export class AgentSession {
  readonly caller: AgentCaller;
  readonly room: TaskRoom;
  readonly commands: CommandDelivery;
  /** When the stream was opened, in ms of the monotonic clock. */
  readonly openedAtMs: number;
  /** Undefined until the agent said hello. */
  run: StreamRun | undefined;
  readonly #outbox: Outbox<SessionResponse>;
  readonly #parts: SessionParts;
  readonly #cutOff: () => void;

  constructor(caller: AgentCaller, parts: SessionParts, cutOff: () => void) {
    this.caller = caller;
    this.openedAtMs = performance.now();
    this.#parts = parts;
    this.#cutOff = cutOff;
    this.#outbox = new Outbox(OUTBOX_CAPACITY, () => this.room.open());
    const outbox = this.#outbox;
    const sink: AssignmentSink = {
      get room() {
        return outbox.room;
      },
      get unread() {
        return outbox.waiting.filter(({ message }) => message.case === "assignment").length;
      },
      put: (task) => this.#put(0n, { case: "assignment", value: task }),
      returnUndelivered: (tasks) => this.#takeBack(tasks),
    };
    this.room = new TaskRoom(caller, parts.assigner, sink, () => parts.slots.isClaiming(caller.agentId));
    this.commands = new CommandDelivery(
      caller,
      parts.commands,
      (command) => this.#put(0n, { case: "command", value: command }),
      (error) => parts.onError("commands were not sent", error),
    );
  }

  /** What the door sends. */
  get messages(): AsyncIterable<SessionResponse> {
    return this.#outbox;
  }

  get isClosed(): boolean {
    return this.#outbox.isClosed;
  }

  /** Notes that the token was in force at that time, so that what the agent says needs no look at it. */
  confirm(atMs: number): void {
    this.caller.authenticatedAtMs = Math.max(this.caller.authenticatedAtMs, atMs);
  }

  /** Sends an answer once there is room; false where the stream has ended. */
  async answer(inReplyTo: bigint, answer: Answer): Promise<boolean> {
    return await this.#put(inReplyTo, answer);
  }

  /** Sends an answer where there is room for it at once; false where it has to wait, or the stream has ended. */
  answerNow(inReplyTo: bigint, answer: Answer): boolean {
    return this.#outbox.room > 0 && this.#outbox.putNow(messageOf(inReplyTo, answer));
  }

  /** Asks the agent to open its stream anew, and gives it no more tasks by this one. */
  sendElsewhere(reason: SessionGoElsewhere["reason"]): void {
    this.room.close();
    this.#outbox.putNow(messageOf(0n, { case: "goElsewhere", value: { reason } }));
  }

  /** Ends the stream, by an error if one is given, after all that is on its way. */
  close(failure?: { readonly reason: unknown }): void {
    this.room.close();
    this.#outbox.close(failure);
  }

  /** Ends the stream now; nothing more is delivered. An agent that does not read is cut off. */
  end(reason: Refusal): void {
    this.room.close();
    this.#abort(reason);
    this.#cutOffSoon();
  }

  /** Ends the stream for a server that stops: what is on its way is still delivered, if the agent reads it at once. */
  endForStop(reason: Refusal): void {
    this.close({ reason });
    this.#cutOffSoon();
  }

  /** Resolves when the stream has ended, in whatever way, and all that was not delivered is taken care of. */
  async ended(): Promise<void> {
    await this.#outbox.done();
    this.room.close();
    this.#abort(undefined);
  }

  #cutOffSoon(): void {
    // Without effect on a call that is over by then.
    setTimeout(this.#cutOff, LAST_WORD_MS).unref();
  }

  #abort(reason: unknown): void {
    const undelivered = this.#outbox
      .abort(reason)
      .flatMap(({ message }) => (message.case === "assignment" ? [message.value] : []));
    if (undelivered.length > 0) this.#takeBack(undelivered);
  }

  async #put(inReplyTo: bigint, answer: Answer): Promise<boolean> {
    return await this.#outbox.put(messageOf(inReplyTo, answer));
  }

  #takeBack(tasks: Task[]): void {
    this.#parts.tasks.takeBack(this.caller, tasks).catch((error: unknown) => {
      // Those of an agent that was removed are back already.
      if (error instanceof Refusal && error.kind === "not-found") return;
      this.#parts.onError("tasks that were not delivered return at their leases' end", error);
    });
  }
}

function messageOf(
  inReplyTo: bigint,
  message: NonNullable<MessageInitShape<typeof SessionResponseSchema>["message"]>,
): SessionResponse {
  return create(SessionResponseSchema, { inReplyTo, message });
}
