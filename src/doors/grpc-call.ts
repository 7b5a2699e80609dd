import type { DescMethod } from "@bufbuild/protobuf";
import { Code, ConnectError, createContextValues, type HandlerContext } from "@connectrpc/connect";
import type { Metadata } from "@grpc/grpc-js";
import { peerKey } from "./door.ts";
import { headersFromMetadata, metadataFromHeaders } from "./grpc-metadata.ts";

/** What the four call objects of grpc-js have in common, as far as the adapter needs it. */
export interface GrpcCall {
  readonly metadata: Metadata;
  getPeer(): string;
  getHost(): string;
  getDeadline(): Date | number;
  sendMetadata(metadata: Metadata): void;
  on(event: "cancelled", listener: () => void): unknown;
}

// One object for all calls: a handler that outlives its call sees an aborted signal, and nobody reads the reason.
const CALL_ENDED = new ConnectError("the call has ended", Code.Canceled);

/**
 * One call in progress: the Connect context of its handler, whose signal is aborted when the caller goes away, when
 * the deadline passes, when the door stops, and when the call has ended.
 */
export class OpenCall {
  readonly context: HandlerContext;
  readonly isStream: boolean;
  readonly #call: GrpcCall;
  readonly #controller = new AbortController();
  #answered = false;
  #headersSent = false;

  constructor(call: GrpcCall, method: DescMethod, onEnd: (open: OpenCall) => void) {
    this.#call = call;
    this.isStream = method.methodKind !== "unary";
    const deadlineMs = Number(call.getDeadline());
    this.context = {
      method,
      service: method.parent,
      protocolName: "grpc",
      requestMethod: "POST",
      url: `http://${call.getHost()}/${method.parent.typeName}/${method.name}`,
      signal: this.#controller.signal,
      timeoutMs: () => (deadlineMs === Number.POSITIVE_INFINITY ? undefined : deadlineMs - Date.now()),
      requestHeader: headersFromMetadata(call.metadata),
      responseHeader: new Headers(),
      responseTrailer: new Headers(),
      values: createContextValues().set(peerKey, { door: "grpc", address: addressOf(call.getPeer()) }),
    };
    // grpc-js emits this once for every call: on cancellation, on a deadline, and after the last byte of a good one.
    call.on("cancelled", () => {
      if (!this.#answered) this.abort(interruptionOf(deadlineMs));
      else this.#controller.abort(CALL_ENDED);
      onEnd(this);
    });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: ConnectError): void {
    this.#controller.abort(reason);
  }

  /** Says that the handler's result goes out now, so that the call's end is not a cancellation. */
  answer(): void {
    this.#answered = true;
  }

  /** Sends the response headers if the handler set any; grpc-js sends its own with the first message otherwise. */
  sendHeaders(): void {
    if (this.#headersSent) return;
    this.#headersSent = true;
    const metadata = metadataFromHeaders(this.context.responseHeader);
    if (metadata !== undefined) this.#call.sendMetadata(metadata);
  }
}

// A timer may fire a millisecond before the clock shows its time.
function interruptionOf(deadlineMs: number): ConnectError {
  return Date.now() + 2 >= deadlineMs
    ? new ConnectError("the deadline has passed", Code.DeadlineExceeded)
    : new ConnectError("the caller cancelled the call", Code.Canceled);
}

function addressOf(peer: string): string {
  const colon = peer.lastIndexOf(":");
  // grpc-js joins address and port without brackets, so an IPv6 address keeps all of its colons but the last.
  return colon === -1 ? "" : peer.slice(0, colon);
}
