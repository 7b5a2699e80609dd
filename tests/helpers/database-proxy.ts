import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { parseDatabaseUrl } from "../../src/storage/database-url.ts";

/** A way to a database that can be broken. */
export interface DatabaseProxy {
  /** The database's address by this way. */
  readonly url: string;
  /** From now on the database hears everything and nobody hears the database. */
  holdAnswers(): void;
  /** Ends every connection, and with it answers that were held; new ones are let through. */
  cut(): void;
  /** Ends every connection and takes no new one. */
  close(): Promise<void>;
  /** Takes connections again, at the same address. */
  open(): Promise<void>;
}

/** Listens on a port of this machine and passes on to the database that the address names. */
export async function proxyDatabase(databaseUrl: string): Promise<DatabaseProxy> {
  const target = parseDatabaseUrl(databaseUrl);
  const sockets = new Set<Socket>();
  let held = false;
  const server = createServer({ noDelay: true }, (client) => {
    const { host, port } = target;
    const byName = new URL(target.url);
    const database =
      host === undefined
        ? connect({ host: byName.hostname, port: Number(byName.port || 5432), noDelay: true })
        : connect(`${host}/.s.PGSQL.${port ?? 5432}`);
    for (const [socket, other] of [
      [client, database],
      [database, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    client.on("data", (chunk) => database.write(chunk));
    database.on("data", (chunk) => {
      if (!held) client.write(chunk);
    });
  });
  const cut = () => {
    held = false;
    for (const socket of sockets) socket.destroy();
  };
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // An address of TCP is an object, never a text.
  const { port } = server.address() as AddressInfo;
  const url = new URL(target.url);
  url.host = `127.0.0.1:${port}`;
  return {
    url: url.href,
    holdAnswers: () => {
      held = true;
    },
    cut,
    async close() {
      if (!server.listening) return;
      server.close();
      cut();
      await once(server, "close");
    },
    async open() {
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
    },
  };
}
