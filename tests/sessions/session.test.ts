import { create } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import {
  AgentService,
  HeartbeatRequestSchema,
  SessionRequestSchema,
} from "../../gen/drover/v1/agent_service_pb.js";
import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { AgentLine, enroll, openTransport, type Saying, WAYS } from "./agent-line.ts";

let server: TestControlPlane;

beforeAll(async () => {
  server = await startControlPlane();
});
afterAll(async () => {
  await server.stop();
});

const reasonOf = (error: ConnectError | undefined) => error?.findDetails(ErrorInfoSchema)[0]?.reason;

const operator = () => ({ headers: { authorization: `Bearer ${server.operatorToken}` } });

const beat = (sequence: bigint, bootId = "boot"): Saying => ({
  case: "heartbeat",
  value: { status: AgentStatus.ONLINE, session: { bootId, sequence } },
});

describe.each(WAYS)("%s", (way) => {
  let transport: Transport & { close(): void };

  beforeAll(() => {
    transport = openTransport(server, way);
  });
  afterAll(() => transport.close());

  const open = async () => {
    const agent = await enroll(server, transport);
    return { ...agent, line: new AgentLine(transport, agent.token) };
  };

  test("welcomes an agent with its epoch, the interval and the lease", async () => {
    const { line } = await open();
    const heard = await line.ask({ case: "hello", value: { bootId: "boot" } });
    expect(heard.case).toBe("welcome");
    if (heard.case !== "welcome") return;
    expect(heard.value.epoch).toBe(1n);
    expect(heard.value.heartbeatInterval && durationMs(heard.value.heartbeatInterval)).toBe(15_000);
    expect(heard.value.lease && durationMs(heard.value.lease)).toBe(60_000);
    line.hangUp();
    expect(await line.end()).toBeUndefined();
  });

  test("asks for the full state at the first heartbeat of a run, and once", async () => {
    const { line } = await open();
    await line.hello("boot");
    const first = await line.ask(beat(0n));
    const second = await line.ask(beat(1n));
    expect([first, second]).toMatchObject([
      { case: "heartbeat", value: { acknowledged: true, reportFullState: true, duplicate: false } },
      { case: "heartbeat", value: { acknowledged: true, reportFullState: false, duplicate: false } },
    ]);
    line.cancel();
  });

  test("refuses a stream whose first message is not hello", async () => {
    const { line } = await open();
    line.say(beat(0n));
    const error = await line.end();
    expect([error?.code, reasonOf(error)]).toEqual([Code.FailedPrecondition, "HELLO_EXPECTED"]);
  });

  test("refuses a stream with a hello that breaks the contract", async () => {
    const { line } = await open();
    line.say({ case: "hello", value: { bootId: "" } });
    expect((await line.end())?.code).toBe(Code.InvalidArgument);
  });

  test("answers a wrong message, and the stream goes on", async () => {
    const { line } = await open();
    await line.hello("boot");
    const wrong: [Saying | undefined, Code, string[]][] = [
      [{ case: "heartbeat", value: { status: AgentStatus.UNSPECIFIED } }, Code.InvalidArgument, ["status"]],
      [
        {
          case: "heartbeat",
          value: {
            status: AgentStatus.ONLINE,
            error: { severity: Severity.MAJOR, message: "", context: { deep: "x".repeat(20_000) } },
          },
        },
        Code.InvalidArgument,
        ["error.context"],
      ],
      [
        { case: "error", value: { severity: Severity.MAJOR, message: "NUL \0" } },
        Code.InvalidArgument,
        ["message"],
      ],
      [beat(1n, "another"), Code.InvalidArgument, ["session.boot_id"]],
      [{ case: "ready", value: { slots: 101 } }, Code.InvalidArgument, ["slots"]],
      [{ case: "commandAcknowledgement", value: { sequences: [] } }, Code.InvalidArgument, ["sequences"]],
      [{ case: "hello", value: { bootId: "boot" } }, Code.FailedPrecondition, []],
      [undefined, Code.InvalidArgument, ["message"]],
    ];
    for (const [saying, code, fields] of wrong) {
      const id = 77n;
      line.sayRaw(create(SessionRequestSchema, { id, ...(saying !== undefined && { message: saying }) }));
      const heard = await line.hear();
      expect(heard?.inReplyTo).toBe(id);
      const refusal = heard?.message.case === "refusal" ? heard.message.value : undefined;
      expect([refusal?.code, refusal?.violations.map(({ field }) => field)]).toEqual([code, fields]);
    }
    expect(await line.ask(beat(0n))).toMatchObject({ case: "heartbeat" });
    line.cancel();
  });

  test("answers as calls of their own do", async () => {
    const [streaming, calling] = [await open(), await enroll(server, transport)];
    const client = createClient(AgentService, transport);
    const headers = { authorization: `Bearer ${calling.token}` };
    await streaming.line.hello("boot");
    const beats = [
      { status: AgentStatus.ONLINE },
      { status: AgentStatus.BUSY, error: { severity: Severity.WARNING, message: "hot" } },
      { status: AgentStatus.BUSY, error: { severity: Severity.FATAL, message: "burnt" } },
      { status: AgentStatus.ERROR },
      { status: AgentStatus.BENCHMARKED, gauges: { rate: 1.5 } },
    ].map((value, index) =>
      create(HeartbeatRequestSchema, { ...value, session: { bootId: "boot", sequence: BigInt(index) } }),
    );
    for (const value of [...beats, ...beats.slice(1, 3)]) {
      const alone = await client.heartbeat(value, { headers });
      expect(await streaming.line.ask({ case: "heartbeat", value })).toEqual({
        case: "heartbeat",
        value: alone,
      });
    }
    const error = { severity: Severity.MINOR, message: "odd", context: { apiToken: "secret" } };
    const alone = await client.reportError(error, { headers });
    const heard = await streaming.line.ask({ case: "error", value: error });
    expect(heard).toMatchObject({
      case: "error",
      value: { errorReport: { message: "odd", context: alone.errorReport?.context } },
    });
    streaming.line.cancel();
  });

  test("a newer run supersedes the stream of the older, whose late end harms nobody", async () => {
    const { line: older, token } = await open();
    const first = await older.hello("first");
    const newer = new AgentLine(transport, token);
    const second = await newer.hello("second");
    expect(second.epoch).toBe(first.epoch + 1n);
    expect(await newer.ask(beat(0n, "second"))).toMatchObject({ case: "heartbeat" });
    const error = await older.end();
    expect([error?.code, reasonOf(error)]).toEqual([Code.Aborted, "SESSION_SUPERSEDED"]);
    const late = new AgentLine(transport, token);
    late.say({ case: "hello", value: { bootId: "first" } });
    expect(reasonOf(await late.end())).toBe("SESSION_SUPERSEDED");
    expect(await newer.ask(beat(1n, "second"))).toMatchObject({ case: "heartbeat" });
    newer.hangUp();
    expect(await newer.end()).toBeUndefined();
  });

  test("a heartbeat of a newer run by a call of its own supersedes the stream", async () => {
    const { line, token } = await open();
    await line.hello("first");
    const client = createClient(AgentService, transport);
    const session = { bootId: "second", sequence: 0n };
    const headers = { authorization: `Bearer ${token}` };
    await client.heartbeat({ status: AgentStatus.ONLINE, session }, { headers });
    expect(reasonOf(await line.end())).toBe("SESSION_SUPERSEDED");
  });

  test("a run that opens its stream anew keeps its epoch and its place", async () => {
    const { line: broken, token } = await open();
    const { epoch } = await broken.hello("boot");
    await broken.ask(beat(7n));
    const line = new AgentLine(transport, token);
    expect((await line.hello("boot")).epoch).toBe(epoch);
    expect(reasonOf(await broken.end())).toBe("STREAM_REPLACED");
    expect(await line.ask(beat(7n))).toMatchObject({ case: "heartbeat", value: { duplicate: true } });
    expect(await line.ask(beat(8n))).toMatchObject({ case: "heartbeat", value: { duplicate: false } });
    line.cancel();
  });

  test("ends within a second of its token's revocation", async () => {
    const { line, tokenId } = await open();
    await line.hello("boot");
    await createClient(TokenService, transport).revokeToken({ token: tokenId }, operator());
    const acknowledgedAt = performance.now();
    expect((await line.end())?.code).toBe(Code.Unauthenticated);
    expect(performance.now() - acknowledgedAt).toBeLessThan(1000);
  });

  test("ends within a second of its agent's removal", async () => {
    const { line, name } = await open();
    await line.hello("boot");
    await createClient(FleetService, transport).removeAgent({ agent: name }, operator());
    const acknowledgedAt = performance.now();
    expect((await line.end())?.code).toBe(Code.Unauthenticated);
    expect(performance.now() - acknowledgedAt).toBeLessThan(1000);
  });

  test.each(["revoked_at", "expires_at"])("ends within a second of %s in the database", async (column) => {
    const { line, tokenId } = await open();
    await line.hello("boot");
    const id = tokenId.replace("token_", "");
    if (column === "revoked_at") {
      await server.database`UPDATE tokens SET revoked_at = clock_timestamp() WHERE id = ${id}`;
    } else {
      await server.database`UPDATE tokens SET expires_at = clock_timestamp() WHERE id = ${id}`;
    }
    const changedAt = performance.now();
    expect((await line.end())?.code).toBe(Code.Unauthenticated);
    expect(performance.now() - changedAt).toBeLessThan(1000);
  });

  test("outlives its token's retirement by a renewal", async () => {
    const { line, token, tokenId } = await open();
    await line.hello("boot");
    const id = tokenId.replace("token_", "");
    const client = createClient(AgentService, transport);
    const rotated = await client.rotateToken({}, { headers: { authorization: `Bearer ${token}` } });
    const renewed = { headers: { authorization: `Bearer ${rotated.secret}` } };
    await client.heartbeat({ status: AgentStatus.ONLINE }, renewed);
    const [row] = await server.database<{ retired: boolean }>`
      SELECT retired_at IS NOT NULL AS retired FROM tokens WHERE id = ${id}`;
    expect(row?.retired).toBe(true);
    expect(await line.ask(beat(0n))).toMatchObject({ case: "heartbeat" });
    await createClient(TokenService, transport).revokeToken({ token: tokenId }, operator());
    expect((await line.end())?.code).toBe(Code.Unauthenticated);
  });

  test("offers a new token on a stream too, once its third has passed", async () => {
    const { token, tokenId } = await enroll(server, transport);
    const id = tokenId.replace("token_", "");
    await server.database`UPDATE tokens SET minted_at = clock_timestamp() - interval '20 days' WHERE id = ${id}`;
    const line = new AgentLine(transport, token);
    await line.hello("boot");
    const first = await line.ask(beat(0n));
    const renewed = first.case === "heartbeat" ? first.value.renewedToken : undefined;
    expect(renewed).toMatch(/^drv_agt_/);
    expect(await line.ask(beat(1n))).not.toHaveProperty("value.renewedToken");
    const client = createClient(AgentService, transport);
    await client.heartbeat(
      { status: AgentStatus.ONLINE },
      { headers: { authorization: `Bearer ${renewed}` } },
    );
    expect(await line.ask(beat(2n))).toMatchObject({ case: "heartbeat" });
    line.cancel();
  });
});
