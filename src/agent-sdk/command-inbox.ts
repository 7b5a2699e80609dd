import type { Command } from "../../gen/drover/v1/agent_service_pb.js";
import type { SessionRequests } from "./session-requests.ts";

// A command comes by the stream and by each heartbeat's answer until it is acknowledged.
const REMEMBERED = 1000;

/** What came of obeying a command. */
export type Obedience =
  /** Done, or begun so that nothing can keep it from being done. */
  | "done"
  /** It could not be done now: the server sends it again, with the answer to the next heartbeat. */
  | "later";

/** Has commands carried out once each, and acknowledges them. */
export class CommandInbox {
  readonly #seen = new Set<bigint>();
  readonly #requests: SessionRequests;
  readonly #obey: (command: Command) => Obedience | Promise<Obedience>;
  readonly #underWay = new Set<bigint>();
  #taken: bigint[] = [];
  #acknowledging = new Set<bigint>();

  /** `obey` must not reject. */
  constructor(requests: SessionRequests, obey: (command: Command) => Obedience | Promise<Obedience>) {
    this.#requests = requests;
    this.#obey = obey;
  }

  take(command: Command): void {
    const { sequence } = command;
    if (this.#underWay.has(sequence)) return;
    if (this.#seen.has(sequence)) {
      this.#acknowledgeOnce(sequence);
      return;
    }
    this.#remember(sequence);
    const obedience = this.#obey(command);
    if (obedience === "done") this.#acknowledgeOnce(sequence);
    else if (obedience === "later") this.#seen.delete(sequence);
    else void this.#await(sequence, obedience);
  }

  async #await(sequence: bigint, obedience: Promise<Obedience>): Promise<void> {
    this.#underWay.add(sequence);
    const outcome = await obedience;
    this.#underWay.delete(sequence);
    if (outcome === "done") this.#acknowledgeOnce(sequence);
    else this.#seen.delete(sequence);
  }

  #acknowledgeOnce(sequence: bigint): void {
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
