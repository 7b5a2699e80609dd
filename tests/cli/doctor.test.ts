import { once } from "node:events";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer, type RequestListener } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { withDatabase } from "../../src/storage/database-url.ts";
import { type Authority, createAuthority, createTlsFolder, type TlsFolder } from "../helpers/certificates.ts";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { runInProcess } from "../helpers/run-in-process.ts";
import { createTestDatabase, type TestDatabase } from "../helpers/test-database.ts";

interface Finding {
  check: string;
  state: string;
  message: string;
  cure?: string;
}

const DAY_MS = 86_400_000;
let folder: string;
let authority: Authority;
let tls: TlsFolder;
let server: TestControlPlane;
let healthy: Record<string, string>;
const closing: { close(): void }[] = [];

/** One server, over TLS, for every case; what is wrong is wrong with the doctor's own settings. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "drover-doctor-"));
  authority = await createAuthority();
  tls = await createTlsFolder(
    await authority.issue({ notAfter: new Date(Date.now() + 90 * DAY_MS) }),
    authority.ca,
  );
  const identity = { DROVER_TLS_CERT: tls.cert, DROVER_TLS_KEY: tls.key };
  server = await startControlPlane({ settings: identity });
  const [row] = await server.database<{ name: string }>`SELECT current_database() AS name`;
  await writeFile(join(folder, "operator.token"), `${server.operatorToken}\n`, { mode: 0o600 });
  healthy = {
    ...identity,
    DATABASE_URL: withDatabase(inject("postgresUrl"), row?.name ?? ""),
    DROVER_DATA_DIR: folder,
    DROVER_HTTP_ADDR: new URL(server.httpUrl).host,
    DROVER_GRPC_ADDR: server.grpcAddress,
    DROVER_CA: tls.ca,
  };
});

afterAll(async () => {
  for (const each of closing) each.close();
  await server?.stop();
  await tls?.remove();
  await rm(folder, { recursive: true, force: true });
});

async function examine(changes: Record<string, string> = {}, args: readonly string[] = []) {
  const env = { ...healthy, ...changes };
  const { code, stdout, stderr } = await runInProcess(["doctor", "--json", ...args], { env });
  expect(stderr).toBe("");
  const { ok, findings } = JSON.parse(stdout) as { ok: boolean; findings: Finding[] };
  expect(ok).toBe(code === 0);
  // Whatever is wrong has its cure.
  for (const { state, cure } of findings)
    expect(cure !== undefined).toBe(["warning", "error"].includes(state));
  return { code, of: (check: string) => findings.filter((finding) => finding.check === check), findings };
}

async function listening<S extends Server>(made: S): Promise<string> {
  closing.push(made);
  made.listen(0, "127.0.0.1");
  await once(made, "listening");
  return `127.0.0.1:${(made.address() as AddressInfo).port}`; // listens on TCP
}

async function database<T>(change: string[], use: (database: TestDatabase) => Promise<T>): Promise<T> {
  const own = await createTestDatabase({ empty: change.length === 0 });
  const { openDatabase } = await import("../../src/storage/database.ts");
  const opened = openDatabase({ url: own.url, applicationName: "tests" });
  try {
    for (const statement of change) await opened.db.execute(statement);
    return await use(own);
  } finally {
    await opened.close();
    await own.drop();
  }
}

describe("drover doctor", () => {
  it("finds nothing wrong where all is well, and says what it looked at", async () => {
    const { code, findings } = await examine();
    // The database of the tests does without fsync, and is told so.
    const wrong = findings.filter(({ state, check }) => check !== "database" && state !== "ok");
    expect(wrong).toEqual([]);
    expect(code).toBe(0);
    expect(new Set(findings.map(({ check }) => check))).toEqual(
      new Set([
        "settings",
        "thresholds",
        "database",
        "migrations",
        "database clock",
        "ports",
        "tls",
        "operator token",
        "server",
        "server clock",
        "server certificate",
        "token",
      ]),
    );
  });

  it("prints a table with the cure below what is wrong", async () => {
    const env = { ...healthy, DROVER_LEASE: "20s" };
    const { code, stdout } = await runInProcess(["doctor"], { env });
    expect(code).toBe(1);
    expect(stdout).toMatch(/^error +thresholds +DROVER_LEASE must be .* 20s < 3 x 15s\.\n +→ Change one/m);
    expect(stdout).toMatch(/^ok +server +https:\S+ answers, and is ready\.$/m);
    expect(stdout).toMatch(/\n1 error, 1 warning\.\n$/);
  });

  it("names each bad setting and goes on with the rest", async () => {
    const changes = { DROVER_LEASE: "soon", DROVER_BRAKE_RATE: "-1", DROVER_LEAS: "60s" };
    const { code, of } = await examine(changes);
    expect(code).toBe(1);
    const [lease, rate, unknown] = ["DROVER_LEASE ", "DROVER_BRAKE_RATE ", "DROVER_LEAS is no setting"].map(
      (start) => of("settings").find(({ message }) => message.startsWith(start)),
    );
    expect([lease?.state, rate?.state, unknown?.state]).toEqual(["error", "error", "warning"]);
    expect(unknown?.cure).toContain("perhaps DROVER_LEASE is meant");
    expect(of("server")).toMatchObject([{ state: "ok" }]);
  });

  it("takes settings as flags, which win", async () => {
    const { of } = await examine({ DROVER_STALE_AFTER: "2" }, ["--stale-after", "9"]);
    expect(of("thresholds")).toMatchObject([{ state: "error" }]);
    expect(of("thresholds")[0]?.message).toContain("DROVER_STALE_AFTER");
  });

  it("tells why a database cannot be used", async () => {
    const nobody = await examine({ DATABASE_URL: "postgres://drover:hunter2@127.0.0.1:1/drover" });
    expect(nobody.of("database")).toMatchObject([
      { state: "error", cure: "Start PostgreSQL there, or correct host and port in DATABASE_URL." },
    ]);
    expect(JSON.stringify(nobody.findings)).not.toContain("hunter2");
    const missing = await examine({ DATABASE_URL: withDatabase(inject("postgresUrl"), "nowhere") });
    expect(missing.of("database")).toMatchObject([
      { state: "error", cure: "Create that database first, or name another one." },
    ]);
  });

  it("leaves an embedded database that does not run alone", async () => {
    const nowhere = join(folder, "nowhere");
    const { code, of } = await examine({
      DATABASE_URL: "",
      DROVER_DATA_DIR: nowhere,
      DROVER_TOKEN: server.operatorToken,
    });
    expect([code, of("database"), of("migrations")]).toMatchObject([0, [{ state: "skipped" }], []]);
    expect(of("operator token")).toMatchObject([{ state: "skipped" }]);
    await expect(rm(nowhere, { recursive: true })).rejects.toThrow("ENOENT");
  });

  it("tells a schema that is behind, one that is missing, and one of somebody else", async () => {
    await database([], async ({ url }) => {
      expect((await examine({ DATABASE_URL: url })).of("migrations")).toMatchObject([
        { state: "warning", message: "The database is empty." },
      ]);
    });
    const behind =
      "DELETE FROM drover_migrations WHERE position = (SELECT max(position) FROM drover_migrations)";
    await database([behind], async ({ url }) => {
      const [found] = (await examine({ DATABASE_URL: url })).of("migrations");
      expect(found).toMatchObject({ state: "warning", message: "The database lacks 1 migration." });
    });
    await database(["UPDATE drover_migrations SET hash = 'x' WHERE position = 0"], async ({ url }) => {
      const { code, of } = await examine({ DATABASE_URL: url });
      expect([code, of("migrations")]).toMatchObject([
        1,
        [{ state: "error", cure: "Give Drover a database of its own." }],
      ]);
    });
  });

  it("tells a database whose clock is off", async () => {
    const fake = [
      "CREATE SCHEMA wrong",
      `CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql
       AS $$ SELECT pg_catalog.clock_timestamp() - interval '90 seconds' $$`,
      "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET search_path = wrong, pg_catalog, public'; END $$",
    ];
    await database(fake, async ({ url }) => {
      const [found] = (await examine({ DATABASE_URL: url })).of("database clock");
      expect(found).toMatchObject({ state: "warning" });
      expect(found?.message).toMatch(/ (89|90|91)\.\d s behind this machine's\.$/);
    });
  });

  it("tells a port that another program uses, and one that cannot be had", async () => {
    const taken = await listening(createTcpServer((socket) => socket.destroy()));
    const { code, of } = await examine({ DROVER_HTTP_ADDR: taken, DROVER_GRPC_ADDR: "192.0.2.1:0" });
    expect(code).toBe(1);
    expect(of("ports").map(({ message }) => message)).toEqual([
      `DROVER_HTTP_ADDR: ${taken} is used by another program.`,
      "DROVER_GRPC_ADDR: 192.0.2.1:0 is no address of this machine.",
    ]);
  });

  it("tells a certificate that ended, one that soon will, and a key of another one", async () => {
    const of = async (notAfter: Date) => {
      const other = await createTlsFolder(await authority.issue({ notAfter }), authority.ca);
      closing.push({ close: () => void other.remove() });
      const paths = { DROVER_TLS_CERT: other.cert, DROVER_TLS_KEY: other.key };
      return { other, found: (await examine(paths)).of("tls") };
    };
    const ended = await of(new Date(Date.now() - DAY_MS / 2));
    expect(ended.found).toMatchObject([{ state: "error" }]);
    expect(ended.found[0]?.message).toContain(" ended at ");
    const soon = await of(new Date(Date.now() + 3.5 * DAY_MS));
    expect(soon.found).toMatchObject([{ state: "warning" }]);
    expect(soon.found[0]?.message).toContain("in 3 days");
    const mixed = await examine({ DROVER_TLS_CERT: soon.other.cert, DROVER_TLS_KEY: ended.other.key });
    expect(mixed.of("tls")[0]?.message).toContain("not the key of the certificate");
    const alone = await examine({ DROVER_TLS_KEY: "" });
    expect([alone.of("tls"), alone.of("thresholds")]).toMatchObject([
      [{ state: "error", cure: "Set what is missing, or leave out what needs it." }],
      [{ state: "ok" }],
    ]);
    const bare = await examine({ DROVER_TLS_CERT: "", DROVER_TLS_KEY: "", DROVER_HTTP_ADDR: "0.0.0.0:0" });
    expect(bare.of("tls")).toMatchObject([{ state: "warning" }]);
  });

  it("tells an operator's token that others may read", async () => {
    const path = join(folder, "operator.token");
    await chmod(path, 0o644);
    const { of } = await examine();
    await chmod(path, 0o600);
    expect(of("operator token")).toMatchObject([{ state: "warning", cure: `Run: chmod 600 ${path}` }]);
  });

  it("tells a server that does not answer, that is not ready, that is none, and a token that is refused", async () => {
    const nobody = await examine({}, ["--url", "http://127.0.0.1:1"]);
    expect([nobody.code, nobody.of("server")]).toMatchObject([1, [{ state: "error" }]]);
    const answering = async (handler: RequestListener) =>
      `http://${await listening(createHttpServer(handler))}`;
    const unready = await answering((_request, response) => {
      response.writeHead(503, { date: new Date(Date.now() + 3_600_000).toUTCString() });
      response.end('{"status":"unavailable","notReady":[{"name":"database","reason":"it is gone"}]}');
    });
    const found = await examine({}, ["--url", unready]);
    expect(found.of("server")[0]?.message).toContain("is not ready: database: it is gone.");
    expect(found.of("server clock")).toMatchObject([{ state: "warning" }]);
    expect(found.of("server clock")[0]?.message).toContain("ahead of this machine's");
    const other = await answering((_request, response) => void response.end("<html>"));
    expect((await examine({}, ["--url", other])).of("server")[0]?.message).toContain(
      "not as a Drover server does",
    );
    const refused = await examine({ DROVER_TOKEN: `${server.operatorToken.slice(0, -1)}~` });
    expect([refused.code, refused.of("token")]).toMatchObject([1, [{ state: "error" }]]);
  });

  it("says that nobody named a server where any port would do, and that none runs at the one of the settings", async () => {
    const free = { DROVER_HTTP_ADDR: "127.0.0.1:0" };
    expect((await examine(free)).of("server")).toMatchObject([{ state: "skipped" }]);
    const unused = await examine({ DROVER_HTTP_ADDR: "127.0.0.1:1" });
    expect(unused.of("server")).toMatchObject([{ state: "skipped" }]);
  });
});
