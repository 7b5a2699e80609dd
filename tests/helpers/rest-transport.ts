import {
  create,
  type DescMessage,
  fromJson,
  type JsonObject,
  type JsonValue,
  toJson,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";

/** The agents' calls that REST takes as a POST of the whole message. */
const paths: Record<string, string> = {
  Enroll: "/api/v1/agents:enroll",
  Heartbeat: "/api/v1/agent/heartbeat",
  ReportError: "/api/v1/agent/errors",
  ClaimTasks: "/api/v1/agent/tasks:claim",
  RotateToken: "/api/v1/agent:rotateToken",
};

/** A Connect transport over the REST door, for the agents' calls alone. */
export function createRestTransport(baseUrl: string): Transport {
  return {
    async unary(method, signal, _timeoutMs, header, input) {
      const path = paths[method.name];
      if (path === undefined) throw new Error(`no path for ${method.name}`);
      const headers = new Headers(header);
      headers.set("content-type", "application/json");
      const body = JSON.stringify(toJson(method.input, create(method.input, input)));
      const response = await send(`${baseUrl}${path}`, {
        method: "POST",
        headers,
        body,
        ...(signal && { signal }),
      });
      const answer = (await response.json()) as JsonObject;
      if (!response.ok) throw toConnectError(answer, response.headers);
      const message = fromJson(method.output, withFullEnumNames(method.output, answer));
      const trailer = new Headers();
      return { stream: false, service: method.parent, method, header: response.headers, trailer, message };
    },
    stream() {
      throw new Error("no stream here");
    },
  };
}

async function send(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch (error) {
    throw new ConnectError("the server cannot be reached", Code.Unavailable, undefined, undefined, error);
  }
}

function toConnectError(answer: JsonObject, header: Headers): ConnectError {
  const { status, message } = answer.error as { status: string; message: string };
  const name = status.toLowerCase().replace(/(^|_)([a-z])/g, (_, __, letter: string) => letter.toUpperCase());
  const code = name === "Cancelled" ? Code.Canceled : Code[name as keyof typeof Code];
  return new ConnectError(message, code, header);
}

/** REST writes `"online"` where proto3 JSON has `"AGENT_STATUS_ONLINE"`. */
function withFullEnumNames(schema: DescMessage, json: JsonObject): JsonObject {
  const full: Record<string, JsonValue> = { ...json };
  for (const field of schema.fields) {
    const value = json[field.jsonName];
    if (value === undefined) continue;
    if (field.fieldKind === "enum") {
      full[field.jsonName] = `${field.enum.sharedPrefix ?? ""}${String(value)}`.toUpperCase();
    } else if (field.fieldKind === "message" && !field.message.typeName.startsWith("google.protobuf.")) {
      full[field.jsonName] = withFullEnumNames(field.message, value as JsonObject);
    }
  }
  return full;
}
