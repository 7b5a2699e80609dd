import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  Health,
  type HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../gen/grpc/health/v1/health_pb.js";
import { type ServedService, serve } from "./door.ts";

/** Which services serve; the name "" stands for the server as a whole. */
export class HealthState {
  readonly #serving = new Map<string, boolean>();
  readonly #listeners = new Set<() => void>();
  #stopped = false;

  set(service: string, serving: boolean): void {
    if (this.#serving.get(service) === serving) return;
    this.#serving.set(service, serving);
    for (const listener of this.#listeners) listener();
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

  /** Whether a service serves; undefined for one that was never set. */
  get(service: string): boolean | undefined {
    return this.#serving.get(service);
  }

  entries(): Iterable<[string, boolean]> {
    return this.#serving.entries();
  }

  /** Calls back after every change until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** grpc.health.v1 for any door, told by one state. */
export function createHealthService(state: HealthState): ServedService {
  return serve(Health, {
    check({ service }) {
      const serving = state.get(service);
      if (serving === undefined) throw new ConnectError("the server has no such service", Code.NotFound);
      return answerOf(serving);
    },
    list() {
      const known = Array.from(state.entries(), ([name, serving]) => [name, answerOf(serving)] as const);
      return { statuses: Object.fromEntries(known) };
    },
    async *watch({ service }, { signal }) {
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
