import type { ConnectError } from "@connectrpc/connect";
import type { AgentCaller } from "../identity/caller.ts";
import type { Tracing } from "../observability/tracing.ts";
import { codeNames, isServersFault } from "../runtime/code-name.ts";
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
  #second = 0;
  #heartbeats = 0;

  constructor(tracing: Tracing) {
    this.#tracing = tracing;
  }

  async hear<T>(
    kind: string | undefined,
    { projectId, agentId }: AgentCaller,
    take: (heard: Heard) => Promise<T>,
  ): Promise<T> {
    const heard: Heard = {};
    if (kind === "heartbeat" && !this.#hasRoom()) return await take(heard);
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

  #hasRoom(): boolean {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) this.#heartbeats = 0;
    this.#second = second;
    this.#heartbeats += 1;
    return this.#heartbeats <= HEARTBEATS_PER_SECOND;
  }
}
