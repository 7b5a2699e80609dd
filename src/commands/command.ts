/** What an operator can send of his own accord. */
export const sendableKinds = ["reportFullState", "rotateToken", "shutDown", "echo"] as const;
/** One of `sendableKinds`. */
export type SendableKind = (typeof sendableKinds)[number];

/** What an agent can be told to do, as the contract spells it. */
export type CommandKind = "cancelTask" | "cordon" | "uncordon" | "drain" | SendableKind;

/** Something that an agent is to do. */
export interface Command {
  kind: CommandKind;
  /** UUID of the task that it is about. */
  taskId: string | undefined;
  /** Why, in words; empty where there is nothing to say. */
  reason: string;
  /** How long the agent has for it, in ms from when this was given or read; undefined: as long as it takes. */
  withinMs?: number;
}

/** A command in its place in the agent's row of commands: delivered until the agent acknowledges that place. */
export interface AgentCommand extends Command {
  sequence: bigint;
}

/** An agent that is told something. */
export interface CommandedAgent {
  projectId: string;
  agentId: string;
}

/** What an agent has taken of its commands. */
export interface TakenCommands extends CommandedAgent {
  sequences: bigint[];
}

/** An agent, and up to which sequence commands were sent to it. */
export interface SentCommands extends CommandedAgent {
  sent: bigint;
}
