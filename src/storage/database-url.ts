import { StorageStartError } from "./database-error.ts";

/** A database address taken apart: `url` for postgres.js, and what postgres.js cannot read from one. */
export interface DatabaseAddress {
  url: string;
  /** A Unix-socket folder, given as `?host=/folder` or as `%2Ffolder` in the host's place. */
  host?: string;
  port?: number;
}

/** Parameters that libpq understands and PostgreSQL itself would refuse as unknown settings. */
const LIBPQ_ONLY = ["channel_binding", "gssencmode", "sslcompression", "sslsni", "hostaddr", "passfile"];

/** Reads DATABASE_URL as libpq does, Unix sockets included; throws a sentence that never quotes the password. */
export function parseDatabaseUrl(text: string): DatabaseAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // Several hosts in a row are valid for PostgreSQL and not for URL; postgres.js reads those itself.
  if (url === undefined && /^postgres(ql)?:\/\/[^/?]*,/.test(text)) return { url: text };
  if (url === undefined || !/^postgres(ql)?:$/.test(url.protocol)) {
    throw new StorageStartError(
      "DATABASE_URL is not a PostgreSQL address; write it as postgres://user:password@host:5432/database.",
    );
  }
  const host = url.searchParams.get("host") ?? decodeURIComponent(url.hostname);
  const port = url.searchParams.get("port") ?? url.port;
  for (const name of ["host", "port", ...LIBPQ_ONLY]) url.searchParams.delete(name);
  for (const [name, part] of [
    ["user", "username"],
    ["password", "password"],
  ] as const) {
    const value = url.searchParams.get(name);
    if (value !== null && url.hostname !== "") url[part] = value;
    url.searchParams.delete(name);
  }
  if (!host.startsWith("/")) return { url: url.href };
  // postgres.js takes an encoded folder for a host name to look up.
  if (url.hostname !== "") url.hostname = "localhost";
  return { url: url.href, host, ...(port === "" ? {} : { port: Number(port) }) };
}

/** The address of a database behind a Unix socket, as any libpq client understands it. */
export function socketDatabaseUrl(socket: {
  folder: string;
  port: number;
  user: string;
  database: string;
}): string {
  const query = new URLSearchParams({ host: socket.folder, port: String(socket.port) });
  return `postgres://${socket.user}@localhost/${socket.database}?${query}`;
}

/** The same server's address with another database. */
export function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}
