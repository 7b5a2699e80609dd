import { toJson } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { type Event, EventSchema } from "../../gen/drover/v1/event_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { TokenRole } from "../../gen/drover/v1/token_service_pb.js";
import { useDoors } from "../helpers/door-suite.ts";
import { newAgent, newProject, newToken } from "../helpers/fleet.ts";
import { openTransport, WAYS } from "../sessions/agent-line.ts";

const doors = useDoors();

/** A project with events, a viewer of it, and what the table says of it. */
async function newStory() {
  const { name, operator } = await newProject(doors);
  const { secret: viewer } = await newToken(doors, { role: TokenRole.VIEWER }, operator);
  await newAgent(doors, {}, operator);
  const response = await rest("/api/v1/events?pageSize=1000", viewer);
  const { events } = (await response.json()) as { events: { cursor: string; type: string }[] };
  return { name, operator, viewer, events };
}

const rest = (path: string, token: string, init: RequestInit = {}) =>
  fetch(`${doors.server.httpUrl}${path}`, {
    ...init,
    headers: { authorization: `Bearer ${token}`, ...init.headers },
  });

/** The text of a response until it holds `count` matches of `pattern`; the call is cut then. */
async function readUntil(response: Response, pattern: RegExp, count: number): Promise<string> {
  let text = "";
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  while (reader !== undefined && [...text.matchAll(pattern)].length < count) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
  }
  await reader?.cancel();
  return text;
}

/** A server's stream needs less than a stream in both directions: gRPC-Web carries it over HTTP/1.1. */
const GRPC_WEB = "gRPC-Web over HTTP/1.1";

function transportBy(way: (typeof WAYS)[number] | typeof GRPC_WEB) {
  if (way !== GRPC_WEB) return openTransport(doors.server, way);
  const transport = createGrpcWebTransport({ baseUrl: doors.server.httpUrl, httpVersion: "1.1" });
  return { ...transport, close: () => {} };
}

describe.each([...WAYS, GRPC_WEB] as const)("WatchEvents by %s", (way) => {
  test("brings everything behind a cursor, refuses a foreign one, and ends with its token", async () => {
    const { operator, viewer, events } = await newStory();
    const transport = transportBy(way);
    const client = createClient(EventService, transport);
    const headers = { authorization: `Bearer ${viewer}` };
    const after = events[0]?.cursor ?? "";
    const seen: Event[] = [];
    const ended = await (async () => {
      for await (const { event } of client.watchEvents({ after }, { headers })) {
        if (event?.type === "bookmark" || event === undefined) continue;
        seen.push(event);
        if (seen.length === events.length - 1) {
          const tokens = await rest("/api/v1/tokens?role=viewer", operator);
          const { tokens: list } = (await tokens.json()) as { tokens: { id: string }[] };
          await rest(`/api/v1/tokens/${list[0]?.id}`, operator, { method: "DELETE" });
        }
      }
      return "end";
    })().catch((error: unknown) => ConnectError.from(error).code);
    expect(ended).toBe(Code.Unauthenticated);
    const json = seen.slice(0, events.length - 1).map((event) => toJson(EventSchema, event));
    expect(json).toEqual(events.slice(1));
    const refused = client.watchEvents(
      { after: "other.1" },
      { headers: { authorization: `Bearer ${operator}` } },
    );
    await expect(refused[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: Code.OutOfRange });
    transport.close();
  });
});

describe("WatchEvents by REST", () => {
  test.each([
    ["application/x-ndjson", (text: string) => text.trim().split("\n")],
    ["*/*", (text: string) => text.trim().split("\n")],
    ["application/json", (text: string) => text.trim().replace(/^\[/, "").replace(/\]$/, "").split(",\n")],
    [
      "text/event-stream",
      (text: string) => [...text.matchAll(/^data: (.*)$/gm)].map((match) => match[1] ?? ""),
    ],
  ])("as %s carries the bare events", async (accept, framesOf) => {
    const { viewer, events } = await newStory();
    const response = await rest(`/api/v1/events:watch?after=${events[0]?.cursor}`, viewer, {
      headers: { accept },
    });
    expect(response.status).toBe(200);
    const text = await readUntil(response, /"cursor"/g, events.length - 1);
    const frames = framesOf(text).map((frame) => JSON.parse(frame) as unknown);
    expect(frames.slice(0, events.length - 1)).toEqual(events.slice(1));
  });

  test("server-sent events have their cursors as ids, and Last-Event-ID goes before the address", async () => {
    const { viewer, events } = await newStory();
    const [first, second] = events;
    const response = await rest(`/api/v1/events:watch?after=${first?.cursor}`, viewer, {
      headers: { accept: "text/event-stream", "last-event-id": second?.cursor ?? "" },
    });
    const text = await readUntil(response, /^id: /gm, events.length - 2);
    const ids = [...text.matchAll(/^id: (.*)$/gm)].map((match) => match[1]);
    expect(ids.slice(0, events.length - 2)).toEqual(events.slice(2).map(({ cursor }) => cursor));
  });

  test("a cursor that cannot be served is an HTTP error with its reason; one that is none names the field", async () => {
    const { viewer } = await newStory();
    const foreign = await rest("/api/v1/events:watch?after=other.1", viewer);
    expect(foreign.status).toBe(400);
    expect(await foreign.json()).toMatchObject({
      error: { status: "OUT_OF_RANGE", details: [{}, { reason: "CURSOR_FOREIGN" }] },
    });
    const none = await rest("/api/v1/events:watch?after=1", viewer);
    expect(await none.json()).toMatchObject({ error: { status: "INVALID_ARGUMENT" } });
    const header = { headers: { "last-event-id": "x y" } };
    const named = (await (await rest("/api/v1/events:watch", viewer, header)).json()) as object;
    expect(JSON.stringify(named)).toContain("Last-Event-ID");
  });

  test("an error after the first byte is the last frame", async () => {
    const { operator, viewer, events } = await newStory();
    const response = await rest(`/api/v1/events:watch?after=${events[0]?.cursor}`, viewer, {
      headers: { accept: "text/event-stream" },
    });
    const tokens = await rest("/api/v1/tokens?role=viewer", operator);
    const { tokens: list } = (await tokens.json()) as { tokens: { id: string }[] };
    await rest(`/api/v1/tokens/${list[0]?.id}`, operator, { method: "DELETE" });
    const text = await response.text();
    expect(text).toMatch(/event: error\ndata: \{"error":\{"code":401,"status":"UNAUTHENTICATED"/);
  });
});
