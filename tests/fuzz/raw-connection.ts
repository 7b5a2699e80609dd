import { connect, type Socket } from "node:net";

/** How long an answer may take by the clock: far longer than it should, since the machine may be busy. */
const PATIENCE_MS = 30_000;

/** A connection that sends bytes as they are and reads the status of what comes back. */
export class RawConnection {
  readonly #port: number;
  #socket: Socket | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  /**
   * Sends bytes and waits for one answer, which to HEAD has no body, or for the end of the connection, as after bytes
   * that may ask for nothing. Gives the status of the answer, 0 where nothing came.
   */
  async send(bytes: Buffer, until: "answer" | "head" | "end"): Promise<{ status: number; answer: string }> {
    const socket = this.#socket ?? (await open(this.#port));
    this.#socket = socket;
    const answer = await new Promise<string>((resolve, reject) => {
      let received = "";
      const timer = setTimeout(() => reject(new Error("no answer")), PATIENCE_MS);
      const finish = (): void => {
        clearTimeout(timer);
        socket.removeAllListeners("data").removeAllListeners("close");
        resolve(received);
      };
      socket.on("data", (chunk: Buffer) => {
        received += chunk.toString("latin1");
        if (until !== "end" && isWhole(received, until === "head")) finish();
      });
      socket.on("close", () => {
        this.#socket = undefined;
        finish();
      });
      if (until === "end") socket.end(bytes);
      else socket.write(bytes);
    });
    const status = Number(
      /^HTTP\/1\.1 (\d{3}) /.exec(answer.replace(/^HTTP\/1\.1 100 .*\r\n\r\n/, ""))?.[1] ?? 0,
    );
    if (/^connection: close\r$/im.test(answer)) this.close();
    return { status, answer };
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true }, () => resolve(socket));
    socket.once("error", reject);
    // What breaks a connection is told by its end.
    socket.on("error", () => {});
  });
}

function isWhole(received: string, isHead: boolean): boolean {
  const headersEnd = received.indexOf("\r\n\r\n");
  if (headersEnd < 0) return false;
  const headers = received.slice(0, headersEnd + 2);
  if (/^HTTP\/1\.1 100 /.test(headers)) return isWhole(received.slice(headersEnd + 4), isHead);
  if (isHead || /^HTTP\/1\.1 (204|304) /.test(headers)) return true;
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(headers)?.[1];
  if (length !== undefined) return received.length >= headersEnd + 4 + Number(length);
  return /\r\n0\r\n([^\r\n]+\r\n)*\r\n$/.test(received);
}
