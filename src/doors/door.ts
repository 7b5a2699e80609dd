import type { Socket } from "node:net";
import type { DescService } from "@bufbuild/protobuf";
import { type ContextKey, createContextKey, type ServiceImpl } from "@connectrpc/connect";
import type { Service } from "../runtime/service.ts";
import type { CertificateNames } from "./client-certificate.ts";

/** One service behind the doors; methods without an implementation answer UNIMPLEMENTED. */
export interface ServedService {
  readonly service: DescService;
  readonly implementation: Partial<ServiceImpl<DescService>>;
}

/** Pairs a service with its implementation, checked against each other. */
export function serve<S extends DescService>(
  service: S,
  implementation: Partial<ServiceImpl<S>>,
): ServedService {
  // ServiceImpl maps method names to functions of their own message types, which are not assignable to functions
  // of any message; the doors call each one with messages of exactly its own descriptor.
  return { service, implementation: implementation as Partial<ServiceImpl<DescService>> };
}

/** Where a door listens: the numeric address and port that the operating system gave. */
export interface BoundAddress {
  readonly host: string;
  readonly port: number;
}

/** A listening server. `address` throws until `start` has resolved. */
export interface Door extends Service {
  readonly address: BoundAddress;
}

/** What a door tells of problems that no caller can be told of, such as an answer that could not be written. */
export type ReportProblem = (problem: string, error: unknown) => void;

/** Calls `letIn` when a new connection may be read, at once or later; a connection that may not be, it ends. */
export type AdmitConnection = (socket: Socket, letIn: () => void) => void;

/** Lets everybody in. */
export const admitAll: AdmitConnection = (_socket, letIn) => letIn();

/** `/package.Service/Method` of the methods whose callers send a stream, whose requests have no end to wait for. */
export function pathsOfRequestStreams(services: readonly ServedService[]): Set<string> {
  const paths = new Set<string>();
  for (const { service } of services) {
    for (const { name, methodKind } of service.methods) {
      if (methodKind === "client_streaming" || methodKind === "bidi_streaming") {
        paths.add(`/${service.typeName}/${name}`);
      }
    }
  }
  return paths;
}

/** Who is at the other end of a call: the door it came through, and the peer's IP address ("" when unknown) and port. */
export interface Peer {
  readonly door: "grpc" | "web" | "rest" | "none";
  readonly address: string;
  readonly port: number;
  /** Names in the certificate that the peer has shown and proved to own; undefined without one. */
  readonly certificate?: () => CertificateNames | undefined;
}

/** The caller's {@link Peer} in a call's context values. */
export const peerKey: ContextKey<Peer> = createContextKey<Peer>({ door: "none", address: "", port: 0 });

/** The largest message a door accepts, in bytes after decompression. */
export const MAX_MESSAGE_BYTES = 1024 * 1024;

/**
 * How deep protobuf messages may nest on the wire. A JSON value takes two message levels for each of its own
 * (Value, then Struct or ListValue), so this lets 64 levels of JSON through with room for the messages around them.
 */
export const MAX_MESSAGE_DEPTH = 160;

/** How long a stopping door waits for calls in flight before it cuts them off, in milliseconds. */
export const DEFAULT_GRACE_MS = 10_000;

/** How long calls that were cut off get to say so, before their connections are closed, in milliseconds. */
export const LAST_WORDS_MS = 100;
