import type { Tx } from "../storage/database.ts";

/** Whose tasks, and why they fail. */
export interface FailingAgent {
  projectId: string;
  agentId: string;
  /** How the audit log names the agent. */
  actor: string;
  /** Why, in words; kept with each attempt. */
  reason: string;
}

/** What became of an agent's active tasks. */
export interface TaskFailures {
  /** Tasks that the agent held. */
  attempted: number;
  /** Those that wait for another try. */
  requeued: number;
  /** Those that failed for good. */
  failed: number;
}

/** A task that a heartbeat names as the one at hand. */
export interface TaskClaim {
  taskId: string;
  leaseEpoch: bigint;
}

/**
 * What a heartbeat does to its agent's tasks, inside the heartbeat's own transaction and under the agent's lock. The
 * heartbeat knows no more of tasks than this.
 */
export interface HeldTasks {
  /** The UUID of the claimed task where the agent holds it under that epoch; undefined otherwise. */
  confirm(tx: Tx, projectId: string, agentId: string, claim: TaskClaim): Promise<string | undefined>;
  /** Fails every active task of the agent. */
  failAll(tx: Tx, agent: FailingAgent): Promise<TaskFailures>;
  /** Whether a task of priority 8 or 9 waits that this agent could take; at most a second old. */
  hasHighPriority(projectId: string, agentId: string): Promise<boolean>;
}

/** For a server that hands out no tasks: nobody holds one, so no claim to one is true and none can fail. */
export const noHeldTasks: HeldTasks = {
  confirm: async () => undefined,
  failAll: async () => ({ attempted: 0, requeued: 0, failed: 0 }),
  hasHighPriority: async () => false,
};
