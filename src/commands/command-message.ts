import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { CommandSchema } from "../../gen/drover/v1/agent_service_pb.js";
import { formatId } from "../runtime/resource-id.ts";
import type { AgentCommand } from "./command.ts";

export type CommandInit = MessageInitShape<typeof CommandSchema> & { sequence: bigint };

/** A command as every way of delivery shows it. */
export function commandToMessage({ sequence, kind, taskId, reason, withinMs }: AgentCommand): CommandInit {
  return {
    sequence,
    kind,
    reason,
    taskId: taskId === undefined ? "" : formatId("task", taskId),
    ...(withinMs !== undefined && { remaining: durationFromMs(withinMs) }),
  };
}
