import { create } from "@bufbuild/protobuf";
import {
  type WatchCommandsResponse,
  WatchCommandsResponseSchema,
} from "../../gen/drover/v1/agent_service_pb.js";
import type { AgentCaller } from "../identity/caller.ts";
import { Outbox } from "../runtime/outbox.ts";
import type { Refusal } from "../runtime/refusal.ts";
import { type AgentRun, LAST_WORD_MS, type SessionParts } from "./agent-session.ts";
import { CommandDelivery } from "./command-delivery.ts";

/** Commands that wait for an agent to read them; the rest waits in the database. */
const OUTBOX_CAPACITY = 8;

/** One agent's open stream of commands, for an agent without a stream in both directions. */
export class CommandWatch {
  readonly caller: AgentCaller;
  readonly commands: CommandDelivery;
  /** Undefined where the agent did not say which run of it listens. */
  run: AgentRun | undefined;
  readonly #outbox = new Outbox<WatchCommandsResponse>(OUTBOX_CAPACITY);
  readonly #cutOff: () => void;

  constructor(caller: AgentCaller, parts: Pick<SessionParts, "commands" | "onError">, cutOff: () => void) {
    this.caller = caller;
    this.#cutOff = cutOff;
    this.commands = new CommandDelivery(
      caller,
      parts.commands,
      (command) => this.#outbox.put(create(WatchCommandsResponseSchema, { command })),
      (error) => parts.onError("commands were not sent", error),
    );
  }

  /** What the door sends. */
  get messages(): AsyncIterable<WatchCommandsResponse> {
    return this.#outbox;
  }

  get isClosed(): boolean {
    return this.#outbox.isClosed;
  }

  /** Notes that the token was in force at that time. */
  confirm(atMs: number): void {
    this.caller.authenticatedAtMs = Math.max(this.caller.authenticatedAtMs, atMs);
  }

  /** Ends the stream now; nothing more is delivered. An agent that does not read is cut off. */
  end(reason: unknown): void {
    this.#outbox.abort(reason);
    this.#cutOffSoon();
  }

  /** Ends the stream for a server that stops: what is on its way is still delivered, if the agent reads it at once. */
  endForStop(reason: Refusal): void {
    this.#outbox.close({ reason });
    this.#cutOffSoon();
  }

  /** Resolves when the stream has ended, in whatever way. */
  async ended(): Promise<void> {
    await this.#outbox.done();
  }

  #cutOffSoon(): void {
    // Without effect on a call that is over by then.
    setTimeout(this.#cutOff, LAST_WORD_MS).unref();
  }
}
