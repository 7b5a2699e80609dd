import { type Db, inTransaction } from "../storage/database.ts";
import {
  type AgentCommand,
  acknowledgeCommands,
  findUnsentCommands,
  listWaitingCommands,
  type SentCommands,
} from "./command-store.ts";
import type { Holder } from "./loan-store.ts";

/** What agents are to do, outside of their heartbeats, which carry the same. */
export class CommandService {
  readonly #db: Db;

  constructor(db: Db) {
    this.#db = db;
  }

  /** Commands above that sequence that the agent has not acknowledged, the oldest first, at most so many. */
  async waiting({ projectId, agentId }: Holder, above: bigint, limit: number): Promise<AgentCommand[]> {
    return await listWaitingCommands(this.#db, projectId, agentId, limit, above);
  }

  /** The agent has taken these commands. */
  async acknowledge({ projectId, agentId }: Holder, sequences: bigint[]): Promise<void> {
    await inTransaction(this.#db, (tx) => acknowledgeCommands(tx, projectId, agentId, sequences));
  }

  /** The places in the list at which unacknowledged commands wait above what was sent. */
  async findUnsent(agents: readonly SentCommands[]): Promise<number[]> {
    return await findUnsentCommands(this.#db, agents);
  }
}
