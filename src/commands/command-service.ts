import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import type { AgentCommand, Command, CommandedAgent, SentCommands, TakenCommands } from "./command.ts";
import {
  acknowledgeCommands,
  findUnsentCommands,
  insertCommands,
  listCommandsOf,
  type NewCommand,
} from "./command-store.ts";

/** Commands that one heartbeat's answer carries; the rest comes with the next one. */
const MOST_COMMANDS = 100;

/** Gives an agent a command, whose row the transaction locks by that; undefined where the agent was removed. */
export async function giveCommand(
  tx: Tx,
  { projectId, agentId }: CommandedAgent,
  command: Command,
): Promise<bigint | undefined> {
  const [sequence] = await insertCommands(tx, [{ projectId, agentId, ...command }]);
  return sequence;
}

/** Gives commands to agents that the transaction has locked; those of one agent keep the order of the list. */
export async function giveCommands(tx: Tx, commands: readonly NewCommand[]): Promise<void> {
  await insertCommands(tx, commands);
}

/** Notes what agents have taken; resolves to the commands of each that still wait, the oldest first, by agent. */
export async function exchangeCommands(
  tx: Tx,
  taken: readonly TakenCommands[],
): Promise<Map<string, AgentCommand[]>> {
  if (taken.length === 0) return new Map();
  await acknowledgeCommands(tx, taken);
  return await listCommandsOf(
    tx,
    taken.map((agent) => ({ ...agent, sent: 0n })),
    MOST_COMMANDS,
  );
}

/** What agents are to do, outside of their heartbeats, which carry the same. */
export class CommandService {
  readonly #db: Db;

  constructor(db: Db) {
    this.#db = db;
  }

  /** Commands above that sequence that the agent has not acknowledged, the oldest first, at most so many. */
  async waiting(
    { projectId, agentId }: CommandedAgent,
    above: bigint,
    limit: number,
  ): Promise<AgentCommand[]> {
    const waiting = await listCommandsOf(this.#db, [{ projectId, agentId, sent: above }], limit);
    return waiting.get(agentId) ?? [];
  }

  /** The agent has taken these commands. */
  async acknowledge({ projectId, agentId }: CommandedAgent, sequences: bigint[]): Promise<void> {
    await inTransaction(this.#db, (tx) => acknowledgeCommands(tx, [{ projectId, agentId, sequences }]));
  }

  /** The places in the list at which unacknowledged commands wait above what was sent. */
  async findUnsent(agents: readonly SentCommands[]): Promise<number[]> {
    return await findUnsentCommands(this.#db, agents);
  }
}
