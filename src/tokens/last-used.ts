import type { Service } from "../runtime/service.ts";
import type { Db } from "../storage/database.ts";
import { noteUse } from "./token-store.ts";

const FLUSH_EVERY_MS = 15_000;
const NOTED_FOR_MS = 60_000;

/**
 * Notes when tokens were last used, to the minute: uses are gathered here and written together, so that no call waits
 * for the note and a busy token costs one write a minute.
 */
export class LastUsedRecorder implements Service {
  readonly #db: Db;
  readonly #onError: (error: unknown) => void;
  readonly #waiting = new Set<string>();
  readonly #notedAt = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(db: Db, onError: (error: unknown) => void) {
    this.#db = db;
    this.#onError = onError;
  }

  used(tokenId: string): void {
    if (!this.#notedAt.has(tokenId)) this.#waiting.add(tokenId);
  }

  async start(): Promise<void> {
    this.#timer = setInterval(() => {
      this.#writing = this.#writing.then(() => this.#flush());
    }, FLUSH_EVERY_MS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#writing = this.#writing.then(() => this.#flush());
    await this.#writing;
  }

  async #flush(): Promise<void> {
    const monotonicMs = performance.now();
    for (const [id, at] of this.#notedAt) if (monotonicMs - at >= NOTED_FOR_MS) this.#notedAt.delete(id);
    const ids = [...this.#waiting];
    this.#waiting.clear();
    if (ids.length === 0) return;
    for (const id of ids) this.#notedAt.set(id, monotonicMs);
    try {
      await noteUse(this.#db, ids);
    } catch (error) {
      this.#onError(error);
    }
  }
}
