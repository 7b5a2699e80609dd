import { describe, expect, it } from "vitest";
import { resolveConnection } from "../../src/cli/credentials.ts";
import { runInProcess } from "../helpers/run-in-process.ts";
import { refusal, type SeenRequest } from "./fake-rest-server.ts";
import { fakeServer } from "./with-fake-server.ts";

const NOBODY = "http://127.0.0.1:1";
const env = { DROVER_TOKEN: "drv_opr_x" };

describe("several addresses", () => {
  it("come with commas or one by one, and each is checked", () => {
    const of = (url: string[], DROVER_URL = "") => resolveConnection({ url }, { DROVER_URL });
    expect(of(["http://a:1/, http://b:2"])).toMatchObject({ url: "http://a:1", others: ["http://b:2"] });
    expect(of(["http://a:1", "http://b:2"])).toMatchObject({ url: "http://a:1", others: ["http://b:2"] });
    expect(resolveConnection({}, { DROVER_URL: "http://a:1,http://b:2,http://a:1" })).toMatchObject({
      url: "http://a:1",
      others: ["http://b:2"],
    });
    expect(() => of(["http://a:1,,http://b:2"])).toThrow("The server's address must");
    expect(() => of(["http://a:1,nonsense"])).toThrow("The server's address must");
  });

  it("keep a token that nobody named on this machine, unless all of them are on it", () => {
    expect(resolveConnection({ url: ["http://127.0.0.1:1,http://b.example"] }, {}).looked.at(-1)).toContain(
      "goes to loopback addresses only",
    );
  });

  it("let a command go to another server where one is not there, or stops", async () => {
    const stopping = await fakeServer(() => refusal(503, "UNAVAILABLE", "the server is stopping"));
    const serving = await fakeServer(() => ({ json: { agents: [] } }));
    for (const first of [NOBODY, stopping.url]) {
      const ran = await runInProcess(["agents"], { env: { ...env, DROVER_URL: `${first},${serving.url}` } });
      expect(ran).toMatchObject({ code: 0 });
    }
    expect(serving.requests).toHaveLength(2);
    expect(stopping.requests).toHaveLength(1);
  });

  it("get a mutation under the same request_id, wherever it arrives", async () => {
    const breaking = await fakeServer(() => "break");
    const serving = await fakeServer(() => ({ json: {} }));
    const args = ["agents", "reset", "a", "--url", breaking.url, "--url", serving.url];
    expect(await runInProcess(args, { env })).toMatchObject({ code: 0 });
    const idOf = (request: SeenRequest | undefined) =>
      (request?.body as { requestId?: string } | undefined)?.requestId;
    expect(idOf(serving.requests[0])).toMatch(/^[0-9a-f-]{36}$/);
    expect(idOf(serving.requests[0])).toBe(idOf(breaking.requests[0]));
  });

  it("are told of as one that is missing where none is there", async () => {
    const ran = await runInProcess(["agents", "--url", `${NOBODY},http://127.0.0.1:2`], { env });
    expect(ran.code).not.toBe(0);
    expect(ran.stderr).toMatch(/No Drover server answers at/);
  });
});
