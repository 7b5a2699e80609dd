import postgres, { type Sql } from "postgres";
import { parseDatabaseUrl } from "../../src/storage/database-url.ts";

/** A plain client straight to a database, past every rule of the server. End it when done. */
export function openRawSql(databaseUrl: string, maxConnections: number): Sql {
  const { url, host, port } = parseDatabaseUrl(databaseUrl);
  return postgres(url, {
    ...(host !== undefined && { host }),
    ...(port !== undefined && { port }),
    max: maxConnections,
    onnotice: () => undefined,
  });
}
