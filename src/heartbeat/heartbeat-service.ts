import { lockAgent, saveAgentState } from "../agents/agent-service.ts";
import type { LockedState } from "../agents/agent-store.ts";
import type { AgentCaller } from "../identity/caller.ts";
import { Refusal } from "../runtime/refusal.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import { enterByHello } from "./enter-session.ts";
import type { Heartbeat, HeartbeatAnswer, HeartbeatListener } from "./heartbeat.ts";
import { countStream, countStreamOfNewest } from "./heartbeat-store.ts";
import type { HeartbeatWriter } from "./heartbeat-writer.ts";

/**
 * Takes heartbeats. All that one does happens in one transaction on its agent's locked row: it is durable when it is
 * answered, and nothing of it is when it is not.
 */
export class HeartbeatService {
  readonly #db: Db;
  readonly #writer: HeartbeatWriter;
  readonly #listener: HeartbeatListener;

  constructor(db: Db, writer: HeartbeatWriter, listener: HeartbeatListener) {
    this.#db = db;
    this.#writer = writer;
    this.#listener = listener;
  }

  /** `renewalDue`: the caller's token is past a third of its life. Throws NOT_FOUND, ABORTED, RESOURCE_EXHAUSTED. */
  beat(caller: AgentCaller, heartbeat: Heartbeat, renewalDue: boolean): Promise<HeartbeatAnswer> {
    return this.#writer.submit({ caller, heartbeat, renewalDue });
  }

  /**
   * Gives a run of the agent's process its epoch, as its first heartbeat would, so that it supersedes the run before.
   * It is no heartbeat: the agent's state stays as it is. Throws NOT_FOUND, ABORTED.
   */
  async enter(caller: AgentCaller, bootId: string): Promise<bigint> {
    return await this.#enter(caller, bootId, async (_, { epoch }) => epoch);
  }

  /**
   * As `enter`, for a stream in both directions, which gets its number among those of the agent: by that an older stream
   * hears of it, on whatever server it is.
   */
  async enterByStream(caller: AgentCaller, bootId: string): Promise<{ epoch: bigint; stream: bigint }> {
    const { projectId, agentId } = caller;
    return (
      (await countStreamOfNewest(this.#db, { projectId, agentId, bootId })) ??
      (await this.#enter(caller, bootId, async (tx, { epoch }) => ({
        epoch,
        stream: await countStream(tx, caller),
      })))
    );
  }

  async #enter<T>(
    caller: AgentCaller,
    bootId: string,
    then: (tx: Tx, state: LockedState) => Promise<T>,
  ): Promise<T> {
    const { projectId, agentId } = caller;
    try {
      const { state, isNew, result } = await inTransaction(this.#db, async (tx) => {
        const locked = await lockAgent(tx, projectId, agentId);
        const entered = await enterByHello(tx, caller, locked, bootId);
        if (entered.isNew)
          await saveAgentState(tx, projectId, entered.state, { seen: false, statusChanged: false });
        return { ...entered, result: await then(tx, entered.state) };
      });
      if (isNew) this.#listener.sessionBegan(caller, state.epoch);
      return result;
    } catch (error) {
      if (error instanceof Refusal && error.reason === "AGENT_REMOVED") this.#listener.agentGone(caller);
      throw error;
    }
  }
}
