import type { AgentCaller } from "../identity/caller.ts";
import { newUuid } from "../runtime/resource-id.ts";
import type { Db } from "../storage/database.ts";
import { forgetStreamServers, keepStreamServer, noteStreams, type StreamNote } from "./stream-store.ts";

/** Streams of one statement: ten thousand agents may come back at once. */
const NOTES_AT_ONCE = 2_000;

/**
 * Keeps in the database which agents listen by a stream of this server, so that whoever shows an agent, on whatever
 * server, can tell. What happened is gathered, and written for all streams together whenever `keep` is called.
 */
export class StreamRecord {
  readonly #db: Db;
  readonly #serverId = newUuid();
  readonly #open = new Map<object, StreamNote>();
  readonly #notes = new Map<string, StreamNote>();
  #hasBegun = false;

  constructor(db: Db) {
    this.#db = db;
  }

  /** The agent listens by this stream, in the session of that epoch; undefined: whichever it has. */
  opened(stream: { readonly caller: AgentCaller }, epoch: bigint | undefined): void {
    const { projectId, agentId } = stream.caller;
    const note = { projectId, agentId, id: newUuid(), epoch, ended: false };
    this.#open.set(stream, note);
    this.#notes.set(note.id, note);
  }

  /** A stream has ended, whether the agent listened by it or not. */
  ended(stream: object): void {
    const note = this.#open.get(stream);
    if (note === undefined) return;
    this.#open.delete(stream);
    this.#notes.set(note.id, { ...note, ended: true });
  }

  /** Writes what happened, and that this server is there. What could not be written is kept for the next time. */
  async keep(): Promise<void> {
    if (this.#open.size === 0 && this.#notes.size === 0) return;
    if (!this.#hasBegun) await forgetStreamServers(this.#db);
    await keepStreamServer(this.#db, this.#serverId);
    this.#hasBegun = true;
    for (const notes = [...this.#notes.values()]; notes.length > 0; ) {
      const some = notes.splice(0, NOTES_AT_ONCE);
      await noteStreams(this.#db, this.#serverId, some);
      for (const note of some) if (this.#notes.get(note.id) === note) this.#notes.delete(note.id);
    }
  }
}
