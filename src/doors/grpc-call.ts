import { constants, type ServerHttp2Stream } from "node:http2";
import type { DescMethod } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createContextValues,
  type HandlerContext,
  type StreamResponse,
} from "@connectrpc/connect";
import { Metadata } from "@grpc/grpc-js";
import { cutOffKey } from "../runtime/cut-off.ts";
import { type CertificateNames, namesIn } from "./client-certificate.ts";
import { peerKey } from "./door.ts";
import { headersFromMetadata, metadataFromHeaders } from "./grpc-metadata.ts";
import { REQUEST_ID_HEADER, requestIdKey, requestIdOf } from "./request-id.ts";

/** What the four call objects of grpc-js have in common, as far as the adapter needs it. */
export interface GrpcCall {
  readonly metadata: Metadata;
  getPeer(): string;
  getHost(): string;
  getDeadline(): Date | number;
  sendMetadata(metadata: Metadata): void;
  getAuthContext(): { sslPeerCertificate?: { subjectaltname?: string } | undefined };
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
  readonly #requestId: string;
  readonly #controller = new AbortController();
  #header: Headers | undefined;
  #trailer: Headers | undefined;
  #interrupted: (() => void) | undefined;
  #isAnswered = false;
  #hasSentHeaders = false;
  /** Set once the door stops. */
  #lastWordsMs: number | undefined;

  constructor(call: GrpcCall, method: DescMethod, onEnd: (open: OpenCall) => void) {
    this.#call = call;
    this.isStream = method.methodKind !== "unary";
    const deadlineMs = Number(call.getDeadline());
    const self = this;
    const requestHeader = headersFromMetadata(call.metadata);
    this.#requestId = requestIdOf(requestHeader.get(REQUEST_ID_HEADER));
    this.context = {
      method,
      service: method.parent,
      protocolName: "grpc",
      requestMethod: "POST",
      url: `http://${call.getHost()}/${method.parent.typeName}/${method.name}`,
      signal: this.#controller.signal,
      timeoutMs: () => (deadlineMs === Number.POSITIVE_INFINITY ? undefined : deadlineMs - Date.now()),
      requestHeader,
      values: createContextValues()
        .set(peerKey, {
          door: "grpc",
          ...endpointOf(call.getPeer()),
          certificate: () => certificateOf(call),
        })
        .set(requestIdKey, this.#requestId)
        .set(cutOffKey, () => this.#cutOff(constants.NGHTTP2_CANCEL)),
      // Few handlers look at these, and an open stream would hold them for as long as it lives.
      get responseHeader() {
        self.#header ??= new Headers();
        return self.#header;
      },
      get responseTrailer() {
        self.#trailer ??= new Headers();
        return self.#trailer;
      },
    };
    // grpc-js emits this once for every call: on cancellation, on a deadline, and after the last byte of a good one.
    call.on("cancelled", () => {
      this.abort(this.#isAnswered ? CALL_ENDED : interruptionOf(deadlineMs));
      onEnd(this);
    });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends the call for its handler; what it then throws or returns decides what the caller sees. */
  abort(reason: ConnectError): void {
    this.#controller.abort(reason);
    this.#interrupted?.();
  }

  /**
   * Ends the call because its door stops. A caller who keeps its own side open, as one that waits for its next message
   * may, is cut off so long after the answer: the connection would stand open for it.
   */
  stop(reason: ConnectError, lastWordsMs: number): void {
    this.#lastWordsMs = lastWordsMs;
    if (this.#isAnswered) this.#cutOffSoon(lastWordsMs);
    this.abort(reason);
  }

  #cutOffSoon(ms: number): void {
    // Without effect on a call that is over by then.
    setTimeout(() => this.#cutOff(constants.NGHTTP2_NO_ERROR), ms).unref();
  }

  #cutOff(code: number): void {
    // grpc-js itself only ends a call behind all that was written to it. The stream below is private to it; its version
    // is pinned, and tests/sessions fails if a new one keeps it elsewhere.
    const { call } = this.#call as { call?: { stream?: ServerHttp2Stream } };
    call?.stream?.close(code);
  }

  /** Calls back when the call is aborted; cheaper than a listener on the signal, for the one that every stream needs. */
  onInterrupted(interrupted: () => void): void {
    this.#interrupted = interrupted;
  }

  /** Takes the headers and trailers of a response, which interceptors may have replaced. */
  answerWith({ header, trailer }: Pick<StreamResponse, "header" | "trailer">): void {
    this.#header = header;
    this.#trailer = trailer;
  }

  /** Says that the handler's result goes out now, so that the call's end is not a cancellation. */
  answer(): void {
    this.#isAnswered = true;
    if (this.#lastWordsMs !== undefined) this.#cutOffSoon(this.#lastWordsMs);
  }

  /** Sends the response headers, before anything else goes out. */
  sendHeaders(): void {
    if (this.#hasSentHeaders) return;
    this.#hasSentHeaders = true;
    const metadata = (this.#header && metadataFromHeaders(this.#header)) ?? new Metadata();
    metadata.set(REQUEST_ID_HEADER, this.#requestId);
    this.#call.sendMetadata(metadata);
  }

  /** Trailers of a call that is refused, with its id: of one that failed, many clients show their callers nothing else. */
  get trailersOfRefusal(): Metadata {
    const metadata = this.trailers ?? new Metadata();
    metadata.set(REQUEST_ID_HEADER, this.#requestId);
    return metadata;
  }

  /** The trailers that the handler set, if any. */
  get trailers(): Metadata | undefined {
    return this.#trailer && metadataFromHeaders(this.#trailer);
  }
}

// A timer may fire a millisecond before the clock shows its time.
function interruptionOf(deadlineMs: number): ConnectError {
  return Date.now() + 2 >= deadlineMs
    ? new ConnectError("the deadline has passed", Code.DeadlineExceeded)
    : new ConnectError("the caller cancelled the call", Code.Canceled);
}

function certificateOf(call: GrpcCall): CertificateNames | undefined {
  const { sslPeerCertificate: certificate } = call.getAuthContext();
  return certificate && namesIn(certificate.subjectaltname);
}

function endpointOf(peer: string): { address: string; port: number } {
  const colon = peer.lastIndexOf(":");
  // grpc-js joins address and port without brackets, so an IPv6 address keeps all of its colons but the last.
  if (colon === -1) return { address: "", port: 0 };
  return { address: peer.slice(0, colon), port: Number(peer.slice(colon + 1)) };
}
