import type { Command } from "commander";
import { labelTerms, repeated, repeatedLabel } from "../arguments.ts";

/** Which tasks, by what they are; their states stand beside it, since not every command is about all of them. */
export interface TaskFilterFlags {
  kind?: string[];
  agent?: string;
  label?: Record<string, string>;
}

export function withTaskFilter(command: Command): Command {
  return command
    .option("--kind <kind>", "only of this kind; may be repeated", repeated)
    .option("--agent <agent>", "only what this agent holds or ended, by its name")
    .option("--label <key=value>", "only with this label; may be repeated", repeatedLabel);
}

/** The same as the API's lists and bulk calls take it. */
export function taskFilterOf({ kind, agent, label }: TaskFilterFlags) {
  return { kind, agent, labels: labelTerms(label) };
}
