import { type Client, Code, createClient } from "@connectrpc/connect";
import { credentials, makeClientConstructor } from "@grpc/grpc-js";
import { service as packagedDefinition } from "grpc-health-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/grpc/health/v1/health_pb.js";
import { createHealthService, HealthState } from "../../src/doors/health.ts";
import { type OpenDoors, openDoors, transportFor, WAYS } from "../helpers/every-door.ts";

const state = new HealthState();
let doors: OpenDoors;
beforeAll(async () => {
  doors = await openDoors({ services: [createHealthService(state)] });
});
afterAll(() => doors.stop());

describe.each(WAYS)("%s", (way) => {
  let client: Client<typeof Health>;
  let close: () => void;
  beforeEach(() => {
    const opened = transportFor(way, doors);
    client = createClient(Health, opened.transport);
    ({ close } = opened);
    state.set("", true);
    state.set("drover.v1.AgentService", true);
  });
  afterEach(() => close());

  test("check answers for the server and for a service, NOT_FOUND for a stranger", async () => {
    expect((await client.check({})).status).toBe(Status.SERVING);
    state.set("drover.v1.AgentService", false);
    expect((await client.check({ service: "drover.v1.AgentService" })).status).toBe(Status.NOT_SERVING);
    await expect(client.check({ service: "stranger" })).rejects.toMatchObject({ code: Code.NotFound });
  });

  test("list names all of them", async () => {
    const { statuses } = await client.list({});
    expect(statuses).toMatchObject({
      "": { status: Status.SERVING },
      "drover.v1.AgentService": { status: Status.SERVING },
    });
  });

  test("watch tells the present state, then every change, and an unknown service that appears", async () => {
    const abort = new AbortController();
    const name = `late ${way}`;
    const watch = client.watch({ service: name }, { signal: abort.signal })[Symbol.asyncIterator]();
    const next = async () => (await watch.next()).value?.status;
    expect(await next()).toBe(Status.SERVICE_UNKNOWN);
    state.set(name, true);
    expect(await next()).toBe(Status.SERVING);
    state.set(name, true);
    state.set("", false);
    state.set(name, false);
    expect(await next()).toBe(Status.NOT_SERVING);
    abort.abort();
    await expect(watch.next()).rejects.toMatchObject({ code: Code.Canceled });
  });
});

test("a client made from the package's own definition is understood", async () => {
  state.set("", true);
  const client = new (makeClientConstructor(packagedDefinition, "Health"))(
    doors.grpcTarget,
    credentials.createInsecure(),
  );
  const answer = await new Promise((resolve, reject) => {
    client.check?.({ service: "" }, (error: Error | null, value: unknown) =>
      error ? reject(error) : resolve(value),
    );
  });
  expect(answer).toEqual({ status: "SERVING" });
  client.close();
});

test("a server that stops serving says so of everything", () => {
  const own = new HealthState();
  let changes = 0;
  const unsubscribe = own.onChange(() => {
    changes += 1;
  });
  own.set("", true);
  own.set("a", true);
  own.stopServing();
  unsubscribe();
  own.set("b", true);
  expect([own.get(""), own.get("a"), own.get("b"), own.get("c")]).toEqual([false, false, true, undefined]);
  expect(changes).toBe(4);
});
