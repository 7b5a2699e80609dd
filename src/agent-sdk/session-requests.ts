import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import {
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
} from "../../gen/drover/v1/agent_service_pb.js";
import type { CallRefusal } from "./agent-error.ts";
import { JitteredDelay } from "./jittered-delay.ts";
import { monotonicMs } from "./monotonic-clock.ts";
import type { OutgoingQueue } from "./outgoing-queue.ts";

/** What is said in one message, as the contract's oneof has it. */
export type Saying = NonNullable<MessageInitShape<typeof SessionRequestSchema>["message"]>;
/** What answers it. */
export type Answer = SessionResponse["message"];

/** Something to be said to the server and answered by it, once or, where streams break, until it is. */
export interface Ask {
  /** Called for each sending, so that a repeat tells what holds now. */
  readonly say: () => Saying;
  /** `sentAtMs` is a time before the answered sending, on the monotonic clock. */
  readonly answered: (answer: Answer, sentAtMs: number) => void;
  readonly refused: (refusal: CallRefusal) => void;
  /** Whether the next stream hears it too, if this one ends without an answer. */
  readonly outlives: "stream" | "nothing";
}

/** What keeps a stream that is open from being of use. */
export interface StreamTrouble {
  /** An answer is overdue. */
  silent(): void;
  /** The server answers, and for as long as that only that it cannot serve: so does one that lost its database. */
  cannotServe(refusal: CallRefusal): void;
}

interface Waiting {
  readonly id: bigint;
  readonly ask: Ask;
  sentAtMs: number | undefined;
  /** When this stream first heard it of those sendings that were all answered UNAVAILABLE. */
  unservedSinceMs: number | undefined;
  sendings: number;
  delay: JitteredDelay | undefined;
  timer: NodeJS.Timeout | undefined;
}

// A message that this server will never take must not end stream after stream.
const SENDINGS_PER_BROKEN_STREAM = 3;
const REPEATS_OF_REFUSED = 8;
const FIRST_REPEAT_MS = 250;
const LAST_REPEAT_MS = 10_000;
// The server takes 1 MiB; a larger one would end the stream.
const LARGEST_BYTES = 1_000_000;

const passing: ReadonlySet<Code> = new Set([
  Code.Aborted,
  Code.DeadlineExceeded,
  Code.Internal,
  Code.ResourceExhausted,
  Code.Unavailable,
  Code.Unknown,
]);

/**
 * The messages of a session that await an answer. They outlast the streams: a new stream first hears what the one
 * before did not answer, in the same order. That is harmless, since each kind of message can be repeated.
 */
export class SessionRequests {
  readonly #waiting = new Map<bigint, Waiting>();
  readonly #silenceMs: number;
  #trouble: StreamTrouble | undefined;
  #queue: OutgoingQueue<SessionRequest> | undefined;
  #watch: NodeJS.Timeout | undefined;
  #lastId = 0n;

  /** A stream on which a message is not answered within `silenceMs` counts as dead. */
  constructor(silenceMs: number) {
    this.#silenceMs = silenceMs;
  }

  /** How many messages await their answer. */
  get unanswered(): number {
    return this.#waiting.size;
  }

  newId(): bigint {
    this.#lastId += 1n;
    return this.#lastId;
  }

