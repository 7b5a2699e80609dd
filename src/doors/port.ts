import { createServer as createNetServer, type Server as NetServer, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { type AdmitConnection, admitAll } from "./door.ts";
import type { TlsIdentity } from "./tls.ts";

const HTTP2_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** Which protocol a connection's first bytes belong to; "undecided" asks for more of them. */
export function decideProtocol(received: Uint8Array): "http1" | "http2" | "undecided" {
  const length = Math.min(received.length, HTTP2_PREFACE.length);
  for (let i = 0; i < length; i++) if (received[i] !== HTTP2_PREFACE[i]) return "http1";
  return length === HTTP2_PREFACE.length ? "http2" : "undecided";
}

/** Takes over a connection of which nothing is read yet, or whose first bytes have been put back. */
export type TakeConnection = (socket: Socket) => void;

export interface PortOptions {
  readonly admit?: AdmitConnection;
  readonly http1: TakeConnection;
  readonly http2: TakeConnection;
  /** How long a connection may stay silent, undecided or in its handshake, in milliseconds. */
  readonly firstBytesTimeoutMs: number;
  /** Serves TLS; cleartext when left out. */
  readonly tls?: TlsIdentity | undefined;
}

/** A TCP server that serves HTTP/1.1 and HTTP/2 on one port. It only finds out which of them, and hands on. */
export function createPort(options: PortOptions): NetServer {
  const admit = options.admit ?? admitAll;
  const take = options.tls === undefined ? takeCleartext(options) : takeTls(options, options.tls);
  // An HTTP/1.1 client may close its half after the request and still wants the answer.
  return createNetServer(
    { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 },
    (socket) => admit(socket, () => take(socket)),
  );
}

/** In cleartext, the first bytes tell: HTTP/2 comes with prior knowledge. */
function takeCleartext(options: PortOptions): TakeConnection {
  return (socket) =>
    sniff(socket, options.firstBytesTimeoutMs, (protocol) => handOn(socket, protocol, options));
}

/** Over TLS, the handshake settles it (ALPN): HTTP/1.1 for a client that names no protocol. */
function takeTls(options: PortOptions, identity: TlsIdentity): TakeConnection {
  const server = createTlsServer({
    ...identity.options,
    requestCert: identity.wantsClientCertificate,
    rejectUnauthorized: identity.wantsClientCertificate,
    allowHalfOpen: true,
    ALPNProtocols: ["h2", "http/1.1"],
    handshakeTimeout: options.firstBytesTimeoutMs,
  });
  identity.onRenewal((renewed) => server.setSecureContext(renewed));
  server.on("secureConnection", (socket) =>
    handOn(socket, socket.alpnProtocol === "h2" ? "http2" : "http1", options),
  );
  // Somebody who speaks no TLS, or shows no good certificate.
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  return (socket) => {
    // A client that leaves in the middle of its handshake would otherwise stay until that has timed out.
    socket.allowHalfOpen = false;
    server.emit("connection", socket);
  };
}

function handOn(socket: Socket, protocol: "http1" | "http2", options: PortOptions): void {
  if (protocol === "http1") {
    options.http1(socket);
    return;
  }
  // Nothing is left to say on an HTTP/2 connection whose client has closed its half.
  socket.allowHalfOpen = false;
  options.http2(socket);
}

/**
 * Reads until the protocol is certain, puts the bytes back, and calls `decided`. It reads by `readable`, never by
 * `data`: a socket that once flowed hands its bytes past the HTTP/2 session.
 */
function sniff(socket: Socket, timeoutMs: number, decided: (protocol: "http1" | "http2") => void): void {
  let received: Buffer = Buffer.alloc(0);
  const giveUp = () => socket.destroy();
  // One deadline for all of it: a timer for each byte would let a connection stay forever.
  const deadline = setTimeout(giveUp, timeoutMs);
  deadline.unref();
  const settle = () => {
    clearTimeout(deadline);
    socket.off("readable", look);
    socket.off("end", giveUp);
    socket.off("error", giveUp);
    socket.off("close", settle);
  };
  const look = () => {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    const protocol = decideProtocol(received);
    if (protocol === "undecided") return;
    settle();
    socket.unshift(received);
    decided(protocol);
  };
  socket.on("readable", look);
  socket.once("end", giveUp);
  socket.once("error", giveUp);
  socket.once("close", settle);
}
