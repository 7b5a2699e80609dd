import { afterEach, describe, expect, test } from "vitest";
import { connectFleet } from "../helpers/fleet-api.ts";
import { openRawSql } from "../helpers/raw-sql.ts";
import { runInProcess } from "../helpers/run-in-process.ts";
import { type ServerProcess, startServer } from "../helpers/server-process.ts";
import { createTestDatabase, type TestDatabase } from "../helpers/test-database.ts";

describe("the server's own operator token", () => {
  let database: TestDatabase;
  const servers: ServerProcess[] = [];
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => server.stop()));
    await database.drop();
  });

  test("is minted once, when several servers start on an empty database at the same time", async () => {
    database = await createTestDatabase({ empty: true });
    servers.push(
      ...(await Promise.all(Array.from({ length: 3 }, () => startServer({ databaseUrl: database.url })))),
    );
    const tokens = servers.map(({ operatorToken }) => operatorToken).filter((token) => token !== undefined);
    expect(tokens.length).toBe(1);
    const sql = openRawSql(database.url, 1);
    expect((await sql`SELECT 1 FROM tokens`).length).toBe(1);
    expect((await sql`SELECT 1 FROM projects`).length).toBe(1);
    await sql.end();
    // With the token stands where its server is.
    const [keeper] = servers.filter(({ operatorToken }) => operatorToken !== undefined);
    const ran = await runInProcess(["projects", "--json"], {
      env: { DROVER_DATA_DIR: keeper?.dataDir ?? "" },
    });
    expect(JSON.parse(ran.stdout)).toMatchObject({ projects: [{ name: "default" }] });
    for (const server of servers) {
      const fleet = connectFleet(server);
      expect((await fleet.operator(tokens[0] ?? "").projects.listProjects({})).projects.length).toBe(1);
      fleet.close();
    }
  });
});
