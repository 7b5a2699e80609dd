import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatArrayText, parseArrayText } from "../../src/storage/array-text.ts";
import { parseDatabaseUrl, socketDatabaseUrl, withDatabase } from "../../src/storage/database-url.ts";
import { explainPostgresFailure } from "../../src/storage/explain-postgres-failure.ts";
import { parsePostmasterPid } from "../../src/storage/postmaster-pid.ts";
import { formatTimestamptz, parseTimestamptz } from "../../src/storage/timestamptz.ts";

describe("DATABASE_URL", () => {
  test.each([
    ["postgres://u:p@db:5433/name", { url: "postgres://u:p@db:5433/name" }],
    [
      "postgresql://db/name?sslmode=require&channel_binding=require",
      { url: "postgresql://db/name?sslmode=require" },
    ],
    ["postgres://u@%2Frun%2Fpg/name", { url: "postgres://u@localhost/name", host: "/run/pg" }],
    [
      "postgres://u@/name?host=/run/pg&port=5555",
      { url: "postgres://u@localhost/name", host: "/run/pg", port: 5555 },
    ],
    ["postgres:///name?host=%2Frun%2Fpg", { url: "postgres:///name", host: "/run/pg" }],
    ["postgres://u:p@one:1,two:2/name", { url: "postgres://u:p@one:1,two:2/name" }],
  ])("%s", (text, address) => {
    if (text.startsWith("postgres://u@/")) text = text.replace("u@/", "u@localhost/");
    expect(parseDatabaseUrl(text)).toEqual(address);
  });

  test.each(["", "mysql://db/name", "db:5432", "postgres//db", "host=/run/pg"])(
    "refuses %j with the form to use",
    (text) => {
      expect(() => parseDatabaseUrl(text)).toThrow(/postgres:\/\/user:password@host:5432\/database/);
    },
  );

  test("never quotes what it refuses", () => {
    expect(() => parseDatabaseUrl("http://u:planted-secret@db")).toThrow(
      expect.not.stringContaining("planted-secret"),
    );
  });

  test("a socket's address leads back to the socket", () => {
    const name = fc.stringMatching(/^[a-z0-9_]{1,12}$/);
    fc.assert(
      fc.property(
        fc.stringMatching(/^\/[ -~]{1,60}$/),
        fc.integer({ min: 1, max: 65535 }),
        name,
        name,
        (folder, port, user, database) => {
          const url = withDatabase(socketDatabaseUrl({ folder, port, user, database: "x" }), database);
          expect(parseDatabaseUrl(url)).toEqual({
            url: `postgres://${user}@localhost/${database}`,
            host: folder,
            port,
          });
        },
      ),
    );
  });
});

describe("arrays", () => {
  test("come back from text as they were, whatever stands in them", () => {
    // PostgreSQL's arrays are rectangular, and have no empty arrays within.
    const elements = fc.array(
      fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("NULL", '"', "\\", ",", "{}")),
      { minLength: 1 },
    );
    fc.assert(
      fc.property(fc.oneof(elements, fc.array(elements, { minLength: 1 }), fc.constant([])), (values) => {
        expect(parseArrayText(formatArrayText(values, String), String)).toEqual(values);
      }),
    );
  });

  test("of PostgreSQL's own spelling are read", () => {
    expect(parseArrayText('{a,"b c",NULL,"NULL","x\\"y"}', String)).toEqual([
      "a",
      "b c",
      null,
      "NULL",
      'x"y',
    ]);
    expect(parseArrayText("[0:1]={{1,2},{3,4}}", Number)).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(parseArrayText("{}", Number)).toEqual([]);
  });
});

describe("postmaster.pid", () => {
  test("is read line by line", () => {
    const text = "4711\n/data\n1735787045\n5432\n/tmp/drover-x\n\n  123 456\nready   \n";
    expect(parsePostmasterPid(text)).toEqual({
      pid: 4711,
      port: 5432,
      socketFolder: "/tmp/drover-x",
      ready: true,
    });
  });

  test("half written it is not ready, empty it is nothing", () => {
    expect(parsePostmasterPid("4711\n/data\n")).toMatchObject({ pid: 4711, ready: false });
    expect(parsePostmasterPid("")).toBeUndefined();
  });

  test("whatever stands in it, it gives a pid that can be signalled, or nothing", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom("0", "1", "9", "-", "\n", " ", "x", "ready") }),
        (text) => {
          const found = parsePostmasterPid(text);
          // Pid 0 and negative ones would signal whole groups of processes.
          expect(found === undefined || found.pid > 0).toBe(true);
        },
      ),
    );
  });
});

describe("moments", () => {
  test("come back from text to the microsecond", () => {
    const micros = fc.bigInt({ min: -62_135_596_800_000_000n, max: 253_402_300_799_999_999n });
    fc.assert(
      fc.property(micros, (value) => {
        const rest = ((value % 1_000_000n) + 1_000_000n) % 1_000_000n;
        const moment = { seconds: (value - rest) / 1_000_000n, nanos: Number(rest) * 1000 };
        expect(parseTimestamptz(formatTimestamptz(moment))).toEqual(moment);
      }),
    );
  });

  test.each([
    ["2025-01-02 03:04:05.1+00", { seconds: 1735787045n, nanos: 100_000_000 }],
    ["2025-01-02 03:04:05+05:30", { seconds: 1735767245n, nanos: 0 }],
    ["2025-01-02T03:04:05-01", { seconds: 1735790645n, nanos: 0 }],
    ["1969-12-31 23:59:59.999999+00", { seconds: -1n, nanos: 999_999_000 }],
  ])("%s", (text, moment) => {
    expect(parseTimestamptz(text)).toEqual(moment);
  });

  test.each(["infinity", "2025-01-02 03:04:05", "", "0044-03-15 00:00:00+00 BC"])("refuses %j", (text) => {
    expect(() => parseTimestamptz(text)).toThrow(/not a moment/);
  });
});

describe("why PostgreSQL failed", () => {
  const places = { dataFolder: "/data/postgres", logFile: "/data/postgres.log", user: 65534 };

  test.each([
    [
      "FATAL:  could not write lock file: No space left on device",
      /^The disk that holds \/data\/postgres is full/,
    ],
    ["FATAL:  could not open file: Permission denied", /give the folder to user 65534/],
    ["postgres: error while loading shared libraries: libz.so.1", /^A system library/],
    ["initdb: error: could not look up effective user ID 1234: user does not exist", /\/etc\/passwd/],
    [
      "LOG:  starting\nFATAL:  something new",
      /^See \/data\/postgres\.log\. PostgreSQL said: FATAL: {2}something new$/,
    ],
    ["", /^See \/data\/postgres\.log\.$/],
  ])("%j", (log, sentence) => {
    expect(explainPostgresFailure(log, places)).toMatch(sentence);
  });
});
