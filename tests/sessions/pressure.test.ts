import { create } from "@bufbuild/protobuf";
import { Code, createClient, type Transport } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { SessionRequestSchema } from "../../gen/drover/v1/agent_service_pb.js";
import { TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { AgentLine, enroll, openTransport, WAYS } from "./agent-line.ts";

let server: TestControlPlane;

beforeAll(async () => {
  server = await startControlPlane();
});
afterAll(async () => {
  await server.stop();
});

const beat = (sequence: number) => ({
  case: "heartbeat" as const,
  value: {
    status: sequence % 2 === 0 ? AgentStatus.ONLINE : AgentStatus.BUSY,
    session: { bootId: "boot", sequence: BigInt(sequence) },
  },
});

describe.each(WAYS)("%s", (way) => {
  let transport: Transport & { close(): void };

  beforeAll(() => {
    transport = openTransport(server, way);
  });
  afterAll(() => transport.close());

  test("takes 10,000 heartbeats in their order, each answered in turn", { timeout: 120_000 }, async () => {
    const count = 10_000;
    const { token, name } = await enroll(server, transport);
    const line = new AgentLine(transport, token);
    await line.hello("boot");
    const first = line.say(beat(0));
    for (let sequence = 1; sequence < count; sequence++) line.say(beat(sequence));
    const started = performance.now();
    for (let sequence = 0; sequence < count; sequence++) {
      const heard = await line.hear();
      expect(heard?.inReplyTo).toBe(first + BigInt(sequence));
      if (heard?.message.case !== "heartbeat") throw new Error(`heard ${heard?.message.case}`);
      // Each reports another status than the one before: a transition would be missing if one had been overtaken.
      expect(heard.message.value.transition === undefined).toBe(false);
    }
    console.log(way, Math.round(((performance.now() - started) / count) * 1000), "us a beat");
    const [row] = await server.database<{ sequence: bigint }>`
      SELECT sequence FROM agent_states JOIN agents ON agents.id = agent_id WHERE name = ${name}`;
    expect(row?.sequence).toBe(BigInt(count - 1));
    line.cancel();
  });
});
