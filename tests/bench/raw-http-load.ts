import { connect, type Socket } from "node:net";

/**
 * Sends the same request over and over on a number of connections, one at a time on each, and waits for the
 * answers. Rejects for the first answer that is not 200, since what fails is quick.
 */
export async function sendCalls(
  port: number,
  request: string,
  connections: number,
  calls: number,
): Promise<void> {
  const each = Math.ceil(calls / connections);
  await Promise.all(Array.from({ length: connections }, () => sendOnOne(port, Buffer.from(request), each)));
}

function sendOnOne(port: number, request: Buffer, calls: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ port, host: "127.0.0.1", noDelay: true });
    let left = calls;
    let received = "";
    socket.on("error", reject);
    socket.on("connect", () => socket.write(request));
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      if (!isWhole(received)) return;
      if (!received.startsWith("HTTP/1.1 200 ")) reject(new Error(`answered ${received}`));
      received = "";
      left -= 1;
      if (left > 0) socket.write(request);
      else socket.end(resolve);
    });
  });
}

function isWhole(received: string): boolean {
  const headersEnd = received.indexOf("\r\n\r\n");
  if (headersEnd < 0) return false;
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(received.slice(0, headersEnd + 2))?.[1];
  if (length === undefined) return received.endsWith("0\r\n\r\n");
  return received.length >= headersEnd + 4 + Number(length);
}
