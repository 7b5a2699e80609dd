import type { Command } from "commander";
import { labelTerms, repeatedLabel, repeatedOf } from "../arguments.ts";
import { livenesses, statuses } from "../resources.ts";

/** Which agents, by what they are; what is left out does not matter. */
export interface AgentFilterFlags {
  status?: string[];
  liveness?: string[];
  label?: Record<string, string>;
  namePrefix?: string;
}

export function withAgentFilter(command: Command): Command {
  return command
    .option(
      "--status <status>",
      `only with this status; may be repeated: ${statuses.join(", ")}`,
      repeatedOf(statuses),
    )
    .option(
      "--liveness <liveness>",
      `only with this liveness; may be repeated: ${livenesses.join(", ")}`,
      repeatedOf(livenesses),
    )
    .option("--label <key=value>", "only with this label; may be repeated", repeatedLabel)
    .option("--name-prefix <prefix>", "only agents whose name begins so");
}

/** The same as the API's lists and bulk calls take it. */
export function agentFilterOf({ status, liveness, label, namePrefix }: AgentFilterFlags) {
  return { status, liveness, labels: labelTerms(label), namePrefix };
}
