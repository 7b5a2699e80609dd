import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/grpc/health/v1/health_pb.js";
import { startControlPlane, type TestControlPlane } from "../helpers/control-plane.ts";
import { waitFor } from "../helpers/wait-for.ts";

let server: TestControlPlane;
beforeAll(async () => {
  server = await startControlPlane();
});
afterAll(() => server.stop());

const readiness = async () => {
  const answer = await fetch(`${server.httpUrl}/readyz`);
  return { status: answer.status, body: await answer.json() };
};

/** By the native port, and by the other one. */
const ofHealth = async (service = "") => {
  const asked = [`http://${server.grpcAddress}`, server.httpUrl].map((baseUrl) =>
    createClient(Health, createGrpcTransport({ baseUrl })).check({ service }),
  );
  return (await Promise.all(asked)).map(({ status }) => status);
};
const serving = [Status.SERVING, Status.SERVING];
const notServing = [Status.NOT_SERVING, Status.NOT_SERVING];

test("a server is ready while events get their numbers, and says for how long they have not", async () => {
  expect(await readiness()).toEqual({ status: 200, body: { status: "ok" } });
  expect(await ofHealth()).toEqual(serving);
  const abort = new AbortController();
  const transport = createGrpcTransport({ baseUrl: server.httpUrl });
  const watch = createClient(Health, transport)
    .watch({ service: "drover.v1.AgentService" }, { signal: abort.signal })
    [Symbol.asyncIterator]();
  const watched = async () => (await watch.next()).value?.status;
  expect(await watched()).toBe(Status.SERVING);
  await server.database`
    CREATE FUNCTION refuse_numbers() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'no numbers today'; END $$`;
  await server.database`
    CREATE TRIGGER refuse_numbers BEFORE UPDATE OF seq ON events FOR EACH ROW EXECUTE FUNCTION refuse_numbers()`;
  const created = await fetch(`${server.httpUrl}/api/v1/tasks`, {
    method: "POST",
    headers: { authorization: `Bearer ${server.operatorToken}`, "content-type": "application/json" },
    body: JSON.stringify({ kind: "any" }),
  });
  expect(created.status).toBe(200);
  // One that waits for a moment is nothing out of the ordinary.
  expect((await readiness()).status).toBe(200);
  const aged = await server.database`
    UPDATE events SET time = time - interval '95 seconds' WHERE seq IS NULL RETURNING 1`;
  expect(aged.length).toBeGreaterThan(0);
  expect(await readiness()).toEqual({
    status: 503,
    body: {
      status: "unavailable",
      notReady: [{ name: "events", reason: expect.stringMatching(/^an event has waited \S+ for its place/) }],
    },
  });
  // Whoever asks or watches by the standard service hears the same, of every service.
  expect(await watched()).toBe(Status.NOT_SERVING);
  expect([await ofHealth(), await ofHealth("drover.v1.TaskService")]).toEqual([notServing, notServing]);
  await server.database`DROP TRIGGER refuse_numbers ON events`;
  await waitFor(async () => (await readiness()).status === 200);
  expect(await watched()).toBe(Status.SERVING);
  expect(await ofHealth()).toEqual(serving);
  abort.abort();
});

test("a server is not ready while the schema is newer than it knows", async () => {
  await server.database`
    INSERT INTO drover_migrations (position, tag, hash, compatible_from)
    SELECT count(*), '9999_later', 'later', '9999_later' FROM drover_migrations`;
  expect(await readiness()).toEqual({
    status: 503,
    body: {
      status: "unavailable",
      notReady: [{ name: "database", reason: expect.stringContaining("newer") }],
    },
  });
  expect(await ofHealth()).toEqual(notServing);
  await server.database`DELETE FROM drover_migrations WHERE tag = '9999_later'`;
  expect((await readiness()).status).toBe(200);
  expect(await ofHealth()).toEqual(serving);
});
