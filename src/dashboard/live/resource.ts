import { effect, type ReadonlySignal, signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { sentenceOf } from "../api/failure.ts";

/** Something read from the server: what it last said stays while it is read again or cannot be. */
export type Reading<T> =
  | { readonly kind: "loading" }
  | { readonly kind: "ready"; readonly value: T; readonly stale?: string }
  | { readonly kind: "failed"; readonly error: unknown; readonly sentence: string };

export interface Resource<T> {
  readonly reading: ReadonlySignal<Reading<T>>;
  /** Reads it again now. */
  refresh(): void;
}

interface Options {
  /** Read again after so many milliseconds; not by itself when left out. */
  readonly everyMs?: number;
  /** Read again, at most twice a second, whenever this changes. */
  readonly when?: ReadonlySignal<unknown>;
}

/** Reads something while the component is shown, and afresh whenever `key` changes. */
export function useResource<T>(
  key: string,
  read: (signal: AbortSignal) => Promise<T>,
  options: Options = {},
): Resource<T> {
  const poller = useMemo(() => new Poller(read, options), [key]);
  useEffect(() => poller.run(), [poller]);
  return poller;
}

const SOON_MS = 400;

class Poller<T> implements Resource<T> {
  readonly reading = signal<Reading<T>>({ kind: "loading" });
  readonly #read: (signal: AbortSignal) => Promise<T>;
  readonly #options: Options;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #busy = false;
  #again = false;
  #ended = new AbortController();

  constructor(read: (signal: AbortSignal) => Promise<T>, options: Options) {
    this.#read = read;
    this.#options = options;
  }

  run(): () => void {
    this.#ended = new AbortController();
    let first = true;
    const stopHearing = effect(() => {
      this.#options.when?.value;
      if (first) first = false;
      else this.#schedule(SOON_MS);
    });
    const onVisible = () => document.visibilityState === "visible" && this.refresh();
    document.addEventListener("visibilitychange", onVisible);
    this.refresh();
    return () => {
      this.#ended.abort();
      stopHearing();
      clearTimeout(this.#timer);
      this.#timer = undefined;
      document.removeEventListener("visibilitychange", onVisible);
    };
  }

  refresh(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#busy) {
      this.#again = true;
      return;
    }
    void this.#load(this.#ended.signal);
  }

  /** A sooner reading that is planned already stays. */
  #schedule(ms: number): void {
    if (this.#timer !== undefined && ms <= SOON_MS && this.#soon) return;
    clearTimeout(this.#timer);
    this.#soon = ms <= SOON_MS;
    this.#timer = setTimeout(() => this.refresh(), ms);
  }
  #soon = false;

  async #load(ended: AbortSignal): Promise<void> {
    this.#busy = true;
    try {
      const value = await this.#read(ended);
      if (!ended.aborted) this.reading.value = { kind: "ready", value };
    } catch (error) {
      if (!ended.aborted) this.#failed(error);
    }
    this.#busy = false;
    if (ended.aborted) {
      // It was shown again meanwhile, and that showing waits for a reading of its own.
      if (!this.#ended.signal.aborted) this.refresh();
      return;
    }
    const again = this.#again;
    this.#again = false;
    if (again) this.#schedule(SOON_MS);
    else if (this.#options.everyMs !== undefined) this.#schedule(pace(this.#options.everyMs));
  }

  #failed(error: unknown): void {
    const before = this.reading.value;
    const sentence = sentenceOf(error);
    this.reading.value =
      before.kind === "ready"
        ? { kind: "ready", value: before.value, stale: sentence }
        : { kind: "failed", error, sentence };
  }
}

/** A page that nobody looks at asks ten times as seldom. */
const pace = (ms: number): number => (document.visibilityState === "visible" ? ms : ms * 10);
