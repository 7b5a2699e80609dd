import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  Health,
  type HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../gen/grpc/health/v1/health_pb.js";
import { type ServedService, serve } from "./door.ts";

/** How often readiness is looked at while somebody watches it, in milliseconds. */
const LOOK_EVERY_MS = 1000;

/** Which services serve; the name "" stands for the server as a whole. None does while the server is not ready. */
export class HealthState {
  readonly #serving = new Map<string, boolean>();
  readonly #listeners = new Set<() => void>();
  readonly #isReady: () => Promise<boolean>;
  readonly #lookEveryMs: number;
  #ready = true;
  #stopped = false;
  #lookAgain: NodeJS.Timeout | undefined;

  constructor(isReady: () => Promise<boolean> = async () => true, lookEveryMs: number = LOOK_EVERY_MS) {
    this.#isReady = isReady;
    this.#lookEveryMs = lookEveryMs;
  }

  set(service: string, serving: boolean): void {
    if (this.#serving.get(service) === serving) return;
    this.#serving.set(service, serving);
    this.#tell();
  }

  /** Says of everything known so far that it does not serve any more. */
  stopServing(): void {
    this.#stopped = true;
    for (const service of this.#serving.keys()) this.set(service, false);
  }

  /** Why nothing should be sent here any more; undefined while the server serves. */
  get problem(): string | undefined {
    return this.#stopped ? "the server is stopping" : undefined;
  }

  /** Looks whether the server is ready, which `get` and `entries` then know. */
  async look(): Promise<void> {
    const ready = await this.#isReady();
    if (ready === this.#ready) return;
    this.#ready = ready;
    this.#tell();
  }

  /** Whether a service serves, as of the last look; undefined for one that was never set. */
  get(service: string): boolean | undefined {
    const serving = this.#serving.get(service);
    return serving === undefined ? undefined : serving && this.#ready;
  }

  entries(): [string, boolean][] {
    return Array.from(this.#serving, ([name, serving]) => [name, serving && this.#ready]);
  }

  /** Calls back after every change until the returned function is called; readiness is looked at all the while. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#keepLooking();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      clearTimeout(this.#lookAgain);
      this.#lookAgain = undefined;
    };
  }

  #keepLooking(): void {
    if (this.#lookAgain !== undefined) return;
    const timer = setTimeout(async () => {
      await this.look();
      // Whoever watched may have gone meanwhile, and another one come with a timer of its own.
      if (this.#lookAgain !== timer) return;
      this.#lookAgain = undefined;
      this.#keepLooking();
    }, this.#lookEveryMs);
    this.#lookAgain = timer.unref();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** grpc.health.v1 for any door, told by one state. */
export function createHealthService(state: HealthState): ServedService {
  return serve(Health, {
    async check({ service }) {
      await state.look();
      const serving = state.get(service);
      if (serving === undefined) throw new ConnectError("the server has no such service", Code.NotFound);
      return answerOf(serving);
    },
    async list() {
      await state.look();
      const known = state.entries().map(([name, serving]) => [name, answerOf(serving)] as const);
      return { statuses: Object.fromEntries(known) };
    },
    async *watch({ service }, { signal }) {
      await state.look();
      let last: Answer["status"] | undefined;
      for await (const _ of changesOf(state, signal)) {
        const answer = answerOf(state.get(service));
        if (answer.status === last) continue;
        last = answer.status;
        yield answer;
      }
    },
  });
}

type Answer = MessageInitShape<typeof HealthCheckResponseSchema>;

function answerOf(serving: boolean | undefined): { status: ServingStatus } {
  if (serving === undefined) return { status: ServingStatus.SERVICE_UNKNOWN };
  return { status: serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING };
}

/** Yields at once, then after changes, several of them at a time if the reader is slow, until the signal. */
async function* changesOf(state: HealthState, signal: AbortSignal): AsyncGenerator<void> {
  let changed = true;
  let wake = () => {};
  const notice = () => {
    changed = true;
    wake();
  };
  const unsubscribe = state.onChange(notice);
  signal.addEventListener("abort", notice, { once: true });
  try {
    while (!signal.aborted) {
      if (changed) {
        changed = false;
        yield;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    unsubscribe();
    signal.removeEventListener("abort", notice);
  }
}
