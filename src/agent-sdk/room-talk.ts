import type { CallRefusal } from "./agent-error.ts";
import type { SessionRequests } from "./session-requests.ts";

/**
 * Tells the server for how many more tasks there is room. What is said replaces what was said before, and crosses
 * with assignments on their way. So where the server still has room to give, it is first told 0: once that is
 * answered nothing more is on its way, and what is said then is exact. An agent with one slot never needs that.
 */
export class RoomTalk {
  readonly #requests: SessionRequests;
  readonly #free: () => number;
  readonly #refused: (refusal: CallRefusal) => void;
  #kinds: readonly string[] = [];
  /** What the server has left of what it was told. */
  #known = 0;
  #asking = false;
  #open = false;

  /** `free` counts the slots that no task takes, here or on its way into work. */
  constructor(requests: SessionRequests, free: () => number, refused: (refusal: CallRefusal) => void) {
    this.#requests = requests;
    this.#free = free;
    this.#refused = refused;
  }

  /** A stream begins: the server knows nothing. */
  begin(): void {
    this.#known = 0;
    this.#asking = false;
    this.#open = true;
    this.update();
  }

  /** The stream is to end: no more tasks by it. */
  pause(): void {
    this.#open = false;
    if (this.#known > 0 && !this.#asking) this.#say(0);
  }

  set kinds(kinds: readonly string[]) {
    this.#kinds = kinds;
    this.update();
  }

  /** A task came. */
  assigned(): void {
    this.#known = Math.max(0, this.#known - 1);
  }

  /** The number of free slots may have changed. */
  update(): void {
    if (this.#asking) return;
    const wanted = this.#open && this.#kinds.length > 0 ? Math.max(0, Math.min(100, this.#free())) : 0;
    if (wanted !== this.#known) this.#say(this.#known > 0 ? 0 : wanted);
  }

  #say(slots: number): void {
    this.#asking = true;
    // Each task that comes from now on is given under this word, also where it overtakes the answer.
    if (slots > 0) this.#known = slots;
    this.#requests.ask({
      outlives: "nothing",
      say: () => ({ case: "ready", value: { slots, kinds: [...this.#kinds] } }),
      answered: () => {
        if (slots === 0) this.#known = 0;
        this.#asking = false;
        this.update();
      },
      refused: (refusal) => {
        // Said again after the next heartbeat: an agent in error is refused until it has recovered.
        this.#known = 0;
        this.#asking = false;
        this.#refused(refusal);
      },
    });
  }
}
