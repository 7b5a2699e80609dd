import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { Code } from "@connectrpc/connect";
import type { SessionSettings } from "./agent-session.ts";
import type { FromSession, ToSession } from "./thread-messages.ts";

// A checkout runs its sources as they are; the package carries them compiled.
const entry = new URL(
  import.meta.url.endsWith(".ts") ? "session-worker.ts" : "session-worker.js",
  import.meta.url,
);

/** The session in a thread of its own, as the thread that works sees it. */
export class SessionThread {
  readonly #port;
  readonly #hear: (message: FromSession) => void;
  #ended = false;

  constructor(settings: SessionSettings, hear: (message: FromSession) => void) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#hear = hear;
    port1.on("message", (message: FromSession) => this.#take(message));
    const worker = new Worker(entry, {
      workerData: { settings, port: port2 },
      transferList: [port2],
      name: "drover session",
    });
    worker.on("error", (error) => this.#die(error instanceof Error ? error.message : String(error)));
    worker.on("exit", (code) => this.#die(`its thread ended with code ${code}`));
  }

  post(message: ToSession): void {
    if (!this.#ended) this.#port.postMessage(message);
  }

  /** Takes in what the session has said already, which a busy thread may not have come to hear yet. */
  drain(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#port);
      if (received === undefined) return;
      // The other end of the port sends nothing else.
      this.#take(received.message as FromSession);
    }
  }

  #take(message: FromSession): void {
    if (this.#ended) return;
    if (message.kind === "ended") this.#close();
    this.#hear(message);
  }

  #die(why: string): void {
    // What was said before the thread ended comes first; a session that ended well has said so.
    this.drain();
    if (this.#ended) return;
    this.#close();
    const refusal = { code: Code.Internal, reason: "", message: `The session broke down: ${why}` };
    this.#hear({ kind: "ended", end: { kind: "refused", refusal } });
  }

  #close(): void {
    this.#ended = true;
    this.#port.close();
  }
}
