import { signal } from "@preact/signals";
import type { Event } from "../../../gen/drover/v1/event_pb.js";

const MOST_EVENTS = 1000;

/** The newest events that this page has heard of, the newest first. */
class Tail {
  /** A new array at most once a frame. */
  readonly events = signal<readonly Event[]>([]);
  #waiting: Event[] = [];
  #frame: ReturnType<typeof setTimeout> | undefined;

  add(event: Event): void {
    this.#waiting.push(event);
    this.#frame ??= setTimeout(() => {
      this.#frame = undefined;
      const newest = this.#waiting.reverse();
      this.#waiting = [];
      this.events.value = [...newest, ...this.events.value].slice(0, MOST_EVENTS);
    }, 50);
  }

  clear(): void {
    clearTimeout(this.#frame);
    this.#frame = undefined;
    this.#waiting = [];
    this.events.value = [];
  }
}

export const tail = new Tail();