  ask(ask: Ask): void {
    const id = this.newId();
    const waiting: Waiting = {
      id,
      ask,
      sentAtMs: undefined,
      unservedSinceMs: undefined,
      sendings: 0,
      delay: undefined,
      timer: undefined,
    };
    if (this.#queue === undefined && ask.outlives === "nothing") return;
    this.#waiting.set(id, waiting);
    this.#send(waiting);
  }

  /** Speaks through this stream from now on. */
  attach(queue: OutgoingQueue<SessionRequest>, trouble: StreamTrouble): void {
    this.#queue = queue;
    this.#trouble = trouble;
    for (const waiting of [...this.#waiting.values()]) this.#send(waiting);
  }

  /** The stream is gone, for the reason given where it failed. */
  detach(refusal: CallRefusal | undefined): void {
    this.#queue = undefined;
    clearTimeout(this.#watch);
    this.#watch = undefined;
    for (const waiting of [...this.#waiting.values()]) {
      if (waiting.ask.outlives === "nothing") this.#forget(waiting);
      else if (waiting.sentAtMs !== undefined && refusal !== undefined && mayBlame(refusal, waiting)) {
        this.#forget(waiting);
        waiting.ask.refused(refusal);
      }
      waiting.sentAtMs = undefined;
      waiting.unservedSinceMs = undefined;
    }
  }

  /** Takes an answer; false if it answers nothing that was asked. */
  hear({ inReplyTo, message }: SessionResponse): boolean {
    const waiting = this.#waiting.get(inReplyTo);
    if (waiting?.sentAtMs === undefined) return false;
    if (message.case === "refusal") this.#refuse(waiting, message.value);
    else {
      const { sentAtMs } = waiting;
      this.#forget(waiting);
      waiting.ask.answered(message, sentAtMs);
    }
    return true;
  }

  /** Forgets everything, at the session's end. */
  close(refusal: CallRefusal): void {
    this.detach(undefined);
    for (const waiting of [...this.#waiting.values()]) {
      this.#forget(waiting);
      waiting.ask.refused(refusal);
    }
  }

  #send(waiting: Waiting): void {
    if (this.#queue === undefined || waiting.timer !== undefined) return;
    const message = create(SessionRequestSchema, { id: waiting.id, message: waiting.ask.say() });
    const bytes = toBinary(SessionRequestSchema, message).length;
    if (bytes > LARGEST_BYTES) {
      this.#forget(waiting);
      const text = `The message takes ${bytes} bytes; ${LARGEST_BYTES} are allowed.`;
      waiting.ask.refused({ code: Code.InvalidArgument, reason: "", message: text });
      return;
    }
    waiting.sentAtMs = monotonicMs();
    waiting.sendings += 1;
    this.#queue.push(message);
    this.#watchFor(this.#silenceMs);
  }

  #refuse(waiting: Waiting, refusal: CallRefusal): void {
    const { reason, message } = refusal;
    const { code } = refusal;
    if (!passing.has(code) || waiting.sendings > REPEATS_OF_REFUSED || reason === "SESSION_SUPERSEDED") {
      this.#forget(waiting);
      waiting.ask.refused({ code, reason, message });
      return;
    }
    if (code === Code.Unavailable) waiting.unservedSinceMs ??= waiting.sentAtMs;
    else waiting.unservedSinceMs = undefined;
    waiting.sentAtMs = undefined;
    const unservedMs = monotonicMs() - (waiting.unservedSinceMs ?? monotonicMs());
    if (unservedMs >= this.#silenceMs) this.#trouble?.cannotServe({ code, reason, message });
    waiting.delay ??= new JitteredDelay(FIRST_REPEAT_MS, LAST_REPEAT_MS);
    waiting.timer = setTimeout(() => {
      waiting.timer = undefined;
      this.#send(waiting);
    }, waiting.delay.nextMs());
  }

  #forget(waiting: Waiting): void {
    clearTimeout(waiting.timer);
    this.#waiting.delete(waiting.id);
  }

  #watchFor(ms: number): void {
    if (this.#watch !== undefined) return;
    const dueAtMs = monotonicMs() + ms;
    this.#watch = setTimeout(() => {
      this.#watch = undefined;
      const now = monotonicMs();
      // This process was stopped for a while: the answer may have come meanwhile and be about to be read.
      if (now - dueAtMs > 500) {
        this.#watchFor(1000);
        return;
      }
      const sent = [...this.#waiting.values()].flatMap(({ sentAtMs }) => sentAtMs ?? []);
      if (sent.length === 0) return;
      const leftMs = Math.min(...sent) + this.#silenceMs - now;
      if (leftMs > 1) this.#watchFor(leftMs);
      else this.#trouble?.silent();
    }, ms);
  }
}

/** Whether a stream may have ended because of this very message. */
function mayBlame({ code }: CallRefusal, { sendings }: Waiting): boolean {
  return (
    sendings >= SENDINGS_PER_BROKEN_STREAM &&
    (code === Code.InvalidArgument || code === Code.ResourceExhausted)
  );
}
