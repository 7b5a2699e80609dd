import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resolveConnection } from "../../src/cli/credentials.ts";
import { scrubJson } from "../../src/error-reports/scrub-secrets.ts";
import { createLogger } from "../../src/observability/logger.ts";
import { ServerFile } from "../../src/server-file.ts";
import { runInProcess } from "../helpers/run-in-process.ts";
import { fakeServer } from "./with-fake-server.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "drover-cli-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function dataDir(token: string, name = "data"): string {
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, "operator.token"), `${token}\n`);
  return path;
}

describe("server, token and project", () => {
  it("come from flags before the environment, and from that before the data directory", () => {
    const DROVER_DATA_DIR = dataDir("drv_opr_file");
    const environment = {
      DROVER_URL: "http://env:1",
      DROVER_TOKEN: "drv_opr_env",
      DROVER_PROJECT: "of-env",
      DROVER_DATA_DIR,
    };
    const flags = { url: ["http://flag:2/"], token: "drv_opr_flag", project: "of-flag" };
    expect(resolveConnection(flags, environment)).toMatchObject({
      url: "http://flag:2",
      token: { token: "drv_opr_flag", from: "--token" },
      project: "of-flag",
    });
    expect(resolveConnection({}, environment)).toMatchObject({
      url: "http://env:1",
      token: { token: "drv_opr_env", from: "DROVER_TOKEN" },
      project: "of-env",
    });
    expect(resolveConnection({}, { DROVER_DATA_DIR })).toMatchObject({
      url: "http://127.0.0.1:8080",
      token: { token: "drv_opr_file", from: join(DROVER_DATA_DIR, "operator.token") },
      project: undefined,
    });
  });

  it("find the server that runs on the data directory, and none that was killed or has stopped", async () => {
    const DROVER_DATA_DIR = dataDir("drv_opr_file");
    const found = () => resolveConnection({}, { DROVER_DATA_DIR }).url;
    const file = new ServerFile(DROVER_DATA_DIR, createLogger({ level: "silent", scrub: scrubJson }));
    await file.write({ http: "http://127.0.0.1:4711", grpc: "http://127.0.0.1:4712" });
    expect(found()).toBe("http://127.0.0.1:4711");
    expect(resolveConnection({}, { DROVER_DATA_DIR, DROVER_URL: "http://env:1" }).url).toBe("http://env:1");
    const path = join(DROVER_DATA_DIR, "server.json");
    // Beyond the largest number that a process has.
    const killed = readFileSync(path, "utf8").replace(`${process.pid}`, "4194305");
    writeFileSync(path, killed);
    expect(found()).toBe("http://127.0.0.1:8080");
    await file.remove();
    expect(readFileSync(path, "utf8")).toBe(killed);
    await file.write({ http: "http://127.0.0.1:4711", grpc: "http://127.0.0.1:4712" });
    await file.remove();
    expect(existsSync(path)).toBe(false);
  });

  it("take an empty variable as none", () => {
    const environment = { DROVER_URL: "", DROVER_TOKEN: "", DROVER_PROJECT: "", DROVER_DATA_DIR: folder };
    expect(resolveConnection({}, environment)).toMatchObject({
      url: "http://127.0.0.1:8080",
      token: undefined,
      project: undefined,
    });
  });

  it("keep a path in the address, without the slash at its end", () => {
    expect(resolveConnection({ url: ["https://host/drover/"] }, {}).url).toBe("https://host/drover");
  });

  it("refuse an address that is none, or that carries a password, without repeating it", () => {
    for (const url of ["nonsense", "ftp://host", "http://user:hunter2@host"])
      expect(() => resolveConnection({ url: [url] }, {})).toThrow(
        /^(?!.*hunter2).*The server's address must/,
      );
  });

  it("refuse a token that no header can carry, without repeating it", () => {
    for (const token of ["", "drv_\nhunter2", "hunter2 hunter2", "hünter2"])
      expect(() => resolveConnection({ token }, {})).toThrow(/^(?!.*h.nter2).*The token from --token/);
  });
});

describe("the default data directory's token", () => {
  it("is sent to a loopback address, never to another that a flag names", async () => {
    dataDir("drv_opr_file", ".drover");
    const server = await fakeServer(() => ({ json: { agents: [] } }));
    await runInProcess(["agents", "--url", server.url], { cwd: folder });
    expect(server.requests[0]?.headers.authorization).toBe("Bearer drv_opr_file");
    const elsewhere = resolveConnection({ url: ["http://drover.example"] }, {});
    expect(elsewhere.token).toBeUndefined();
    expect(elsewhere.looked.at(-1)).toContain("goes to loopback addresses only");
  });

  it("goes to any server when DROVER_DATA_DIR names it", () => {
    const environment = { DROVER_DATA_DIR: dataDir("drv_opr_file") };
    expect(resolveConnection({ url: ["http://drover.example"] }, environment).token?.token).toBe(
      "drv_opr_file",
    );
  });
});

describe("what a call carries", () => {
  it("is the token as bearer and the project as metadata", async () => {
    const server = await fakeServer(() => ({ json: { agents: [] } }));
    const ran = await runInProcess(["agents", "--project", "blue"], {
      env: { DROVER_URL: server.url, DROVER_TOKEN: "drv_opr_env" },
    });
    expect(ran.code).toBe(0);
    expect(server.requests[0]?.headers).toMatchObject({
      authorization: "Bearer drv_opr_env",
      "x-drover-project": "blue",
    });
  });

  it("is no token where none is found, and a refusal then says where it was looked for", async () => {
    const server = await fakeServer(() => ({
      status: 401,
      json: { error: { code: 401, status: "UNAUTHENTICATED", message: "no valid token", details: [] } },
    }));
    const ran = await runInProcess(["agents"], { env: { DROVER_URL: server.url, DROVER_DATA_DIR: folder } });
    expect(server.requests[0]?.headers.authorization).toBeUndefined();
    expect(ran.code).toBe(3);
    expect(ran.stderr).toContain(
      `none was found in --token, DROVER_TOKEN, ${join(folder, "operator.token")}`,
    );
    expect(ran.stderr).toContain("drover tokens recover");
  });

  it("ends with the file's name when the file cannot be read", async () => {
    const path = join(folder, "operator.token");
    mkdirSync(path); // a folder cannot be read as a file, not even by root
    const ran = await runInProcess(["agents"], { env: { DROVER_DATA_DIR: folder } });
    expect(ran.code).toBe(3);
    expect(ran.stderr).toContain(`${path} cannot be read (EISDIR).`);
  });
});
