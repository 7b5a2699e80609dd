import { setTimeout as delay } from "node:timers/promises";
import type { Caller } from "../identity/caller.ts";
import { Refusal } from "../runtime/refusal.ts";
import type { Service } from "../runtime/service.ts";
import type { Watch } from "./watch.ts";

/** Callers that do not read are cut off by then; whatever is left, the doors end. */
const STOP_WITHIN_MS = 1_000;

/** Looks after a stream until what it returns is called: ends it when its token is revoked or expires. */
export type GuardStream = (stream: {
  tokenId: string;
  projectId: string;
  agentId: undefined;
  confirm(atMs: number): void;
  end(reason: Refusal): void;
}) => () => void;

/** The open watches of a server: ended with their tokens, with their callers, and when the server stops. */
export class WatchRegistry implements Service {
  readonly #guard: GuardStream;
  readonly #open = new Map<Watch, Promise<void>>();
  #isStopping = false;

  constructor(guard: GuardStream) {
    this.#guard = guard;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Runs a watch until it ends; `gone` is aborted when its caller went away. */
  add(watch: Watch, { tokenId, projectId }: Caller, gone: AbortSignal): void {
    const release = this.#guard({
      tokenId,
      projectId,
      agentId: undefined,
      confirm: () => {},
      end: (reason) => watch.end(reason),
    });
    const forget = () => watch.forget();
    gone.addEventListener("abort", forget);
    const ended = watch.run().finally(() => {
      gone.removeEventListener("abort", forget);
      release();
      this.#open.delete(watch);
    });
    this.#open.set(watch, ended);
    if (gone.aborted) forget();
    else if (this.#isStopping) watch.endForStop(stopping());
  }

  async start(): Promise<void> {}

  /** Ends all watches, before the doors close; their callers resume by their cursors elsewhere. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const watch of this.#open.keys()) watch.endForStop(stopping());
    const patience = new AbortController();
    const late = delay(STOP_WITHIN_MS, undefined, { signal: patience.signal }).catch(() => undefined);
    await Promise.race([Promise.all(this.#open.values()), late]);
    patience.abort();
  }
}

function stopping(): Refusal {
  return new Refusal("unavailable", "the server is stopping: resume from the last cursor", {
    retryAfterMs: 0,
  });
}
