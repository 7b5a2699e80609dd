import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CommandSchema } from "../../gen/drover/v1/agent_service_pb.js";
import type { AgentCaller } from "../identity/caller.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { CommandService } from "../tasks/command-service.ts";

export type CommandInit = MessageInitShape<typeof CommandSchema> & { sequence: bigint };

/** An agent, and up to which sequence commands were sent to it. */
export interface CommandPlace {
  projectId: string;
  agentId: string;
  sent: bigint;
}

/** Where commands come from. */
export interface CommandSource {
  /** Commands above that sequence that the agent has not acknowledged, the oldest first, at most so many. */
  waiting(caller: AgentCaller, above: bigint, limit: number): Promise<CommandInit[]>;
  /** The agent has taken these commands, as a heartbeat says by `acknowledged_commands`. */
  acknowledge(caller: AgentCaller, sequences: bigint[]): Promise<void>;
  /** The places in the list at which unacknowledged commands wait above what was sent. */
  findWaiting(places: readonly CommandPlace[]): Promise<number[]>;
}

export function createCommandSource(commands: CommandService): CommandSource {
  return {
    async waiting(caller, above, limit) {
      const waiting = await commands.waiting(caller, above, limit);
      return waiting.map(({ sequence, kind, taskId, reason }) => ({
        sequence,
        kind,
        reason,
        taskId: taskId === undefined ? "" : formatId("task", taskId),
      }));
    },
    acknowledge: (caller, sequences) => commands.acknowledge(caller, sequences),
    findWaiting: (places) => commands.findUnsent(places),
  };
}
