import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { breachOfContract } from "./contract-routes.ts";

export interface SeenRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  body: unknown;
}

/** JSON to answer with, as an object or as the very text; or the connection to break. */
export type FakeAnswer =
  | { status?: number; headers?: Record<string, string>; json: unknown }
  | { status?: number; headers?: Record<string, string>; text: string }
  | "break";

export interface FakeRestServer {
  url: string;
  requests: SeenRequest[];
  stop(): Promise<void>;
}

/** A server that answers as the test says, and refuses whatever the contract does not know. */
export async function startFakeRestServer(
  answer: (request: SeenRequest, count: number) => FakeAnswer | Promise<FakeAnswer>,
): Promise<FakeRestServer> {
  const requests: SeenRequest[] = [];
  const server = createServer(async (incoming, response) => {
    const url = new URL(incoming.url ?? "/", "http://fake");
    const body = await text(incoming);
    const seen: SeenRequest = {
      method: incoming.method ?? "",
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
      body: body === "" ? undefined : JSON.parse(body),
    };
    requests.push(seen);
    const fields = [...url.searchParams.keys(), ...Object.keys(seen.body ?? {})];
    const breach = breachOfContract(seen.method, seen.path, fields);
    if (breach !== undefined) return reply(response, refusal(501, "UNIMPLEMENTED", breach));
    reply(response, await answer(seen, requests.length));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // listens on TCP
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    stop: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** An error as the REST dialect spells it. */
export function refusal(code: number, status: string, message: string, details: object[] = []): FakeAnswer {
  return { status: code, json: { error: { code, status, message, details } } };
}

function reply(response: ServerResponse, answer: FakeAnswer): void {
  if (answer === "break") {
    response.destroy();
    return;
  }
  response.writeHead(answer.status ?? 200, { "content-type": "application/json", ...answer.headers });
  response.end("text" in answer ? answer.text : JSON.stringify(answer.json));
}
