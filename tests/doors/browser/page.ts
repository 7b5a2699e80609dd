import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { BadRequestSchema } from "../../../gen/google/rpc/error_details_pb.js";
import { EchoService } from "../../helpers/echo-service.ts";

/** What one way of calling gave in the browser. */
export interface Outcome {
  unary?: string;
  stream?: number[];
  cancelledAfter?: number;
  refusal?: { code: string; message: string; details: number; hint: string | null };
  failure?: string;
}

/** Calls every kind of RPC that a browser can make; runs inside the page. */
export async function callFromPage(
  baseUrl: string,
  protocol: "connect-binary" | "connect-json" | "grpc-web",
): Promise<Outcome> {
  const transport =
    protocol === "grpc-web"
      ? createGrpcWebTransport({ baseUrl })
      : createConnectTransport({ baseUrl, useBinaryFormat: protocol === "connect-binary" });
  const client = createClient(EchoService, transport);
  const headers = { authorization: "Bearer t", "x-drover-project": "default" };
  const outcome: Outcome = {};
  try {
    outcome.unary = (await client.say({ text: "from the page" }, { headers, timeoutMs: 10_000 })).text;
    outcome.stream = [];
    for await (const { count } of client.count({ count: 3 }, { headers })) outcome.stream.push(count);
    const abort = new AbortController();
    try {
      for await (const { count } of client.count({ count: 1_000_000 }, { headers, signal: abort.signal })) {
        outcome.cancelledAfter = count;
        if (count === 5) abort.abort();
      }
    } catch (error) {
      if (ConnectError.from(error).code !== Code.Canceled) throw error;
    }
    const error = await client
      .say({ text: "refuse" }, { headers })
      .catch((reason) => ConnectError.from(reason));
    if (error instanceof ConnectError) {
      outcome.refusal = {
        code: Code[error.code],
        message: error.rawMessage,
        details: error.findDetails(BadRequestSchema).length,
        hint: error.metadata.get("www-authenticate"),
      };
    }
  } catch (error) {
    outcome.failure = String(error);
  }
  return outcome;
}

Object.assign(globalThis, { callFromPage });
