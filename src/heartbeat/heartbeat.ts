/** What heartbeats are made of: what an agent says, what it is answered, and who hears of it. */
import type { AgentStatus, ReportedStatus } from "../agents/agent.ts";
import type { AgentProfile } from "../agents/agent-store.ts";
import type { AgentCommand } from "../commands/command.ts";
import type { AgentCaller } from "../identity/caller.ts";
import type { JsonObject } from "../storage/schema.ts";
import type { LeaseAnswer, TaskClaim, TaskFailures, TaskReport } from "../tasks/held-tasks.ts";

/** A heartbeat as an agent sent it. */
export interface Heartbeat {
  status: ReportedStatus;
  tasks: TaskReport;
  /** Sequences of the commands that the agent has taken. */
  acknowledgedCommands: bigint[];
  error: { severity: "warning" | "fatal"; message: string; context: JsonObject | undefined } | undefined;
  profile: AgentProfile;
  /** Without a sequence the beat is of that run, and nothing is deduplicated. */
  session: HeartbeatSession | undefined;
}

export interface HeartbeatSession {
  bootId: string;
  sequence: bigint | undefined;
  /** Of that run, where the caller knows it: a run keeps its epoch for good. */
  epoch?: bigint | undefined;
}

/** A heartbeat on its way into the database, with who sent it and what it will be told. */
export interface Beat {
  readonly caller: AgentCaller;
  readonly heartbeat: Heartbeat;
  /** The caller's token is past a third of its life. */
  readonly renewalDue: boolean;
}

/** What the server answers to a heartbeat. */
export interface HeartbeatAnswer {
  status: AgentStatus;
  transition: StatusTransition | undefined;
  taskFailures: TaskFailures | undefined;
  duplicate: boolean;
  renewedToken: string | undefined;
  reportFullState: boolean;
  leases: LeaseAnswer[];
  commands: AgentCommand[];
}

export interface StatusTransition {
  from: AgentStatus;
  to: AgentStatus;
  reason: string;
}

/** A committed change of status, for those who are told of it. */
export interface CommittedTransition extends StatusTransition {
  projectId: string;
  project: string;
  agentId: string;
  agent: string;
}

export interface HeartbeatListener {
  /** A change of status was committed. */
  transition(transition: CommittedTransition): void;
  /** A heartbeat named a task that its agent does not hold; the link was dropped and the rest taken. */
  linkDropped(agent: AgentCaller, claim: TaskClaim): void;
  /** The agent was removed between its authentication and its heartbeat. */
  agentGone(agent: AgentCaller): void;
  /** A new run of the agent's process was given its epoch; those of lower epochs are superseded. */
  sessionBegan(agent: AgentCaller, epoch: bigint): void;
}
