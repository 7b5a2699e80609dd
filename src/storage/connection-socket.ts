import { connect, type Socket } from "node:net";
import type { Options } from "postgres";

const KEEP_ALIVE_AFTER_MS = 10_000;

/** The part of postgres.js's parsed options that says where to connect. */
interface Endpoint {
  host: string[];
  port: number[];
  path: string | false;
}

/**
 * Connects to the first host that answers; the deadline holds for each of them. `onGone` hears when the socket is closed,
 * also when postgres.js has put TLS on it and taken all listeners off it.
 */
export async function connectSocket(
  options: Options<Record<string, never>>,
  timeoutMs: number,
  onGone: () => void,
): Promise<Socket> {
  // postgres.js hands over its parsed options here, in which hosts and ports are always lists.
  const { host, port, path } = options as unknown as Endpoint;
  if (path) return tellWhenGone(await open(connect({ path }), timeoutMs), onGone);
  let failure: unknown;
  for (const [index, name] of host.entries()) {
    try {
      const socket = await open(connect({ host: name, port: port[index] ?? 5432, noDelay: true }), timeoutMs);
      // postgres.js checks a certificate against this name.
      return tellWhenGone(
        Object.assign(socket.setKeepAlive(true, KEEP_ALIVE_AFTER_MS), { host: name }),
        onGone,
      );
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** By the hook that a stream's implementer has, since listeners do not stay. */
function tellWhenGone(socket: Socket, onGone: () => void): Socket {
  const destroy = socket._destroy.bind(socket);
  socket._destroy = (error, done) => {
    destroy(error, (failure) => {
      done(failure);
      onGone();
    });
  };
  return socket;
}

function open(socket: Socket, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy(Object.assign(new Error("the database did not answer"), { code: "ETIMEDOUT" }));
    }, timeoutMs);
    const fail = (error: Error) => {
      clearTimeout(timer);
      reject(error);
    };
    socket.once("error", fail);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", fail);
      resolve(socket);
    });
  });
}
