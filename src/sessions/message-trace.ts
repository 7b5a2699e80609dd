import type { ConnectError } from "@connectrpc/connect";
import type { AgentCaller } from "../identity/caller.ts";
import type { Tracing } from "../observability/tracing.ts";
import { codeNames, isServersFault } from "../runtime/code-name.ts";
import { PerSecond } from "../runtime/per-second.ts";
import { formatId } from "../runtime/resource-id.ts";

/** Heartbeats are nearly all that streams carry: a few a second show how long they take, whatever the fleet's size. */
const HEARTBEATS_PER_SECOND = 10;

/** What became of a message that was refused; the stream goes on. */
export interface Heard {
  refused?: ConnectError;
}

/**
 * Makes spans of what agents say on their streams. Each is a trace of its own, linked to the stream's span: a stream is
 * open for days, and nobody could read a trace of all that was said on it.
 */
export class MessageTrace {
  readonly #tracing: Tracing;
  readonly #heartbeats = new PerSecond(HEARTBEATS_PER_SECOND);

  constructor(tracing: Tracing) {
    this.#tracing = tracing;
  }

  async hear<T>(
    kind: string | undefined,
    { projectId, agentId }: AgentCaller,
    take: (heard: Heard) => Promise<T>,
  ): Promise<T> {
    const heard: Heard = {};
    if (kind === "heartbeat" && !this.#heartbeats.hasRoom(performance.now())) return await take(heard);
    const work = this.#tracing.beginApart(`Session ${kind ?? "unknown"}`, {
      "drover.project.id": formatId("project", projectId),
      "drover.agent.id": formatId("agent", agentId),
    });
    try {
      const result = await work.run(() => take(heard));
      const end = heard.refused?.code ?? "ok";
      work.note({ "rpc.response.status_code": codeNames[end] });
      work.end(isServersFault(end));
      return result;
    } catch (error) {
      // It ends the stream, whose own span tells the code.
      work.end(false);
      throw error;
    }
  }
}
