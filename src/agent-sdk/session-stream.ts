import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
} from "../../gen/drover/v1/agent_service_pb.js";
import { refusalOf } from "./agent-error.ts";
import { bearer, openConnection, type ServerAddress } from "./connection-options.ts";
import { monotonicMs } from "./monotonic-clock.ts";
import { OutgoingQueue } from "./outgoing-queue.ts";
import type { StreamEnd } from "./plan-reconnect.ts";

export interface SessionStreamOptions {
  readonly server: ServerAddress;
  readonly token: string;
  readonly bootId: string;
  /** Id of the hello among the session's messages. */
  readonly helloId: bigint;
  /** How long the server's welcome may take, connecting included, in milliseconds. */
  readonly openMs: number;
}

/** One stream on a connection of its own: says hello, and hands on what the server says until either side ends it. */
export class SessionStream {
  readonly queue = new OutgoingQueue<SessionRequest>();
  readonly #options: SessionStreamOptions;
  readonly #abort = new AbortController();
  #welcomedAtMs: number | undefined;
  #wanted: StreamEnd | undefined;

  constructor(options: SessionStreamOptions) {
    this.#options = options;
  }

  /** Whether it can be spoken through. */
  get isOpen(): boolean {
    return this.#welcomedAtMs !== undefined && this.#wanted === undefined;
  }

  /** How long it has worked, in milliseconds; 0 if it was never welcomed. */
  get workedMs(): number {
    return this.#welcomedAtMs === undefined ? 0 : monotonicMs() - this.#welcomedAtMs;
  }

  get isWelcomed(): boolean {
    return this.#welcomedAtMs !== undefined;
  }

  get isMoving(): boolean {
    return this.#wanted?.kind === "moved" || this.#wanted?.kind === "sentAway";
  }

  /** Ends it now; the first end that is wanted counts. */
  end(end: StreamEnd): void {
    this.#wanted ??= end;
    this.#abort.abort(new ConnectError("The stream was ended.", Code.Canceled));
  }

  /** Leaves it within `withinMs`, for another server where `elsewhere`: the server may still answer what it was asked. */
  move(withinMs: number, elsewhere: boolean): void {
    this.#wanted ??= { kind: elsewhere ? "sentAway" : "moved" };
    setTimeout(() => this.#abort.abort(), withinMs).unref();
  }

  /** Ends it as dead. */
  giveUp(why: string): void {
    this.#abort.abort(new ConnectError(why, Code.Unavailable));
  }

  /** Reads it to its end. `hear` gets every message, the welcome first. */
  async run(hear: (response: SessionResponse) => void): Promise<StreamEnd> {
    const { server, token, bootId, helloId, openMs } = this.#options;
    const connection = openConnection(server);
    const late = setTimeout(() => this.giveUp(`${server.url} gave no answer in time.`), openMs);
    this.queue.push(
      create(SessionRequestSchema, { id: helloId, message: { case: "hello", value: { bootId } } }),
    );
    const { signal } = this.#abort;
    try {
      for await (const response of connection.client.session(this.queue, {
        signal,
        headers: bearer(token),
      })) {
        if (response.message.case === "welcome") {
          clearTimeout(late);
          this.#welcomedAtMs ??= monotonicMs();
        }
        hear(response);
      }
      return this.#wanted ?? { kind: "over" };
    } catch (error) {
      return this.#wanted ?? this.#failed(signal.aborted ? signal.reason : error);
    } finally {
      clearTimeout(late);
      this.queue.end();
      connection.close();
    }
  }

  #failed(error: unknown): StreamEnd {
    const { url } = this.#options.server;
    const { retryAfterMs, ...refusal } = refusalOf(error, { url, answered: this.isWelcomed });
    return { kind: "failed", refusal, retryAfterMs };
  }
}
