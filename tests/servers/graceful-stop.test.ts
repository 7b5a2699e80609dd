import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterEach, describe, expect, test } from "vitest";
import { AgentStatus } from "../../gen/drover/v1/agent_pb.js";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/grpc/health/v1/health_pb.js";
import { type DatabaseProxy, proxyDatabase } from "../helpers/database-proxy.ts";
import { enrollAgent } from "../helpers/fleet-api.ts";
import { sendHttp } from "../helpers/rest-client.ts";
import { type Stage, setStage } from "../helpers/stage.ts";
import { holdLock } from "../helpers/stop-point.ts";
import { waitFor } from "../helpers/wait-for.ts";
import { AgentLine, openTransport, WAYS } from "../sessions/agent-line.ts";

let stage: Stage;
let proxy: DatabaseProxy | undefined;
afterEach(async () => {
  await stage.close();
  await proxy?.close();
  proxy = undefined;
});

const readiness = async () => await sendHttp(stage.server.httpUrl, { method: "GET", target: "/readyz" });

describe("a server that is told to stop", () => {
  test("is not ready any more, sends agents elsewhere, finishes what it began, and exits with 0", async () => {
    stage = await setStage();
    const [listening, busy] = [
      await enrollAgent(stage.fleet, stage.operator),
      await enrollAgent(stage.fleet, stage.operator),
    ];
    const transport = openTransport(
      { ...stage.server, grpcAddress: stage.server.grpcTarget } as never,
      WAYS[0],
    );
    const line = new AgentLine(transport, listening.token);
    line.say({ case: "hello", value: { bootId: "boot" } });
    expect((await line.hear())?.message.case).toBe("welcome");
    expect((await readiness()).status).toBe(200);

    const watches = [`http://${stage.server.grpcTarget}`, stage.server.httpUrl].map((baseUrl) =>
      createClient(Health, createGrpcTransport({ baseUrl })).watch({})[Symbol.asyncIterator](),
    );
    const watched = async () => Promise.all(watches.map(async (watch) => (await watch.next()).value?.status));
    expect(await watched()).toEqual([Status.SERVING, Status.SERVING]);

    const lock = await holdLock(
      stage.databaseUrl,
      `SELECT 1 FROM agent_states WHERE agent_id = '${busy.uuid}' FOR UPDATE`,
    );
    const beat = stage.fleet.agent(busy.token, "grpc").heartbeat({ status: AgentStatus.ONLINE });
    await lock.reached();
    const stopped = stage.server.stop();
    expect((await line.hear())?.message.case).toBe("goElsewhere");
    // The stream is left open: the doors are for as long as somebody may still go.
    const { status, text } = await readiness();
    expect(status).toBe(503);
    expect(text).toContain("the server is stopping");
    expect(await watched()).toEqual([Status.NOT_SERVING, Status.NOT_SERVING]);
    line.cancel();
    await lock.release();
    expect((await beat).acknowledged).toBe(true);
    expect(await stopped).toBe(0);
    transport.close();
  });

  test("ends in time where the database gives no answer", async () => {
    stage = await setStage({
      through: async (databaseUrl) => {
        proxy = await proxyDatabase(databaseUrl);
        return proxy.url;
      },
    });
    const agent = await enrollAgent(stage.fleet, stage.operator);
    await stage.fleet.agent(agent.token).heartbeat({ status: AgentStatus.ONLINE });
    proxy?.holdAnswers();
    expect(await stage.server.stop()).toBe(0);
  });

  test("ends at once when told so twice", async () => {
    stage = await setStage();
    const agent = await enrollAgent(stage.fleet, stage.operator);
    const lock = await holdLock(
      stage.databaseUrl,
      `SELECT 1 FROM agent_states WHERE agent_id = '${agent.uuid}' FOR UPDATE`,
    );
    const beat = stage.fleet.agent(agent.token, "grpc").heartbeat({ status: AgentStatus.ONLINE });
    beat.catch(() => {});
    await lock.reached();
    stage.server.signal("SIGTERM");
    await waitFor(() => stage.server.output().includes("Stopping."), { what: "the stop" });
    stage.server.signal("SIGTERM");
    expect(await stage.server.exited).toBe(1);
    await lock.release();
  });
});
