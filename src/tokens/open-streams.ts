import { unauthenticated } from "../identity/unauthenticated.ts";
import type { Refusal } from "../runtime/refusal.ts";
import type { Service } from "../runtime/service.ts";
import type { Db } from "../storage/database.ts";
import { findEnded, type StreamToken } from "./token-store.ts";

/** Twice within the second that a revocation has to reach every stream, wherever it was made. */
const LOOK_EVERY_MS = 400;

/** A stream that lasts no longer than the token that opened it. */
export interface OpenStream extends StreamToken {
  /** The token was in force at that time, in ms of the monotonic clock. */
  confirm(atMs: number): void;
  /** Ends the stream; called once. */
  end(reason: Refusal): void;
}

/**
 * Ends streams whose tokens are revoked or have expired. A call is checked once, when it comes in; a stream goes on, so
 * its token is looked at again: for all open streams together, by one query at a time. Revocations made by this server
 * are told at once.
 */
export class OpenStreams implements Service {
  readonly #db: Db;
  readonly #onError: (error: unknown) => void;
  readonly #streams = new Map<string, Set<OpenStream>>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  constructor(db: Db, onError: (error: unknown) => void) {
    this.#db = db;
    this.#onError = onError;
  }

  /** Watches over a stream until the function that this returns is called. */
  add(stream: OpenStream): () => void {
    const { tokenId } = stream;
    const siblings = this.#streams.get(tokenId) ?? new Set();
    this.#streams.set(tokenId, siblings.add(stream));
    return () => {
      siblings.delete(stream);
      if (siblings.size === 0 && this.#streams.get(tokenId) === siblings) this.#streams.delete(tokenId);
    };
  }

  /** Ends every stream that one of these tokens has opened. */
  end(tokenIds: readonly string[]): void {
    for (const tokenId of tokenIds) {
      const streams = this.#streams.get(tokenId);
      this.#streams.delete(tokenId);
      for (const stream of streams ?? []) stream.end(unauthenticated());
    }
  }

  async start(): Promise<void> {
    this.#timer = setInterval(() => {
      // A database that is slower than the interval is not asked twice at once.
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined;
      });
    }, LOOK_EVERY_MS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    const tokens = [...this.#streams.values()].flatMap((streams) => {
      const [first] = streams;
      return first === undefined ? [] : [first];
    });
    if (tokens.length === 0) return;
    try {
      const askedAtMs = performance.now();
      this.end(await findEnded(this.#db, tokens));
      for (const { tokenId } of tokens) {
        for (const stream of this.#streams.get(tokenId) ?? []) stream.confirm(askedAtMs);
      }
    } catch (error) {
      // Streams that are not confirmed ask for themselves before they take anything, see confirmCaller.
      this.#onError(error);
    }
  }
}
