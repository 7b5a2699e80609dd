import type { Command } from "../../gen/drover/v1/agent_service_pb.js";
import type { HeldLeases } from "./held-leases.ts";
import type { SessionRequests } from "./session-requests.ts";

// A command comes by the stream and by each heartbeat's answer until it is acknowledged.
const REMEMBERED = 1000;

/** Carries commands out once each, and acknowledges them. */
export class CommandInbox {
  readonly #seen = new Set<bigint>();
  readonly #requests: SessionRequests;
  readonly #leases: HeldLeases;
  readonly #unknown: (command: Command) => void;
  #taken: bigint[] = [];
  #acknowledging = new Set<bigint>();

  /** `unknown` hears of commands that this version does not know. */
  constructor(requests: SessionRequests, leases: HeldLeases, unknown: (command: Command) => void) {
    this.#requests = requests;
    this.#leases = leases;
    this.#unknown = unknown;
  }

  take(command: Command): void {
    const { sequence } = command;
    if (!this.#seen.has(sequence)) {
      this.#remember(sequence);
      if (command.kind === "cancelTask") this.#leases.cancel(command.taskId, command.reason);
      // It is acknowledged all the same, or it would come for ever; that it was not obeyed is reported.
      else this.#unknown(command);
    }
    if (this.#acknowledging.has(sequence) || this.#taken.includes(sequence)) return;
    this.#taken.push(sequence);
    this.#acknowledge();
  }

  #acknowledge(): void {
    if (this.#acknowledging.size > 0 || this.#taken.length === 0) return;
    const sequences = this.#taken.splice(0, REMEMBERED);
    this.#acknowledging = new Set(sequences);
    const done = () => {
      this.#acknowledging.clear();
      this.#acknowledge();
    };
    this.#requests.ask({
      outlives: "stream",
      say: () => ({ case: "commandAcknowledgement", value: { sequences } }),
      answered: done,
      refused: done,
    });
  }

  #remember(sequence: bigint): void {
    this.#seen.add(sequence);
    const [oldest] = this.#seen;
    if (this.#seen.size > REMEMBERED && oldest !== undefined) this.#seen.delete(oldest);
  }
}
