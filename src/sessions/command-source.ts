import type { SentCommands } from "../commands/command.ts";
import { type CommandInit, commandToMessage } from "../commands/command-message.ts";
import type { CommandService } from "../commands/command-service.ts";
import type { AgentCaller } from "../identity/caller.ts";

/** Where commands come from. */
export interface CommandSource {
  /** Commands above that sequence that the agent has not acknowledged, the oldest first, at most so many. */
  waiting(caller: AgentCaller, above: bigint, limit: number): Promise<CommandInit[]>;
  /** The agent has taken these commands, as a heartbeat says by `acknowledged_commands`. */
  acknowledge(caller: AgentCaller, sequences: bigint[]): Promise<void>;
  /** The places in the list at which unacknowledged commands wait above what was sent. */
  findWaiting(places: readonly SentCommands[]): Promise<number[]>;
}

export function createCommandSource(commands: CommandService): CommandSource {
  return {
    async waiting(caller, above, limit) {
      return (await commands.waiting(caller, above, limit)).map(commandToMessage);
    },
    acknowledge: (caller, sequences) => commands.acknowledge(caller, sequences),
    findWaiting: (places) => commands.findUnsent(places),
  };
}
