import type { SentCommands } from "../commands/command.ts";
import type { CommandInit } from "../commands/command-message.ts";
import type { AgentCaller } from "../identity/caller.ts";
import type { CommandSource } from "./command-source.ts";

/** Read at a time; the rest is read when these are on their way. */
const BATCH = 16;

/**
 * Sends an agent its commands, each once a stream. A new stream begins with all that were never acknowledged, so that
 * a command outlives the stream that carried it.
 */
export class CommandDelivery {
  readonly #caller: AgentCaller;
  readonly #source: CommandSource;
  readonly #put: (command: CommandInit) => Promise<boolean>;
  readonly #onError: (error: unknown) => void;
  #sent = 0n;
  #isSending = false;
  #isAskedAgain = false;

  /** `put` resolves when there was room for the command, to false where the stream has ended. */
  constructor(
    caller: AgentCaller,
    source: CommandSource,
    put: (command: CommandInit) => Promise<boolean>,
    onError: (error: unknown) => void,
  ) {
    this.#caller = caller;
    this.#source = source;
    this.#put = put;
    this.#onError = onError;
  }

  get place(): SentCommands {
    const { projectId, agentId } = this.#caller;
    return { projectId, agentId, sent: this.#sent };
  }

  /** There may be commands that were not sent yet. */
  wake(): void {
    this.#isAskedAgain = true;
    if (!this.#isSending) void this.#send();
  }

  async #send(): Promise<void> {
    this.#isSending = true;
    try {
      while (this.#isAskedAgain) {
        this.#isAskedAgain = false;
        const commands = await this.#source.waiting(this.#caller, this.#sent, BATCH);
        for (const command of commands) {
          if (!(await this.#put(command))) return;
          this.#sent = command.sequence;
        }
        this.#isAskedAgain ||= commands.length === BATCH;
      }
    } catch (error) {
      // Looked for again with everybody else's, see CommandSource.findWaiting.
      this.#onError(error);
    } finally {
      this.#isSending = false;
    }
  }
}
