import { createClient, type Transport } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { createGrpcJsTransport } from "../helpers/grpc-js-transport.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { AgentLine, enroll } from "../sessions/agent-line.ts";

let server: TestControlPlane;
let transport: Transport & { close(): void };

beforeAll(async () => {
  server = await startControlPlane();
  transport = createGrpcJsTransport(server.grpcAddress);
  // As one that has been there for long: what happened before it came is nobody's fault.
  await server.database`
    INSERT INTO liveness_watch (since) VALUES (clock_timestamp() - interval '1 day')
    ON CONFLICT (only_row) DO UPDATE SET since = excluded.since`;
});
afterAll(async () => {
  transport.close();
  await server.stop();
});

const operator = () => ({ headers: { authorization: `Bearer ${server.operatorToken}` } });
const fleet = () => createClient(FleetService, transport);

async function newAgent() {
  const agent = await enroll(server, transport);
  const as = { headers: { authorization: `Bearer ${agent.token}` } };
  const { agent: enrolled } = await fleet().getAgent({ agent: agent.name }, operator());
  const uuid = enrolled?.id.replace("agent_", "") ?? "";
  /** Opens a stream, and waits until the database knows of it. */
  const listen = async () => {
    const line = new AgentLine(transport, agent.token);
    onTestFinished(() => line.cancel());
    await line.hello("boot");
    await waitFor(async () => (await streams("open")) > 0, { what: "the stream's row" });
    return line;
  };
  const streams = async (which: "open" | "ended") => {
    const rows = await server.database<{ ended: boolean }>`
      SELECT ended_at IS NOT NULL AS ended FROM agent_streams WHERE agent_id = ${uuid}`;
    return rows.filter(({ ended }) => ended === (which === "ended")).length;
  };
  const signs = async () => {
    const { agents } = await fleet().listAgents({ namePrefix: agent.name }, operator());
    const { explanation } = await fleet().explainAgent({ agent: agent.name }, operator());
    const codes = explanation?.reasons.map(({ code }) => code) ?? [];
    const told = codes.filter((code) => code === "AGENT_DEAF" || code === "AGENT_MUTE");
    return { deaf: agents[0]?.deaf, mute: agents[0]?.mute, told };
  };
  const beat = (more: object = {}) =>
    createClient(AgentService, transport).heartbeat(
      { status: AgentStatus.ONLINE, session: { bootId: "boot", sequence: BigInt(Date.now()) }, ...more },
      as,
    );
  return { ...agent, uuid, listen, streams, signs, beat };
}

const well = { deaf: false, mute: false, told: [] };

test("an agent that beats without a stream, having had one in this session, is deaf until it opens another", async () => {
  const agent = await newAgent();
  await agent.beat();
  expect(await agent.signs()).toEqual(well);
  const line = await agent.listen();
  expect(await agent.signs()).toEqual(well);
  line.cancel();
  await waitFor(async () => (await agent.streams("ended")) > 0, { what: "the end of the stream" });
  // It has two intervals to open another one.
  expect(await agent.signs()).toEqual(well);
  await server.database`
    UPDATE agent_streams SET ended_at = ended_at - interval '31 s' WHERE agent_id = ${agent.uuid}`;
  expect(await agent.signs()).toEqual({ deaf: true, mute: false, told: ["AGENT_DEAF"] });
  await agent.listen();
  expect(await agent.signs()).toEqual(well);
  expect(await agent.streams("ended")).toBe(0);
  // As if its server had died: nobody says any more that the stream is open.
  await server.database`
    UPDATE agent_streams SET server_id = gen_random_uuid(), opened_at = opened_at - interval '31 s'
    WHERE agent_id = ${agent.uuid}`;
  expect((await agent.signs()).deaf).toBe(true);
  // Another run never had a stream.
  await agent.beat({ session: { bootId: "other", sequence: 1n } });
  expect(await agent.signs()).toEqual(well);
});

test("an agent that leaves an echo without an answer is deaf until it gives it", async () => {
  const agent = await newAgent();
  await agent.beat();
  await agent.listen();
  const { command } = await fleet().sendCommand({ agent: agent.name, kind: "echo" }, operator());
  expect(await agent.signs()).toEqual(well);
  await server.database`
    UPDATE agent_streams SET opened_at = opened_at - interval '31 s' WHERE agent_id = ${agent.uuid}`;
  await server.database`
    UPDATE agent_commands SET created_at = created_at - interval '31 s' WHERE agent_id = ${agent.uuid}`;
  expect(await agent.signs()).toEqual({ deaf: true, mute: false, told: ["AGENT_DEAF"] });
  await agent.beat({ acknowledgedCommands: [command?.sequence ?? 0n] });
  expect(await agent.signs()).toEqual(well);
});

test("an agent whose stream is open and that does not beat is mute until it does", async () => {
  const agent = await newAgent();
  await agent.beat();
  await agent.listen();
  await server.database`
    UPDATE agent_states SET last_seen_at = last_seen_at - interval '35 s' WHERE agent_id = ${agent.uuid}`;
  await waitFor(async () => (await agent.signs()).mute === true, { what: "the sweep" });
  expect(await agent.signs()).toEqual({ deaf: false, mute: true, told: ["AGENT_MUTE"] });
  await agent.beat();
  expect(await agent.signs()).toEqual(well);
});
