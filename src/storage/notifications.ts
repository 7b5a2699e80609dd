import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { sql } from "drizzle-orm";
import { Periodic } from "../runtime/periodic.ts";
import type { Service } from "../runtime/service.ts";
import type { Database, ReservedConnection } from "./database.ts";

const CHANNEL = "drover_servers";
/** How often a server says that it is there, and looks after its connection. */
const ROUND_MS = 2_000;
/** A server that says nothing for so long is no other one any more. PostgreSQL ends its connection then, see below. */
const SILENCE_MS = 10_000;
/** Between two that are sent: what comes meanwhile goes with the next. */
const PAUSE_MS = 10;
/** PostgreSQL takes a payload of less than 8,000 bytes. */
const PAYLOAD_BYTES = 7_900;
/** Of texts that wait; beyond it they are dropped, since whoever is told looks by himself a little later. */
const MOST_WAITING = 2_000;

export interface NotificationsParts {
  /** Another server has said this. Has to bear anything: it may be of another version. */
  heard(text: string): void;
  readonly onError: (error: unknown) => void;
}

/**
 * What the servers of one database call to each other: hints that something is worth a look. None is certain to arrive.
 *
 * PostgreSQL lets transactions that notify commit one after another. So nothing is ever notified by a transaction that
 * does something: what is said within a few milliseconds goes out together, in a transaction of its own. A server that
 * is alone says nothing at all but that it is there.
 */
export class Notifications implements Service {
  readonly #database: Database;
  readonly #parts: NotificationsParts;
  readonly #self = randomUUID();
  readonly #others = new Map<string, number>();
  readonly #rounds: Periodic;
  readonly #waiting = new Set<string>();
  #connection: ReservedConnection | undefined;
  #sending: Promise<void> | undefined;
  #isStopped = false;

  constructor(database: Database, parts: NotificationsParts) {
    this.#database = database;
    this.#parts = parts;
    this.#rounds = new Periodic(ROUND_MS, () => this.#keepListening(), parts.onError);
  }

  /** Says a line of text to every other server; the same text twice within a few milliseconds is said once. */
  say(text: string): void {
    if (this.#isStopped || this.#others.size === 0 || this.#waiting.size >= MOST_WAITING) return;
    if (Buffer.byteLength(text) > PAYLOAD_BYTES - this.#self.length - 1) return;
    this.#waiting.add(text);
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
  }

  async start(): Promise<void> {
    await this.#rounds.start();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#rounds.stop();
    await this.#sending;
    await this.#connection?.release();
  }

  async #keepListening(): Promise<void> {
    const now = performance.now();
    for (const [other, heardAtMs] of this.#others) {
      if (heardAtMs < now - SILENCE_MS) this.#others.delete(other);
    }
    if (this.#connection?.lost.aborted) this.#connection = undefined;
    if (this.#connection === undefined) {
      this.#connection = await this.#database.listen(CHANNEL, (payload) => this.#hear(payload));
      // One that is frozen reads nothing, and PostgreSQL would keep all that is notified for it.
      await this.#connection.db.execute(
        sql`SELECT set_config('idle_session_timeout', ${String(SILENCE_MS)}, false)`,
      );
    }
    await this.#connection.db.execute(sql`SELECT pg_notify(${CHANNEL}, ${this.#self})`);
  }

  #hear(payload: string): void {
    const [from = "", ...texts] = payload.split("\n");
    if (from === this.#self || this.#isStopped) return;
    const isNew = !this.#others.has(from);
    this.#others.set(from, performance.now());
    // So that it need not wait for the next round to hear of this one.
    if (isNew) this.#connection?.db.execute(sql`SELECT pg_notify(${CHANNEL}, ${this.#self})`).catch(() => {});
    for (const text of texts) this.#parts.heard(text);
  }

  /** Never rejects. */
  async #send(): Promise<void> {
    while (this.#waiting.size > 0 && !this.#isStopped) {
      const payloads = pack(this.#self, [...this.#waiting]);
      this.#waiting.clear();
      try {
        await this.#database.db.execute(
          sql`SELECT pg_notify(${CHANNEL}, payload) FROM unnest(${sql.param(payloads)}::text[]) AS payload`,
        );
      } catch (error) {
        this.#parts.onError(error);
      }
      await delay(PAUSE_MS, undefined, { ref: false });
    }
  }
}

/** Lines below their sender's name, in as few payloads as they fit in. */
function pack(from: string, texts: readonly string[]): string[] {
  const payloads: string[] = [];
  let payload = from;
  for (const text of texts) {
    if (Buffer.byteLength(payload) + Buffer.byteLength(text) + 1 > PAYLOAD_BYTES) {
      payloads.push(payload);
      payload = from;
    }
    payload += `\n${text}`;
  }
  payloads.push(payload);
  return payloads;
}
